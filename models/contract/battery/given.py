"""What a test class provides, and helpers that its cases share."""

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
    """What a test class provides; see `LearnerContract`."""

    gauges_left_out: frozenset[str] = frozenset()
    """Declared gauges that have no value under the parameters of `new`."""

    merges_exactly: bool = True
    """Whether what is merged answers as one learner of all events; False: its documentation says what is not exact."""

    def new(self) -> Learner:
        """A learner that has learned nothing; every call returns an equal one."""
        raise NotImplementedError

    def batches(self) -> list[Batch]:
        """At least four micro-batches of several events each from which the learner can learn; some labelled."""
        raise NotImplementedError

    def other(self) -> Learner:
        """Another learner that has learned nothing, with other parameters or wider inputs than `new`, so that it cannot
        be restored from its state.
        """
        raise SkipTest("other() is not defined: a learner with other parameters")

    def predictor_from(self, state: State) -> Predictor:
        """The predictor of a state, as servers make it; override it if the factory is not the learner's class."""
        return cast(LearnerFactory, type(self.new())).predictor_from(state)

    def trained(self, count: int | None = None) -> Learner:
        """A learner that has learned the batches, or the first `count` of them."""
        learner = self.new()
        for batch in self.batches()[:count]:
            learner.learn(batch)
        return learner

    def all_inputs(self) -> Mapping[str, Array]:
        """The inputs of all batches."""
        batches = self.batches()
        return {name: np.concatenate([batch.inputs[name] for batch in batches]) for name in batches[0].inputs}


def stored(state: State) -> State:
    """The state as read from a file: copied, read-only."""
    tensors = {}
    for name, array in state.tensors.items():
        copy = np.ascontiguousarray(array).copy()
        copy.flags.writeable = False
        tensors[name] = copy
    return State(tensors, dict(state.meta))


def assert_same(got: Mapping[str, Array], wanted: Mapping[str, Array]) -> None:
    """Assert the same names and bit-identical arrays."""
    assert set(got) == set(wanted)
    for name, array in wanted.items():
        np.testing.assert_array_equal(got[name], array, err_msg=name)


def assert_close(got: Predictor, wanted: Predictor, inputs: Inputs) -> None:
    """Assert the same classes, in any order, and the same outputs up to rounding."""
    assert set(got.classes) == set(wanted.classes)
    order = [got.classes.index(name) for name in wanted.classes]
    answers, expected = got.predict(inputs), wanted.predict(inputs)
    for name, array in expected.items():
        if array.dtype.kind == "f":
            by_class = name in ("scores", "probabilities") and bool(wanted.classes)
            mine = answers[name][:, order] if by_class else answers[name]
            np.testing.assert_allclose(mine, array, rtol=1e-3, atol=1e-4, err_msg=name)


def assert_finite(state: State) -> None:
    """Assert that every number of the state is finite."""
    for name, array in state.tensors.items():
        assert array.dtype.kind != "f" or np.isfinite(array).all(), f"state tensor {name!r} is not finite"
