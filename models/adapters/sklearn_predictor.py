"""Predicts with an estimator of scikit-learn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from thalweg.memory.snapshots.state import State
from thalweg.models.adapters.allowed import Allowed
from thalweg.models.adapters.frozen import Held
from thalweg.models.parts.input_columns import InputColumns
from thalweg.models.parts.random_features import ROWS
from thalweg.proto.schema import Array, Inputs, LabelKind, TensorSpec
from thalweg.proto.task import CLASSIFICATION, REGRESSION, Task

Kind: TypeAlias = Literal["classifier", "regressor", "clusterer"]
FAR = 1e30
"""Numbers from here on are neither learned from nor predicted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SklearnKind:
    """How to learn from and predict with an estimator."""

    kind: Kind
    scores: Literal["predict_proba", "decision_function", ""] = ""
    """The method for scores of a classifier."""
    weighted: bool = False
    """Whether it takes a weight per event."""
    first: int = 1
    """Events that it needs at once to begin."""

    @property
    def label(self) -> LabelKind:
        """The kind of its labels."""
        return "number" if self.kind == "regressor" else "class"

    @property
    def task(self) -> Task:
        """Its task."""
        if self.kind == "regressor":
            return REGRESSION
        return CLASSIFICATION.with_probabilities() if self.scores == "predict_proba" else CLASSIFICATION

    @property
    def outputs(self) -> dict[str, TensorSpec]:
        """Its outputs by name."""
        if self.kind == "regressor":
            return {"value": TensorSpec("value", "float64", (1,))}
        label = {"label": TensorSpec("label", "bytes", ())}
        return label | {"scores": TensorSpec("scores", "float32", (-1,))} if self.scores else label

    def meta(self) -> dict[str, Any]:
        """As JSON values, from which `SklearnKind(**meta)` is the same."""
        return asdict(self)


class SklearnPredictor:
    """Predicts `label` and `scores`, or `value`.

    A row has no prediction (label -1, NaN) before the estimator has begun, where a number is not finite or beyond 1e30,
    and where the estimator says NaN.
    """

    def __init__(
        self,
        learner: str,
        kind: SklearnKind,
        columns: InputColumns,
        held: Held,
        classes: tuple[str, ...],
        events: int,
    ) -> None:
        """A predictor; with `events` of 0 it predicts nothing."""
        self._learner, self._kind, self._inputs, self._events = learner, kind, columns, events
        self._classes = classes if events else ()
        self.held = held
        """The estimator."""

    @property
    def task(self) -> Task:
        return self._kind.task

    @property
    def inputs(self) -> Mapping[str, TensorSpec]:
        return self._inputs.specs

    @property
    def outputs(self) -> Mapping[str, TensorSpec]:
        return self._kind.outputs

    @property
    def classes(self) -> tuple[str, ...]:
        return self._classes

    @property
    def properties(self) -> Mapping[str, str]:
        told = {"estimator": self._learner, "events_learned": str(self._events)}
        return told | {"scores": "probabilities"} if self._kind.scores == "predict_proba" else told

    def predict(self, inputs: Inputs) -> Mapping[str, Array]:
        rows = self._inputs.gather(inputs)
        count = len(rows)
        outputs: dict[str, Array] = {}
        if self._kind.kind == "regressor":
            outputs["value"] = np.full((count, 1), np.nan)
        else:
            outputs["label"] = np.full(count, -1, np.int32)
            if self._kind.scores:
                outputs["scores"] = np.full((count, len(self._classes)), np.nan, np.float32)
        if not self._events or not count:
            return outputs
        x = np.zeros((count + -count % ROWS, rows.shape[1]))  # full tiles, see ROWS
        x[:count] = rows
        with np.errstate(all="ignore"):
            usable: Array = np.logical_and.reduce(np.abs(x) < FAR, axis=1)
            x[~usable] = 0.0
            self._predict(x, usable[:count], outputs)
        return outputs

    def _predict(self, x: Array, usable: Array, outputs: dict[str, Array]) -> None:
        estimator, count = self.held.get(), len(usable)
        if self._kind.scores:
            told = np.asarray(getattr(estimator, self._kind.scores)(x), np.float64)[:count]
            if told.ndim == 1:  # of two classes, the second
                told = np.stack([-told, told], axis=1)
            good = usable & np.isfinite(told).all(axis=1)
            outputs["scores"][good] = told[good]
            outputs["label"][good] = told[good].argmax(axis=1)
        elif "label" in outputs:
            outputs["label"][usable] = np.asarray(estimator.predict(x))[:count][usable]
        else:
            value = np.asarray(estimator.predict(x), np.float64).reshape(len(x), -1)[:count, :1]
            good = usable & np.isfinite(value[:, 0])
            outputs["value"][good] = value[good]

    def state(self) -> State:
        meta = {
            "inputs": [[spec.name, spec.dtype, list(spec.shape)] for spec in self._inputs.specs.values()],
            "kind": self._kind.meta(),
            "classes": list(self._classes),
            "events": self._events,
        }
        return State(self.held.state().tensors, meta)

    @classmethod
    def of(cls, learner: str, allowed: Allowed, state: State) -> SklearnPredictor:
        """The predictor of a `state()`; the estimator is made from it.

        Raises:
            ValueError: It names what does not belong to the packages.
        """
        meta = state.meta
        columns = InputColumns({name: TensorSpec(name, dtype, tuple(shape)) for name, dtype, shape in meta["inputs"]})
        held = Held(allowed, state=State(state.tensors))
        if meta["events"]:
            held.get()  # here rather than at the first request
        kind = SklearnKind(**meta["kind"])
        return cls(learner, kind, columns, held, tuple(meta["classes"]), meta["events"])
