"""The served models by name, and the sinks of their requests."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from thalweg.memory.snapshots.snapshots import FolderSnapshots
from thalweg.memory.snapshots.state import State
from thalweg.models.contract.learner import Predictor
from thalweg.ops.serve.errors import NotReady, UnknownModel
from thalweg.ops.serve.versions import ModelVersions, WaitSlots
from thalweg.proto.bounds.limits import MAX_FUTURE_SECONDS
from thalweg.proto.schema import Schema
from thalweg.stream.labels.request_buffer import RequestBuffer
from thalweg.stream.labels.request_log import RequestLog
from thalweg.stream.publication.file_channel import FileSubscriber
from thalweg.stream.publication.ports import ServedVersion


@dataclass(frozen=True, kw_only=True)
class ModelLocation:
    """Where a model's files are, and the schema of its events."""

    name: str
    learner: str
    topic: str
    live: Path
    """Folder of the published versions."""
    state: Path
    """Folder of the snapshots."""
    schema: Schema
    labels_topic: str = ""
    """Topic of late labels; empty: none."""
    max_future_seconds: float = MAX_FUTURE_SECONDS
    """How far an event may be dated ahead, as for the learner."""
    build: Callable[[State], Predictor]
    """Makes the predictor of a published state."""
    restore: Callable[[State], Predictor]
    """Makes the predictor of a learner's saved state."""


@dataclass(frozen=True, slots=True)
class RequestSinks:
    """Where requests go besides the response; each is optional."""

    buffer: RequestBuffer | None = None
    """Buffers requests until their label arrives."""
    log: RequestLog | None = None
    """Appends requests to the log as events."""

    def start(self) -> None:
        """Start accepting requests."""
        for sink in self._present():
            sink.start()

    def close(self) -> None:
        """Write queued requests once, and stop."""
        for sink in self._present():
            sink.close()

    def degraded(self) -> list[str]:
        """Functions that do not work although predictions do."""
        return [problem for sink in self._present() for problem in sink.degraded()]

    def _present(self) -> list[RequestBuffer | RequestLog]:
        return [sink for sink in (self.buffer, self.log) if sink is not None]


class ServedModel:
    """One served model.

    Args:
        location: Where its files are.
        slots: Limits the requests that wait for its versions.
        clock: Unix seconds.
    """

    def __init__(
        self, location: ModelLocation, slots: WaitSlots | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        self.name = location.name
        self.learner = location.learner
        self.topic = location.topic
        self.labels_topic = location.labels_topic
        self.schema = location.schema
        self.max_future_seconds = location.max_future_seconds
        self.versions = ModelVersions(
            location.name,
            FileSubscriber(location.live, location.build),
            FolderSnapshots(location.state),
            location.restore,
            slots or WaitSlots(),
        )
        self._clock = clock

    def staleness_seconds(self, served: ServedVersion) -> float:
        """Staleness of this version, in seconds."""
        return served.info.staleness_seconds(self._clock())


class Models:
    """The served models by name.

    Args:
        locations: Where their files are.
        sinks: Where their requests go.
        slots: Limits the requests that wait for versions, over all models.
    """

    def __init__(
        self, locations: list[ModelLocation], sinks: RequestSinks | None = None, slots: WaitSlots | None = None
    ) -> None:
        slots = slots or WaitSlots()
        self.sinks = sinks or RequestSinks()
        self._models = {location.name: ServedModel(location, slots) for location in locations}
        self.draining = False

    def all(self) -> list[ServedModel]:
        """All models, in the order of the configuration."""
        return list(self._models.values())

    def find(self, name: str) -> ServedModel:
        """The model of this name. Raises UnknownModel, which lists the known ones."""
        model = self._models.get(name)
        if model is None:
            raise UnknownModel(f"no model is called {name!r}; known: {', '.join(self._models) or 'none'}")
        return model

    def ready(self, name: str) -> ServedModel:
        """The model for a prediction. Raises UnknownModel; NotReady while draining."""
        if self.draining:
            raise NotReady("the server is draining")
        return self.find(name)

    def reasons(self) -> list[str]:
        """Why some predictions are not possible now; empty when ready."""
        if self.draining:
            return ["the server is draining"]
        missing = [model.name for model in self.all() if model.versions.newest is None]
        return [f"model {name!r}: no version is published yet" for name in missing]

    def degraded(self) -> list[str]:
        """Functions that do not work although predictions do."""
        return self.sinks.degraded()

    def start(self) -> None:
        """Start watching for versions and accepting requests."""
        self.sinks.start()
        for model in self.all():
            model.versions.subscriber.start()

    def close(self) -> None:
        """Stop watching, and write queued requests."""
        for model in self.all():
            model.versions.subscriber.close()
        self.sinks.close()
