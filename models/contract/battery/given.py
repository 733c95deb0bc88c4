"""What a battery is given, and what its cases share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast
from unittest import SkipTest

import numpy as np

from thalweg.memory.snapshots.state import State
from thalweg.models.contract.learner import Learner, LearnerFactory, Predictor
from thalweg.proto.event import Batch
from thalweg.proto.schema import Array, Inputs


class Given:
    """What a battery is given; see `LearnerContract`."""

    gauges_left_out: frozenset[str] = frozenset()
    """Declared gauges that say nothing under the parameters of `new`."""

    def new(self) -> Learner:
        """A learner that has learned nothing; every call gives an equal one."""
        raise NotImplementedError

    def batches(self) -> list[Batch]:
        """Four or more micro-batches of several events each that the learner can learn from; some labelled."""
        raise NotImplementedError

    def other(self) -> Learner:
        """One that has learned nothing either, under other parameters or for wider inputs than `new`, and that cannot
        go on from its state."""
        raise SkipTest("no other() is given: a learner of other parameters")

    def predictor_from(self, state: State) -> Predictor:
        """How servers get a predictor back; override it where the factory is not the learner's class."""
        return cast(LearnerFactory, type(self.new())).predictor_from(state)

    def trained(self, count: int | None = None) -> Learner:
        """One that has learned the batches, or so many of them."""
        learner = self.new()
        for batch in self.batches()[:count]:
            learner.learn(batch)
        return learner

    def all_inputs(self) -> Mapping[str, Array]:
        """Those of all batches."""
        batches = self.batches()
        return {name: np.concatenate([batch.inputs[name] for batch in batches]) for name in batches[0].inputs}


def stored(state: State) -> State:
    """The state as a file would give it back: copied, read-only."""
    tensors = {}
    for name, array in state.tensors.items():
        copy = np.ascontiguousarray(array).copy()
        copy.flags.writeable = False
        tensors[name] = copy
    return State(tensors, dict(state.meta))


def assert_same(got: Mapping[str, Array], wanted: Mapping[str, Array]) -> None:
    """The same names and, bit for bit, the same arrays."""
    assert set(got) == set(wanted)
    for name, array in wanted.items():
        np.testing.assert_array_equal(got[name], array, err_msg=name)


def assert_close(got: Predictor, wanted: Predictor, inputs: Inputs) -> None:
    """The same classes, in any order, and the same figures up to rounding."""
    assert set(got.classes) == set(wanted.classes)
    order = [got.classes.index(name) for name in wanted.classes]
    answers, expected = got.predict(inputs), wanted.predict(inputs)
    for name, array in expected.items():
        if array.dtype.kind == "f":
            by_class = name == "scores" and bool(wanted.classes)
            mine = answers[name][:, order] if by_class else answers[name]
            np.testing.assert_allclose(mine, array, rtol=1e-3, atol=1e-4, err_msg=name)


def assert_finite(state: State) -> None:
    """No number of it is infinite or none at all."""
    for name, array in state.tensors.items():
        assert array.dtype.kind != "f" or np.isfinite(array).all(), f"state tensor {name!r} is not finite"
