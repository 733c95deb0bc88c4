"""What is known of pairs of classes: which came at the same time, and which replaced another."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from thalweg.models.ridge.pairs import Pairs

GENERATOR = np.random.default_rng(0)
IN_TURN = np.repeat(np.arange(4), 200).astype(np.int32)


def counted(codes: NDArray[np.int32], cuts: list[int]) -> Pairs:
    pairs, start = Pairs(), 0
    pairs.grow(int(codes.max()) + 1)
    for size in [*cuts, len(codes)]:
        if len(some := codes[start : start + size]):
            pairs.add(some)
            start += len(some)
    return pairs


def away(*codes: int, of: int = 4) -> NDArray[np.bool_]:
    return np.isin(np.arange(of), codes)


@given(cuts=st.lists(st.integers(1, 150), max_size=12))
@settings(max_examples=30)
def test_however_the_log_is_cut_the_counts_are_the_same(cuts: list[int]) -> None:
    codes = np.random.default_rng(1).integers(0, 5, 500).astype(np.int32)

    found = [counted(codes, cuts), counted(codes, [1] * 500)]

    for pairs in found:
        pairs.priced(away(0, of=5))  # counts those that wait
    for name, array in found[1].tensors().items():
        np.testing.assert_array_equal(found[0].tensors()[name], array, err_msg=name)


def test_classes_that_came_one_after_the_other_have_no_price_and_those_that_came_together_have() -> None:
    mixed = GENERATOR.permutation(IN_TURN)

    assert not counted(IN_TURN, [64] * 20).priced(away(0, 1, 2)).any()
    assert counted(mixed, [64] * 20).priced(away(0, 1, 2)).all()


def test_blocks_that_come_again_are_no_mixture() -> None:
    assert not counted(np.tile(IN_TURN, 3), [64] * 50).priced(away(0, 1, 2)).any()


def test_a_few_wrong_labels_do_not_mix_classes() -> None:
    codes = np.repeat(np.arange(4), 500)
    noisy = np.where(GENERATOR.random(2000) < 0.02, GENERATOR.integers(0, 4, 2000), codes).astype(np.int32)

    assert not counted(noisy, [64] * 20).priced(away(0, 1, 2)).any()


def test_a_rare_class_is_mixed_with_those_among_which_it_comes() -> None:
    rare = np.where(np.arange(4000) % 400 == 0, 3, GENERATOR.integers(0, 3, 4000)).astype(np.int32)

    assert counted(rare, [64] * 100).priced(away(3)).all()


@pytest.mark.parametrize("one_by_one", [False, True])
def test_a_class_that_takes_half_of_anothers_events_has_a_price_with_it_and_with_no_other(one_by_one: bool) -> None:
    pairs, codes = counted(IN_TURN, [64] * 20), np.full(300, 3, np.int32)
    predicted = np.where(np.arange(300) % 2 == 0, 1, 3)

    for part in np.arange(300).reshape(-1, 1 if one_by_one else 50):
        pairs.take(codes[part], predicted[part], away(0, 1))

    np.testing.assert_array_equal(pairs.priced(away(0, 1)), [[False, False], [False, True]])
