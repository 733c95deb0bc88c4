"""A classifier that also gives calibrated probabilities, itself a learner: labels and scores stay as they are.

The calibration is learned from the predictions for each micro-batch before the batch is learned; those that the loop
has just made for grading are used again. It is part of the state, as one tensor.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from thalweg.memory.snapshots.state import State
from thalweg.models.calibration.pair import PairSpread
from thalweg.models.calibration.temperature import Spread
from thalweg.models.calibration.weighed import Calibration
from thalweg.models.contract.capabilities import (
    Averageable,
    Forgetting,
    Mergeable,
    PredictorWrapper,
    SequencePredictor,
    Wrapper,
    capability,
    predict_batch,
)
from thalweg.models.contract.gauges import GaugeSpec, GaugeValue
from thalweg.models.contract.latest import LatestPredictor
from thalweg.models.contract.learner import Learner, Predictor
from thalweg.proto.event import Batch, ClassLabels
from thalweg.proto.schema import Array, Inputs, Schema, TensorSpec
from thalweg.proto.task import Task

C = TypeVar("C")

PREFIX = "calibration/"
"""Names of the calibration's tensors in a state begin so."""
TENSOR = PREFIX + "temperature"
"""The one that each has, of whatever version."""
_CLASSES = PREFIX + "classes"
"""Names of the classes of its columns, as JSON."""
PROBABILITIES = "probabilities"
"""The output, float32 (N, C), in the order of `Predictor.classes`."""
_SCORES = "scores"


def calibrated(learner: Learner, *, on: bool = True) -> Learner:
    """The learner with calibrated probabilities, if it is a classifier with scores; any other as it is.

    `on`: without it, nothing is calibrated, and the calibration in a restored state is left out.
    """
    if learner.schema.label != "class":
        return learner
    predictor = learner.predictor()
    return CalibratedLearner(learner, predictor.task, on=on) if _can_be(predictor) else learner


def calibrated_predictor(inner: Predictor, state: State) -> Predictor:
    """A predictor made from this published state, with its calibration if that is in the state."""
    return CalibratedPredictor(inner, Calibration.of(_own(state))) if has_calibration(state) else inner


def _own(state: State) -> dict[str, NDArray[Any]]:
    """The tensors of a state's calibration."""
    return {name.removeprefix(PREFIX): one for name, one in state.tensors.items() if name.startswith(PREFIX)}


def _tensors(calibration: Calibration) -> dict[str, NDArray[Any]]:
    return {PREFIX + name: tensor for name, tensor in calibration.tensors().items()}


def _can_be(predictor: Predictor) -> bool:
    task, outputs = predictor.task, predictor.outputs
    return task.answer == "label" and task.scores == _SCORES and _SCORES in outputs and PROBABILITIES not in outputs


def has_calibration(state: State) -> bool:
    """Whether a state has a calibration."""
    return TENSOR in state.tensors


def without_calibration(state: State) -> State:
    """A state as an earlier version wrote it, without the calibration: that of the wrapped learner."""
    if TENSOR not in state.tensors:
        return state
    return State({k: tensor for k, tensor in state.tensors.items() if not k.startswith(PREFIX)}, state.meta)


class CalibratedLearner(Wrapper):
    """A classifier with calibrated probabilities. Its state is that of the wrapped learner and one tensor.

    Every labelled event counts alike, whatever its weight, as in the metrics. A state without the tensor, of a version
    that had none, begins a new calibration.
    """

    def __init__(self, learner: Learner, task: Task, *, on: bool = True) -> None:
        self._learner, self._on, self._logs = learner, on, task.probabilities
        self._calibration, self._classes = Calibration.new(logs=self._logs), ()
        self._wrapped: LatestPredictor[CalibratedPredictor] = LatestPredictor()
        self._columns = _Columns()

    _classes: tuple[str, ...]
    """Of the columns of the calibration."""

    def capability(self, kind: type[C]) -> C | None:
        inner = capability(self._learner, kind)
        seen = _OF_LEARNERS.get(kind)
        return inner if inner is None or seen is None else cast(C, seen(inner, self))

    @property
    def schema(self) -> Schema:
        return self._learner.schema

    @property
    def calibration(self) -> Calibration:
        """The present calibration."""
        return self._calibration

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes of its columns."""
        return self._classes

    def set_calibration(self, calibration: Calibration) -> None:
        """Continue with this calibration, of the same classes."""
        if not calibration.alike(self._calibration):
            self._wrapped.clear()
        self._calibration = calibration

    @staticmethod
    def over(calibration: Calibration, names: tuple[str, ...], classes: tuple[str, ...]) -> Calibration:
        """A calibration of columns of these names, with columns of these classes."""
        if names == classes[: len(names)]:
            return calibration.sized(len(classes))
        where = {name: column for column, name in enumerate(names)}
        return calibration.at([where.get(name, -1) for name in classes])

    def learn(self, batch: Batch) -> None:
        predictor, spread = self.predictor(), None
        if isinstance(predictor, CalibratedPredictor):
            spread = predictor.spread_of(batch)
        classes = predictor.classes
        del predictor
        self._wrapped.let_go()
        self._learner.learn(batch)
        if spread is not None and isinstance(batch.labels, ClassLabels):
            columns = self._columns.of(batch.labels, classes)
            self.set_calibration(self._calibration.after(spread, columns))

    def predictor(self) -> Predictor:
        inner = self._learner.predictor()
        if not self._on:
            return inner
        known = self._wrapped.get()
        if known is None or known.inner is not inner:
            if (classes := inner.classes) != self._classes:
                self._calibration, self._classes = self.over(self._calibration, self._classes, classes), classes
            known = self._wrapped.set(CalibratedPredictor(inner, self._calibration))
        return known

    def state(self) -> State:
        inner = self._learner.state()
        if not self._on:
            return inner
        self.predictor()  # the columns are those of the classes known now, whether that was asked or not
        names = np.frombuffer(json.dumps(self._classes).encode(), np.uint8)
        return State({**inner.tensors, **_tensors(self._calibration), _CLASSES: names}, inner.meta)

    def restore(self, state: State) -> None:
        self._learner.restore(without_calibration(state))
        self._calibration, self._classes = self.calibration_in(state)
        self._wrapped.clear()

    def calibration_in(self, state: State) -> tuple[Calibration, tuple[str, ...]]:
        """The calibration in a state, a new one if there is none, and the classes of its columns."""
        if not has_calibration(state):
            return Calibration.new(logs=self._logs), ()
        names = json.loads(state.tensors[_CLASSES].tobytes()) if _CLASSES in state.tensors else ()
        return Calibration.of(_own(state)), tuple(names)

    @property
    def gauges_declared(self) -> Sequence[GaugeSpec]:
        return self._learner.gauges_declared

    def gauges(self) -> Mapping[str, GaugeValue]:
        return self._learner.gauges()


class CalibratedPredictor(PredictorWrapper):
    """A classifier's predictor with the further output `probabilities`."""

    def __init__(self, inner: Predictor, calibration: Calibration) -> None:
        self.inner, self._calibration = inner, calibration.sized(len(inner.classes))
        self._latest: tuple[Batch, Spread | PairSpread | None] | None = None

    def capability(self, kind: type[C]) -> C | None:
        inner = capability(self.inner, kind)
        seen = _OF_PREDICTORS.get(kind)
        return inner if inner is None or seen is None else cast(C, seen(inner, self))

    @property
    def inputs(self) -> Mapping[str, TensorSpec]:
        return self.inner.inputs

    @property
    def task(self) -> Task:
        task = self.inner.task
        return replace(task, scores=PROBABILITIES, probabilities=True, confidence=task.scores)

    @property
    def outputs(self) -> Mapping[str, TensorSpec]:
        return {**self.inner.outputs, PROBABILITIES: TensorSpec(PROBABILITIES, "float32", (-1,))}

    @property
    def classes(self) -> tuple[str, ...]:
        return self.inner.classes

    @property
    def properties(self) -> Mapping[str, str]:
        return {**self.inner.properties, PROBABILITIES: "calibrated"}

    def predict(self, inputs: Inputs) -> Mapping[str, Array]:
        return self.with_probabilities(self.inner.predict(inputs))[0]

    def predict_batch(self, batch: Batch) -> Mapping[str, Array]:
        """As `capabilities.predict_batch`; the calibration uses it again when the batch is learned."""
        outputs, spread = self.with_probabilities(predict_batch(self.inner, batch))
        self._latest = batch, spread
        return outputs

    @property
    def calibration(self) -> Calibration:
        """The calibration, as predictions use it."""
        return self._calibration.in_use()

    def spread_of(self, batch: Batch) -> Spread | PairSpread | None:
        """The predictions for a batch that is learned now, computed unless it was predicted just before; None if no
        class is known, or it would be computed for no label.
        """
        latest, self._latest = self._latest, None
        if not isinstance(batch.labels, ClassLabels):
            return None
        if latest is not None and latest[0] is batch:
            return latest[1]
        if not (batch.labels.codes >= 0).any():
            return None
        return self._spread(predict_batch(self.inner, batch)[_SCORES])

    def with_probabilities(self, outputs: Mapping[str, Array]) -> tuple[dict[str, Array], Spread | PairSpread | None]:
        """The outputs of the wrapped predictor and their probabilities."""
        spread = self._spread(outputs[_SCORES])
        if spread is None:
            found = np.zeros(outputs[_SCORES].shape, dtype=np.float32)
        else:
            found = self._calibration.probabilities(spread, outputs["label"])
        return {**outputs, PROBABILITIES: found}, spread

    def _spread(self, scores: Array) -> Spread | PairSpread | None:
        return self._calibration.spread(scores) if scores.size else None

    def state(self) -> State:
        inner = self.inner.state()
        return State({**inner.tensors, **_tensors(self.calibration)}, inner.meta)


class _Columns:
    """From the label codes of batches to columns; the batches of a block share their names, so one table is kept."""

    def __init__(self) -> None:
        self._names: tuple[str, ...] = ()
        self._classes: tuple[str, ...] = ()
        self._table: NDArray[np.int32] = np.full(1, -1, dtype=np.int32)

    def of(self, labels: ClassLabels, classes: tuple[str, ...]) -> NDArray[np.int32]:
        """Columns among these classes, (N,); -1 where unlabelled or unknown."""
        if labels.names is not self._names or classes != self._classes:
            where = {name: column for column, name in enumerate(classes)}
            self._table = np.array([*(where.get(name, -1) for name in labels.names), -1], dtype=np.int32)
            self._names, self._classes = labels.names, classes
        found: NDArray[np.int32] = self._table[labels.codes]
        return found


# Capabilities that concern the calibration as well


class _Forgetting:
    def __init__(self, inner: Forgetting, learner: CalibratedLearner) -> None:
        self._inner, self._learner = inner, learner

    def raise_forgetting(self, factor: float, events: int) -> None:
        self._inner.raise_forgetting(factor, events)
        self._learner.set_calibration(self._learner.calibration.forgetting(factor))


class _Mergeable:
    def __init__(self, inner: Mergeable, learner: CalibratedLearner) -> None:
        self._inner, self._learner = inner, learner

    def merge(self, other: State) -> None:
        self._inner.merge(without_calibration(other))
        if has_calibration(other):
            learner = self._learner
            learner.predictor()  # its classes are those of both now
            theirs, names = learner.calibration_in(other)
            learner.set_calibration(learner.calibration.merged(learner.over(theirs, names, learner.classes)))


class _Averageable:
    def __init__(self, inner: Averageable, learner: CalibratedLearner) -> None:
        self._inner = inner

    def average(self, published: Sequence[tuple[State, float]]) -> State:
        return self._inner.average([(without_calibration(state), weight) for state, weight in published])

    def mix(self, others: State, weight: float) -> None:
        self._inner.mix(others, weight)


class _Sequence:
    def __init__(self, inner: SequencePredictor, front: CalibratedPredictor) -> None:
        self._inner, self._front = inner, front

    def predict_events(self, batch: Batch) -> Mapping[str, Array]:
        return self._front.with_probabilities(self._inner.predict_events(batch))[0]

    def with_history_of(self, newer: Predictor) -> Predictor:
        behind = newer.inner if isinstance(newer, CalibratedPredictor) else newer
        return CalibratedPredictor(self._inner.with_history_of(behind), self._front.calibration)


# those that are not here neither take nor give scores, and are passed on as they are
_OF_PREDICTORS: Mapping[type, Callable[[Any, CalibratedPredictor], object]] = {SequencePredictor: _Sequence}
_OF_LEARNERS: Mapping[type, Callable[[Any, CalibratedLearner], object]] = {
    Forgetting: _Forgetting,
    Mergeable: _Mergeable,
    Averageable: _Averageable,
}
