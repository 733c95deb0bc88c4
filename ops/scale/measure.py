"""What a model costs here: its real processor runs on made-up events for a few seconds, and its parts alone."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from threadpoolctl import threadpool_limits

from thalweg.models.contract.capabilities import Mergeable, capability, predict_batch
from thalweg.models.contract.learner import Learner
from thalweg.ops.config.config import Config
from thalweg.ops.config.model import ModelConfig
from thalweg.ops.run.app import event_schema, new_learner, new_monitor, settings_of
from thalweg.ops.run.failed import Failed
from thalweg.ops.scale.made_up import APART, made_up
from thalweg.ops.scale.processor_run import Ran, alone, folders, run
from thalweg.proto.decode import Decoder
from thalweg.proto.event import Batch
from thalweg.proto.records import Partition, Records
from thalweg.proto.schema import Schema
from thalweg.stream.exceptions import first_line

_TRIED = 20
"""Records that are decoded to see whether made-up ones fit."""
_MOST = 200_000
"""Records of the measured run."""
_ALONE = 20_000
"""Of these, those that the parts alone are measured on, at most."""


@dataclass(frozen=True, kw_only=True)
class Costs:
    """What one model costs on this machine, on one core."""

    model: str
    learner: str
    scaled: bool
    """Whether it has `[model.scale]`."""
    events: int
    """Made-up events that were measured."""
    batch_events: int
    """Events per micro-batch while more wait …"""
    block_events: float
    """… and per block, on average."""
    seconds_per_event: float
    """Of the whole processor: read, decoded, predicted, graded, learned, journalled, published, saved."""
    decode_seconds: float
    predict_seconds: float
    grade_seconds: float
    learn_seconds: float
    """Of an event, each alone; what remains of the whole is the journal, publishing, saving and reports."""
    record_bytes: float
    state_bytes: int
    """After the measured events …"""
    state_bytes_per_event: float
    """… and how much each of the later half has added: it grows up to bounds among the parameters."""
    snapshot_bytes: int
    snapshot_seconds: float
    """To write one; it does not hold up learning."""
    snapshot_core_seconds: float
    """What it computes meanwhile: the rest is waiting for the disk."""
    version_bytes: int
    """Of a published version."""
    publish_seconds: float
    journal_bytes_per_event: float
    merge_seconds: float | None
    """To merge the state of a shard into another; None: it cannot be merged."""
    process_bytes: int
    """Resident memory of a process that has imported everything and holds a new learner."""

    @property
    def other_seconds(self) -> float:
        """Of an event: journal, publishing, saving, reports and what passes between the parts."""
        parts = self.decode_seconds + self.predict_seconds + self.grade_seconds + self.learn_seconds
        return max(0.0, self.seconds_per_event - parts)


def measure(config: Config, model: ModelConfig, seconds: float) -> Costs:
    """Measure one model for about so many seconds; nothing of its own state is read or written.

    Raises:
        Failed: Its learner cannot learn made-up events; the message says why.
    """
    with threadpool_limits(1), folders(config) as (folder, live):
        learner = new_learner(model)
        made = _Made(event_schema(model, learner))
        process_bytes = _resident_bytes()
        _decoded(made.schema, model, made(_TRIED))
        size = settings_of(model, config.service.max_message_bytes).most_batch_events
        ran = Ran(seconds, most=_MOST)
        run(alone(config, model, folder, size), live, made, ran, size)
        if ran.learner is None:
            raise Failed(f"model {model.name!r}: made-up events cannot be learned: there was no block")
        decode, batch = _decoded(made.schema, model, made.newest[:_ALONE])
        predict, grade, learn = _alone(model, ran.learner, batch, size, seconds / 4)
        journal = sum(path.stat().st_size for path in (folder / model.name / "journal").rglob("*") if path.is_file())
        versions = [path.stat().st_size for path in (live / model.name).glob("*.safetensors")]
        return Costs(
            model=model.name,
            learner=model.learner,
            scaled=model.scale is not None,
            events=ran.events,
            batch_events=size,
            block_events=ran.events / len(ran.rates),
            seconds_per_event=ran.seconds_per_event,
            decode_seconds=decode,
            predict_seconds=predict,
            grade_seconds=grade,
            learn_seconds=learn,
            record_bytes=sum(map(len, made.newest)) / len(made.newest),
            state_bytes=ran.state_bytes[-1][1],
            state_bytes_per_event=ran.growth(),
            snapshot_bytes=ran.snapshots[-1][1] if ran.snapshots else 0,
            snapshot_seconds=ran.snapshots[-1][0] if ran.snapshots else 0.0,
            snapshot_core_seconds=ran.snapshots[-1][2] if ran.snapshots else 0.0,
            version_bytes=max(versions, default=0),
            publish_seconds=sum(ran.publications) / max(1, len(ran.publications)),
            journal_bytes_per_event=journal / max(1, ran.events),
            merge_seconds=_merging(model, ran.learner),
            process_bytes=process_bytes,
        )


class _Made:
    """Makes more and more records, each later than those before."""

    def __init__(self, schema: Schema) -> None:
        self.schema, self._count = schema, 0
        self._begin = time.time() - APART * 2 * _MOST
        self.newest: list[bytes] = []
        """Those made last."""

    def __call__(self, count: int) -> Sequence[bytes]:
        self._count += count
        self.newest = made_up(self.schema, count, seed=self._count, now=self._begin + APART * self._count)
        return self.newest


def _decoded(schema: Schema, model: ModelConfig, records: Sequence[bytes]) -> tuple[float, Batch]:
    """Seconds to decode a record, and the events."""
    count, now = len(records), time.time()
    decoder = Decoder(schema, max_future_seconds=model.max_future_seconds)
    run = Records(Partition(model.topic, 0), range(count), [now] * count, [None] * count, records, [()] * count)
    decoder.decode(run)
    started = time.thread_time()
    decoded = decoder.decode(run)
    took = time.thread_time() - started
    if decoded.rejected:
        raise Failed(f"model {model.name!r}: made-up events do not fit it: {decoded.rejected[0].detail}")
    return took / count, decoded.batch


def _alone(model: ModelConfig, learner: Learner, batch: Batch, size: int, seconds: float) -> tuple[float, float, float]:
    """Seconds to predict, to grade and to learn an event: of the later half of the micro-batches for which there is
    time, because what begins is often dearer.
    """
    monitor = new_monitor(model, learner)
    spent: list[tuple[int, float, float, float]] = []
    parts, deadline = list(batch.micro_batches(size)), time.perf_counter() + seconds
    for round, part in enumerate(parts if len(parts) > 3 else parts * 4):
        if round >= 2 and time.perf_counter() > deadline:
            break
        try:
            began = time.thread_time()
            predictor = learner.predictor()
            outputs = predict_batch(predictor, part)
            predicted = time.thread_time()
            monitor.predicted(part, predictor, outputs)
            if round % 16 == 15:
                monitor.settle()  # what it puts off, it does for many micro-batches together
            graded = time.thread_time()
            learner.learn(part)
            learned = time.thread_time()
        except Exception as error:
            raise Failed(f"model {model.name!r}: made-up events cannot be learned: {first_line(error)}") from error
        spent.append((len(part), predicted - began, graded - predicted, learned - graded))
    began = time.thread_time()
    monitor.settle()
    rows, predicting, grading, learning = spent[-1]
    spent[-1] = (rows, predicting, grading + time.thread_time() - began, learning)
    later = spent[len(spent) // 2 :]
    events = sum(one[0] for one in later)
    predict, grade, learn = (sum(one[part] for one in later) / events for part in (1, 2, 3))
    return predict, grade, learn


def _merging(model: ModelConfig, learner: Learner) -> float | None:
    """Seconds to merge this learner's state into another's; None if that is not possible."""
    other = new_learner(model)
    merging = capability(other, Mergeable)
    if merging is None:
        return None
    state, taken = learner.state(), []
    try:
        for _ in range(3):
            started = time.thread_time()
            merging.merge(state)
            taken.append(time.thread_time() - started)
    except ValueError:  # under these parameters the order of events matters
        return None
    return sorted(taken)[1]


def _resident_bytes() -> int:
    """Memory of this process."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
