"""A member that is put out of its group by itself joins it again.

A member's id ends with its session, and it joins under the same name with a new one. What it had asked the broker
under the former id may be answered only then, and the answer to that is the one that a second process of this name
would be the reason for: FENCED_INSTANCE_ID. librdkafka sends commits again that no coordinator took while its broker
was away, and holds the answer for final.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection

import structlog

from thalweg.proto.records import Position
from thalweg.stream.log.groups import GroupListener, GroupMember
from thalweg.stream.log.kafka_shared.members import Fenced
from thalweg.stream.log.log import LogError

AGAIN_SECONDS = 60.0
"""A member that is put out twice within this time, with nothing wrong in between, shares its name with another process:
who joined last has joined again after the first time."""

log = structlog.get_logger(__name__)


class RejoiningMember:
    """A member of a group, see `GroupMember`, that joins again when it is fenced, unless it did so a moment ago.

    Of two processes of one name the one that joined last stays, as without this: the first is fenced, joins, fences
    the second, which joins, too, and fences the first for good.

    Args:
        join: Makes a member of the group that tells this listener.
        listener: Told of its partitions.
        ticks: Monotonic seconds.
    """

    def __init__(
        self,
        join: Callable[[GroupListener], GroupMember],
        listener: GroupListener,
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        self._join, self._listener, self._ticks = join, _Noting(listener), ticks
        self._member = join(self._listener)
        self._fenced_at: float | None = None

    def poll(self, timeout_seconds: float) -> None:
        try:
            self._member.poll(timeout_seconds)
        except Fenced as error:
            before, self._fenced_at = self._fenced_at, self._ticks()
            if before is not None and self._fenced_at - before < AGAIN_SECONDS:
                raise
            log.warning("put out of its group, joins it again", problem=str(error))
            self._member.close()
            self._listener.all_lost()
            self._member = self._join(self._listener)
        except LogError:
            self._fenced_at = None  # after an outage it may put itself out again
            raise

    def commit(self, position: Position, note: str = "") -> None:
        self._member.commit(position, note)

    def close(self) -> None:
        self._member.close()


class _Noting:
    """Hands on what a listener is told, and knows which partitions it has."""

    def __init__(self, listener: GroupListener) -> None:
        self._listener, self._owned = listener, set[int]()

    def assigned(self, numbers: Collection[int]) -> None:
        self._owned |= set(numbers)
        self._listener.assigned(numbers)

    def revoked(self, numbers: Collection[int]) -> None:
        self._owned -= set(numbers)
        self._listener.revoked(numbers)

    def lost(self, numbers: Collection[int]) -> None:
        self._owned -= set(numbers)
        self._listener.lost(numbers)

    def all_lost(self) -> None:
        """The member has none any more."""
        if self._owned:
            self.lost(sorted(self._owned))
