"""A challenger that is better is promoted at an event that follows from the log, whatever else happens."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.stream.comparison.models import SPECS, World, corners, mean, ridge
from thalweg.models.contract.learner import Learner, LearnerContext
from thalweg.models.ridge.learner import Ridge
from thalweg.stream.comparison.loss_log import segments
from thalweg.stream.comparison.losses import LossOfEvents
from thalweg.stream.journal.promotions import BACK, TESTED, Promotions
from thalweg.stream.learn.processor import Processor
from thalweg.stream.log.log import Message

BOTH = {"mean": mean, "ridge": ridge}


def test_a_challenger_that_is_better_is_promoted_and_the_old_champion_challenges_it_with_less_of_alpha(
    tmp_path: Path,
) -> None:
    world = World(tmp_path, BOTH)
    world.log.append("t", corners(600))

    world.learn()
    world.compare()

    first, promoted = world.promotions.read()
    assert (first.champion, promoted.champion, promoted.cause) == ("mean", "ridge", TESTED)
    assert promoted.evidence is not None
    assert promoted.evidence["log_evidence"] >= promoted.evidence["log_needed"]
    assert 0 < promoted.evidence["offset"] < 300
    comparison = world.judge.comparison
    assert comparison is not None
    (test,) = comparison.tests
    assert (comparison.champion, test.challenger) == ("ridge", "mean")
    assert test.alpha < promoted.evidence["alpha"]
    assert test.compared == 600 - 1 - promoted.evidence["offset"]  # every event after the deciding one
    assert test.sums.mean < 0


def test_models_that_are_equal_stay_where_they_are(tmp_path: Path) -> None:
    world = World(tmp_path, {"one": ridge, "other": ridge})
    world.log.append("t", corners(600, noise=0.5))

    world.learn()
    world.compare()

    assert world.champion() == "one"
    comparison = world.judge.comparison
    assert comparison is not None
    assert comparison.tests[0].compared == 600
    assert comparison.tests[0].sums.total == 0.0


@pytest.mark.parametrize("cut", [3, 16])
def test_the_deciding_event_does_not_depend_on_how_blocks_are_cut(tmp_path: Path, cut: int) -> None:
    """Micro-batches of eight in both worlds; in one the log arrives at once, in the other piece by piece."""
    whole, pieces = World(tmp_path / "whole", BOTH), World(tmp_path / "pieces", BOTH)
    events = corners(160)
    whole.log.append("t", events)
    whole.learn(batch_events=1)
    whole.compare()

    for number, begin in enumerate(range(0, len(events), cut * 4)):
        pieces.log.append("t", events[begin : begin + cut * 4])
        pieces.learn(*[("mean", "ridge"), ("ridge", "mean")][number % 2], batch_events=1)
        if number % 3:
            pieces.compare()
    pieces.compare()

    assert whole.decisions() == pieces.decisions() != []


class Killed(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("kill_at", range(0, 20, 2))
def test_after_a_kill_anywhere_the_same_challenger_is_promoted_at_the_same_event_once(
    tmp_path: Path, kill_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed within either model or the judge, before or after the promotion is recorded, and once more after that."""
    undisturbed, world = World(tmp_path / "a", BOTH), World(tmp_path / "b", BOTH)
    for one in (undisturbed, world):
        one.log.append("t", corners(200))
    undisturbed.learn()
    undisturbed.compare()
    world.judge.turn()

    left = [kill_at]
    touched = [
        (Processor, "_note"),  # a block is learned, its losses are not written
        (Processor, "_done"),  # they are
        (Promotions, "promote_tested"),  # decided, not recorded
        (type(world.judge), "_follow"),
        (type(world.judge), "save"),
    ]
    for owner, name in touched:
        whole = getattr(owner, name)

        def dying(self: Any, *given: Any, whole: Any = whole, **more: Any) -> Any:
            left[0] -= 1
            if left[0] in (-1, -8):
                raise Killed
            return whole(self, *given, **more)

        monkeypatch.setattr(owner, name, dying)

    alive = False
    while not alive:
        try:
            world.learn()
            world.compare()
            world.judge.save()
            alive = True
        except Killed:
            world.new_judge()

    assert world.decisions() == undisturbed.decisions()
    assert len(world.promotions.read()) == 2
    ours, theirs = world.judge.comparison, undisturbed.judge.comparison
    assert ours is not None
    assert theirs is not None
    assert [test.sums for test in ours.tests] == [test.sums for test in theirs.tests]


def test_a_challenger_that_is_behind_is_waited_for_and_told(tmp_path: Path) -> None:
    world = World(tmp_path, BOTH)
    world.log.append("t", corners(600))
    world.learn("mean")

    world.compare()
    world.judge.save()

    assert world.champion() == "mean"
    assert "ridge learns behind mean" in (tmp_path / ".aliases" / "fraud.comparison.json").read_text()

    world.learn("ridge")
    world.compare()

    assert world.champion() == "ridge"


def test_an_operator_who_goes_back_is_not_overruled_and_one_who_promotes_ends_the_comparison(tmp_path: Path) -> None:
    world = World(tmp_path, BOTH)
    world.log.append("t", corners(300))
    world.learn()
    world.compare()
    assert world.champion() == "ridge"

    world.promotions.go_back("mean", world.promotions.read()[-1])
    world.log.append("t", corners(300, seed=1, first=300))
    world.learn()
    world.compare()

    assert world.promotions.read()[-1].cause == BACK
    comparison = world.judge.comparison
    assert comparison is not None
    assert comparison.tests[0].sums.log_evidence > comparison.tests[0].log_needed  # it is better, and stays back
    world.promotions.promote("ridge", world.promotions.read()[-1])
    world.compare()
    assert world.judge.comparison is not None
    assert world.judge.comparison.champion == "ridge"


def test_a_better_challenger_that_could_not_answer_is_promoted_once_it_can(tmp_path: Path) -> None:
    world = World(tmp_path, BOTH)
    reasons = ["it has published no version"]
    world.new_judge(refusals=lambda champion, challenger: reasons)
    world.log.append("t", corners(300))
    world.learn()
    world.compare()
    world.judge.save()
    assert world.champion() == "mean"
    assert "no version" in (tmp_path / ".aliases" / "fraud.comparison.json").read_text()

    world.new_judge(refusals=lambda champion, challenger: reasons)  # a restart forgets no decision
    reasons.clear()
    world.compare()

    undisturbed = World(tmp_path / "other", BOTH)
    undisturbed.log.append("t", corners(300))
    undisturbed.learn()
    undisturbed.compare()
    assert world.decisions() == undisturbed.decisions() != []


def test_a_challenger_that_cannot_be_compared_is_left_out_and_told(tmp_path: Path) -> None:
    world = World(tmp_path, BOTH)
    world.new_judge(left_out=lambda champion, challenger: "it takes an input 'amount' that requests do not have")
    world.log.append("t", corners(300))

    world.learn()
    world.compare()
    world.judge.save()

    assert world.champion() == "mean"
    assert "an input 'amount'" in (tmp_path / ".aliases" / "fraud.comparison.json").read_text()


def test_a_topic_that_is_created_again_is_compared_from_its_beginning(tmp_path: Path) -> None:
    world = World(tmp_path, {"one": ridge, "other": ridge})
    world.log.append("t", corners(200))
    world.learn()
    world.compare()

    world.log.recreate("t")
    world.log.append("t", corners(50, seed=1, first=1000))
    world.learn()
    world.compare()

    comparison = world.judge.comparison
    assert comparison is not None
    assert comparison.tests[0].compared == 250


def test_losses_are_deleted_once_they_are_compared(tmp_path: Path) -> None:
    world = World(tmp_path, BOTH)
    for part in range(6):
        world.log.append("t", corners(100, seed=part, first=100 * part))
        world.learn()
        world.compare()
        world.judge.save()

    assert all(len(segments(tmp_path / name / "losses")) <= 3 for name in BOTH)


def test_where_losses_are_lost_events_are_not_compared_and_the_test_goes_on(tmp_path: Path) -> None:
    """As after a power cut, or where the comparison stood still for so long that the oldest were dropped."""
    world = World(tmp_path, {"one": ridge, "other": ridge})
    for part in range(4):
        world.log.append("t", corners(100, seed=part, first=100 * part))
        world.learn()
    folder = tmp_path / "other" / "losses"
    assert len(segments(folder)) > 1
    for gone in segments(folder)[:-1]:
        (folder / f"{gone}.losses").unlink()

    world.compare()

    comparison = world.judge.comparison
    assert comparison is not None
    (test,) = comparison.tests
    assert 0 < test.compared < 400
    assert test.unanswered == 0
    assert comparison.done == dict.fromkeys(comparison.done, 399)


def test_what_a_challenger_does_not_answer_counts_as_its_worst_loss(tmp_path: Path) -> None:
    world = World(tmp_path, {"one": ridge, "other": ridge})
    world.log.append("t", corners(100))
    world.learn("one")
    world.learn("other", max_record_bytes=10)  # nothing can be decoded

    world.compare()

    comparison = world.judge.comparison
    assert comparison is not None
    (test,) = comparison.tests
    assert test.unanswered == test.compared == 100
    assert test.sums.mean < -0.5


def numbers(expansion: int) -> Learner:
    return Ridge(LearnerContext(inputs=SPECS, params={"task": "regression", "expansion": expansion}, seed=0))


@pytest.mark.parametrize("far_off", [(), (5, 200)])
def test_of_numbers_the_smaller_squared_error_is_promoted_also_among_targets_that_are_far_off(
    tmp_path: Path, far_off: tuple[int, ...]
) -> None:
    """A single target of 1e100 would decide a mean of squared errors for ever."""
    world = World(tmp_path, {"flat": lambda: numbers(0), "bent": lambda: numbers(64)})
    world.new_judge(loss_range=lambda champion: (0.0, math.inf))
    rng = np.random.default_rng(2)
    points = rng.uniform(-1, 1, (1200, 2)).astype(np.float32)
    values = points[:, 0] * points[:, 1] + rng.normal(0, 0.02, 1200)
    values[list(far_off)] = 1e100
    records = [{"inputs": {"features": p}, "label": v, "weight": 1.0} for p, v in zip(points.tolist(), values.tolist())]
    for row in far_off:
        records[row]["weight"] = 1e-250  # what they teach does not matter here
    world.log.append("t", [Message(json.dumps(one).encode(), time=1.0) for one in records])

    world.learn()
    world.compare()

    assert world.champion() == "bent"
    assert world.decisions()[0][1] < 1000


def test_losses_that_cannot_be_computed_cost_the_model_no_event(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*given: Any) -> Any:
        raise ArithmeticError("no loss today")

    monkeypatch.setattr(LossOfEvents, "of", fails)
    world = World(tmp_path, BOTH)
    world.log.append("t", corners(100))

    processor = world.processor("mean")
    processor.run(until_end=True)
    world.compare()

    assert processor.events_learned == 100
    assert world.champion() == "mean"


def test_a_champion_that_is_removed_gives_way_to_the_configured_one(tmp_path: Path) -> None:
    world = World(tmp_path, BOTH)
    world.log.append("t", corners(300))
    world.learn()
    world.compare()
    assert world.champion() == "ridge"

    without = World(tmp_path, {"mean": mean}, world.log)
    without.compare()

    assert without.champion() == "mean"
    assert without.judge.comparison is not None
    assert without.judge.comparison.tests == ()


def test_a_challenger_that_is_added_begins_a_test_of_its_own_and_the_others_go_on(tmp_path: Path) -> None:
    world = World(tmp_path, {"one": ridge, "other": ridge})
    world.log.append("t", corners(100))
    world.learn()
    world.compare()
    world.judge.save()
    assert world.judge.comparison is not None
    known = world.judge.comparison.tests[0]

    more = World(tmp_path, {"one": ridge, "other": ridge, "third": mean}, world.log)
    more.learn()
    more.compare()

    assert more.judge.comparison is not None
    first, third = more.judge.comparison.tests
    assert first == known
    assert third.alpha < first.alpha
    assert np.isclose(third.alpha, 0.05 * 6 / np.pi**2 / 4)
