"""Which decay to believe."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thalweg.models.ridge.heads.mixture import Mixture
from thalweg.models.ridge.statistics import Rows

GENERATOR = np.random.default_rng(0)
H, Y = GENERATOR.standard_normal((60, 4)), GENERATOR.standard_normal((60, 2))
HEADS = GENERATOR.standard_normal((3, 4, 2))


def test_before_any_event_all_weigh_the_same() -> None:
    np.testing.assert_allclose(Mixture(4, 100, unit_free=False).weights(), 0.25)


@given(cuts=st.lists(st.integers(1, 20), max_size=6))
def test_losses_do_not_depend_on_the_cut(cuts: list[int]) -> None:
    cut, whole = Mixture(3, 10, unit_free=False), Mixture(3, 10, unit_free=False)
    start = 0
    for size in [*cuts, 60]:
        cut.score(Rows(H[start : start + size], Y[start : start + size]), HEADS)
        start += size
    whole.score(Rows(H, Y), HEADS)

    np.testing.assert_allclose(cut.losses, whole.losses, rtol=1e-12)


def test_the_one_that_did_best_lately_is_believed_even_if_it_was_worst_before() -> None:
    mixture = Mixture(2, 20, unit_free=False)
    right, wrong = np.zeros((4, 2)), np.ones((4, 2))
    for _ in range(10):
        mixture.score(Rows(H, np.zeros((60, 2))), np.array([right, wrong]))
    assert mixture.weights()[0] > 0.99

    for _ in range(10):
        mixture.score(Rows(H, H @ wrong), np.array([right, wrong]))

    assert mixture.weights()[1] > 0.99


@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e6])
def test_for_targets_with_a_unit_weights_do_not_depend_on_it(unit: float) -> None:
    mixture, reference = Mixture(3, 50, unit_free=True), Mixture(3, 50, unit_free=True)

    mixture.score(Rows(H, Y * unit), HEADS * 0.1 * unit)
    reference.score(Rows(H, Y), HEADS * 0.1)

    np.testing.assert_allclose(mixture.weights(), reference.weights(), rtol=1e-6)


def test_a_perfect_head_for_targets_with_a_unit_takes_all_weight() -> None:
    mixture = Mixture(2, 50, unit_free=True)

    mixture.score(Rows(H, np.zeros((60, 2))), np.array([np.zeros((4, 2)), np.ones((4, 2))]))

    np.testing.assert_array_equal(mixture.weights(), [1, 0])
