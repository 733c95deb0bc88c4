"""What a server serves: one object per model that finds the right version and answers, whatever the wire."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from thalweg.memory.snapshots.snapshots import FolderSnapshots
from thalweg.memory.snapshots.state import State
from thalweg.models.contract.learner import Predictor
from thalweg.models.parts.input_columns import all_finite
from thalweg.ops.serve.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    NotReady,
    QueueFull,
    Unimplemented,
    UnknownModel,
)
from thalweg.proto.answer import Answer
from thalweg.proto.schema import Array, InputError, Inputs, Schema, TensorSpec
from thalweg.proto.task import task_of
from thalweg.stream.labels.request_buffer import RequestBuffer
from thalweg.stream.labels.request_log import RequestLog
from thalweg.stream.publication.file_channel import Published, ServedVersion, VersionInfo

MOST_WAITING = 8
"""Callers who may wait for a version to come, at once."""
MOST_LOADING = 16
"""Callers who may wait for a kept version to be loaded, at once."""
_OLD_VERSIONS = 4  # kept loaded for `as_of_version`
_WAIT_SECONDS = 1.0  # for `min_state_version` of a caller without a deadline …
_LONGEST_WAIT_SECONDS = 10.0  # … and of one with


class ServingObserver(Protocol):
    """Told of every request, on the thread that answered it; must be quick and must not raise."""

    def answered(self, model: str, code: str, seconds: float, rows: int, queue_seconds: float = 0.0) -> None:
        """A prediction was answered (or refused) with this gRPC status name after so long.

        `queue_seconds` is how long it had waited for a thread before that.
        """

    def called(self, method: str, code: str, seconds: float) -> None:
        """A call of this full method name ended."""


def accepted(served: ServedVersion, schema: Schema) -> dict[str, TensorSpec]:
    """Every input that a request may have."""
    return {**schema.inputs, **(served.alternative_inputs or {})}


class NoServingObserver:
    """Watches nothing."""

    def answered(self, model: str, code: str, seconds: float, rows: int, queue_seconds: float = 0.0) -> None: ...
    def called(self, method: str, code: str, seconds: float) -> None: ...


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
class Freshness:
    """Which version a caller wants to be answered by; without either, the current one."""

    at_least: int | None = None
    """This one or a later one: the caller sees its own writes."""
    as_of: int | None = None
    """Exactly this kept one."""


CURRENT = Freshness()


class Seats:
    """Bounds how many requests wait, of all models, whatever the wire; more are refused.

    Args:
        most_waiting: For a version to come.
        waiting: Entered around each wait, on the thread that waits, so that another call may have it meanwhile.
    """

    def __init__(
        self, most_waiting: int = MOST_WAITING, waiting: Callable[[], AbstractContextManager[None]] = nullcontext
    ) -> None:
        self._to_wait = threading.BoundedSemaphore(most_waiting)
        self._to_load = threading.BoundedSemaphore(MOST_LOADING)
        self._waiting = waiting

    def to_wait(self, refusal: str) -> AbstractContextManager[None]:
        """A seat for a wait for a version to come. Raises QueueFull with this text when entered and none is free."""
        return self._seat(self._to_wait, refusal)

    def to_load(self, refusal: str) -> AbstractContextManager[None]:
        """The same for a kept version to be loaded."""
        return self._seat(self._to_load, refusal)

    @contextmanager
    def _seat(self, free: threading.Semaphore, refusal: str) -> Iterator[None]:
        if not free.acquire(blocking=False):
            raise QueueFull(refusal)
        try:
            with self._waiting():
                yield
        finally:
            free.release()


class ServedModel:
    """One model, as a server sees it. Any number of threads may ask at once."""

    def __init__(
        self,
        place: ModelLocation,
        clock: Callable[[], float] = time.time,
        seats: Seats | None = None,
        request_buffer: RequestBuffer | None = None,
        request_log: RequestLog | None = None,
    ) -> None:
        self.name = place.name
        self.learner = place.learner
        self.topic = place.topic
        self.labels_topic = place.labels_topic
        self.schema = place.schema
        self.published = Published(place.live, place.build)
        self.snapshots = FolderSnapshots(place.state)
        self._restore = place.restore
        self._clock = clock
        self._request_buffer, self._request_log = request_buffer, request_log
        self._seats = seats or Seats()
        self._loading = threading.Lock()  # one version at a time
        self._old: OrderedDict[int, ServedVersion] = OrderedDict()
        self._ordering = threading.Lock()  # of `_old`; never held for long

    def current(self) -> ServedVersion:
        """The version that answers now. Raises NotReady before the first."""
        served = self.published.current
        if served is None:
            raise NotReady(f"model {self.name!r}: no version is published yet; its learner is starting or not running")
        return served

    def version(self, wanted: Freshness, patience_seconds: float | None) -> ServedVersion:
        """The version that a caller wants, who waits for so long at most (None: says nothing about it).

        Raises:
            NotReady: Nothing is published yet.
            UnknownVersion: The version is not kept.
            Impossible: It was made under other settings.
            DamagedFile: It cannot be read.
            DeadlineExceeded: It did not come in time.
            QueueFull: As many callers as may are waiting for versions to come, or to be loaded.
        """
        current = self.current()
        if wanted.as_of is not None:
            return self._kept(wanted.as_of, current)
        if wanted.at_least is not None and current.info.version < wanted.at_least:
            return self._wait(wanted.at_least, _WAIT_SECONDS if patience_seconds is None else patience_seconds)
        return current

    def _wait(self, version: int, patience_seconds: float) -> ServedVersion:
        with self._seats.to_wait(
            f"model {self.name!r}: too many requests wait for versions to come; ask again without"
        ):
            served = self.published.wait_for(version, min(patience_seconds, _LONGEST_WAIT_SECONDS))
        if served is None or served.info.version < version:
            got = "none" if served is None else served.info.version
            raise DeadlineExceeded(f"model {self.name!r}: waited for version {version}, got {got}")
        return served

    def _kept(self, version: int, current: ServedVersion) -> ServedVersion:
        if current.info.version == version:
            return current
        if served := self._loaded(version):
            return served
        with (
            self._seats.to_load(f"model {self.name!r}: too many requests wait for kept versions; ask again later"),
            self._loading,  # once, however many ask for it at a time
        ):
            served = self._loaded(version)
            if served is None:
                served = self._load(version)
                with self._ordering:
                    self._old[version] = served
                    while len(self._old) > _OLD_VERSIONS:
                        self._old.popitem(last=False)
        return served

    def _loaded(self, version: int) -> ServedVersion | None:
        with self._ordering:
            served = self._old.get(version)
            if served is not None:
                self._old.move_to_end(version)
            return served

    def _load(self, version: int) -> ServedVersion:
        kept = self.snapshots.load(version)
        manifest = kept.manifest
        try:
            predictor = self._restore(kept.parts["learner"])
        except ValueError as error:
            raise FailedPrecondition(
                f"model {self.name!r}: version {version} was made under other settings: {error}"
            ) from error
        info = VersionInfo(version, manifest.events_learned, 0.0, manifest.created, manifest.created, 0)
        return ServedVersion(predictor, info)

    def predict(self, served: ServedVersion, inputs: Inputs) -> Mapping[str, Array]:
        """Answer with this version. Raises InputError for inputs that do not fit or are not finite."""
        for name, array in inputs.items():
            if array.dtype.kind == "f" and not all_finite(array):
                row = int(np.flatnonzero(~np.isfinite(array).reshape(len(array), -1).all(axis=1))[0])
                raise InputError(f"input {name!r}: expected finite numbers, got NaN or infinity in row {row}")
        if served.check is not None:
            served.check(inputs)
        outputs = served.predictor.predict(inputs)
        if self._request_log is not None and inputs.keys() == self.schema.inputs.keys():
            self._request_log.record(self.name, inputs)
        return outputs

    def remember(self, event_id: str, inputs: Inputs, served: ServedVersion, outputs: Mapping[str, Array]) -> None:
        """Keep these inputs, and what this version answered, until their label comes.

        Raises:
            Unimplemented: The model has no labels topic.
            InputError: They are not of one row, or the id is empty.
        """
        if not self.labels_topic or self._request_buffer is None:
            raise Unimplemented(
                f"parameter 'event_id': model {self.name!r} has no labels_topic, so no label would come"
            )
        if inputs.keys() != self.schema.inputs.keys():
            wanted = ", ".join(map(repr, self.schema.inputs))
            raise InputError(
                f"parameter 'event_id': expected inputs as events have them, {wanted}, got {sorted(inputs)}"
            )
        predictor = served.predictor
        answer = Answer.of(served.info.version, outputs, predictor.classes, self.schema, task_of(predictor))
        self._request_buffer.remember(self.name, event_id, inputs, answer)

    def explain(self, served: ServedVersion, inputs: Inputs, most: int) -> list[Any]:
        """What the answers were made from, per row, as JSON knows it. Raises Unimplemented where nothing is known."""
        if served.explain is None:
            raise Unimplemented(f"parameter 'explain': a {self.learner} cannot say what moved an answer")
        return served.explain(inputs, most)

    def staleness_seconds(self, served: ServedVersion) -> float:
        """How old the newest knowledge in an answer of this version is."""
        return served.info.staleness_seconds(self._clock())


class Models:
    """The served models by name.

    Args:
        places: Where they are.
        seats: Of requests that wait for versions.
        remembering: What keeps requests until their label comes.
        recording: What makes events of requests.
    """

    def __init__(
        self,
        places: list[ModelLocation],
        seats: Seats | None = None,
        request_buffer: RequestBuffer | None = None,
        request_log: RequestLog | None = None,
    ) -> None:
        seats = seats or Seats()
        self._request_buffer, self._request_log = request_buffer, request_log
        self._models = {
            place.name: ServedModel(place, seats=seats, request_buffer=request_buffer, request_log=request_log)
            for place in places
        }
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

    def asked(self, name: str) -> ServedModel:
        """The model to answer a prediction with. Raises UnknownModel; NotReady while draining."""
        if self.draining:
            raise NotReady("the server is draining")
        return self.find(name)

    def reasons(self) -> list[str]:
        """Why not every answer can be given now; empty when ready."""
        if self.draining:
            return ["the server is draining"]
        missing = [model.name for model in self.all() if model.published.current is None]
        return [f"model {name!r}: no version is published yet" for name in missing]

    def degraded(self) -> list[str]:
        """What does not work although predictions do."""
        both = (self._request_buffer, self._request_log)
        return [problem for one in both if one is not None for problem in one.degraded()]

    def start(self) -> None:
        """Look for versions, remember and record requests."""
        for one in (self._request_buffer, self._request_log):
            if one is not None:
                one.start()
        for model in self.all():
            model.published.start()

    def close(self) -> None:
        """Stop looking."""
        for model in self.all():
            model.published.close()
        for one in (self._request_buffer, self._request_log):
            if one is not None:
                one.close()
