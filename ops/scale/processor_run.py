"""A model's real processor over a log in memory, in folders of its own, watched from outside."""

from __future__ import annotations

import math
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from thalweg.memory.exchange.commands import InMemoryCommandQueue
from thalweg.models.contract.learner import Learner
from thalweg.ops.config.config import Config
from thalweg.ops.config.model import ModelConfig
from thalweg.ops.run.app import LearnerReports, build_processor
from thalweg.ops.run.failed import Failed
from thalweg.ops.scale.core_time import core_seconds
from thalweg.ops.telemetry.learner_metrics import LearnerMetrics
from thalweg.ops.telemetry.status import LearnerStatus
from thalweg.proto.records import Partition
from thalweg.stream.health.registry import HealthRegistry
from thalweg.stream.learn.observer import NoObserver
from thalweg.stream.learn.outcome import Outcome
from thalweg.stream.learn.processor import Processor
from thalweg.stream.log.in_memory import InMemoryLog
from thalweg.stream.log.log import Log, Message, Reader
from thalweg.stream.merging.publisher import ShardPublisher
from thalweg.stream.publication.file_channel import FilePublisher

_MEMORY = Path("/dev/shm")


@dataclass
class Ran(NoObserver):
    """What a run of the processor did."""

    seconds: float
    """After which it is to stop, after a block."""
    stop: Callable[[], None] = lambda: None
    feed: Callable[[int], None] = lambda records: None
    """Appends so many more records."""
    fed: int = 0
    most: int = 0
    """Records, at most; they come in runs, each as long as all before it, as soon as those are learned."""
    learner: Learner | None = None
    """As it was after the last block."""
    began: float = 0.0
    deadline: float = math.inf
    events: int = 0
    rates: list[tuple[float, int]] = field(default_factory=list)
    """Seconds of a core since the log was opened and events so far, after each block."""
    state_bytes: list[tuple[int, int]] = field(default_factory=list)
    """Events so far, and bytes of the state, after some of the blocks."""
    snapshots: list[tuple[float, int, float]] = field(default_factory=list)
    """Seconds, bytes, and seconds that its thread computed."""
    publications: list[float] = field(default_factory=list)
    """Seconds."""

    def block_done(self, outcome: Outcome, learner: Learner, lag: Mapping[Partition, int]) -> None:
        now = core_seconds()
        self.events += outcome.events
        self.rates.append((now - self.began, self.events))
        self.learner = learner
        if not self.state_bytes or self.events >= 1.5 * self.state_bytes[-1][0]:
            self.state_bytes.append((self.events, learner.state().size_bytes))
        if time.perf_counter() > self.deadline:
            self.stop()
        elif not any(lag.values()) and self.fed < self.most:
            self.add(min(self.fed, self.most - self.fed))
        self.began += core_seconds() - now  # looking and making up takes no part of the time

    def add(self, records: int) -> None:
        """Append so many more records."""
        self.feed(records)
        self.fed += records

    def published(self, version: int, seconds: float, first_event_time: float | None) -> None:
        self.publications.append(seconds)

    def snapshotted(self, version: int, seconds: float, size_bytes: int) -> None:
        self.snapshots.append((seconds, size_bytes, time.thread_time()))  # each is saved by a thread of its own

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

    def __init__(self, metrics: object, ran: Ran) -> None:
        self._metrics, self._ran = metrics, ran

    def __getattr__(self, name: str) -> object:
        call = getattr(self._metrics, name)
        if not hasattr(Ran, name):
            return call
        also = getattr(self._ran, name)

        def both(*arguments: object) -> None:
            call(*arguments)
            also(*arguments)

        return both


class WatchedMetrics(LearnerMetrics):
    """The learner's own metrics, with what is measured."""

    def __init__(self, path: Path, ran: Ran) -> None:
        super().__init__(path)
        self._ran = ran

    def model(self, name: str, watchers: Sequence[tuple[str, str]] = ()) -> Any:
        return _Both(super().model(name, watchers), self._ran)


class OpenedLog(InMemoryLog):
    """Tells when it is read."""

    def __init__(self, ran: Ran) -> None:
        super().__init__()
        self._ran = ran

    def reader(self, *arguments: Any, **named: Any) -> Reader:
        """As any log's, and the time counts from here."""
        self._ran.began, self._ran.deadline = core_seconds(), time.perf_counter() + self._ran.seconds
        return super().reader(*arguments, **named)


def new_processor(
    config: Config, source: Log, live: Path, ran: Ran
) -> tuple[Processor, FilePublisher | ShardPublisher]:
    """The processor of the only model of a configuration, as the learner process builds it, and its publisher."""
    (model,) = config.model
    reports = LearnerReports(WatchedMetrics(live / "metrics-learner.prom", ran), LearnerStatus(live))
    return build_processor(config, model, source, InMemoryCommandQueue(), live, reports, HealthRegistry())


def run(config: Config, live: Path, make: Callable[[int], Sequence[bytes]], ran: Ran, first: int) -> None:
    """Run it until `ran` has seen enough, and the rest of a block. Raises Failed.

    Args:
        config: Of one model.
        live: Folder of its published versions.
        make: Makes so many more records.
        ran: Notes what happens; says how long.
        first: Records at the beginning.
    """
    (model,) = config.model
    source = OpenedLog(ran)
    ran.feed = lambda count: _append(source, model.topic, make(count))
    ran.add(first)
    processor, publisher = new_processor(config, source, live, ran)
    ran.stop = processor.stop
    with closing(publisher):
        processor.run(until_end=True)
    if processor.stopped_by is not None:
        raise Failed(f"model {model.name!r}: made-up events cannot be learned: {processor.stopped_by.cause}")


def _append(log: Log, topic: str, records: Sequence[bytes]) -> None:
    log.append(topic, [Message(record) for record in records])


def alone(config: Config, model: ModelConfig, folder: Path, size: int) -> Config:
    """The configuration of this model alone, with its state in another folder, no object store and no registry."""
    left_out = {"labels_topic": "", "history": "", "frozen_version": 0, "scale": None}
    alone = model.model_copy(update={**left_out, "batch_events": size})  # `auto` would reach it under such a load
    service = config.service.model_copy(update={"state_dir": str(folder), "state_url": ""})
    log = config.log.model_copy(update={"registry": None})
    return config.model_copy(update={"service": service, "log": log, "model": [alone], "alias": []})


@contextmanager
def folders(config: Config) -> Iterator[tuple[Path, Path]]:
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
