"""Events in batches from the embedded log, with everything a service has, as it comes.

`EventBatch` records of 1,000 events (64 float32, 10 classes) wait in the log; ridge with its random features and all
its decays learns them in micro-batches of one size, with decoding, evaluation, the frozen baseline, drift detection,
calibration, journal, publication and snapshots. CPU time of all threads, the least of several rounds, of all but the
first events: after them there is a frozen baseline, and the scale has settled. Beside it, what predicting and learning
cost alone: the same micro-batches in memory.
"""

from __future__ import annotations

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import tempfile  # noqa: E402 - the environment comes first
from pathlib import Path  # noqa: E402
from time import process_time  # noqa: E402

from benchmarks.ingest import PER_RECORD, events, fill  # noqa: E402
from benchmarks.report import Result, at_least, show  # noqa: E402
from benchmarks.scale import Scale  # noqa: E402
from thalweg.memory.snapshots.snapshots import FolderSnapshots  # noqa: E402
from thalweg.models.contract.capabilities import predict_batch  # noqa: E402
from thalweg.ops.config.config import parse  # noqa: E402
from thalweg.ops.config.model import ModelConfig  # noqa: E402
from thalweg.ops.run.app import new_learner, new_monitor, settings_of  # noqa: E402
from thalweg.proto.event import Batch  # noqa: E402
from thalweg.stream.journal.file_journal import FileJournal  # noqa: E402
from thalweg.stream.learn.ports import Ports  # noqa: E402
from thalweg.stream.learn.processor import Processor  # noqa: E402
from thalweg.stream.log.sqlite import SqliteLog  # noqa: E402
from thalweg.stream.publication.file_channel import FilePublisher  # noqa: E402

_TARGET = 150_000


def model(batch_events: int) -> ModelConfig:
    """Ridge on 64 numbers."""
    table = {"name": "m", "learner": "ridge", "topic": "t", "batch_events": batch_events}
    return parse({"model": [table | {"inputs": {"features": {"shape": [64]}}}]}, "benchmark", {}).model[0]


def through_the_log(of: ModelConfig, stream: Batch, warm: int) -> float:
    """CPU seconds of all but the first events."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        log = SqliteLog(folder / "log.db")
        snapshots, journal = FolderSnapshots(folder / "m"), FileJournal(folder / "m" / "journal")
        snapshots.prepare()
        seconds = 0.0
        for part in (stream[:warm], stream[warm:]):
            fill(log, "t", part, PER_RECORD)
            learner = new_learner(of)
            processor = Processor(
                learner,
                log,
                snapshots,
                settings_of(of, 1 << 20).model_copy(update={"idle_seconds": 0.0}),
                journal=journal,
                evaluator=new_monitor(of, learner, folder / "baseline"),
                ports=Ports(publisher=FilePublisher(folder / "live")),
            )
            began = process_time()
            processor.run(until_end=True)
            seconds = process_time() - began
        assert processor.events_learned == len(stream)
        log.close()
    return seconds


def alone(of: ModelConfig, stream: Batch, warm: int, size: int) -> tuple[float, float]:
    """CPU seconds of predicting and of learning all but the first events, in memory."""
    learner, predicting, learning = new_learner(of), 0.0, 0.0
    for part in (stream[:warm], stream[warm:]):
        predicting = learning = 0.0
        for batch in part.micro_batches(size):
            times = [process_time()]
            predict_batch(learner.predictor(), batch)
            times.append(process_time())
            learner.learn(batch)
            predicting += times[1] - times[0]
            learning += process_time() - times[1]
    return predicting, learning


def run(scale: Scale = Scale.FULL) -> list[Result]:
    """By 256, the largest micro-batch of `auto`, and by 1,000."""
    warm, stream = scale.of(20_000, quick=20_000, tiny=1000), events(scale.of(220_000, quick=60_000, tiny=2000))
    results = []
    for size in (256, 1000):
        of, rounds, count = model(size), range(scale.of(3, quick=2, tiny=1)), len(stream) - warm
        whole, parts = [], []
        for _ in rounds:  # in turn
            whole.append(through_the_log(of, stream, warm))
            parts.append(alone(of, stream, warm, size))
        predicting, learning = min(parts, key=sum)
        note = f"µs an event {1e6 * min(whole) / count:.1f}; alone: predicting {1e6 * predicting / count:.1f}"
        note += f", learning {1e6 * learning / count:.1f}"
        name = f"embedded log, EventBatch, 64 numbers, ridge and service as they come, by {size:,}: events/s of CPU"
        results.append(at_least(name, count / min(whole), "events/s", _TARGET, note))
    return results


if __name__ == "__main__":
    show("Defaults", run(Scale.asked()))
