"""How soon drift is found in the recorded streams, what is told without a change, and what watching costs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np

from benchmarks.report import Result, at_least, at_most, show
from benchmarks.scale import Scale
from benchmarks.streams import SHARED, load, no_streams
from thalweg.memory.snapshots.snapshots import InMemorySnapshots
from thalweg.models.ridge.learner import Ridge
from thalweg.ops.config.config import parse
from thalweg.ops.replay.replay import replay
from thalweg.ops.run.app import new_learner, new_monitor, settings_of
from thalweg.proto.event import Batch, Decoded
from thalweg.stream.drift.drift import DriftWatch
from thalweg.stream.drift.params import DriftParams
from thalweg.stream.drift.signs import Observed
from thalweg.stream.learn.blocks import DecodedBlock
from thalweg.stream.learn.fold import Fold
from thalweg.stream.sources.files import CsvMapping

_MOST_ROWS = {"abrupt": 100, "recurring": 100, "gradual": 800, "incremental": 1500, "covariate_only": 200}
MAPPING = CsvMapping(ignore=("t", "concept", "ref_error"))
"""Which columns of the recorded streams are no features."""
_COLUMNS, _BATCH = 64, 1024
_BLOCK = 512


def recorded(name: str) -> Path:
    """The file of a recorded stream."""
    return SHARED / "data" / "drift" / f"{name}.csv.gz"


def delays(name: str, rows: int | None) -> tuple[list[int], int]:
    """Rows from each change to its alarm, 10,000 for one not found; and alarms that belong to no change.

    Of all rows, or of the first ones.
    """
    table = {
        "name": "m",
        "learner": "ridge",
        "topic": "t",
        "batch_events": 64,
        "inputs": {"features": {"shape": [6]}},
    }
    model = parse({"model": [table]}, name, {}).model[0]
    done = replay(model, recorded(name), MAPPING, limit=rows, frozen_after=1000)
    truth = json.loads((recorded(name).parent / "ground_truth.json").read_text())
    starts = [change["start"] for change in truth[name]["changes"]]
    alarms = [alarm.start for alarm in done.alarms]
    if name == "covariate_only":
        alarms = [alarm.start for alarm in done.alarms if alarm.signals[0][0] == "inputs"]
    ends = [*starts[1:], 1 << 60]
    found = [next((at - start for at in alarms if start <= at < end), 10_000) for start, end in zip(starts, ends)]
    return found, len(done.alarms) - sum(delay < 10_000 for delay in found)


def events_per_second(events: int) -> float:
    """Of the whole watch: loss, baseline and 64 columns without a change; one core."""
    rng = np.random.default_rng(0)
    names = [f"x[{place}]" for place in range(_COLUMNS)]
    watch = DriftWatch(DriftParams(), names, np.zeros(_COLUMNS, dtype=np.bool_))
    parts = [
        Observed(
            np.arange(_BATCH, dtype=np.float64),
            (rng.random(_BATCH) < 0.1).astype(np.float64),
            (rng.random(_BATCH) < 0.1).astype(np.float64),
            np.full(_BATCH, np.nan),
            True,
            rng.normal(size=(_BATCH, _COLUMNS)).astype(np.float32),
        )
        for _ in range(16)
    ]
    for part in parts:
        watch.observe(part)
    rounds = events // _BATCH
    # CPU of this thread, beside whatever else runs; the whole, not a median: beginning anew is part of it
    start = process_time()
    for number in range(rounds):
        watch.observe(parts[number % len(parts)])
    return _BATCH * rounds / (process_time() - start)


def share_of_learning(batch_events: int, rows: int | None) -> float:
    """CPU time of the watch in that of learning alone, ridge as it comes on electricity, in one run: in blocks as a
    service reads them from a backlog of single events.
    """
    spent = {"watch": 0.0, "learn": 0.0}

    def timed(kind: type, name: str, of: str) -> Callable[[], None]:
        inner = getattr(kind, name)

        def outer(*arguments: Any) -> Any:
            start = process_time()
            try:
                return inner(*arguments)
            finally:
                spent[of] += process_time() - start

        setattr(kind, name, outer)
        return lambda: setattr(kind, name, inner)

    table = {"name": "m", "learner": "ridge", "topic": "t", "batch_events": batch_events}
    model = parse({"model": [table | {"inputs": {"features": {"shape": [8]}}}]}, "electricity", {}).model[0]
    features, labels = load("electricity", rows)
    stream = Batch({"features": features}, labels, np.ones(len(features)), np.arange(float(len(features))))
    learner = new_learner(model)
    fold = Fold(learner, InMemorySnapshots(), settings_of(model, 1 << 20), new_monitor(model, learner, None))
    undo = [timed(DriftWatch, "observe", "watch"), timed(Ridge, "learn", "learn")]
    try:
        for block in stream.micro_batches(max(batch_events, _BLOCK)):
            fold.apply(DecodedBlock(fold.version + 1, batch_events, (Decoded(block),), {}))
    finally:
        for one in undo:
            one()
    return spent["watch"] / spent["learn"]


def run(scale: Scale = Scale.FULL) -> list[Result]:
    """All figures; `QUICK` takes fewer rows for the rate."""
    results: list[Result] = []
    if SHARED.is_dir():
        for size in (1, 64, 1024):
            share = 100.0 * share_of_learning(size, scale.of({1: 10_000}.get(size), quick=5000, tiny=300))
            note = "CPU time of the watch in that of learning, ridge as it comes"
            results.append(at_most(f"drift watch, electricity, by {size:,}", share, "% of learning", 15.0, note))
        results += found_in_streams(_MOST_ROWS, None) if scale is not Scale.TINY else found_in_streams(["abrupt"], 500)
    else:
        results.append(no_streams("drift, delays"))
    rate = events_per_second(scale.of(1_000_000, quick=100_000, tiny=2048))
    results.append(
        at_least("drift, 64 columns, loss and baseline watched", rate, "events/s", 200_000, "of CPU, by 1,024")
    )
    return results


def found_in_streams(names: Iterable[str], rows: int | None) -> list[Result]:
    """Delays and false alarms over these streams and the one without a change."""
    results, false = [], 0
    for name in names:
        (found, more), most = delays(name, rows), _MOST_ROWS[name]
        false += more
        note = "delays " + ", ".join(map(str, found))
        results.append(at_most(f"drift, {name}: longest delay", float(max(found)), "rows", float(most), note))
    false += delays("none", rows)[1]
    results.append(at_most("drift: false alarms in 10,000 rows", false / 6, "", 1.0, f"{false} in 60,000 rows"))
    return results


if __name__ == "__main__":
    show("Drift", run(Scale.asked()))
