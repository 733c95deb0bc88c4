"""A served model for tests: a real ridge, published and answered for in this process, on free ports."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from thalweg.memory.exchange.commands import CommandQueue, InMemoryCommandQueue
from thalweg.memory.snapshots.manifest import Manifest
from thalweg.memory.snapshots.snapshots import FolderSnapshots
from thalweg.memory.snapshots.state import State
from thalweg.models.contract.learner import Learner, LearnerContext, Predictor
from thalweg.models.ridge.learner import Ridge
from thalweg.ops.serve.bounds.micro_batches import WaitingRoom
from thalweg.ops.serve.following.location import ModelLocation
from thalweg.ops.serve.models import Models, RequestSinks
from thalweg.ops.serve.server import Server, workers_of
from thalweg.ops.serve.settings import Addresses, ServerLimits
from thalweg.ops.serve.versions import WaitSlots
from thalweg.ops.telemetry.server_metrics import ServerMetrics
from thalweg.proto.event import Batch, ClassLabels
from thalweg.proto.schema import Schema, TensorSpec
from thalweg.stream.log.in_memory import InMemoryLog
from thalweg.stream.publication.file_channel import FilePublisher

FEATURES = 4
SPECS = {"features": TensorSpec("features", "float32", (FEATURES,))}
NAMES = ("left", "right", "süd")


def new_learner() -> Learner:
    return Ridge(LearnerContext(inputs=SPECS, params={"expansion": 0}, seed=0))


def events(count: int, seed: int = 0) -> Batch:
    """Three classes that a linear model tells apart."""
    random = np.random.default_rng(seed)
    codes = random.integers(0, 3, count).astype(np.int32)
    features = random.normal(0, 0.1, (count, FEATURES)).astype(np.float32)
    features[np.arange(count), codes] += 1
    return Batch({"features": features}, ClassLabels(codes, NAMES), np.ones(count), np.arange(count, dtype=float))


@dataclass(frozen=True)
class Taught:
    """A learner to be served."""

    new: Callable[[], Learner]
    build: Callable[[State], Predictor]
    """As in `ModelLocation`."""
    events: Callable[[int, int], Batch]
    """Makes so many events from this seed."""
    schema: Schema | None = None
    """None: the learner's own."""


class RunningServer:
    """The parts, for a test to drive."""

    def __init__(
        self,
        folder: Path,
        *,
        limits: ServerLimits | None = None,
        addresses: Addresses | None = None,
        sinks: RequestSinks | None = None,
        labels_topic: str = "",
        log: InMemoryLog | None = None,
        model: Taught | None = None,
        commands: Callable[[CommandQueue], CommandQueue] = lambda store: store,
        **settings: Any,
    ) -> None:
        limits = limits or ServerLimits(max_message_bytes=4 << 20)
        self.taught = model or Taught(new_learner, Ridge.predictor_from, events)
        self.learner = self.taught.new()
        self.log = log or InMemoryLog()
        self.store = InMemoryCommandQueue()
        self.snapshots = FolderSnapshots(folder / "state" / "m")
        self.live = folder / "live"
        self.publisher = FilePublisher(self.live / "m")
        self.version = 0
        self.learned = 0
        self.loading: Callable[[], object] = lambda: None
        """Called while a kept version is loaded."""
        location = ModelLocation(
            name="m",
            learner="ridge",
            topic="m.events",
            live=folder / "live" / "m",
            state=self.snapshots.folder,
            schema=self.taught.schema or self.learner.schema,
            labels_topic=labels_topic,
            build=self.taught.build,
            restore=self._restored,
        )
        empty = ModelLocation(**{**location.__dict__, "name": "empty", "live": folder / "live" / "empty"})
        workers = workers_of(limits)
        self.models = models = Models(
            [location, empty],
            sinks,
            WaitSlots(limits.most_waiting, workers.waiting),
            room=WaitingRoom(limits.most_batched, workers.waiting),
            batch_rows=limits.batch_rows,
        )
        self.metrics = ServerMetrics(folder / "live", models)
        self.server = Server(
            models,
            self.log,
            commands(self.store),
            workers=workers,
            addresses=addresses or Addresses(grpc="127.0.0.1:0", http="127.0.0.1:0"),
            limits=limits,
            telemetry=self.metrics,
            **settings,
        )

    def _restored(self, state: object) -> object:
        self.loading()
        learner = self.taught.new()
        learner.restore(state)  # type: ignore[arg-type]
        return learner.predictor()

    def learn(self, count: int, *, save: bool = False) -> None:
        """Learn, publish, and perhaps save a version."""
        self.learner.learn(self.taught.events(count, self.version))
        self.version, self.learned = self.version + 1, self.learned + count
        if save:
            manifest = Manifest(
                model="m",
                version=self.version,
                parent=None,
                learner="ridge",
                config_sha256="",
                offsets={},
                events_learned=self.learned,
                created=1.0,
                metrics={"accuracy": 0.5},
            )
            self.snapshots.save(manifest, {"learner": self.learner.state()})
        self.publisher.publish(
            self.learner.predictor(), version=self.version, learned_events=self.learned, event_time=1.0
        )
        served = self.server.models.find("m").versions.subscriber.wait_for(self.version, 20)
        assert served is not None
        assert served.info.version == self.version


@contextmanager
def served(folder: Path, **settings: Any) -> Iterator[RunningServer]:
    """A started server with one published version of 300 events, and a model without any."""
    parts = RunningServer(folder, **settings)
    parts.server.start()
    try:
        parts.learn(300, save=True)
        yield parts
    finally:
        parts.server.close()
        parts.publisher.close()
