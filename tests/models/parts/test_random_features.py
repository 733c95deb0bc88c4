"""The frozen random layer."""

import numpy as np
import pytest

from thalweg.models.parts.random_features import FeatureMap


def drawn(seed: int = 1, **options: bool) -> FeatureMap:
    chosen = {"offsets": True, "direct": True, "bias": True} | options
    return FeatureMap.draw(9, 40, seed=seed, **chosen)


def test_the_same_seed_draws_the_same_layer_and_another_seed_another() -> None:
    np.testing.assert_array_equal(drawn().projection, drawn().projection)
    assert not np.array_equal(drawn(2).projection, drawn().projection)


def test_the_layer_is_drawn_as_published() -> None:
    layer = FeatureMap.draw(9, 5000, offsets=False, direct=False, bias=False, seed=0)

    assert np.abs(layer.projection).max() <= 1 / 3
    assert layer.projection.std() == pytest.approx(2 / 3 / np.sqrt(12), rel=0.02)
    assert not layer.offsets.any()


def test_more_random_features_keep_those_that_were_there() -> None:
    few, more = (FeatureMap.draw(9, d, offsets=False, direct=False, bias=False, seed=4) for d in (10, 30))

    np.testing.assert_array_equal(more.projection[:, :10], few.projection)


@pytest.mark.parametrize("direct", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_features_are_random_then_inputs_then_the_constant(direct: bool, bias: bool) -> None:
    layer = drawn(direct=direct, bias=bias)
    x = np.random.default_rng(0).standard_normal((16, 9))

    parts = [np.maximum(0, x @ layer.projection + layer.offsets)]
    parts += [x] if direct else []
    parts += [np.ones((16, 1))] if bias else []
    np.testing.assert_allclose(layer.features(x), np.hstack(parts), rtol=0, atol=1e-14)
    assert layer.size == layer.features(x).shape[1]


def test_without_an_expansion_the_inputs_are_the_features() -> None:
    layer = FeatureMap.draw(9, 0, offsets=True, direct=False, bias=False, seed=0)

    assert layer.direct
    assert layer.size == 9
