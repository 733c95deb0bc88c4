"""A learner behind a feature stage, itself a learner: it learns from named columns.

Its state is that of the wrapped learner, and the stage's as tensors `columns/…`. Capabilities of the wrapped learner
are passed on, each by an entry of the tables below. A learner that explains nothing itself is explained by its columns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol, TypeVar, cast, runtime_checkable

from thalweg.memory.snapshots.state import State
from thalweg.models.columns.explaining import ColumnExplainer, explains
from thalweg.models.columns.merging import check_order_free, other_stage
from thalweg.models.columns.stage import FeatureStage
from thalweg.models.columns.transform import FIRED, Known, Transform
from thalweg.models.contract.capabilities import (
    AlternativeInputs,
    Averageable,
    Explainer,
    Forgetting,
    GrowingState,
    InputValidator,
    IntensityCurves,
    Mergeable,
    OnDevice,
    PredictorWrapper,
    SequencePredictor,
    SharedMemoryLearner,
    Unlearner,
    Untaught,
    Wrapper,
    capability,
    predict_batch,
)
from thalweg.models.contract.devices import AlsoOn
from thalweg.models.contract.gauges import GaugeSpec, GaugeValue
from thalweg.models.contract.latest import LatestPredictor
from thalweg.models.contract.learner import Learner, Predictor
from thalweg.models.parts.running_scale import Move
from thalweg.proto.event import Batch
from thalweg.proto.schema import Array, Inputs, Schema, TensorSpec
from thalweg.proto.task import Task

C = TypeVar("C")
PREFIX = "columns/"
"""Of the stage's tensors and of its meta in a state."""
STAGE_FIRED = PREFIX + FIRED
"""The tensor of a state that says which features have fired; earlier versions wrote none."""
_META = "columns/stage"


def joined(inner: State, stage: State) -> State:
    """One state of both."""
    tensors = {PREFIX + name: tensor for name, tensor in stage.tensors.items()}
    return State({**inner.tensors, **tensors}, {**inner.meta, _META: stage.meta})


def parted(state: State) -> tuple[State, State]:
    """The states of `joined`. Raises ValueError if there is no stage in it."""
    if _META not in state.meta:
        raise ValueError("the state was made under other parameters: without columns")
    inner = {name: tensor for name, tensor in state.tensors.items() if not name.startswith(PREFIX)}
    stage = {name.removeprefix(PREFIX): tensor for name, tensor in state.tensors.items() if name.startswith(PREFIX)}
    meta = dict(state.meta)
    return State(inner, meta), State(stage, meta.pop(_META))


@runtime_checkable
class Rescalable(Protocol):
    """A learner that re-expresses what it learned when the stage just before it scales numbers otherwise: else an event
    counts for ever as what it looked like under the scale of its day.
    """

    def inputs_moved(self, move: Move) -> None:
        """From the next event on features are scaled otherwise; called between two calls of `learn`."""


class StagedLearner(Wrapper):
    """A learner of columns. Its wrapped learner learns from the input `features` of the stage."""

    def __init__(self, learner: Learner, stage: FeatureStage) -> None:
        self._learner, self._stage = learner, stage
        self._wrapped: LatestPredictor[StagedPredictor] = LatestPredictor()
        self._rescaled = None if isinstance(learner, Wrapper) else capability(learner, Rescalable)

    def capability(self, kind: type[C]) -> C | None:
        inner = capability(self._learner, kind)
        seen = _OF_LEARNERS.get(kind)
        if inner is None and kind is OnDevice and _encoders_device(self._stage):
            return cast(C, _also_on(None, self._stage))
        return None if inner is None or seen is None else cast(C, seen(inner, self._stage))

    @property
    def schema(self) -> Schema:
        plan = self._stage.transform
        return replace(self._learner.schema, inputs=plan.inputs, columns=plan.columns)

    def learn(self, batch: Batch) -> None:
        self._wrapped.let_go()
        if self._rescaled is None:
            self._learner.learn(self._stage.learn(batch))
            return
        for part, move in self._stage.learn_moving(batch):
            self._learner.learn(part)
            if move is not None:
                self._rescaled.inputs_moved(move)

    def predictor(self) -> StagedPredictor:
        inner, known = self._learner.predictor(), self._stage.known
        latest = self._wrapped.get()
        if latest is None or latest.inner is not inner or latest.known is not known:
            latest = self._wrapped.set(StagedPredictor(inner, self._stage.transform, known))
        return latest

    def state(self) -> State:
        return joined(self._learner.state(), self._stage.state())

    def restore(self, state: State) -> None:
        inner, stage = parted(state)
        self._stage.check(stage.meta)  # first: after an error nothing may have changed
        self._learner.restore(inner)
        self._stage.restore(stage)

    @property
    def gauges_declared(self) -> Sequence[GaugeSpec]:
        return self._learner.gauges_declared

    def gauges(self) -> Mapping[str, GaugeValue]:
        return self._learner.gauges()


class StagedPredictor(PredictorWrapper):
    """A predictor from columns."""

    def __init__(self, inner: Predictor, transform: Transform, known: Known) -> None:
        self.inner, self.transform, self.known = inner, transform, known
        alternative = capability(inner, AlternativeInputs)
        self._alternative = frozenset() if alternative is None else frozenset(alternative.alternative_inputs)

    def capability(self, kind: type[C]) -> C | None:
        inner = capability(self.inner, kind)
        if inner is None and kind is Explainer and explains(self.inner, self.transform):
            return cast(C, ColumnExplainer(self.inner, self.transform, self.known))
        seen = _OF_PREDICTORS.get(kind)
        return None if inner is None or seen is None else cast(C, seen(inner, self))

    @property
    def inputs(self) -> Mapping[str, TensorSpec]:
        return self.transform.inputs

    @property
    def task(self) -> Task:
        return self.inner.task

    @property
    def outputs(self) -> Mapping[str, TensorSpec]:
        return self.inner.outputs

    @property
    def classes(self) -> tuple[str, ...]:
        return self.inner.classes

    @property
    def properties(self) -> Mapping[str, str]:
        return self.inner.properties

    @property
    def feature_names(self) -> list[str]:
        """The name of each feature of the wrapped predictor, (F,)."""
        return self.transform.names(self.known)

    def features(self, inputs: Inputs) -> Inputs:
        """The wrapped predictor's inputs; its alternative inputs bypass the stage. Raises InputError."""
        beside = not self._alternative.isdisjoint(inputs) and self.inputs.keys().isdisjoint(inputs)
        return inputs if beside else self.transform.features(inputs, self.known)

    def batch(self, batch: Batch) -> Batch:
        """The batch with features as inputs."""
        return replace(batch, inputs=self.transform.features(batch.inputs, self.known, again=True))

    def predict(self, inputs: Inputs) -> Mapping[str, Array]:
        return self.inner.predict(self.features(inputs))

    def predict_batch(self, batch: Batch) -> Mapping[str, Array]:
        return predict_batch(self.inner, self.batch(batch))

    def state(self) -> State:
        meta = {"identity": self.transform.identity, "known": self.known.digest}
        return joined(self.inner.state(), State(self.known.tensors, meta))


class VersionReader:
    """Reads published versions: a stage's tables are read again only where they have changed.

    Args:
        inner: Makes the wrapped predictor of its state.
        transform: Of the model's columns.
    """

    def __init__(self, inner: Callable[[State], Predictor], transform: Transform) -> None:
        self._inner, self._transform = inner, transform
        self._last: tuple[str, Known] | None = None

    def __call__(self, state: State) -> StagedPredictor:
        """The predictor of a state; any thread may call. Raises ValueError if it was made of other columns."""
        inner, stage = parted(state)
        if stage.meta.get("identity") != self._transform.identity:
            raise ValueError("the version was made of other columns, or with other options of a column")
        digest, last = stage.meta["known"], self._last
        if last is None or last[0] != digest:
            self._last = last = (digest, self._transform.known(stage))
        return StagedPredictor(self._inner(inner), self._transform, last[1])


# Capabilities as offered by a staged learner or predictor


class _Sequence:
    def __init__(self, inner: SequencePredictor, front: StagedPredictor) -> None:
        self._inner, self._front = inner, front

    def predict_events(self, batch: Batch) -> Mapping[str, Array]:
        return self._inner.predict_events(self._front.batch(batch))

    def with_history_of(self, newer: Predictor) -> Predictor:
        behind = newer.inner if isinstance(newer, StagedPredictor) else newer
        return StagedPredictor(self._inner.with_history_of(behind), self._front.transform, self._front.known)


class _Validator:
    def __init__(self, inner: InputValidator, front: StagedPredictor) -> None:
        self._inner, self._front = inner, front

    def check(self, inputs: Inputs) -> None:
        self._inner.check(self._front.features(inputs))


class _Explainer:
    def __init__(self, inner: Explainer, front: StagedPredictor) -> None:
        self._inner, self._front = inner, front

    def explain(self, inputs: Inputs, most: int) -> list[Any]:
        return self._inner.explain(self._front.features(inputs), most)


class _Mergeable:
    def __init__(self, inner: Mergeable, stage: FeatureStage) -> None:
        self._inner, self._stage = inner, stage

    def merge(self, other: State) -> None:
        inner, stage = parted(other)
        theirs = other_stage(self._stage, stage)
        self._inner.merge(inner)
        self._stage.merge(theirs)


class _Unlearner:
    def __init__(self, inner: Unlearner, stage: FeatureStage) -> None:
        self._inner, self._stage = inner, stage

    def unlearn(self, batch: Batch) -> None:
        check_order_free(self._stage)
        self._inner.unlearn(replace(batch, inputs=self._stage.features(batch.inputs)))


class _Averageable:
    def __init__(self, inner: Averageable, stage: FeatureStage) -> None:
        self._inner = inner

    def average(self, published: Sequence[tuple[State, float]]) -> State:
        return self._inner.average([(parted(state)[0], weight) for state, weight in published])

    def mix(self, others: State, weight: float) -> None:
        self._inner.mix(others, weight)


def _encoders_device(stage: FeatureStage) -> str:
    """What the encoder of some of the columns computes on; empty: the processor, or there is none."""
    encoded = stage.transform.encoded
    return "" if encoded is None else encoded.computed_on


def _also_on(inner: OnDevice | None, stage: FeatureStage) -> AlsoOn:
    return AlsoOn(inner, _encoders_device(stage))


def _unchanged(inner: object, front: object) -> object:
    """No input passes through this capability, so it is passed on as it is."""
    return inner


_OF_PREDICTORS: Mapping[type, Callable[[Any, StagedPredictor], object]] = {
    SequencePredictor: _Sequence,
    AlternativeInputs: _unchanged,
    InputValidator: _Validator,
    Explainer: _Explainer,
    IntensityCurves: _unchanged,
    Untaught: _unchanged,
}
_OF_LEARNERS: Mapping[type, Callable[[Any, FeatureStage], object]] = {
    Forgetting: _unchanged,
    SharedMemoryLearner: _unchanged,
    GrowingState: _unchanged,
    Mergeable: _Mergeable,
    Unlearner: _Unlearner,
    Averageable: _Averageable,
    OnDevice: _also_on,
}
