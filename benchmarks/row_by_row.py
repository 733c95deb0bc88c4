"""Row by row: what an event costs from the log to the learned version, and what the labels just before it are worth.

Cost: JSON records of the electricity stream wait in the embedded log and are learned one by one by the processor, with
everything a service has: decoding, evaluation, drift detection, calibration, journal, publication, snapshots. CPU time
of all threads, the least of several rounds, beside a logistic regression of River that gets dictionaries made before.
Accuracy: `thalweg replay` of the stream at several delays of the labels, beside the controls at the same delay.
"""

from __future__ import annotations

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import tempfile  # noqa: E402 - the environment comes first
from pathlib import Path  # noqa: E402
from time import process_time  # noqa: E402
from typing import Any  # noqa: E402

import numpy as np  # noqa: E402

from benchmarks.report import Result, at_most, show  # noqa: E402
from benchmarks.scale import Scale  # noqa: E402
from benchmarks.streams import SHARED, load, no_streams  # noqa: E402
from thalweg.memory.snapshots.snapshots import FolderSnapshots  # noqa: E402
from thalweg.ops.config.config import parse  # noqa: E402
from thalweg.ops.config.model import ModelConfig  # noqa: E402
from thalweg.ops.replay.replay import replay_events  # noqa: E402
from thalweg.ops.run.app import new_learner, new_monitor, settings_of  # noqa: E402
from thalweg.proto.encode import to_json  # noqa: E402
from thalweg.proto.event import Batch, Decoded  # noqa: E402
from thalweg.stream.journal.file_journal import FileJournal  # noqa: E402
from thalweg.stream.learn.ports import Ports  # noqa: E402
from thalweg.stream.learn.processor import Processor  # noqa: E402
from thalweg.stream.log.log import Message  # noqa: E402
from thalweg.stream.log.sqlite import SqliteLog  # noqa: E402
from thalweg.stream.publication.file_channel import FilePublisher  # noqa: E402

TARGET_MICROSECONDS = 100.0
_WARM = 1000  # events before the measured ones, after which there is a frozen baseline
_DELAYS = (0, 63)


def model(batch_events: Any = "auto", **params: Any) -> ModelConfig:
    """Ridge on eight numbers."""
    table = {"name": "m", "learner": "ridge", "topic": "t", "batch_events": batch_events, "params": params}
    return parse({"model": [{**table, "inputs": {"features": {"shape": [8]}}}]}, "benchmark", {}).model[0]


def through_the_log(of: ModelConfig, stream: Batch) -> float:
    """CPU seconds of all but the first events."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        log = SqliteLog(folder / "log.db")
        snapshots, journal = FolderSnapshots(folder / "m"), FileJournal(folder / "m" / "journal")
        snapshots.prepare()
        seconds = 0.0
        for part in (stream[:_WARM], stream[_WARM:]):
            log.append("t", [Message(value) for value in to_json(part)])
            learner = new_learner(of)
            ports = Ports(publisher=FilePublisher(folder / "live"))
            monitor = new_monitor(of, learner, folder / "baseline")
            settings = settings_of(of, 1 << 20).model_copy(update={"idle_seconds": 0.0})
            processor = Processor(learner, log, snapshots, settings, journal=journal, evaluator=monitor, ports=ports)
            began = process_time()
            processor.run(until_end=True)
            seconds = process_time() - began
        assert processor.events_learned == len(stream)
        log.close()
    return seconds


def by_river(stream: Batch) -> float | None:
    """CPU seconds of River's logistic regression on dictionaries that exist; None without River."""
    try:
        from river import linear_model, preprocessing
    except ImportError:
        return None
    labels: Any = stream.labels
    names = [f"c{number}" for number in range(8)]
    rows = [dict(zip(names, row)) for row in stream.inputs["features"].tolist()][_WARM:]
    targets = [bool(code) for code in labels.codes.tolist()][_WARM:]
    mine = preprocessing.StandardScaler() | linear_model.LogisticRegression()
    began = process_time()
    for row, target in zip(rows, targets):
        mine.predict_one(row)
        mine.learn_one(row, target)
    return process_time() - began


def cost(stream: Batch, rounds: int) -> list[Result]:
    """Microseconds of an event, row by row."""
    count, results = len(stream) - _WARM, []
    for name, params in (("ridge without random features", {"expansion": 0}), ("ridge, defaults", {})):
        of = model(1, **params)
        mine = river = None
        for _ in range(rounds):  # in turn
            mine = min(through_the_log(of, stream), np.inf if mine is None else mine)
            theirs = by_river(stream)
            river = theirs if theirs is None else min(theirs, np.inf if river is None else river)
        assert mine is not None
        each = 1e6 * mine / count
        beside = "" if river is None else f"River's scaled logistic regression alone {1e6 * river / count:.1f} µs"
        results.append(
            at_most(f"row by row, log to version, 8 numbers, {name}", each, "µs an event", TARGET_MICROSECONDS, beside)
        )
        if river is not None:
            results.append(Result(name=f"… {name}, against River's logistic regression", value=mine / river, unit="×"))
    return results


def accuracy(stream: Batch) -> list[Result]:
    """Accuracy of a replay and of its controls, by how many rows late labels come."""
    results = []
    settings: list[tuple[str, Any, int]] = [(f"labels {delay} rows late", "auto", delay) for delay in _DELAYS]
    for name, batch_events, delay in [*settings, ("micro-batches of 64", 64, 0)]:
        of = model(batch_events)
        done = replay_events(of, new_learner(of), lambda: [Decoded(stream)], delay_events=delay)
        controls = {control: figures.get("accuracy", 0.0) for control, figures in done.controls.items()}
        note = f"repeat last label {100 * controls['repeat_last_label']:.1f}, majority {100 * controls['majority']:.1f}"
        value = 100 * done.evaluation.metrics().get("accuracy", 0.0)
        results.append(Result(name=f"replay of electricity, ridge, {name}", value=value, unit="%", note=note))
    return results


def run(scale: Scale = Scale.FULL) -> list[Result]:
    """Cost, and accuracy by delay."""
    if not (SHARED / "data" / "streams" / "electricity.csv.gz").exists():
        return [no_streams("row by row, electricity")]
    features, labels = load("electricity", scale.of(None, 12_000, 1200))
    count = len(features)
    stream = Batch({"features": features}, labels, np.ones(count), np.arange(float(count)))
    return cost(stream[: scale.of(11_000, 5000, 1200)], scale.of(5, 3, 1)) + accuracy(stream)


if __name__ == "__main__":
    show("row by row", run(Scale.asked()))
