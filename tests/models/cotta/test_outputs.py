"""What a network ends in: logits, probabilities, or too little."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from thalweg.models.contract.learner import LearnerContext, ParamsError
from thalweg.models.cotta.learner import Cotta
from thalweg.proto.event import Batch
from thalweg.proto.schema import TensorSpec

NETWORKS = "tests.models.small_networks"
X = np.random.default_rng(0).random((60, 12)).astype(np.float32)


def learner(network: str, **params: Any) -> Cotta:
    inputs = {"features": TensorSpec("features", "float32", (12,))}
    return Cotta(LearnerContext(inputs=inputs, params={"model": f"{NETWORKS}:{network}", **params}, seed=0))


def after_some(made: Cotta) -> Cotta:
    """Inputs learned, with a step."""
    made.learn(Batch({"features": X}, None, np.ones(len(X)), np.zeros(len(X))))
    return made


def test_a_network_that_ends_in_a_softmax_answers_and_adapts_as_one_that_ends_before_it() -> None:
    plain, ended = learner("vectors"), learner("with_probabilities")
    shown = {"features": X[:9]}
    for _ in range(2):
        wanted, found = (made.predictor().predict(shown)["scores"] for made in (plain, ended))

        np.testing.assert_allclose(found, wanted, atol=1e-5)
        again = Cotta.predictor_from(ended.predictor().state()).predict(shown)["scores"]
        np.testing.assert_array_equal(again, found)
        after_some(plain), after_some(ended)


def test_a_network_of_one_output_is_refused_with_what_to_do() -> None:
    with pytest.raises(ParamsError, match=r"two classes or more, got one number .*torch\.cat"):
        learner("one_logit")
