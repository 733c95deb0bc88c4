"""Who learns which partitions of a topic: members of a group, told by the log of what is theirs."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from typing import Protocol

from thalweg.proto.records import Partition, Position

_LOOK_SECONDS = 1.0


class GroupListener(Protocol):
    """Told of the partitions of a member, on the thread that polls."""

    def assigned(self, numbers: Collection[int]) -> None:
        """These partitions are the member's from now on. Must not block."""

    def revoked(self, numbers: Collection[int]) -> None:
        """These partitions will be another's as soon as this returns: what is done with them ends here. Bounded by a
        part of the group's session timeout."""

    def lost(self, numbers: Collection[int]) -> None:
        """These partitions may be another's already: the member was not heard of for too long. Must not block."""


class GroupMember(Protocol):
    """A member of a group. Used by one thread."""

    def poll(self, timeout_seconds: float) -> None:
        """Take part in the group for about so long, and tell the listener what changes.

        Raises:
            LogError: The log does not answer; with every call, for as long as it does not. What was assigned stays so
                until the listener is told otherwise.
            PermanentLogError: It never will: not allowed, or another process has joined under this member's name.
        """

    def commit(self, position: Position, note: str = "") -> None:
        """Report positions in own partitions, for monitoring only. Does not block; reported with the next `poll`."""

    def close(self) -> None:
        """Take part no more; the partitions are kept for it for as long as the group's session lasts."""


class SoleMember:
    """The only member of a group: all partitions are its own, new ones as they appear.

    Args:
        bounds: The partitions of the topic, as `Log.bounds`.
        listener: Told of them.
    """

    def __init__(self, bounds: Callable[[], Mapping[Partition, object]], listener: GroupListener) -> None:
        self._bounds, self._listener = bounds, listener
        self._known: set[int] = set()
        self._look_after = 0.0

    def poll(self, timeout_seconds: float) -> None:
        if time.monotonic() >= self._look_after:
            self._look_after = time.monotonic() + _LOOK_SECONDS
            found = {partition.number for partition in self._bounds()} - self._known
            if found:
                self._known |= found
                self._listener.assigned(sorted(found))
        time.sleep(min(timeout_seconds, _LOOK_SECONDS))

    def commit(self, position: Position, note: str = "") -> None:
        """Nobody monitors it."""

    def close(self) -> None:
        """There is no group to leave."""
