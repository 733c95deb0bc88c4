"""A wrapper of a learner changes the learner's inputs and nothing else: every capability is passed on, and none is
added but those that it declares.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from thalweg.memory.snapshots.state import State
from thalweg.models.contract.battery.given import assert_same, stored
from thalweg.models.contract.capabilities import (
    LEARNER_CAPABILITIES,
    PREDICTOR_CAPABILITIES,
    AlternativeInputs,
    Averageable,
    Explainer,
    Forgetting,
    InputValidator,
    IntensityCurves,
    Mergeable,
    OnDevice,
    SequencePredictor,
    SharedMemoryLearner,
    Unlearner,
    Untaught,
    capability,
    predict_batch,
    with_history,
)
from thalweg.models.contract.learner import Learner, Predictor
from thalweg.proto.event import Batch
from thalweg.proto.schema import Inputs

_TRIED = 3  # rows of alternative inputs


class WrapperContract:
    """Subclass it and define `bare`, `wrapped`, `batches` and `seen`; pytest then runs every case below on the wrapper.

    Two learners run side by side, one bare, on the transformed inputs, and one wrapped. They must behave the same,
    and both or neither must have each capability.
    """

    adds: frozenset[type] = frozenset()
    """Capabilities that the wrapper offers of itself where the wrapped learner does not."""

    def bare(self) -> Learner:
        """A learner that has learned nothing; every call returns an equal one."""
        raise NotImplementedError

    def wrapped(self) -> Learner:
        """The same learner behind the wrapper."""
        raise NotImplementedError

    def batches(self) -> list[Batch]:
        """At least four micro-batches of the wrapped learner's inputs."""
        raise NotImplementedError

    def seen(self, inputs: Inputs) -> Inputs:
        """The inputs of the wrapped learner, as the wrapper transforms them."""
        raise NotImplementedError

    def inner_state(self, state: State) -> State:
        """The part of a wrapper's state that is the wrapped learner's; override it if the wrapper has its own."""
        return state

    def published(self, state: State) -> Predictor:
        """The predictor with its wrapper, as a server makes it from a published state."""
        raise NotImplementedError

    # The contract

    def test_both_learn_the_same(self) -> None:
        bare, wrapped = self.pair()

        assert self.inner_state(wrapped.state()).sha256() == bare.state().sha256()
        assert (wrapped.schema.label, wrapped.schema.label_width) == (bare.schema.label, bare.schema.label_width)

    def test_both_answer_the_same(self) -> None:
        bare, wrapped = (learner.predictor() for learner in self.pair())

        for batch in self.batches():
            assert_same(wrapped.predict(batch.inputs), bare.predict(self.seen(batch.inputs)))
            assert_same(predict_batch(wrapped, batch), predict_batch(bare, self.behind(batch)))
        assert (wrapped.outputs, wrapped.classes) == (bare.outputs, bare.classes)
        assert bare.properties.items() <= wrapped.properties.items()

    def test_both_restore_and_publish_the_same(self) -> None:
        bare, wrapped = self.pair()
        restored = self.wrapped()
        restored.restore(stored(wrapped.state()))
        published = self.published(stored(wrapped.predictor().state()))

        assert self.inner_state(restored.state()).sha256() == bare.state().sha256()
        assert self.inner_state(published.state()).sha256() == bare.predictor().state().sha256()
        assert_same(
            published.predict(self.batches()[0].inputs), bare.predictor().predict(self.seen(self.batches()[0].inputs))
        )

    def test_both_have_the_same_gauges(self) -> None:
        bare, wrapped = self.pair()

        assert list(wrapped.gauges_declared) == list(bare.gauges_declared)
        assert dict(wrapped.gauges()) == dict(bare.gauges())

    # Capabilities

    def test_every_capability_is_offered_by_both_or_by_neither(self) -> None:
        bare, wrapped = self.pair()
        for kinds, inside, front in (
            (LEARNER_CAPABILITIES, bare, wrapped),
            (PREDICTOR_CAPABILITIES, bare.predictor(), wrapped.predictor()),
        ):
            for kind in kinds:
                here, there = (capability(one, kind) is not None for one in (inside, front))
                here = here or kind in self.adds
                assert here == there, f"{kind.__name__}: bare {here}, wrapped {there}"

    def test_every_capability_does_the_same_in_both(self) -> None:
        cases: Mapping[type, Callable[[], None]] = {
            Forgetting: self._forgetting,
            SharedMemoryLearner: self._shared_memory,
            Mergeable: self._merging,
            Unlearner: self._unlearning,
            Averageable: self._averaging,
            OnDevice: self._devices,
            SequencePredictor: self._sequences,
            AlternativeInputs: self._alternative_inputs,
            InputValidator: self._validation,
            Explainer: self._explanations,
            IntensityCurves: self._curves,
            Untaught: self._untaught,
        }
        assert set(cases) == {*LEARNER_CAPABILITIES, *PREDICTOR_CAPABILITIES}, "a capability without a case"
        bare = self.bare()
        for kind, case in cases.items():
            if capability(bare if kind in LEARNER_CAPABILITIES else bare.predictor(), kind) is not None:
                case()

    def _forgetting(self) -> None:
        pair = self.pair(2)
        for learner in pair:
            offered(learner, Forgetting).raise_forgetting(3.0, 5)
        self.assert_go_on_alike(*pair)

    def _shared_memory(self) -> None:
        bare, wrapped = self.bare(), self.wrapped()
        with TemporaryDirectory() as one, TemporaryDirectory() as other:
            offered(bare, SharedMemoryLearner).place(Path(one))
            offered(wrapped, SharedMemoryLearner).place(Path(other))
            self.assert_go_on_alike(bare, wrapped)
            names = [sorted(path.name for path in Path(folder).iterdir()) for folder in (one, other)]
            assert names[0] == names[1], f"files: bare {names[0]}, wrapped {names[1]}"
            assert names[0], "nothing was placed"

    def _merging(self) -> None:
        (bare, wrapped), strangers = self.pair(2), self.pair()
        outcomes = [
            outcome(offered(mine, Mergeable).merge, stored(theirs.state()))
            for mine, theirs in ((bare, strangers[0]), (wrapped, strangers[1]))
        ]
        assert outcomes[0] == outcomes[1]
        self.assert_go_on_alike(bare, wrapped)

    def _averaging(self) -> None:
        (bare, wrapped), strangers = self.pair(2), self.pair()
        for mine, theirs in ((bare, strangers[0]), (wrapped, strangers[1])):
            averageable = offered(mine, Averageable)
            averageable.mix(averageable.average([(stored(theirs.predictor().state()), 3.0)]), 5.0)
        self.assert_go_on_alike(bare, wrapped)

    def _unlearning(self) -> None:
        bare, wrapped = self.pair()
        batch = self.batches()[0]
        outcomes = [
            outcome(offered(learner, Unlearner).unlearn, events)
            for learner, events in ((bare, self.behind(batch)), (wrapped, batch))
        ]
        assert outcomes[0] == outcomes[1]
        self.assert_go_on_alike(bare, wrapped)

    def _devices(self) -> None:
        bare, wrapped = self.bare(), self.wrapped()
        assert offered(wrapped, OnDevice).computed_on == offered(bare, OnDevice).computed_on

    def _sequences(self) -> None:
        bare, wrapped = (learner.predictor() for learner in self.pair(2))
        newer = [learner.predictor() for learner in self.pair()]
        for batch in self.batches():
            behind = self.behind(batch)
            assert_same(
                offered(wrapped, SequencePredictor).predict_events(batch),
                offered(bare, SequencePredictor).predict_events(behind),
            )
            assert_same(
                predict_batch(with_history(wrapped, newer[1]), batch),
                predict_batch(with_history(bare, newer[0]), behind),
            )

    def _alternative_inputs(self) -> None:
        bare, wrapped = (learner.predictor() for learner in self.pair())
        specs = offered(bare, AlternativeInputs).alternative_inputs
        assert dict(offered(wrapped, AlternativeInputs).alternative_inputs) == dict(specs)
        inputs = {
            name: np.zeros((_TRIED, *(max(1, size) for size in spec.shape)), dtype=spec.dtype)
            for name, spec in specs.items()
        }
        assert_same(wrapped.predict(inputs), bare.predict(inputs))

    def _validation(self) -> None:
        bare, wrapped = (learner.predictor() for learner in self.pair())
        for factor in (1.0, -1.0, 1e9):
            inputs = {name: column * factor for name, column in self.batches()[0].inputs.items()}
            inputs = {name: column.astype(self.batches()[0].inputs[name].dtype) for name, column in inputs.items()}
            mine = outcome(offered(wrapped, InputValidator).check, inputs)
            assert mine == outcome(offered(bare, InputValidator).check, self.seen(inputs))

    def _explanations(self) -> None:
        bare, wrapped = (learner.predictor() for learner in self.pair())
        inputs = self.batches()[0].inputs
        explained = offered(bare, Explainer).explain(self.seen(inputs), 2)
        assert offered(wrapped, Explainer).explain(inputs, 2) == explained

    def _curves(self) -> None:
        bare, wrapped = (learner.predictor() for learner in self.pair())
        for key in (b"", b"k1"):
            curves = [offered(one, IntensityCurves).course(key) for one in (bare, wrapped)]
            for here, there in zip(curves[0] or (), curves[1] or (), strict=True):
                np.testing.assert_array_equal(here, there)

    def _untaught(self) -> None:
        for count in (0, 2):
            bare, wrapped = (learner.predictor() for learner in self.pair(count))
            assert offered(wrapped, Untaught).untaught == offered(bare, Untaught).untaught

    # Helpers

    def behind(self, batch: Batch) -> Batch:
        """The batch as the wrapper transforms it."""
        return replace(batch, inputs=self.seen(batch.inputs))

    def pair(self, count: int | None = None) -> tuple[Learner, Learner]:
        """A bare and a wrapped learner that have learned the batches, or the first `count` of them."""
        bare, wrapped = self.bare(), self.wrapped()
        for batch in self.batches()[:count]:
            bare.learn(self.behind(batch))
            wrapped.learn(batch)
        return bare, wrapped

    def assert_go_on_alike(self, bare: Learner, wrapped: Learner) -> None:
        """Assert equal states now and after each of the batches."""
        assert self.inner_state(wrapped.state()).sha256() == bare.state().sha256()
        for batch in self.batches():
            assert_same(predict_batch(wrapped.predictor(), batch), predict_batch(bare.predictor(), self.behind(batch)))
            bare.learn(self.behind(batch))
            wrapped.learn(batch)
        assert self.inner_state(wrapped.state()).sha256() == bare.state().sha256()


def offered(thing: object, kind: type[Any]) -> Any:
    """The capability of an object that must have it."""
    found = capability(thing, kind)
    assert found is not None, f"{type(thing).__name__} does not offer {kind.__name__}"
    return found


def outcome(call: Callable[[Any], None], given: object) -> str:
    """The result of a call: nothing, or the type of its error."""
    try:
        call(given)
    except ValueError as error:
        return type(error).__name__
    return ""
