"""Losses are paired event by event, across partitions and whatever the cut of blocks."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thalweg.stream.comparison.block_losses import BlockLosses
from thalweg.stream.comparison.bounds import Bounds
from thalweg.stream.comparison.comparison import MOST_EVENTS, Comparison, step
from thalweg.stream.comparison.pairing import Pairs


def blocks(order: list[tuple[str, int]], size: int, unlabelled: int = 0, shift: float = 0.0) -> list[BlockLosses]:
    """Blocks of the records in this order; each event's loss says which it is. Every so many records has no label."""
    found, reached = list[BlockLosses](), dict[str, int]()
    for begin in range(0, len(order), size):
        part = order[begin : begin + size]
        places = tuple(dict.fromkeys(place for place, _ in part))
        spans = {p: (reached.get(p, -1), max(o for q, o in part if q == p)) for p in places}
        reached |= {place: last for place, (_, last) in spans.items()}
        events = [(place, offset) for place, offset in part if not unlabelled or offset % unlabelled]
        which = np.array([places.index(place) for place, _ in events], np.int32)
        losses = np.array([_loss(place, offset) + shift for place, offset in events])
        offsets = np.array([offset for _, offset in events], np.int64)
        found.append(BlockLosses(len(found) + 1, spans, places, which, offsets, losses, np.full(len(offsets), -1)))
    return found


def _loss(place: str, offset: int) -> float:
    return (hash((place[-1] == "1", offset)) % 1000) / 1001


ROWS = [(place, offset) for place in ("t/0", "t/1") for offset in range(40)]


@st.composite
def orders(draw: st.DrawFn) -> list[tuple[str, int]]:
    """The records of two partitions, each in order, shuffled into each other."""
    takes = draw(st.permutations([0] * 40 + [1] * 40))
    at = [0, 0]
    found = []
    for part in takes:
        found.append((f"t/{part}", at[part]))
        at[part] += 1
    return found


@given(champion=orders(), challenger=orders(), sizes=st.tuples(st.integers(1, 30), st.integers(1, 30)))
def test_each_event_is_paired_with_itself_once_in_the_champions_order(
    champion: list[tuple[str, int]], challenger: list[tuple[str, int]], sizes: tuple[int, int]
) -> None:
    """The challenger loses a thousandth more on every event, so each true pair adds exactly that."""
    comparison = Comparison("a", 0, 0.05, 0, Bounds(0.0, 1.0)).with_challengers(["b"])
    pairs, theirs = {"b": Pairs()}, iter(blocks(challenger, sizes[1], unlabelled=5, shift=0.001))

    for block in blocks(champion, sizes[0], unlabelled=5):
        while pairs["b"].behind(block.spans, comparison.done):
            pairs["b"].add(next(theirs), comparison.done)
        comparison, decision = step(comparison, block, pairs)
        pairs["b"].drop(comparison.done)
        assert decision is None

    (test,) = comparison.tests
    assert test.compared == 64
    assert test.unanswered == 0
    assert test.sums.total == pytest.approx(-0.064)
    assert test.sums.squares == pytest.approx(64e-6)


def test_in_a_record_of_several_events_the_nth_is_paired_with_the_nth_and_other_counts_are_not_compared() -> None:
    def of(*offsets: int) -> BlockLosses:
        count = len(offsets)
        losses = np.arange(count) / 10
        return BlockLosses(
            1, {"t/0": (-1, 9)}, ("t/0",), np.zeros(count, "i4"), np.array(offsets), losses, np.full(count, -1)
        )

    pairs = Pairs()
    pairs.add(of(3, 3, 3, 4, 6, 6), {})

    found = pairs.losses_at("t/0", np.array([3, 3, 3, 4, 5, 6]))

    assert found[:4].tolist() == [0.0, 0.1, 0.2, 0.3]
    assert math.isinf(found[4])
    assert math.isnan(found[5])


def test_a_challenger_that_reads_one_partition_far_ahead_takes_bounded_memory() -> None:
    pairs = Pairs(most_events=50)
    ahead = blocks([("t/1", offset) for offset in range(1000)], 10)
    for block in ahead:
        pairs.add(block, {})

    assert pairs.events <= 50
    assert not pairs.behind({"t/1": (-1, 999)}, {})
    assert np.isnan(pairs.losses_at("t/1", np.array([900]))).all()  # not compared, and not held against it


def against(worse: int, better: int, cut: int) -> tuple[Comparison, int | None]:
    """A challenger that always loses for some events and then always wins: the end, and the deciding offset."""
    count = worse + better
    spans, which, offsets = {"t/0": (-1, count - 1)}, np.zeros(count, "i4"), np.arange(count)
    theirs = np.where(offsets < worse, 0.9, 0.0)
    pairs = {"b": Pairs()}
    pairs["b"].add(BlockLosses(1, spans, ("t/0",), which, offsets, theirs, np.full(count, -1)), {})
    comparison = Comparison("a", 0, 0.05, 0, Bounds(0.0, 1.0)).with_challengers(["b"])
    for begin in range(0, count, cut):
        rows = slice(begin, min(count, begin + cut))
        ours = 0.9 - theirs[rows]
        last = int(offsets[rows][-1])
        block = BlockLosses(
            1, {"t/0": (begin - 1, last)}, ("t/0",), which[rows], offsets[rows], ours, np.full(len(ours), -1)
        )
        comparison, decision = step(comparison, block, pairs)
        if decision is not None:
            return comparison, decision.offset
    return comparison, None


@pytest.mark.parametrize("cut", [100, 777, 100_000])
def test_a_challenger_that_was_worse_for_long_is_found_soon_if_the_world_turns(cut: int) -> None:
    comparison, decided = against(4_500, 1_500, cut)

    (test,) = comparison.tests
    assert test.ended == 4  # not at once, which would use up alpha
    assert comparison.groups == 5
    assert test.alpha == pytest.approx(0.05 * 6 / math.pi**2 / 25)
    assert decided == 5_156  # whatever the cut


def test_the_longer_the_comparison_the_longer_its_tests_so_that_alpha_is_not_used_up() -> None:
    comparison, decided = against(400_000, 0, 50_000)

    assert decided is None
    assert 100 < comparison.tests[0].ended < 250


def test_a_test_without_a_result_ends_after_a_million_events() -> None:
    count = 1_100_000
    losses = np.full(count, 0.5)
    block = BlockLosses(
        1, {"t/0": (-1, count - 1)}, ("t/0",), np.zeros(count, "i4"), np.arange(count), losses, np.full(count, -1)
    )
    pairs = {"b": Pairs()}
    pairs["b"].add(block, {})

    comparison, decision = step(Comparison("a", 0, 0.05, 0, Bounds(0.0, 1.0)).with_challengers(["b"]), block, pairs)

    assert decision is None
    assert (comparison.tests[0].ended, comparison.tests[0].sums.events) == (1, count - MOST_EVENTS)
