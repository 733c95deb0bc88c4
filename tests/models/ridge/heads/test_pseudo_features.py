"""Topping up classes."""

import numpy as np

from thalweg.models.ridge.heads.pseudo_features import deviations, reweighted_head, rows_needed, seeded_noise, topped_up
from thalweg.models.ridge.heads.solve import solve
from thalweg.models.ridge.statistics import Rows, Statistics

GENERATOR = np.random.default_rng(0)
CODES = np.array([0] * 50 + [1] * 7 + [3], dtype=np.int32)  # class 2 has no event, class 3 a single one
X = GENERATOR.standard_normal((58, 4)) * [1, 2, 3, 0] + CODES[:, None]


def statistics(**options: bool) -> Statistics:
    found = Statistics(4, 4, moments=4, **options)
    found.add(Rows(X, np.eye(4)[CODES], None, CODES, X))
    return found


def test_every_class_that_has_events_is_topped_up_to_the_largest() -> None:
    np.testing.assert_array_equal(rows_needed(statistics().class_weight, 100), [0, 43, 0, 49])
    np.testing.assert_array_equal(rows_needed(statistics().class_weight, 10), [0, 10, 0, 10])
    assert rows_needed(np.zeros(0), 10).shape == (0,)


def test_deviations_are_those_of_the_class_and_none_for_a_single_event() -> None:
    spread = deviations(statistics())

    np.testing.assert_allclose(spread[0], X[:50].std(axis=0, ddof=1), atol=1e-12)
    np.testing.assert_allclose(spread[1], X[50:57].std(axis=0, ddof=1), atol=1e-12)
    assert not spread[2:].any()


def test_topped_up_sums_weigh_every_class_alike_however_few_rows_are_drawn() -> None:
    for most in (5, 1000):
        balanced = topped_up(statistics(), lambda x: x, 1.0, most, seeded_noise(0, 58))

        ones = topped_up(statistics(), lambda x: np.ones((len(x), 4)), 1.0, most, seeded_noise(0, 58))
        np.testing.assert_allclose(ones.cross[0] - statistics().cross[0], [0, 43, 0, 49], atol=1e-9)
        assert balanced.gram.shape == (4, 4)


def test_the_sums_are_left_alone_and_the_noise_follows_from_the_seed() -> None:
    kept = statistics()
    before = kept.gram.copy()

    heads = [
        solve(balanced.gram, balanced.cross, 1.0)
        for balanced in (topped_up(kept, lambda x: x, 1.0, 100, seeded_noise(seed, 58)) for seed in (1, 1, 2))
    ]

    np.testing.assert_array_equal(kept.gram, before)
    np.testing.assert_array_equal(heads[0], heads[1])
    assert not np.array_equal(heads[0], heads[2])


def test_reweighting_equals_weights_on_the_events() -> None:
    kept = statistics(class_grams=True)
    counts = np.bincount(CODES, minlength=4)
    share = np.where(counts > 0, 1 / np.maximum(counts, 1), 0)
    share *= 4 / share.sum()
    weighted = Statistics(4, 4)
    weighted.add(Rows(X, np.eye(4)[CODES], share[CODES]))

    head = reweighted_head(kept, 0.5, None)

    np.testing.assert_allclose(head, solve(weighted.gram, weighted.cross, 0.5), atol=1e-12)
