"""A predictor put together from those of a model's shards: each row is answered by the shard of its key."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from thalweg.memory.snapshots.state import State
from thalweg.models.contract.capabilities import AlternativeInputs, Explainer, InputValidator, Untaught, Wrapper
from thalweg.ops.serve.by_key.keys import ROUTE, bare
from thalweg.ops.serve.by_key.mean import mean_of
from thalweg.ops.serve.by_key.union import Union
from thalweg.ops.serve.errors import NotReady, Unimplemented
from thalweg.proto.bounds.counted import counted
from thalweg.proto.schema import Array, InputError, Inputs, TensorSpec
from thalweg.proto.task import ADAPTATION, Task
from thalweg.stream.publication.ports import ServedVersion
from thalweg.stream.shards.names import shard_name
from thalweg.stream.shards.partitioner import partitions_of

C = TypeVar("C")
_ALL = -1  # in place of a partition: the row has no key, and all shards answer it
_MOST_TOLD = 5
_FIRST = np.zeros(1, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Partitions:
    """Among how many partitions keys are spread."""

    count: int
    before: int = 0
    """How many there were before their number grew; 0: it never did. A new shard that has learned nothing yet leaves
    its keys to the shards that they had then."""


class KeyedPredictor(Wrapper):
    """The versions of a model's shards, as one predictor. Immutable.

    Its inputs are those of the shards and the keys of the rows, `keys.ROUTE`; a row whose key is None is answered by
    the mean over the shards.

    Args:
        model: The model's name.
        partitions: Their number.
        shards: The version of each partition's shard; None: it has none yet. At least one has.
        least_events: A shard that has learned fewer labelled events gives no answer.
        classes: As in `Union`.
    """

    def __init__(
        self,
        model: str,
        partitions: Partitions,
        shards: Sequence[ServedVersion | None],
        least_events: int = 0,
        classes: Sequence[str] = (),
    ) -> None:
        self._model, self._partitions, self._shards = model, partitions, tuple(shards)
        self._least_events = least_events
        self._whys = [self._why(one) for one in self._shards]
        self._ready = np.array([not why for why in self._whys], dtype=np.bool_)
        able = [one for one, why in zip(self._shards, self._whys) if one is not None and not why]
        self._known = able or [one for one in self._shards if one is not None]
        """The versions that answer; if none does, those that there are."""
        self._union = Union([one.predictor for one in self._known], classes)
        self.answers = bool(able)
        """Whether any shard gives an answer."""

    @property
    def versions(self) -> tuple[int | None, ...]:
        """The version of each partition's shard; None: it has none yet."""
        return tuple(None if one is None else one.info.version for one in self._shards)

    @property
    def unready(self) -> str:
        """Which shards give no answer, and why; empty if all do."""
        whys = [f"{shard_name(self._model, place)}: {why}" for place, why in enumerate(self._whys) if why]
        return "; ".join(whys[:_MOST_TOLD]) + f"; and {len(whys) - _MOST_TOLD} more" * (len(whys) > _MOST_TOLD)

    @property
    def task(self) -> Task:
        return self._union.task

    @property
    def inputs(self) -> Mapping[str, TensorSpec]:
        return self._known[0].predictor.inputs

    @property
    def outputs(self) -> Mapping[str, TensorSpec]:
        return self._union.outputs

    @property
    def classes(self) -> tuple[str, ...]:
        return self._union.classes

    @property
    def properties(self) -> Mapping[str, str]:
        versions = ",".join("" if one is None else str(one) for one in self.versions)
        own = {"answers_by": "key", "shard_versions": versions, "shards": json.dumps(self._versions_by_shard())}
        return {**self._known[0].predictor.properties, **own}

    def _versions_by_shard(self) -> dict[str, int]:
        """The version of each shard that has one, by partition, as merged models have them."""
        return {str(partition): one for partition, one in enumerate(self.versions) if one is not None}

    def predict(self, inputs: Inputs) -> Mapping[str, Array]:
        """As `Predictor.predict`. Raises NotReady, which names the shard, if the one of a key gives no answer yet."""
        rows = len(inputs[ROUTE])
        found: dict[str, Array] = {}
        for place, part, where in self._parts(inputs):
            outputs = self._mean(part, len(where)) if place == _ALL else self._predicted(self._shards[place], part)
            if len(where) == rows:
                return outputs
            for name, array in outputs.items():
                if name not in found:
                    found[name] = np.empty((rows, *array.shape[1:]), dtype=array.dtype)
                found[name][where] = array
        return found

    def check(self, inputs: Inputs) -> None:
        """As `InputValidator.check`, by the shard of each row."""
        for place, part, _ in self._parts(inputs):
            for one in self._known if place == _ALL else [self._shards[place]]:
                if one is not None and one.check is not None:
                    one.check(part)

    def explain(self, inputs: Inputs, most: int) -> list[Any]:
        """As `Explainer.explain`, by the shard of each row."""
        found: list[Any] = [None] * len(inputs[ROUTE])
        if not found:
            return found
        for place, part, where in self._parts(inputs):
            one = None if place == _ALL else self._shards[place]
            if one is None or one.explain is None:
                raise Unimplemented("parameter 'explain': expected a key for each row; a mean has no explanation")
            for row, entry in zip(where.tolist(), one.explain(part, most)):
                found[row] = entry
        return found

    def state(self) -> State:
        """Which versions it is put together from; no predictor can be made of it."""
        return State({}, {"shards": list(self.versions)})

    @property
    def alternative_inputs(self) -> Mapping[str, TensorSpec]:
        """As `AlternativeInputs`."""
        return self._known[0].alternative_inputs or {}

    @property
    def untaught(self) -> bool:
        """As `Untaught`: whether no shard has learned a number."""
        return all(one.untaught for one in self._known)

    def capability(self, kind: type[C]) -> C | None:
        has = {
            AlternativeInputs: self._known[0].alternative_inputs is not None,
            InputValidator: any(one.check is not None for one in self._known),
            Explainer: all(one.explain is not None for one in self._known),
            Untaught: True,
        }
        return cast(C, self) if has.get(kind) else None

    def _parts(self, inputs: Inputs) -> Iterator[tuple[int, Inputs, NDArray[np.int64]]]:
        """The rows of each shard: its partition, or `_ALL`; the inputs; and the places of the rows."""
        keys, own = inputs[ROUTE].tolist(), bare(inputs)
        for name, one in own.items():
            if not one.ndim or len(one) != len(keys):
                raise InputError(f"input {name!r:.80}: expected {len(keys)} rows, got shape {list(one.shape)}")
        places = self._places(keys)
        if len(keys) == 1:  # the usual request
            yield int(places[0]), own, _FIRST
            return
        order = np.argsort(places, kind="stable")
        ends = np.flatnonzero(np.diff(places[order])) + 1
        for where in np.split(order, ends):
            if len(where) or not len(keys):
                part = own if len(where) == len(keys) else {name: one[where] for name, one in own.items()}
                yield (int(places[where[0]]) if len(where) else _ALL), part, where

    def _places(self, keys: Sequence[bytes | None]) -> NDArray[np.int64]:
        """The partition whose shard answers each row, (N,). Raises NotReady."""
        known = [key for key in keys if key is not None]
        whole = len(known) == len(keys)
        places = self._of_keys(known)
        if whole:
            return places
        if not self.answers:
            raise NotReady(f"model {self._model!r}: none of its shards gives an answer yet: {self.unready}")
        found = np.full(len(keys), _ALL, dtype=np.int64)
        found[[row for row, key in enumerate(keys) if key is not None]] = places
        return found

    def _of_keys(self, keys: Sequence[bytes]) -> NDArray[np.int64]:
        places = partitions_of(keys, self._partitions.count)
        if self._ready[places].all():
            return places
        before = self._partitions.before
        moved = np.flatnonzero(~self._ready[places] & (places >= before)) if before else np.zeros(0, dtype=np.int64)
        if len(moved):
            places[moved] = partitions_of([keys[row] for row in moved.tolist()], before)
        late = places[~self._ready[places]]
        if len(late):
            place = int(late[0])
            raise NotReady(
                f"model {self._model!r}: the key's shard, {shard_name(self._model, place)}, gives no answer: "
                f"{self._whys[place]}"
            )
        return places

    def _predicted(self, served: ServedVersion | None, inputs: Inputs) -> Mapping[str, Array]:
        assert served is not None  # it is ready
        predictor, task = served.predictor, self._union.task
        if served.alternative_inputs is not None and inputs.keys() & served.alternative_inputs.keys():
            inputs = {
                name: self._union.translated(predictor, one, name) if one.dtype.kind == "i" and task.label else one
                for name, one in inputs.items()
            }
        found = predictor.predict(inputs)
        if served.untaught and not self.untaught:  # its numbers are no answer
            found = {**found, task.answer: np.full_like(found[task.answer], np.nan)}
        return self._union.aligned(predictor, found, next(map(len, found.values()), 0))

    def _mean(self, inputs: Inputs, rows: int) -> Mapping[str, Array]:
        return mean_of(self._union, ((one.predictor, self._predicted(one, inputs)) for one in self._known), rows)

    def _why(self, served: ServedVersion | None) -> str:
        """Why a shard gives no answer; empty if it does."""
        if served is None:
            return "no version is published yet"
        learned, wanted = served.info.learned_events, self._least_events
        if learned >= wanted or served.predictor.task.name == ADAPTATION.name:
            return ""
        some = f"has learned {counted(learned, 'event')}" if learned else "has learned nothing yet"
        return f"{some}; ready after {counted(wanted, 'labelled event')}"
