"""What a server serves: one object per model that finds the right version and answers, whatever the wire."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from thalweg.memory.snapshots import FolderSnapshots
from thalweg.memory.state import State
from thalweg.models.learner import Predictor
from thalweg.models.published import Facts, Published, Served
from thalweg.ops.errors import NotReady, TooLate, UnknownModel
from thalweg.proto.event import Array, InputError, Inputs, Schema

_OLD_VERSIONS = 4  # kept loaded for `as_of_version`
_LONGEST_WAIT_SECONDS = 10.0  # for `min_state_version`


class ServingObserver(Protocol):
    """Told of every request, on the thread that answered it; must be quick and must not raise."""

    def answered(self, model: str, code: str, seconds: float, rows: int) -> None:
        """A prediction was answered (or refused) with this gRPC status name after so long."""

    def called(self, method: str, code: str, seconds: float) -> None:
        """A call of this full method name ended."""


class NoServingObserver:
    """Watches nothing."""

    def answered(self, model: str, code: str, seconds: float, rows: int) -> None: ...
    def called(self, method: str, code: str, seconds: float) -> None: ...


@dataclass(frozen=True, kw_only=True)
class ModelPlace:
    """Where a model is found, and what its events look like."""

    name: str
    learner: str
    topic: str
    live: Path
    """Its folder of published versions."""
    state: Path
    """Its folder of snapshots."""
    schema: Schema
    build: Callable[[State], Predictor]
    """The predictor of a published state."""
    restore: Callable[[State], Predictor]
    """The predictor of a learner's saved state."""


class ServedModel:
    """One model, as a server sees it. Any number of threads may ask at once."""

    def __init__(self, place: ModelPlace, clock: Callable[[], float] = time.time) -> None:
        self.name = place.name
        self.learner = place.learner
        self.topic = place.topic
        self.schema = place.schema
        self.published = Published(place.live, place.build)
        self.snapshots = FolderSnapshots(place.state)
        self._restore = place.restore
        self._clock = clock
        self._old: OrderedDict[int, Served] = OrderedDict()

    def current(self) -> Served:
        """The version that answers now. Raises NotReady before the first."""
        served = self.published.current
        if served is None:
            raise NotReady(f"model {self.name!r}: no version is published yet; its learner is starting or not running")
        return served

    def at_least(self, version: int, patience_seconds: float) -> Served:
        """The current version, once it is this one or later; so that a caller sees its own writes.

        Raises:
            TooLate: It did not come in time.
        """
        deadline = time.monotonic() + min(patience_seconds, _LONGEST_WAIT_SECONDS)
        while (served := self.current()).facts.version < version:
            if time.monotonic() >= deadline:
                raise TooLate(f"model {self.name!r}: waited for version {version}, got {served.facts.version}")
            time.sleep(0.002)
        return served

    def as_of(self, version: int) -> Served:
        """A kept version. Raises UnknownVersion, or DamagedFile."""
        current = self.current()
        if current.facts.version == version:
            return current
        served = self._old.get(version)
        if served is None:
            kept = self.snapshots.load(version)
            manifest = kept.manifest
            facts = Facts(version, manifest.events_learned, 0.0, manifest.created, manifest.created, 0)
            served = Served(self._restore(kept.parts["learner"]), facts)
            self._old[version] = served
            while len(self._old) > _OLD_VERSIONS:
                self._old.popitem(last=False)
        return served

    def predict(self, served: Served, inputs: Inputs) -> Mapping[str, Array]:
        """Answer with this version. Raises InputError for inputs that do not fit or are not finite."""
        for name, array in inputs.items():
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                row = int(np.flatnonzero(~np.isfinite(array).reshape(len(array), -1).all(axis=1))[0])
                raise InputError(f"input {name!r}: expected finite numbers, got NaN or infinity in row {row}")
        return served.predictor.predict(inputs)

    def staleness_seconds(self, served: Served) -> float:
        """How old the newest knowledge in an answer of this version is."""
        return served.facts.staleness_seconds(self._clock())


class Models:
    """The served models by name."""

    def __init__(self, places: list[ModelPlace]) -> None:
        self._models = {place.name: ServedModel(place) for place in places}
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

    def reasons(self) -> list[str]:
        """Why not every answer can be given now; empty when ready."""
        if self.draining:
            return ["the server is draining"]
        missing = [model.name for model in self.all() if model.published.current is None]
        return [f"model {name!r}: no version is published yet" for name in missing]

    def start(self) -> None:
        """Look for versions."""
        for model in self.all():
            model.published.start()

    def close(self) -> None:
        """Stop looking."""
        for model in self.all():
            model.published.close()
