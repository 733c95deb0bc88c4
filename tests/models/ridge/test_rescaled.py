"""Sums under an old scale, re-expressed under a new one."""

from __future__ import annotations

import numpy as np
import pytest

from thalweg.models.parts.random_features import FeatureMap
from thalweg.models.parts.running_scale import Move
from thalweg.models.ridge.rescaled import Rescaling
from thalweg.models.ridge.statistics import Rows, Statistics

GENERATOR = np.random.default_rng(0)
Z = GENERATOR.standard_normal((400, 5))
CODES = GENERATOR.integers(0, 3, 400).astype(np.int32)
MOVE = Move(np.array([0, 3]), np.array([1.3, 0.7]), np.array([-0.4, 0.2]))


def moved() -> np.ndarray:
    z = Z.copy()
    z[:, MOVE.columns] = z[:, MOVE.columns] * MOVE.ratio + MOVE.offset
    return z


def sums(feature_map: FeatureMap, z: np.ndarray, decay: float = 0.999) -> Statistics:
    found = Statistics(feature_map.size, 3, decay=decay, class_grams=True)
    found.add(Rows(feature_map.features(z), np.eye(3)[CODES], codes=CODES))
    return found


def layer(expansion: int, *, bias: bool = True) -> FeatureMap:
    return FeatureMap.draw(5, expansion, offsets=True, direct=True, bias=bias, seed=0)


@pytest.mark.parametrize("decay", [1.0, 0.99])
def test_sums_of_inputs_are_exactly_those_under_the_new_scale(decay: float) -> None:
    linear = layer(0)
    found, wanted = sums(linear, Z, decay), sums(linear, moved(), decay)

    Rescaling(linear, MOVE, 6.0).apply(found)

    np.testing.assert_allclose(np.triu(found.gram), np.triu(wanted.gram), rtol=0, atol=1e-10)
    np.testing.assert_allclose(found.cross, wanted.cross, rtol=0, atol=1e-10)
    for mine, theirs in zip(found.class_grams or (), wanted.class_grams or ()):
        np.testing.assert_allclose(np.triu(mine), np.triu(theirs), rtol=0, atol=1e-10)


def test_sums_of_random_features_come_much_nearer_to_those_under_the_new_scale() -> None:
    random = layer(64)
    found, wanted, before = sums(random, Z), sums(random, moved()), sums(random, Z)

    Rescaling(random, MOVE, 6.0).apply(found)

    off, off_before = (np.abs(np.triu(one.gram - wanted.gram))[:64].mean() for one in (found, before))
    assert off < 0.5 * off_before


def test_old_values_that_the_new_scale_would_clip_do_not_weigh_more_than_clipped_ones() -> None:
    linear = layer(0)
    found = sums(linear, Z)

    Rescaling(linear, Move(np.array([1]), np.array([1e6]), np.array([0.0])), 6.0).apply(found)

    assert found.gram[1, 1] <= 36.0 * found.gram[-1, -1] * (1 + 1e-9)
    assert np.linalg.eigvalsh(np.triu(found.gram) + np.triu(found.gram, 1).T).min() > 0


@pytest.mark.parametrize("far", [0.0, 3.0])
def test_random_features_of_each_class_come_to_their_means_under_the_new_scale(far: float) -> None:
    random, normal = layer(64), np.random.default_rng(3).standard_normal((3000, 5))
    codes = np.arange(3000) % 3
    z = normal * 0.6 + np.array([0.0, far, -far])[codes, None] / 2
    moved = z.copy()
    moved[:, MOVE.columns] = z[:, MOVE.columns] * 2.5 + np.array([-1.0, 1.0])
    move = Move(MOVE.columns, np.array([2.5, 2.5]), np.array([-1.0, 1.0]))
    found = Statistics(random.size, 3, decay=0.999999)
    found.add(Rows(random.features(z), np.eye(3)[codes], codes=codes.astype(np.int32)))
    weight = found.class_weight
    wanted = np.array([random.features(moved)[codes == code].mean(axis=0) for code in range(3)]).T

    rescaling = Rescaling(random, move, 1e9)
    more = rescaling.of_classes(found, found.cross, weight)
    rescaling.apply(found)

    assert more is not None
    np.testing.assert_allclose((found.cross + more) / weight, wanted, rtol=0, atol=0.03)
    assert np.abs(found.cross / weight - wanted)[:64].max() > (0.03 if far == 0.0 else 0.2)


def test_without_inputs_as_features_nothing_is_re_expressed() -> None:
    only_random = FeatureMap.draw(5, 16, offsets=True, direct=False, bias=True, seed=0)
    found, before = sums(only_random, Z), sums(only_random, Z)

    Rescaling(only_random, MOVE, 6.0).apply(found)

    np.testing.assert_array_equal(found.gram, before.gram)
