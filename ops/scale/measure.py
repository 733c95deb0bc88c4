"""What a model costs here: its real processor runs on made-up events for a few seconds, and its parts alone."""

from __future__ import annotations

import os
import resource
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits

from thalweg.memory.exchange.commands import InMemoryCommandQueue
from thalweg.models.contract.capabilities import Mergeable, capability, predict_batch
from thalweg.models.contract.learner import Learner
from thalweg.ops.config.config import Config
from thalweg.ops.config.model import ModelConfig
from thalweg.ops.run.app import LearnerReports, build_processor, event_schema, new_learner, new_monitor, settings_of
from thalweg.ops.run.failed import Failed
from thalweg.ops.scale.core_time import core_seconds
from thalweg.ops.scale.made_up import made_up
from thalweg.ops.telemetry.learner_metrics import LearnerMetrics
from thalweg.ops.telemetry.status import LearnerStatus
from thalweg.proto.decode import Decoder
from thalweg.proto.event import Batch
from thalweg.proto.records import Partition, Position, Records
from thalweg.proto.schema import Schema
from thalweg.stream.exceptions import first_line
from thalweg.stream.health.registry import HealthRegistry
from thalweg.stream.learn.observer import NoObserver
from thalweg.stream.learn.outcome import Outcome
from thalweg.stream.log.log import InMemoryLog, Message, Reader, Start

_PILOT_RECORDS = 500
_FEWEST, _MOST = 500, 200_000
"""Records of the measured run."""
_ALONE = 20_000
"""Of these, those that the parts alone are measured on, at most."""
_MEMORY = Path("/dev/shm")


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
    """Events per micro-batch while more wait."""
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
    with threadpool_limits(1), _folders(config) as (folder, live):
        learner = new_learner(model)
        schema = event_schema(model, learner)
        process_bytes = _resident_bytes()
        records = made_up(schema, _PILOT_RECORDS, seed=0, now=time.time())
        pilot, batch = _decoded(schema, model, records)
        size = settings_of(model, config.service.max_message_bytes).most_batch_events
        pilot += sum(_alone(model, learner, batch, size, seconds / 8))
        count = int(min(_MOST, max(_FEWEST, 0.6 * seconds / pilot)))
        records = made_up(schema, count, seed=1, now=time.time())
        ran = _run(_measured(config, model, folder, size), live, records, seconds)
        decode, batch = _decoded(schema, model, records[:_ALONE])
        predict, grade, learn = _alone(model, learner := new_learner(model), batch, size, seconds / 4)
        journal = sum(path.stat().st_size for path in (folder / model.name / "journal").rglob("*") if path.is_file())
        versions = [path.stat().st_size for path in (live / model.name).glob("*.safetensors")]
        return Costs(
            model=model.name,
            learner=model.learner,
            scaled=model.scale is not None,
            events=ran.events,
            batch_events=size,
            seconds_per_event=ran.seconds_per_event,
            decode_seconds=decode,
            predict_seconds=predict,
            grade_seconds=grade,
            learn_seconds=learn,
            record_bytes=sum(map(len, records)) / len(records),
            state_bytes=ran.state_bytes[-1][1],
            state_bytes_per_event=ran.growth(),
            snapshot_bytes=ran.snapshots[-1][1] if ran.snapshots else 0,
            snapshot_seconds=ran.snapshots[-1][0] if ran.snapshots else 0.0,
            version_bytes=max(versions, default=0),
            publish_seconds=sum(ran.publications) / max(1, len(ran.publications)),
            journal_bytes_per_event=journal / max(1, ran.events),
            merge_seconds=_merging(model, learner),
            process_bytes=process_bytes,
        )


@dataclass
class _Ran(NoObserver):
    """What a run of the processor did."""

    seconds: float
    """After which it is to stop, after a block."""
    stop: Callable[[], None] = lambda: None
    began: float = 0.0
    deadline: float = 0.0
    events: int = 0
    rates: list[tuple[float, int]] = field(default_factory=list)
    """Seconds of a core since the log was opened and events so far, after each block."""
    state_bytes: list[tuple[int, int]] = field(default_factory=list)
    """Events so far, and bytes of the state, after some of the blocks."""
    snapshots: list[tuple[float, int]] = field(default_factory=list)
    """Seconds and bytes."""
    publications: list[float] = field(default_factory=list)
    """Seconds."""

    def block_done(self, outcome: Outcome, learner: Learner, lag: Mapping[Partition, int]) -> None:
        now = core_seconds()
        self.events += outcome.events
        self.rates.append((now - self.began, self.events))
        if time.perf_counter() > self.deadline:
            self.stop()
        if not self.state_bytes or self.events >= 1.5 * self.state_bytes[-1][0]:
            self.state_bytes.append((self.events, learner.state().size_bytes))
            self.began += core_seconds() - now  # looking takes no part of the time

    def published(self, version: int, seconds: float, first_event_time: float | None) -> None:
        self.publications.append(seconds)

    def snapshotted(self, version: int, seconds: float, size_bytes: int) -> None:
        self.snapshots.append((seconds, size_bytes))

    @property
    def seconds_per_event(self) -> float:
        """Of the later half of the blocks; of all where they are few."""
        last, events = self.rates[-1]
        begun, before = next((rate for rate in self.rates if rate[1] >= events / 2), (0.0, 0))
        return (last - begun) / (events - before) if events > before else last / events

    def growth(self) -> float:
        """Bytes by which an event adds to the state, at the end."""
        if len(self.state_bytes) < 2:
            return 0.0
        (before, smaller), (events, larger) = self.state_bytes[-2:]
        return max(0.0, (larger - smaller) / (events - before))


class _Both:
    """A model's metrics, and beside them what is measured."""

    def __init__(self, metrics: object, ran: _Ran) -> None:
        self._metrics, self._ran = metrics, ran

    def __getattr__(self, name: str) -> object:
        call = getattr(self._metrics, name)
        if (also := getattr(_Ran, name, None)) is None:
            return call

        def both(*arguments: object) -> None:
            call(*arguments)
            also(self._ran, *arguments)

        return both


class _WatchedMetrics(LearnerMetrics):
    """The learner's own metrics, with what is measured."""

    def __init__(self, path: Path, ran: _Ran) -> None:
        super().__init__(path)
        self._ran = ran

    def model(self, name: str, watchers: Sequence[tuple[str, str]] = ()) -> Any:
        return _Both(super().model(name, watchers), self._ran)


class _OpenedLog(InMemoryLog):
    """Tells when it is read."""

    def __init__(self, ran: _Ran) -> None:
        super().__init__()
        self._ran = ran

    def reader(self, topics: Sequence[str], after: Position, start: Start = "earliest", group: str = "") -> Reader:
        self._ran.began, self._ran.deadline = core_seconds(), time.perf_counter() + self._ran.seconds
        return super().reader(topics, after, start, group)


def _run(config: Config, live: Path, records: Sequence[bytes], seconds: float) -> _Ran:
    """Run the processor of the only model over these records, for so many seconds and the rest of a block at most."""
    (model,) = config.model
    ran = _Ran(seconds)
    source = _OpenedLog(ran)
    source.append(model.topic, [Message(record) for record in records])
    reports = LearnerReports(_WatchedMetrics(live / "metrics-learner.prom", ran), LearnerStatus(live))
    store = InMemoryCommandQueue()
    processor, publisher = build_processor(config, model, source, store, live, reports, HealthRegistry())
    ran.stop = processor.stop
    with closing(publisher):
        processor.run(until_end=True)
    if processor.stopped_by is not None:
        raise Failed(f"model {model.name!r}: made-up events cannot be learned: {processor.stopped_by.cause}")
    return ran


def _measured(config: Config, model: ModelConfig, folder: Path, size: int) -> Config:
    """The configuration of this model alone, with its state in another folder, no object store and no registry."""
    left_out = {"labels_topic": "", "history": "", "frozen_version": 0, "scale": None}
    alone = model.model_copy(update={**left_out, "batch_events": size})  # `auto` would reach it under such a load
    service = config.service.model_copy(update={"state_dir": str(folder), "state_url": ""})
    log = config.log.model_copy(update={"registry": None})
    return config.model_copy(update={"service": service, "log": log, "model": [alone], "alias": []})


def _decoded(schema: Schema, model: ModelConfig, records: Sequence[bytes]) -> tuple[float, Batch]:
    """Seconds to decode a record, and the events."""
    count, now = len(records), time.time()
    decoder = Decoder(schema, max_future_seconds=model.max_future_seconds)
    run = Records(Partition(model.topic, 0), range(count), [now] * count, [None] * count, records, [()] * count)
    decoder.decode(run)
    started = core_seconds()
    decoded = decoder.decode(run)
    took = core_seconds() - started
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
            began = core_seconds()
            predictor = learner.predictor()
            outputs = predict_batch(predictor, part)
            predicted = core_seconds()
            monitor.predicted(part, predictor, outputs)
            if round % 16 == 15:
                monitor.settle()  # what it puts off, it does for many micro-batches together
            graded = core_seconds()
            learner.learn(part)
            learned = core_seconds()
        except Exception as error:
            raise Failed(f"model {model.name!r}: made-up events cannot be learned: {first_line(error)}") from error
        spent.append((len(part), predicted - began, graded - predicted, learned - graded))
    began = core_seconds()
    monitor.settle()
    rows, predicting, grading, learning = spent[-1]
    spent[-1] = (rows, predicting, grading + core_seconds() - began, learning)
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
            started = core_seconds()
            merging.merge(state)
            taken.append(core_seconds() - started)
    except ValueError:  # under these parameters the order of events matters
        return None
    return sorted(taken)[1]


def _resident_bytes() -> int:
    """Memory of this process."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@contextmanager
def _folders(config: Config) -> Iterator[tuple[Path, Path]]:
    """Folders for the state, on the disk of the model's own, and for its published versions, in memory if there is."""
    place = Path(config.service.state_dir).absolute()
    while not place.is_dir():
        place = place.parent
    memory = _MEMORY if _MEMORY.is_dir() and os.access(_MEMORY, os.W_OK) else place
    with (
        tempfile.TemporaryDirectory(prefix=".thalweg-scale-", dir=place) as folder,
        tempfile.TemporaryDirectory(prefix="thalweg-scale-", dir=memory) as live,
    ):
        yield Path(folder), Path(live)
