"""Who follows records from the log to the version that has learned them, as the loop sees it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from thalweg.proto.records import Records


class Tracker(Protocol):
    """Called on the learner's thread, once per block or less often. Must be quick and must not raise."""

    def taken(self, version: int, records: Sequence[Records], now: float) -> None:
        """These records were read, and will be in this version. `now`: Unix seconds."""

    def learned(self, version: int, seconds: float, now: float) -> None:
        """This version has learned them, which took so many seconds, decoding included. `now`: Unix seconds."""

    def learned_again(self, version: int, appended: float, records: int, now: float) -> None:
        """A version that is not published yet was computed again after a restart.

        Args:
            version: The version.
            appended: When the newest of its records was appended, Unix seconds; 0: unknown.
            records: About how many there are, at least 1.
            now: Unix seconds.
        """

    def caught_up(self, now: float) -> None:
        """At this time (Unix seconds) there was nothing more to read."""

    def publishing(self, version: int, now: float) -> None:
        """This version is about to be visible to the servers."""

    def published(self, version: int, now: float) -> None:
        """This version is visible to the servers."""

    def close(self) -> None:
        """The learner ends; may be called twice."""


class NoTracker:
    """Ignores every call; also the base class of trackers that need only some."""

    def taken(self, version: int, records: Sequence[Records], now: float) -> None: ...
    def learned(self, version: int, seconds: float, now: float) -> None: ...
    def learned_again(self, version: int, appended: float, records: int, now: float) -> None: ...
    def caught_up(self, now: float) -> None: ...
    def publishing(self, version: int, now: float) -> None: ...
    def published(self, version: int, now: float) -> None: ...
    def close(self) -> None: ...


def both(one: Tracker, other: Tracker) -> Tracker:
    """A tracker that passes each call to two, in order."""
    return _Both(one, other)


class _Both:
    def __init__(self, one: Tracker, other: Tracker) -> None:
        self._all = (one, other)

    def taken(self, version: int, records: Sequence[Records], now: float) -> None:
        for tracker in self._all:
            tracker.taken(version, records, now)

    def learned(self, version: int, seconds: float, now: float) -> None:
        for tracker in self._all:
            tracker.learned(version, seconds, now)

    def learned_again(self, version: int, appended: float, records: int, now: float) -> None:
        for tracker in self._all:
            tracker.learned_again(version, appended, records, now)

    def caught_up(self, now: float) -> None:
        for tracker in self._all:
            tracker.caught_up(now)

    def publishing(self, version: int, now: float) -> None:
        for tracker in self._all:
            tracker.publishing(version, now)

    def published(self, version: int, now: float) -> None:
        for tracker in self._all:
            tracker.published(version, now)

    def close(self) -> None:
        for tracker in self._all:
            tracker.close()
