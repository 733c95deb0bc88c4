"""Alarms on real streams, and every detector beside one that always alarms and one that never does.

The streams are those of `data/streams` and `data/drift`, by ridge in micro-batches of 64. A change counts as found by
an alarm from its start until 1,500 rows after its end, and before the next change; any other alarm is false. The drift
of INSECTS is gradual and its extent is not known: it may be found 500 rows before the listed row. The control `always`
alarms every 1,000 rows, as soon as an alarm can end; `never` does not. A vote (Besbes et al., arXiv 2606.18377) alarms
once so many of ADWIN, Page-Hinkley, KSWIN and DDM have fired within 200 rows of each other.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.report import Result, at_least, at_most, show
from benchmarks.scale import Scale
from benchmarks.streams import CHANGE, SHARED, TO_BEAT, no_streams
from thalweg.ops.config.config import parse
from thalweg.ops.replay.replay import replay
from thalweg.stream.drift.detectors import SignalWatch
from thalweg.stream.drift.drift import DriftWatch
from thalweg.stream.drift.methods.river import DETECTORS
from thalweg.stream.drift.signs import Observed
from thalweg.stream.sources.files import CsvMapping, FileError

_RECORDED = ("abrupt", "gradual", "incremental", "recurring", "covariate_only", "none")
_AFTER, _SETTLED, _TOGETHER = 1500, 1000, 200
_NO_FEATURES = ("t", "context", "concept", "ref_error")


@dataclass(frozen=True)
class Stream:
    """One stream as the watch saw it."""

    rows: int
    changes: tuple[tuple[int, int], ...]
    """First and last row of each listed change."""
    alarms: tuple[int, ...]
    """Rows at which the shipped settings raised one."""
    loss: NDArray[np.float64]


def listed(name: str) -> tuple[tuple[int, int], ...]:
    """The changes that the source of a stream lists."""
    if name in _RECORDED:
        truth = json.loads((SHARED / "data" / "drift" / "ground_truth.json").read_text())
        return tuple((change["start"], change["end"]) for change in truth[name]["changes"])
    if name == "insects_gradual":
        return ((CHANGE - 500, CHANGE),)
    return tuple((row, row) for row in range(1100, 8800, 1100)) if name == "spoken_digits_recurring" else ()


def seen(name: str, rows: int | None) -> Stream:
    """Replay a stream, or its first rows."""
    path = SHARED / "data" / ("drift" if name in _RECORDED else "streams") / f"{name}.csv.gz"
    width, ignored = _layout(path)
    table = {
        "name": "m",
        "learner": "ridge",
        "topic": "t",
        "batch_events": 64,
        "inputs": {"features": {"shape": [width]}},
    }
    losses: list[NDArray[np.float64]] = []
    observe = DriftWatch.observe

    def noted(watch: DriftWatch, part: Observed) -> None:
        losses.append(part.loss)
        observe(watch, part)

    DriftWatch.observe = noted  # type: ignore[method-assign] # the loss as the watch sees it
    try:
        model = parse({"model": [table]}, name, {}).model[0]
        done = replay(model, path, CsvMapping(ignore=ignored), limit=rows, frozen_after=1000)
    finally:
        DriftWatch.observe = observe  # type: ignore[method-assign]
    starts = tuple(alarm.start for alarm in done.alarms)
    return Stream(done.events, listed(name), starts, np.concatenate(losses))


def _layout(path: Path) -> tuple[int, tuple[str, ...]]:
    with gzip.open(path, "rt") as file:
        header = file.readline().strip().split(",")
    if "label" not in header:
        raise FileError(f"{path} has no column label")
    ignored = tuple(name for name in header if name in _NO_FEATURES)
    return len(header) - 1 - len(ignored), ignored


def counted(alarms: Sequence[int], changes: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """Changes found, and false alarms; several alarms within the span of one change count once."""
    starts = [start for start, _ in changes] + [1 << 60]
    spans = [(start, min(end + _AFTER, starts[i + 1] - 1)) for i, (start, end) in enumerate(changes)]
    found = sum(any(first <= at <= last for at in alarms) for first, last in spans)
    return found, sum(not any(first <= at <= last for first, last in spans) for at in alarms)


def fired(loss: NDArray[np.float64], name: str) -> list[int]:
    """Rows at which one detector fires on a loss."""
    watch, at = SignalWatch([name], bounded=True), np.arange(1, len(loss) + 1)
    return [
        one.at
        for first in range(0, len(loss), 64)
        for one in watch.feed(loss[first : first + 64], at[first : first + 64])
    ]


def settled(at: Sequence[int]) -> list[int]:
    """One alarm for detections less than 1,000 rows apart."""
    return [row for place, row in enumerate(at) if not place or row - at[place - 1] >= _SETTLED]


def voted(by_detector: Mapping[str, Sequence[int]], least: int) -> list[int]:
    """Rows at which so many detectors have fired within 200 rows."""
    every = sorted((row, name) for name, rows in by_detector.items() for row in rows)
    return [row for row, _ in every if len({name for at, name in every if row - _TOGETHER < at <= row}) >= least]


def scored(streams: Sequence[Stream], alarms: Sequence[Sequence[int]]) -> tuple[float, str]:
    """F1 over all listed changes, and how it came about."""
    pairs = [counted(of, stream.changes) for of, stream in zip(alarms, streams, strict=True)]
    found, false = sum(one for one, _ in pairs), sum(more for _, more in pairs)
    total = sum(len(stream.changes) for stream in streams)
    f1 = 2 * found / max(1, found + false + total)
    return f1, f"{found} of {total} changes, {false} false alarms in {sum(stream.rows for stream in streams):,} rows"


def run(scale: Scale = Scale.FULL) -> list[Result]:
    """Alarms per 5,000 rows of each real stream, and F1 of all detectors over the streams with listed changes."""
    if not SHARED.is_dir():
        return [no_streams("drift, what is news")]
    results: list[Result] = []
    names = scale.of([*TO_BEAT, *_RECORDED], quick=["noaa_weather", "abrupt", "none"], tiny=["abrupt"])
    streams = {name: seen(name, scale.of(None, quick=None, tiny=800)) for name in names}
    for name in (name for name in streams if name in TO_BEAT):
        one = streams[name]
        found, false = counted(one.alarms, one.changes)
        note = f"{len(one.alarms)} alarms, {found} of {len(one.changes)} listed changes found"
        rate = 5000.0 * false / one.rows
        results.append(at_most(f"drift, {name}: alarms of no listed change per 5,000 rows", rate, "", 1.0, note))
    judged = [one for name, one in streams.items() if one.changes or name == "none"]
    tried: dict[str, list[Sequence[int]]] = {"shipped": [one.alarms for one in judged]}
    by_detector = [{name: fired(one.loss, name) for name in DETECTORS} for one in judged]
    for name in DETECTORS:
        tried[f"{name} on the loss alone"] = [settled(of[name]) for of in by_detector]
    for least in (2, 3):
        tried[f"vote of {least} of 4 on the loss"] = [settled(voted(of, least)) for of in by_detector]
    tried["always (control)"] = [range(_SETTLED, one.rows, _SETTLED) for one in judged]
    tried["never (control)"] = [[] for _ in judged]
    scores = {name: scored(judged, alarms) for name, alarms in tried.items()}
    best = max(f1 for name, (f1, _) in scores.items() if name != "shipped")
    for name, (f1, note) in scores.items():
        if name == "shipped":
            results.append(at_least("drift, F1 over listed changes: shipped", f1, "", best, note))
        else:
            results.append(Result(name=f"… {name}", value=f1, unit="", note=note))
    return results


if __name__ == "__main__":
    show("Drift, what is news", run(Scale.asked()))
