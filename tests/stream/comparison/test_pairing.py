"""Losses are paired event by event, across partitions and whatever the cut of blocks."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thalweg.stream.comparison.block_losses import BlockLosses
from thalweg.stream.comparison.bounds import Bounds
from thalweg.stream.comparison.pairing import Pairs
from thalweg.stream.comparison.trial import MOST_EVENTS, Trial, step


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
        found.append(BlockLosses(len(found) + 1, spans, places, which, offsets, losses))
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
    trial = Trial("a", 0, 0.05, 0, Bounds(0.0, 1.0)).with_challengers(["b"])
    pairs, theirs = {"b": Pairs()}, iter(blocks(challenger, sizes[1], unlabelled=5, shift=0.001))

    for block in blocks(champion, sizes[0], unlabelled=5):
        while pairs["b"].behind(block.spans, trial.done):
            pairs["b"].add(next(theirs), trial.done)
        trial, decision = step(trial, block, pairs)
        pairs["b"].drop(trial.done)
        assert decision is None

    (test,) = trial.tests
    assert test.compared == 64
    assert test.unanswered == 0
    assert test.sums.total == pytest.approx(-0.064)
    assert test.sums.squares == pytest.approx(64e-6)


def test_in_a_record_of_several_events_the_nth_is_paired_with_the_nth_and_other_counts_are_not_compared() -> None:
    def of(*offsets: int) -> BlockLosses:
        count = len(offsets)
        losses = np.arange(count) / 10
        return BlockLosses(1, {"t/0": (-1, 9)}, ("t/0",), np.zeros(count, "i4"), np.array(offsets), losses)

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


def test_a_test_ends_when_the_champion_is_better_or_after_a_million_events_and_another_begins() -> None:
    worse = Trial("a", 0, 0.05, 0, Bounds(0.0, 1.0)).with_challengers(["b"])
    first = worse.tests[0].alpha
    order = [("t/0", offset) for offset in range(400)]
    pairs = {"b": Pairs()}
    for block in blocks(order, 400, shift=0.0):
        better = BlockLosses(1, block.spans, block.places, block.which, block.offsets, np.full(400, 0.9))
        pairs["b"].add(better, {})
        zero = BlockLosses(1, block.spans, block.places, block.which, block.offsets, np.zeros(400))
        worse, decision = step(worse, zero, pairs)
        assert decision is None

    (test,) = worse.tests
    assert test.ended > 2
    assert worse.groups == 1 + test.ended
    assert test.alpha < first / 4
    assert test.compared == 400
    assert test.sums.events < 100
    assert MOST_EVENTS == 1_000_000
