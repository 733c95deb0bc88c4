"""Events with late labels reach each model through a topic of its own, and are paired by id all the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.stream.comparison.models import World, corners, mean, ridge
from thalweg.stream.comparison.block_losses import BlockLosses
from thalweg.stream.comparison.pairing_by_id import WINDOW, PairsById
from thalweg.stream.log.log import Message

BOTH = {"mean": mean, "ridge": ridge}


def shuffled(events: list[Message], seed: int) -> list[Message]:
    """In about the same order: a label that waits for its event is joined a little later."""
    late = np.arange(len(events)) + np.random.default_rng(seed).choice([0.0, 20.5], len(events), p=[0.9, 0.1])
    return [events[row] for row in np.argsort(late, kind="stable").tolist()]


def learn(world: World, *names: str) -> None:
    for name in names or world.models:
        world.learn(name, joined_topic=f"{name}.joined")


def test_each_event_is_compared_once_however_the_joiners_order_them_and_whenever_the_judge_looks(
    tmp_path: Path,
) -> None:
    events = corners(300)
    theirs = {name: shuffled(events, seed) for seed, name in enumerate(BOTH)}
    whole, pieces = World(tmp_path / "whole", BOTH), World(tmp_path / "pieces", BOTH)
    for name in BOTH:
        whole.log.append(f"{name}.joined", theirs[name])
    learn(whole)
    whole.compare()

    pieces.judge.turn()
    for begin in range(0, 300, 80):  # whole micro-batches, so that the models themselves are the same
        for name in BOTH:
            pieces.log.append(f"{name}.joined", theirs[name][begin : begin + 80])
        learn(pieces)
        if begin == 80:
            pieces.compare()
            pieces.judge.save()
            pieces.new_judge()
    pieces.compare()

    for world in (whole, pieces):
        first, promoted = world.promotions.read()
        assert (first.champion, promoted.champion) == ("mean", "ridge")
        assert promoted.evidence is not None
        assert promoted.evidence["place"].startswith("@mean.joined/0")
    assert whole.decisions() == pieces.decisions()


def test_events_that_the_challenger_never_got_are_not_held_against_it(tmp_path: Path) -> None:
    world = World(tmp_path, {"one": ridge, "other": ridge})
    events = corners(400)
    world.log.append("one.joined", events)
    world.log.append("other.joined", [one for row, one in enumerate(events) if row % 3])

    learn(world)
    world.compare()
    assert world.judge.comparison is not None
    assert world.judge.comparison.tests[0].compared == 0  # a missing one near the end may still come

    more = corners(WINDOW + 1, seed=1, first=400)
    for name in ("one", "other"):
        world.log.append(f"{name}.joined", more)
    learn(world)
    world.compare()

    (test,) = world.judge.comparison.tests
    assert test.compared == 266 + WINDOW + 1  # two thirds, and all that came after
    assert test.unanswered == 0


def test_a_challenger_that_has_fewer_late_labels_is_waited_for_and_told(tmp_path: Path) -> None:
    world = World(tmp_path, BOTH)
    events = corners(300)
    world.log.append("mean.joined", events)
    world.log.append("ridge.joined", events[:10])
    learn(world)

    world.compare()
    world.judge.save()
    assert "ridge has fewer late labels than mean" in (tmp_path / ".aliases" / "fraud.comparison.json").read_text()

    world.log.append("ridge.joined", events[10:])
    learn(world, "ridge")
    world.compare()

    assert world.champion() == "ridge"


def block(first: int, keys: list[int]) -> BlockLosses:
    count = len(keys)
    spans = {"@b/0": (first - 1, first + count - 1)}
    offsets = np.arange(first, first + count)
    return BlockLosses(1, spans, ("@b/0",), np.zeros(count, "i4"), offsets, offsets / 1e4, np.array(keys), first)


@pytest.mark.parametrize("ahead", [0, 1000])
def test_what_is_paired_does_not_depend_on_how_far_was_read_ahead(ahead: int) -> None:
    """An event that stands more than a window behind the furthest pair is none, also where it is read already."""
    pairs = PairsById()
    pairs.add(block(0, [*range(100), *range(10_000, 10_000 + WINDOW), 7777]))
    if ahead:
        pairs.add(block(201, list(range(20_000, 20_000 + ahead))))

    found, reached = pairs.losses_of([50, 99, 5555, 7777], reached=60)

    assert np.isnan(found).tolist() == [False, False, True, True]
    assert reached == 99


def test_a_missing_event_is_given_up_only_when_a_window_behind_it_was_read() -> None:
    pairs = PairsById()
    pairs.add(block(0, list(range(WINDOW))))
    assert not pairs.behind([5], reached=0)
    assert pairs.behind([5, 9999], reached=0)

    pairs.add(block(WINDOW, list(range(WINDOW, 2 * WINDOW))))

    assert not pairs.behind([5, 9999], reached=0)
    assert pairs.done(reached=2 * WINDOW - 1) == {"@b/0": WINDOW - 1}
