"""What the server processes of one service count, added up: callers are spread over them, and so are scrapes.

Each process has a file in the live folder. Whoever is asked writes his own first, and answers from all the files: so a
counter never goes back, whoever is asked next. A process goes on from the file of the one whose place it takes.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import structlog

from thalweg.stream.health.registry import HealthRegistry
from thalweg.stream.health.supervised import SupervisedThread

log = structlog.get_logger(__name__)

Series: TypeAlias = tuple[str, tuple[str, ...]]
"""A metric's name, and the values of its labels."""

_WRITE_SECONDS = 0.5
_FRESH_SECONDS = 5.0
"""What a process holds at the moment counts for this long after it was told."""


@dataclass
class Tally:
    """The counts of one process, or of several."""

    counters: dict[Series, float] = field(default_factory=dict)
    histograms: dict[Series, tuple[list[int], float]] = field(default_factory=dict)
    """Values in each bucket, and the sum of all."""
    totals: dict[str, dict[str, float]] = field(default_factory=dict)
    """By model, sums over its requests; `last` is a time, of which the newest counts."""
    gauges: dict[str, float] = field(default_factory=dict)
    """What the process holds now."""
    recent: dict[str, tuple[list[int], float]] = field(default_factory=dict)
    """By model, over the last minute: requests by duration, and requests per second."""

    def add(self, other: Tally, *, now: bool = True) -> None:
        """Add another's counts, and if it is up to date what it holds now."""
        for series, count in other.counters.items():
            self.counters[series] = self.counters.get(series, 0) + count
        _add_up(self.histograms, other.histograms)
        for model, sums in other.totals.items():
            known = self.totals.setdefault(model, {})
            for name, value in sums.items():
                known[name] = max(known.get(name, 0), value) if name == "last" else known.get(name, 0) + value
        if now:
            for kind, value in other.gauges.items():
                self.gauges[kind] = self.gauges.get(kind, 0) + value
            _add_up(self.recent, other.recent)

    def written(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "counters": [[name, labels, count] for (name, labels), count in self.counters.items()],
            "histograms": [[name, labels, *values] for (name, labels), values in self.histograms.items()],
            "totals": self.totals,
            "gauges": self.gauges,
            "recent": self.recent,
        }

    @classmethod
    def read(cls, told: Mapping[str, Any]) -> Tally:
        """The tally of `written()`. Raises LookupError, TypeError and ValueError for anything else."""
        return cls(
            {(str(name), tuple(map(str, labels))): float(count) for name, labels, count in told["counters"]},
            {
                (str(name), tuple(map(str, labels))): ([int(one) for one in counts], float(total))
                for name, labels, counts, total in told["histograms"]
            },
            {str(model): {str(k): float(v) for k, v in sums.items()} for model, sums in told["totals"].items()},
            {str(kind): float(value) for kind, value in told["gauges"].items()},
            {str(k): ([int(one) for one in counts], float(rate)) for k, (counts, rate) in told["recent"].items()},
        )


class Replicas:
    """The tallies of all server processes of a service. Thread-safe.

    Args:
        live: Their folder.
        number: Which of them this one is, from 1.
        count: How many there are.
        clock: Unix seconds.
    """

    def __init__(self, live: Path, number: int, count: int, clock: Callable[[], float] = time.time) -> None:
        self._paths = {place: live / f"server-{place}.json" for place in range(1, count + 1)}
        self._number, self._clock = number, clock
        self._lock = threading.Lock()
        self._known: dict[int, tuple[float, Tally]] = {}
        self._stopping = threading.Event()
        self._thread: SupervisedThread | None = None
        self.before = self._read(number)[1]
        """What the process before this one had counted."""

    def start(self, own: Callable[[], Tally], registry: HealthRegistry) -> None:
        """Tell this process's own tally twice a second from now on."""
        health = registry.register("replica_counts", silent_seconds=60.0)

        def keep() -> None:
            while True:
                if problem := self._write(own()):
                    health.degraded(f"the other servers do not know what this one counts: {problem}")
                else:
                    health.running()
                if self._stopping.wait(_WRITE_SECONDS):
                    self._write(own())
                    return

        self._thread = SupervisedThread(keep, health, "replica-counts")
        self._thread.start()

    def close(self) -> None:
        """Tell it a last time."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.stop()
            self._thread.join()

    def together(self, own: Tally) -> Tally:
        """The sum over all processes, this one's own tally included."""
        self._write(own)
        found = Tally()
        for place in self._paths:
            told, tally = (self._clock(), own) if place == self._number else self._read(place)
            found.add(tally, now=self._clock() - told < _FRESH_SECONDS)
        return found

    def _write(self, own: Tally) -> str:
        """Why it could not be written; empty if it was."""
        path = self._paths[self._number]
        beside = path.with_name(f".{path.name}-{os.getpid()}")
        with self._lock:
            try:
                beside.write_text(json.dumps({"time": self._clock(), **own.written()}), encoding="utf-8")
                beside.rename(path)
            except OSError as error:
                return str(error)
        return ""

    def _read(self, place: int) -> tuple[float, Tally]:
        """When it was told, and what; a file that is missing or damaged counts as it was read last."""
        try:
            told = json.loads(self._paths[place].read_bytes())
            self._known[place] = float(told["time"]), Tally.read(told)
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            pass
        return self._known.get(place, (0.0, Tally()))


def _add_up(ours: dict[Any, tuple[list[int], float]], theirs: Mapping[Any, tuple[list[int], float]]) -> None:
    for key, (counts, total) in theirs.items():
        known, sum_ = ours.get(key, ([0] * len(counts), 0.0))
        if len(known) == len(counts):
            ours[key] = [a + b for a, b in zip(known, counts)], sum_ + total
