"""The served models by name, and the sinks of their requests."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from thalweg.memory.snapshots.snapshots import FolderSnapshots
from thalweg.memory.snapshots.state import State
from thalweg.models.contract.learner import Predictor
from thalweg.ops.serve.errors import UnknownModel
from thalweg.ops.serve.versions import Freshness, ModelVersions, WaitSlots
from thalweg.proto.bounds.limits import MAX_FUTURE_SECONDS
from thalweg.proto.rows.tensors import fitting
from thalweg.proto.schema import Schema
from thalweg.proto.task import ADAPTATION
from thalweg.stream.health.registry import Health, HealthRegistry
from thalweg.stream.labels.request_buffer import RequestBuffer
from thalweg.stream.labels.request_log import RequestLog
from thalweg.stream.publication.file_channel import FileSubscriber
from thalweg.stream.publication.ports import ServedVersion

_SILENT_SECONDS = 60.0


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
    ready_after_events: int = 0
    """A version that has learned fewer labelled events gives no answer."""
    learn_from_requests: bool = False
    """Requests become unlabelled events of the topic."""
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

    def _present(self) -> list[RequestBuffer | RequestLog]:
        return [sink for sink in (self.buffer, self.log) if sink is not None]


class ServedModel:
    """One served model.

    Args:
        location: Where its files are.
        slots: Limits the requests that wait for its versions.
        clock: Unix seconds.
        health: The health of what watches for its versions.
    """

    def __init__(
        self,
        location: ModelLocation,
        slots: WaitSlots | None = None,
        clock: Callable[[], float] = time.time,
        health: Health | None = None,
    ) -> None:
        self.name = location.name
        self.learner = location.learner
        self.topic = location.topic
        self.labels_topic = location.labels_topic
        self.schema = location.schema
        self.fit = fitting(location.schema)
        """Makes inputs fit the schema where it leaves room; None: it leaves none."""
        self.max_future_seconds = location.max_future_seconds
        self.versions = ModelVersions(
            location.name,
            FileSubscriber(location.live, location.build, health=health),
            FolderSnapshots(location.state),
            location.restore,
            slots or WaitSlots(),
        )
        self.ready_after_events = location.ready_after_events
        self.learn_from_requests = location.learn_from_requests
        self._clock = clock

    def untrained(self, served: ServedVersion) -> str:
        """Why this version gives no answer: it has learned too little. Empty if it does."""
        learned, wanted = served.info.learned_events, self.ready_after_events
        if learned >= wanted or served.predictor.task.name == ADAPTATION.name:  # that task begins with a trained model
            return ""
        some = "has learned nothing yet" if not learned else f"has learned {learned:,} events"
        return f"{some}; ready after {wanted:,} labelled event{'s' * (wanted != 1)}"

    def needs_labels(self, task: str | None) -> bool:
        """Whether events without labels mean that something is wrong.

        Args:
            task: The name of its task, as its learner reports it; None: not known yet.
        """
        return not self.learn_from_requests and task != ADAPTATION.name

    def unready(self) -> str:
        """Why it gives no answer now; empty if it does."""
        served = self.versions.newest
        return "no version is published yet" if served is None else self.untrained(served)

    def ready(self, version: int | None = None) -> bool:
        """Whether this version (None: the current one) answers. Raises UnknownVersion if there is no snapshot of it."""
        if version is None:
            return not self.unready()
        return self.versions.ready(version) and not self.untrained(self.versions.find(Freshness(as_of=version)))

    def staleness_seconds(self, served: ServedVersion) -> float:
        """Staleness of this version, in seconds."""
        return served.info.staleness_seconds(self._clock())


class Models:
    """The served models by name.

    Args:
        locations: Where their files are.
        sinks: Where their requests go.
        slots: Limits the requests that wait for versions, over all models.
        registry: Where what watches for versions reports its health, as `subscriber`.
    """

    def __init__(
        self,
        locations: list[ModelLocation],
        sinks: RequestSinks | None = None,
        slots: WaitSlots | None = None,
        registry: HealthRegistry | None = None,
    ) -> None:
        slots, registry = slots or WaitSlots(), registry or HealthRegistry()
        self.sinks = sinks or RequestSinks()
        self.registry = registry
        """The health of this process's parts."""
        self._models = {
            location.name: ServedModel(
                location, slots, health=registry.register("subscriber", location.name, silent_seconds=_SILENT_SECONDS)
            )
            for location in locations
        }
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
        """The model for a prediction, also while draining: what was begun is answered. Raises UnknownModel."""
        return self.find(name)

    def reasons(self) -> list[str]:
        """Why some predictions are not possible now; empty when ready."""
        if self.draining:
            return ["the server is draining"]
        return self.unready()

    def unready(self) -> list[str]:
        """The models that give no answer now, and why."""
        return [f"model {model.name!r}: {why}" for model in self.all() if (why := model.unready())]

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
