"""The models that a server serves, by name, and what happens to their requests beside the answers."""

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
from thalweg.proto.schema import Schema
from thalweg.stream.labels.request_buffer import RequestBuffer
from thalweg.stream.labels.request_log import RequestLog
from thalweg.stream.publication.file_channel import FileSubscriber
from thalweg.stream.publication.ports import ServedVersion


@dataclass(frozen=True, kw_only=True)
class ModelLocation:
    """Where a model is found, and what its events look like."""

    name: str
    learner: str
    topic: str
    live: Path
    """Its folder of published versions."""
    state: Path
    """Its folder of snapshots."""
    schema: Schema
    labels_topic: str = ""
    """Where labels come that belong to earlier requests; empty: nowhere."""
    build: Callable[[State], Predictor]
    """The predictor of a published state."""
    restore: Callable[[State], Predictor]
    """The predictor of a learner's saved state."""


@dataclass(frozen=True, slots=True)
class RequestSinks:
    """Where answered requests go beside the answer; either may be left out."""

    buffer: RequestBuffer | None = None
    """Keeps requests until their label comes."""
    log: RequestLog | None = None
    """Makes events of requests."""

    def start(self) -> None:
        """Take up requests from now on."""
        for sink in self._present():
            sink.start()

    def close(self) -> None:
        """Write what is queued, once, and stop."""
        for sink in self._present():
            sink.close()

    def degraded(self) -> list[str]:
        """What does not work although predictions do."""
        return [problem for sink in self._present() for problem in sink.degraded()]

    def _present(self) -> list[RequestBuffer | RequestLog]:
        return [sink for sink in (self.buffer, self.log) if sink is not None]


class ServedModel:
    """One model, as a server sees it.

    Args:
        location: Where it is found.
        slots: Bounds requests that wait for its versions.
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
        self.versions = ModelVersions(
            location.name,
            FileSubscriber(location.live, location.build),
            FolderSnapshots(location.state),
            location.restore,
            slots or WaitSlots(),
        )
        self._clock = clock

    def staleness_seconds(self, served: ServedVersion) -> float:
        """How old the newest knowledge in an answer of this version is."""
        return served.info.staleness_seconds(self._clock())


class Models:
    """The served models by name.

    Args:
        locations: Where they are.
        sinks: Where their requests go.
        slots: Bounds requests that wait for versions, over all models.
    """

    def __init__(
        self, locations: list[ModelLocation], sinks: RequestSinks | None = None, slots: WaitSlots | None = None
    ) -> None:
        slots = slots or WaitSlots()
        self.sinks = sinks or RequestSinks()
        self._models = {location.name: ServedModel(location, slots) for location in locations}
        self.draining = False

    def all(self) -> list[ServedModel]:
        """In the order of the configuration."""
        return list(self._models.values())

    def find(self, name: str) -> ServedModel:
        """Raises UnknownModel, naming those there are."""
        model = self._models.get(name)
        if model is None:
            raise UnknownModel(f"no model is called {name!r}; known: {', '.join(self._models) or 'none'}")
        return model

    def ready(self, name: str) -> ServedModel:
        """The model to answer a prediction with. Raises UnknownModel; NotReady while draining."""
        if self.draining:
            raise NotReady("the server is draining")
        return self.find(name)

    def reasons(self) -> list[str]:
        """Why not every answer can be given now; empty when ready."""
        if self.draining:
            return ["the server is draining"]
        missing = [model.name for model in self.all() if model.versions.newest is None]
        return [f"model {name!r}: no version is published yet" for name in missing]

    def degraded(self) -> list[str]:
        """What does not work although predictions do."""
        return self.sinks.degraded()

    def start(self) -> None:
        """Look for versions, and take up requests."""
        self.sinks.start()
        for model in self.all():
            model.versions.subscriber.start()

    def close(self) -> None:
        """Stop looking, and write what is queued."""
        for model in self.all():
            model.versions.subscriber.close()
        self.sinks.close()
