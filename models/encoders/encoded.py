"""A learner behind an encoder, itself a learner: the encoder changes the learner's inputs and nothing else.

The capabilities of the wrapped learner are passed on, each by an entry of the tables below.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar, cast

from thalweg.memory.snapshots.state import State
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
from thalweg.models.contract.devices import AlsoOn, placed
from thalweg.models.contract.gauges import GaugeSpec, GaugeValue
from thalweg.models.contract.latest import LatestPredictor
from thalweg.models.contract.learner import Learner, LearnerContext, ParamsError, Predictor
from thalweg.models.contract.registry import find
from thalweg.models.encoders.encoder import Encoder, shared_encoder
from thalweg.models.encoders.kinds import encoder_device
from thalweg.models.encoders.spec import IDENTITY, EncoderSpec, spec_of
from thalweg.proto.event import Batch
from thalweg.proto.schema import Array, Inputs, Schema, TensorSpec
from thalweg.proto.task import Task

C = TypeVar("C")


def make_learner(
    name: str, context: LearnerContext, encoder: EncoderSpec | str = IDENTITY, weights: str = ""
) -> Learner:
    """A new learner, behind its encoder if it has one.

    Args:
        name: Name of the learner.
        context: As for a learner without encoder; its inputs are the encoder's.
        encoder: As in `Encoder`.
        weights: Weights of the encoder, if only its name is given.

    Raises:
        UnknownLearner: There is no learner of this name.
        ParamsError: Settings of the learner or the encoder are invalid, or the learner cannot learn from features; then
            the key is `encoder`.
    """
    factory = find(name)
    spec = spec_of(encoder, weights)
    if spec.name == IDENTITY:
        return factory(placed(factory, context))
    front = shared_encoder(spec, weights, context.inputs, context.seed, encoder_device(spec, context))
    try:
        return EncodedLearner(factory(placed(factory, replace(context, inputs=front.specs))), front)
    except ParamsError as error:
        names: Sequence[str] = getattr(factory, "input_names", ())
        raise ParamsError(dict(_as_encoder_mistakes(name, names, spec.name, error))) from error


def _as_encoder_mistakes(name: str, names: Sequence[str], encoder: str, error: ParamsError) -> list[tuple[str, str]]:
    """Report mistakes of the learner's inputs as mistakes of the encoder, which computes them.

    `names`: the only inputs that the learner takes; empty: it declares none, and its own words are passed on.
    """
    of_inputs = [text for key, text in error.mistakes.items() if key.partition(".")[0] == "inputs"]
    others = [(key, text) for key, text in error.mistakes.items() if key.partition(".")[0] != "inputs"]
    if not of_inputs:
        return others
    text = f"{name} does not learn from the features of an encoder, got {encoder!r}"
    why = f"; it takes {', '.join(names)}" if names else f": {'; '.join(of_inputs)}"
    return [*others, ("encoder", text + why)]


class EncodedLearner(Wrapper):
    """A learner whose inputs are an encoder's features. Its state is that of the wrapped learner."""

    def __init__(self, learner: Learner, encoder: Encoder) -> None:
        self._learner, self._encoder = learner, encoder
        self._wrapped: LatestPredictor[EncodedPredictor] = LatestPredictor()

    def capability(self, kind: type[C]) -> C | None:
        inner = capability(self._learner, kind)
        seen = _OF_LEARNERS.get(kind)
        if inner is None and kind is OnDevice and self._encoder.computed_on:
            return cast(C, _also_on(None, self._encoder))
        return None if inner is None or seen is None else cast(C, seen(inner, self._encoder))

    @property
    def schema(self) -> Schema:
        inner = self._learner.schema
        return replace(inner, inputs=self._encoder.inputs_taken, columns={})

    def learn(self, batch: Batch) -> None:
        self._wrapped.let_go()
        self._learner.learn(self._encoder.batch(batch))

    def predictor(self) -> EncodedPredictor:
        inner = self._learner.predictor()
        known = self._wrapped.get()
        if known is None or known.inner is not inner:
            known = self._wrapped.set(EncodedPredictor(inner, self._encoder))
        return known

    def state(self) -> State:
        return self._learner.state()

    def restore(self, state: State) -> None:
        self._learner.restore(state)

    @property
    def gauges_declared(self) -> Sequence[GaugeSpec]:
        return self._learner.gauges_declared

    def gauges(self) -> Mapping[str, GaugeValue]:
        return self._learner.gauges()


class EncodedPredictor(PredictorWrapper):
    """A predictor with an encoder's inputs."""

    def __init__(self, inner: Predictor, encoder: Encoder) -> None:
        self.inner, self.encoder = inner, encoder
        alternative = capability(inner, AlternativeInputs)
        self._alternative = frozenset() if alternative is None else frozenset(alternative.alternative_inputs)

    def capability(self, kind: type[C]) -> C | None:
        inner = capability(self.inner, kind)
        seen = _OF_PREDICTORS.get(kind)
        return None if inner is None or seen is None else cast(C, seen(inner, self))

    @property
    def inputs(self) -> Mapping[str, TensorSpec]:
        return self.encoder.inputs_taken

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
        return {**self.inner.properties, "encoder_sha256": self.encoder.sha256}

    def encoded(self, inputs: Inputs) -> Inputs:
        """The wrapped predictor's inputs; its alternative inputs bypass the encoder. Raises InputError."""
        beside = not self._alternative.isdisjoint(inputs) and self.inputs.keys().isdisjoint(inputs)
        return inputs if beside else self.encoder.inputs(inputs)

    def predict(self, inputs: Inputs) -> Mapping[str, Array]:
        return self.inner.predict(self.encoded(inputs))

    def predict_batch(self, batch: Batch) -> Mapping[str, Array]:
        """As `capabilities.predict_batch`; the features are reused when the batch is learned."""
        return predict_batch(self.inner, self.encoder.batch(batch))

    def state(self) -> State:
        return self.inner.state()


# Capabilities as offered by an encoded learner or predictor


class _Sequence:
    def __init__(self, inner: SequencePredictor, front: EncodedPredictor) -> None:
        self._inner, self._front = inner, front

    def predict_events(self, batch: Batch) -> Mapping[str, Array]:
        return self._inner.predict_events(self._front.encoder.batch(batch))

    def with_history_of(self, newer: Predictor) -> Predictor:
        behind = newer.inner if isinstance(newer, EncodedPredictor) else newer
        return EncodedPredictor(self._inner.with_history_of(behind), self._front.encoder)


class _Validator:
    def __init__(self, inner: InputValidator, front: EncodedPredictor) -> None:
        self._inner, self._front = inner, front

    def check(self, inputs: Inputs) -> None:
        self._inner.check(self._front.encoded(inputs))


class _Explainer:
    def __init__(self, inner: Explainer, front: EncodedPredictor) -> None:
        self._inner, self._front = inner, front

    def explain(self, inputs: Inputs, most: int) -> list[Any]:
        return self._inner.explain(self._front.encoded(inputs), most)


class _Unlearner:
    def __init__(self, inner: Unlearner, encoder: Encoder) -> None:
        self._inner, self._encoder = inner, encoder

    def unlearn(self, batch: Batch) -> None:
        self._inner.unlearn(self._encoder.batch(batch))


def _also_on(inner: OnDevice | None, encoder: Encoder) -> AlsoOn:
    return AlsoOn(inner, encoder.computed_on)


def _unchanged(inner: object, front: object) -> object:
    """No input passes through this capability, so it is passed on as it is."""
    return inner


_OF_PREDICTORS: Mapping[type, Callable[[Any, EncodedPredictor], object]] = {
    SequencePredictor: _Sequence,
    AlternativeInputs: _unchanged,
    InputValidator: _Validator,
    Explainer: _Explainer,
    IntensityCurves: _unchanged,
    Untaught: _unchanged,
}
_OF_LEARNERS: Mapping[type, Callable[[Any, Encoder], object]] = {
    Forgetting: _unchanged,
    GrowingState: _unchanged,
    SharedMemoryLearner: _unchanged,
    Mergeable: _unchanged,
    Unlearner: _Unlearner,
    Averageable: _unchanged,
    OnDevice: _also_on,
}
