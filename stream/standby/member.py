"""A standby in the group of a model: a member while there are too few learners, and none while there are enough."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection

import structlog

from thalweg.proto.records import Position
from thalweg.stream.log.groups import GroupListener, GroupMember
from thalweg.stream.log.log import LogError

log = structlog.get_logger(__name__)

LOOK_SECONDS = 0.25
"""Between two looks at a group: when a member is lost, its partitions are shared out within one heartbeat of the
others, and who joins in that time shares in it."""
START_SECONDS = 30.0
"""How long a standby waits for learners when it starts: they may be starting, too."""
ENOUGH_SECONDS = 10.0
"""How long there must be enough learners before it leaves."""


class StandbyMember:
    """See `GroupMember`: takes part only while it is needed.

    Args:
        model: The model, for the log.
        join: Makes it a member that leaves at once when it closes, with these listeners.
        learners: How many learners the group has, itself not counted. Raises LogError.
        least: It is needed while there are fewer.
        listener: Told of its partitions.
        ticks: Monotonic seconds.
    """

    def __init__(
        self,
        model: str,
        join: Callable[[GroupListener], GroupMember],
        learners: Callable[[], int],
        least: int,
        listener: GroupListener,
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        self._model, self._join, self._learners, self._least = model, join, learners, least
        self._listener, self._ticks = listener, ticks
        self._told = _Told(listener)
        self._member: GroupMember | None = None
        self._look_after = 0.0
        self._join_after = ticks() + START_SECONDS
        self._enough_since: float | None = None

    @property
    def joined(self) -> bool:
        """Whether it takes part."""
        return self._member is not None

    def poll(self, timeout_seconds: float) -> None:
        now = self._ticks()
        unknown: LogError | None = None
        if now >= self._look_after:
            self._look_after = now + LOOK_SECONDS
            try:
                learners = self._learners()
            except LogError as error:
                unknown = error
            else:
                self._look(learners, now)
        if self._member is not None:  # also while the learners are unknown: it hears that it has lost its partitions
            self._member.poll(0.0 if unknown is not None else timeout_seconds)
        if unknown is not None:
            raise unknown
        if self._member is None:
            time.sleep(max(0.0, min(timeout_seconds, LOOK_SECONDS)))

    def commit(self, position: Position, note: str = "") -> None:
        if self._member is not None:
            self._member.commit(position, note)

    def close(self) -> None:
        if self._member is not None:
            member, self._member = self._member, None
            member.close()

    def _look(self, learners: int, now: float) -> None:
        if learners < self._least:
            self._enough_since = None
            if self._member is None and now >= self._join_after:
                log.warning("learners are missing: taking part", model=self._model, there=learners, least=self._least)
                self._member = self._join(self._told)
            return
        self._join_after = now
        self._enough_since = now if self._enough_since is None else self._enough_since
        if self._member is not None and now - self._enough_since >= ENOUGH_SECONDS:
            log.info("there are enough learners again: following", model=self._model, there=learners)
            if self._told.owned:
                self._listener.revoked(sorted(self._told.owned))
                self._told.owned.clear()
            self.close()


class _Told:
    """Knows which partitions are its own."""

    def __init__(self, listener: GroupListener) -> None:
        self._listener = listener
        self.owned: set[int] = set()

    def assigned(self, numbers: Collection[int]) -> None:
        self.owned |= set(numbers)
        self._listener.assigned(numbers)

    def revoked(self, numbers: Collection[int]) -> None:
        self.owned -= set(numbers)
        self._listener.revoked(numbers)

    def lost(self, numbers: Collection[int]) -> None:
        self.owned -= set(numbers)
        self._listener.lost(numbers)
