"""From `kill -9` of a learner process to the first version of the next one, and to all events published again.

Each learner of the demo, with the demo's parameters and streams, alone in its process; killed in the middle of a
snapshot interval, so that half of one is learned again from the journal.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np

from benchmarks.report import Result, at_most
from benchmarks.scale import Scale
from tests.ops.running import Service, service, until
from thalweg.ops.cli.produce import messages
from thalweg.ops.demo import camera, clicks, visits
from thalweg.ops.demo.run import configuration, digits
from thalweg.proto.event import Batch, ClassLabels

TARGET_SECONDS = 1.5
SNAPSHOT_EVENTS = 5000


def run(scale: Scale) -> list[Result]:
    """Each learner of the demo."""
    events = scale.of(SNAPSHOT_EVENTS + SNAPSHOT_EVENTS // 2, 2000, 60)
    results = []
    for name, make in _streams().items():
        with tempfile.TemporaryDirectory() as folder:
            first, whole = _measure(Path(folder), name, make(events), scale.of(5, 3, 1))
        results.append(at_most(f"{name}: kill to published", first, "s", TARGET_SECONDS, f"{events:,} events"))
        results.append(Result(name=f"{name}: … all events published again", value=whole, unit="s"))
    return results


def _streams() -> dict[str, Callable[[int], Batch]]:
    return {
        "digits": _digits,
        "digits-bottleneck": _digits,
        clicks.NAME: lambda count: _whole((batch for batch, _ in clicks.clicks(count)), count),
        visits.NAME: lambda count: _whole((batch for batch, *_ in visits.visits(count)), count),
        "camera": _images,
    }


def _digits(count: int) -> Batch:
    rows = list(digits(count))
    table: dict[str, int] = {}
    codes = np.array([table.setdefault(name, len(table)) for _, name, *_ in rows], np.int32)
    features = np.stack([pixels for pixels, *_ in rows])
    return Batch({"features": features}, ClassLabels(codes, tuple(table)), np.ones(count), np.ones(count))


def _images(count: int) -> Batch:
    pixels = np.stack([pixels for pixels, *_ in digits(count)]).reshape(-1, 1, 8, 8)
    return Batch({"image": pixels}, None, np.ones(count), np.ones(count))
