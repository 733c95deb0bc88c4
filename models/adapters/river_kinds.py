"""What kind of estimator of River one is, and what follows from it: task, outputs, labels."""

from __future__ import annotations

import inspect
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

from river import base
from river.compose import Pipeline

from thalweg.proto.schema import LabelKind, TensorSpec
from thalweg.proto.task import CLASSIFICATION, REGRESSION, Task

Kind: TypeAlias = Literal["classifier", "regressor", "anomaly", "clusterer"]
_KINDS: dict[Kind, type] = {
    "classifier": base.Classifier,
    "regressor": base.Regressor,
    "anomaly": base.AnomalyDetector,
    "clusterer": base.Clusterer,
}
MAX_CLUSTERS = 100
UNSUITED = {
    "river.rules.amrules.AMRules": "it tells its rules apart by their addresses in memory",
}
"""Estimators that cannot be restored exactly, whatever is stored of them, and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RiverKind:
    """How to learn from and predict with an estimator."""

    kind: Kind
    binary: bool = False
    """A classifier of exactly two classes, False and True."""
    probabilities: bool = False
    """A classifier with probabilities of its classes."""
    supervised: bool = True
    """Whether it learns from labels."""
    weighted: bool = False
    """Whether it takes a weight per event."""
    impure: bool = False
    """Whether predicting changes it; then it predicts on a copy."""

    @classmethod
    def of(cls, estimator: Any) -> RiverKind:
        """That of an estimator.

        Raises:
            ValueError: It is none of River's kinds.
        """
        last = last_step(estimator)
        kind = next((kind for kind, mixin in _KINDS.items() if isinstance(last, mixin)), None)
        if kind is None:
            raise ValueError(
                f"expected a classifier, a regressor, an anomaly detector or a clusterer of River, got {_name(last)}"
            )
        return cls(
            kind=kind,
            binary=kind == "classifier" and not last._multiclass,
            probabilities=kind == "classifier"
            and type(last).predict_proba_one is not base.Classifier.predict_proba_one,
            supervised=kind in ("classifier", "regressor") or bool(estimator._supervised),
            weighted="w" in inspect.signature(type(last).learn_one).parameters,
        )

    @property
    def label(self) -> LabelKind:
        """The kind of its labels."""
        return "number" if self.kind in ("regressor", "anomaly") else "class"

    @property
    def task(self) -> Task:
        """Its task."""
        if self.kind in ("regressor", "anomaly"):
            return REGRESSION
        return CLASSIFICATION.with_probabilities() if self.probabilities else CLASSIFICATION

    @property
    def outputs(self) -> dict[str, TensorSpec]:
        """Its outputs by name."""
        if self.kind in ("regressor", "anomaly"):
            return {"value": TensorSpec("value", "float64", (1,))}
        label = {"label": TensorSpec("label", "bytes", ())}
        return label | {"scores": TensorSpec("scores", "float32", (-1,))} if self.probabilities else label

    def meta(self) -> dict[str, Any]:
        """As JSON values, from which `RiverKind(**meta)` is the same."""
        return asdict(self)


def last_step(estimator: Any) -> Any:
    """The estimator itself, or the last step of a pipeline."""
    while isinstance(estimator, Pipeline):
        if not estimator.steps:
            raise ValueError("expected a pipeline of at least one step, got an empty one")
        estimator = estimator._last_step
    return estimator


def clusters(estimator: Any) -> int:
    """How many clusters may be named: those that it is told to find, or a hundred."""
    count = getattr(last_step(estimator), "n_clusters", None)
    return count if isinstance(count, int) and count > 0 else MAX_CLUSTERS


def steps(estimator: Any) -> list[Any]:
    """The estimator itself, or all steps of a pipeline."""
    if not isinstance(estimator, Pipeline):
        return [estimator]
    return [one for step in estimator.steps.values() for one in steps(step)]


def unsuited(estimator: Any) -> str:
    """Why an estimator cannot be restored exactly; empty if none of its steps is known for it."""
    for step in steps(estimator):
        for parent in type(step).__mro__:
            why = UNSUITED.get(f"{parent.__module__}.{parent.__qualname__}")
            if why:
                return f"a {_name(step)} cannot be restored exactly: {why}"
    return ""


def _name(thing: Any) -> str:
    return f"{type(thing).__module__}.{type(thing).__qualname__}"
