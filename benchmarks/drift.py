"""How soon drift is found in the recorded streams, what is told without a change, and what watching costs."""

from __future__ import annotations

import json
import sys
from time import perf_counter

import numpy as np

from benchmarks.report import Result, at_least, at_most, show
from benchmarks.streams import SHARED
from thalweg.ops.config.config import parse
from thalweg.ops.replay.replay import replay
from thalweg.stream.drift.drift import DriftWatch, Observed
from thalweg.stream.drift.params import DriftParams
from thalweg.stream.sources.files import CsvMapping

_MOST_ROWS = {"abrupt": 100, "recurring": 100, "gradual": 800, "incremental": 1500, "covariate_only": 200}
MAPPING = CsvMapping(ignore=("t", "concept", "ref_error"))
"""Which columns of the recorded streams are no features."""
_COLUMNS, _BATCH = 64, 1024


def delays(name: str) -> tuple[list[int], int]:
    """Rows from each change to its alarm, 10,000 for one not found; and alarms that belong to no change."""
    folder = SHARED / "data" / "drift"
    table = {
        "name": "m",
        "learner": "ridge",
        "topic": "t",
        "batch_events": 64,
        "inputs": {"features": {"shape": [6]}},
    }
    done = replay(parse({"model": [table]}, name, {}).model[0], folder / f"{name}.csv.gz", MAPPING, frozen_after=1000)
    starts = [change["start"] for change in json.loads((folder / "ground_truth.json").read_text())[name]["changes"]]
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
    start = perf_counter()  # the whole, not a median: detectors that begin anew now and then are part of it
    for number in range(rounds):
        watch.observe(parts[number % len(parts)])
    return _BATCH * rounds / (perf_counter() - start)


def run(quick: bool = False) -> list[Result]:
    """All figures; `quick` takes fewer rows for the rate."""
    results: list[Result] = []
    if SHARED.is_dir():
        results += found_in_streams()
    else:
        note = "no streams here; set THALWEG_SHARED to the folder that has data/drift"
        results.append(Result(name="drift, delays", value=float("nan"), unit="rows", note=note))
    rate = events_per_second(100_000 if quick else 1_000_000)
    results.append(
        at_least("drift, 64 columns, loss and baseline watched", rate, "events/s", 200_000, "batches of 1,024")
    )
    return results


def found_in_streams() -> list[Result]:
    """Delays and false alarms over the six streams."""
    results, false = [], 0
    for name, most in _MOST_ROWS.items():
        found, more = delays(name)
        false += more
        note = "delays " + ", ".join(map(str, found))
        results.append(at_most(f"drift, {name}: longest delay", float(max(found)), "rows", float(most), note))
    false += delays("none")[1]
    results.append(at_most("drift: false alarms in 10,000 rows", false / 6, "", 1.0, f"{false} in 60,000 rows"))
    return results


if __name__ == "__main__":
    show("Drift", run(quick="--quick" in sys.argv))
