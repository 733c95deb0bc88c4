"""Digests: what moved without being news, told once a day instead of by an alarm each time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_DAY_SECONDS = 86_400.0
_FEATURES = 10
_KEPT = 30


@dataclass(frozen=True, kw_only=True)
class Digest:
    """The harmless or usual movements of a day. Events are numbered as those of an `Alarm`."""

    number: int
    """Number among the model's digests, from 1."""
    start: int
    """The event of the first movement."""
    end: int
    """The last event of the digest."""
    start_time: float
    """Time of `start`, Unix seconds; the newest that was seen."""
    end_time: float
    """Time of `end`, Unix seconds; the newest that was seen."""
    signals: tuple[tuple[str, str, int], ...]
    """Signal, detector and number of detections, the most frequent first."""
    features: tuple[tuple[str, float], ...] = ()
    """The input columns that moved most, with their largest Kolmogorov-Smirnov distance."""

    def record(self) -> dict[str, Any]:
        """Ready for JSON."""
        table = asdict(self)
        table["signals"] = [{"signal": s, "detector": d, "detections": times} for s, d, times in self.signals]
        table["features"] = [{"name": name, "distance": distance} for name, distance in self.features]
        return table

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Digest:
        """The digest of a `record()`."""
        table = dict(record)
        table["signals"] = tuple((one["signal"], one["detector"], one["detections"]) for one in table["signals"])
        table["features"] = tuple((one["name"], one["distance"]) for one in table["features"])
        return cls(**table)


class Digests:
    """Gathers movements into digests.

    A digest begins with a movement and ends a day of event time later, or after `events` events in which event time
    did not advance; never sooner than `least` events.
    """

    def __init__(self, events: int, least: int) -> None:
        self._events, self._least = events, least
        self._number = 0
        self._start: tuple[int, float] | None = None
        self._seen = 0  # the last event that was looked at
        self._newest = float("-inf")
        self._advanced = 0  # the event at which the newest time came
        self._signals: Counter[tuple[str, str]] = Counter()
        self._features: dict[str, float] = {}
        self._ended: list[Digest] = []
        self._kept: list[Digest] = []

    @property
    def latest(self) -> list[Digest]:
        """The latest digests, oldest first; the last may not have ended."""
        return [*self._kept, *([self._digest(self._seen)] if self._start is not None else [])]

    def news(self) -> list[Digest]:
        """Digests that have ended since the last call."""
        ended, self._ended = self._ended, []
        return ended

    def add(self, event: int, time: float, signal: str, detector: str, features: tuple[tuple[str, float], ...]) -> None:
        """A movement was detected at this event; `until` was called for it before."""
        if self._start is None:
            self._newest = max(self._newest, time)
            self._start, self._seen, self._advanced = (event, self._newest), event, event
        self._signals[signal, detector] += 1
        for name, distance in features:
            self._features[name] = max(distance, self._features.get(name, 0.0))

    def until(self, upto: int, at: NDArray[np.int64], times: NDArray[np.float64]) -> None:
        """Look at the events (N,) up to this number, and end the digest where it is due."""
        if self._start is None or self._lasts(upto, at, times):
            return
        first = int(np.searchsorted(at, self._seen, side="right"))
        fresh = slice(first, int(np.searchsorted(at, upto, side="right")))
        events, newest = at[fresh], np.maximum.accumulate(np.append(self._newest, times[fresh]))
        if not len(events):
            return
        advanced = np.maximum.accumulate(np.where(newest[1:] > newest[:-1], events, self._advanced))
        stands = events - advanced >= self._events
        due = stands | (newest[1:] - self._start[1] >= _DAY_SECONDS)
        due &= events - self._start[0] >= self._least
        last = int(due.argmax()) if due.any() else len(events) - 1
        self._seen, self._newest = int(events[last]), float(newest[last + 1])
        self._advanced = int(advanced[last])
        if due[last]:
            digest = self._digest(self._seen)
            self._ended.append(digest)
            self._kept = [*self._kept, digest][-_KEPT:]
            self._number += 1
            self._start, self._signals, self._features = None, Counter(), {}

    def _lasts(self, upto: int, at: NDArray[np.int64], times: NDArray[np.float64]) -> bool:
        """Whether the digest surely goes on to the last of these events, and others are to be looked at after this one:
        then they can be looked at together with those.
        """
        last = int(at[-1])
        if upto >= last:
            return False
        assert self._start is not None
        if last - self._start[0] < self._least:
            return True
        newest = max(self._newest, float(times.max()))
        return last - self._advanced < self._events and newest - self._start[1] < _DAY_SECONDS

    def meta(self) -> dict[str, Any]:
        """For a snapshot, ready for JSON."""
        return {
            "number": self._number,
            "newest": self._newest if np.isfinite(self._newest) else None,
            "advanced": self._advanced,
            "open": self._digest(self._seen).record() if self._start is not None else None,
            "kept": [digest.record() for digest in self._kept],
            "features": self._features,
        }

    def restore(self, meta: Mapping[str, Any]) -> None:
        """Become the one whose `meta()` this is."""
        self._number, self._advanced, self._ended = meta["number"], meta["advanced"], []
        self._newest = float("-inf") if meta["newest"] is None else meta["newest"]
        self._start, self._signals, self._features = None, Counter(), dict(meta["features"])
        self._kept = [Digest.of(record) for record in meta["kept"]]
        if meta["open"] is not None:
            digest = Digest.of(meta["open"])
            self._start, self._seen = (digest.start, digest.start_time), digest.end
            self._signals = Counter({(signal, detector): times for signal, detector, times in digest.signals})

    def _digest(self, end: int) -> Digest:
        assert self._start is not None
        ranked = sorted(self._features.items(), key=lambda one: (-one[1], one[0]))[:_FEATURES]
        often = sorted(self._signals.items(), key=lambda one: (-one[1], one[0]))
        return Digest(
            number=self._number + 1,
            start=self._start[0],
            end=end,
            start_time=self._start[1],
            end_time=self._newest,
            signals=tuple((signal, detector, times) for (signal, detector), times in often),
            features=tuple((name, round(distance, 4)) for name, distance in ranked),
        )
