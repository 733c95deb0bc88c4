"""Predicts with an estimator of River, row by row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import structlog

from thalweg.memory.snapshots.state import State
from thalweg.models.adapters.allowed import Allowed
from thalweg.models.adapters.frozen import Held
from thalweg.models.adapters.river_kinds import RiverKind
from thalweg.models.adapters.rows import Row, Rows
from thalweg.proto.schema import Array, Inputs, TensorSpec
from thalweg.proto.task import Task

log = structlog.get_logger(__name__)

_RAISED: set[str] = set()  # learners of which that has been logged: it may be so for every row


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """What a predictor knows beside the estimator."""

    events: int = 0
    """Events learned."""
    classes: tuple[str, ...] = ()
    """Names of the classes, in order of first appearance."""
    truths: tuple[bool, ...] = ()
    """Of a binary classifier: which of them is True."""
    unseen: frozenset[str] = frozenset()
    """Features that no event had yet; the estimator does not get them, because some remember what they are asked."""


class RiverPredictor:
    """Predicts `label` and `scores`, or `value`.

    A row has no prediction (label -1, NaN) before the first event, where a number is not finite or beyond 1e30, and
    where the estimator raises or says NaN.
    """

    def __init__(self, learner: str, kind: RiverKind, rows: Rows, held: Held, learned: Learned) -> None:
        self._learner, self._kind, self._rows, self._learned = learner, kind, rows, learned
        self.held = held
        """The estimator."""
        names: Sequence[Any] = learned.truths if kind.binary else learned.classes
        if kind.kind == "clusterer":
            names = range(len(learned.classes))
        self._columns: dict[Any, int] = {name: column for column, name in enumerate(names)}

    @property
    def task(self) -> Task:
        return self._kind.task

    @property
    def inputs(self) -> Mapping[str, TensorSpec]:
        return self._rows.specs

    @property
    def outputs(self) -> Mapping[str, TensorSpec]:
        return self._kind.outputs

    @property
    def classes(self) -> tuple[str, ...]:
        return self._learned.classes

    @property
    def properties(self) -> Mapping[str, str]:
        told = {"estimator": self._learner, "events_learned": str(self._learned.events)}
        return told | {"scores": "probabilities"} if self._kind.probabilities else told

    def predict(self, inputs: Inputs) -> Mapping[str, Array]:
        rows, usable = self._rows.of(inputs)
        count, kind = len(rows), self._kind
        if kind.label == "number":
            value = np.full((count, 1), np.nan)
            outputs: dict[str, Array] = {"value": value}
        else:
            label = np.full(count, -1, np.int32)
            outputs = {"label": label}
            if kind.probabilities:
                scores = np.full((count, len(self.classes)), np.nan, np.float32)
                outputs["scores"] = scores
        if not self._learned.events or not count:
            return outputs
        estimator = self.held.copy() if kind.impure else self.held.get()
        good = range(count) if usable is None else np.flatnonzero(usable).tolist()
        unseen = self._learned.unseen
        if unseen:
            rows = [{key: one for key, one in row.items() if key not in unseen} for row in rows]
        if kind.label == "number":
            self._numbers(estimator, rows, good, value)
        elif kind.probabilities:
            self._probabilities(estimator, rows, good, label, scores)
        else:
            self._labels(estimator, rows, good, label)
        return outputs

    def _numbers(self, estimator: Any, rows: list[Row], good: Any, value: Array) -> None:
        one = estimator.predict_one if self._kind.kind == "regressor" else estimator.score_one
        told: list[float] = []
        places: list[int] = []
        for row in good:
            try:
                told.append(float(one(rows[row])))
            except Exception as error:
                self._note(error)
            else:
                places.append(row)
        numbers = np.array(told, np.float64)
        value[places, 0] = np.where(np.isfinite(numbers), numbers, np.nan)

    def _probabilities(self, estimator: Any, rows: list[Row], good: Any, label: Array, scores: Array) -> None:
        one, names = estimator.predict_proba_one, list(self._columns)
        told: list[list[float]] = []
        places: list[int] = []
        for row in good:
            try:
                found = one(rows[row])
                told.append([found.get(name, 0.0) for name in names])
            except Exception as error:
                self._note(error)
            else:
                places.append(row)
        if not places:
            return
        shares = np.array(told, np.float64)  # (M, C)
        total = shares.sum(axis=1)
        sound = np.isfinite(total) & (total > 0.0)
        where = np.array(places)[sound]
        shares = shares[sound] / total[sound, None]  # overflows nowhere: each is at most the total
        scores[where] = shares
        label[where] = shares.argmax(axis=1)

    def _labels(self, estimator: Any, rows: list[Row], good: Any, label: Array) -> None:
        one, columns = estimator.predict_one, self._columns
        for row in good:
            try:
                label[row] = columns.get(one(rows[row]), -1)
            except Exception as error:
                self._note(error)

    def _note(self, error: Exception) -> None:
        if self._learner not in _RAISED:
            _RAISED.add(self._learner)
            log.warning(
                "the estimator raises for a row, which gets no prediction",
                learner=self._learner,
                problem=f"{type(error).__name__}: {error}"[:200],
            )

    def state(self) -> State:
        learned = self._learned
        meta = {
            "inputs": [[spec.name, spec.dtype, list(spec.shape), spec.optional] for spec in self._rows.specs.values()],
            "lists": sorted(self._rows.lists),
            "blanks": self._rows.blanks,
            "kind": self._kind.meta(),
            "classes": list(learned.classes),
            "truths": list(learned.truths),
            "unseen": sorted(learned.unseen),
            "events": learned.events,
        }
        return State(self.held.state().tensors, meta)

    @classmethod
    def of(cls, learner: str, allowed: Allowed, state: State) -> RiverPredictor:
        """The predictor of a `state()`; the estimator is made from it.

        Raises:
            ValueError: It names what does not belong to the packages.
        """
        meta = state.meta
        specs = {
            name: TensorSpec(name, dtype, tuple(shape), optional) for name, dtype, shape, optional in meta["inputs"]
        }
        learned = Learned(
            events=meta["events"],
            classes=tuple(meta["classes"]),
            truths=tuple(meta["truths"]),
            unseen=frozenset(meta["unseen"]),
        )
        held = Held(allowed, state=State(state.tensors))
        if learned.events:
            held.get()  # here rather than at the first request
        rows = Rows(specs, meta["lists"])
        rows.blanks = meta["blanks"]
        return cls(learner, RiverKind(**meta["kind"]), rows, held, learned)
