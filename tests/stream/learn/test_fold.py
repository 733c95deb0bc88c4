"""The fold: closed, one entry after the other, and what came of each in an outcome that nobody changes."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace
from typing import Any

import pytest

from tests.stream.chain import Chain
from tests.stream.evaluation.test_monitor import SETTINGS as RIDGE_SETTINGS
from tests.stream.evaluation.test_monitor import events, ridge
from tests.stream.learn.test_processor import SETTINGS, event
from thalweg.memory.snapshots.snapshots import InMemorySnapshots
from thalweg.proto.event import Batch
from thalweg.proto.records import Partition
from thalweg.stream.drift.params import DriftParams
from thalweg.stream.evaluation.monitor import Monitor
from thalweg.stream.evaluation.prequential import Prequential
from thalweg.stream.journal.entries import BlockEntry, ResetEntry
from thalweg.stream.learn.blocks import Block, DecodedBlock
from thalweg.stream.learn.control import Policy
from thalweg.stream.learn.fold import Fold
from thalweg.stream.learn.outcome import Outcome
from thalweg.stream.log.in_memory import InMemoryLog
from thalweg.stream.log.log import Message

PLACE = Partition("t", 0)


def fold(**more: Any) -> Fold:
    return Fold(Chain(), InMemorySnapshots(), SETTINGS, **more)


def block(of: Fold, messages: list[Message], version: int = 1) -> DecodedBlock:
    log = InMemoryLog()
    log.append("t", messages)
    taken = Block(tuple(log.reader(["t"], {}).poll(0.0)))
    return of.decode(BlockEntry(version, taken.ranges, SETTINGS.batch_events), taken)


def test_nobody_pokes_a_fold() -> None:
    mine = fold()
    shown = [name for name in dir(mine) if not name.startswith("_")]

    assert {name for name in vars(mine) if not name.startswith("_")} == set()
    for name in shown:
        if isinstance(getattr(Fold, name), property):
            with pytest.raises(AttributeError):
                setattr(mine, name, None)
    with pytest.raises(TypeError):
        mine.end[PLACE] = 3  # type: ignore[index]


def test_an_outcome_says_what_came_of_a_block_and_nobody_changes_it() -> None:
    mine = fold()
    sent = [
        *(event(number, id="ab"[number % 2]) for number in range(5)),  # two of the five are new
        Message(b"{bad"),
        Message(b'{"inputs": {"features": [1, 2]}}', time=9.0),
    ]

    outcome = mine.apply(block(mine, sent))

    assert len(outcome.learn_seconds) == 1
    assert replace(outcome, learn_seconds=()) == Outcome(
        version=1,
        learned=2,
        events=3,
        labelled=2,
        duplicates=3,
        repeated="id 'a' (t, partition 0, offset 4)",
        rejected={"malformed": 1},
        oldest_time=0.0,
        newest_time=9.0,
    )
    assert (mine.version, mine.learned, mine.event_time, dict(mine.end)) == (1, 2, 9.0, {PLACE: 6})
    with pytest.raises(FrozenInstanceError):
        outcome.events = 4  # type: ignore[misc]


def test_decoding_a_block_changes_nothing() -> None:
    mine = fold()
    sent = [event(0, id="a"), event(1, id="a")]
    before = mine.learner.state().sha256()

    block(mine, sent)

    assert (mine.version, mine.learner.state().sha256()) == (0, before)
    assert mine.apply(block(mine, sent)).duplicates == 1


@pytest.mark.parametrize("version", [0, 1, 3])
def test_an_entry_that_is_not_the_next_one_is_refused_and_changes_nothing(version: int) -> None:
    mine = fold(make=Chain)
    mine.apply(block(mine, [event(0)]))
    before = mine.learner.state().sha256()

    for step in (block(mine, [event(1)], version), ResetEntry(version, "operator")):
        with pytest.raises(ValueError, match=f"model 'm': expected the entry of version 2, got {version}"):
            mine.apply(step)

    assert (mine.version, mine.learner.state().sha256()) == (1, before)


def test_each_micro_batch_is_told_of_as_it_is_learned_where_somebody_asks() -> None:
    mine = fold()
    told: list[tuple[int, int]] = []

    def on_batch(batch: Batch, seconds: float) -> None:
        told.append((len(batch), mine.learner.state().meta["events"]))

    outcome = mine.apply(block(mine, [event(number) for number in range(10)]), on_batch)

    assert told == [(4, 4), (4, 8), (2, 10)]
    assert (outcome.events, outcome.learn_seconds) == (10, ())


def test_an_evaluator_that_only_grades_is_enough() -> None:
    grades, log = Prequential(), InMemoryLog()
    log.append("t", events(200, turned=200))
    mine = Fold(ridge(), InMemorySnapshots(), RIDGE_SETTINGS, grades)
    taken = Block(tuple(log.reader(["t"], {}).poll(0.0)))

    outcome = mine.apply(mine.decode(BlockEntry(1, taken.ranges, 16), taken))
    mine.note_done("nothing")

    assert outcome.alarms == ()
    assert mine.snapshot(0.0).manifest.metrics == grades.metrics()
    assert "accuracy" in grades.metrics()


def test_alarms_stand_in_the_outcome_of_the_block_that_raised_them_and_the_policy_goes_by_it() -> None:
    learner, log = ridge(), InMemoryLog()
    monitor = Monitor(learner, ridge, window_events=500, drift=DriftParams(action="reset"))
    mine = Fold(learner, InMemorySnapshots(), RIDGE_SETTINGS, monitor, make=ridge)
    log.append("t", events(2600, turned=2000))
    reader, outcomes = log.reader(["t"], {}), []
    while runs := reader.poll(0.0, 500):
        taken = Block(tuple(runs))
        outcomes.append(mine.apply(mine.decode(BlockEntry(mine.version + 1, taken.ranges, 16), taken)))
    (raised,) = [outcome for outcome in outcomes if outcome.raised]

    policy = Policy(RIDGE_SETTINGS, InMemorySnapshots(), can_reset=mine.can_reset)
    decisions = [policy.decide(outcome) for outcome in outcomes]

    assert [alarm.start for alarm in raised.raised] == [alarm.start for alarm in monitor.drift.alarms]
    assert [decision is not None for decision in decisions] == [outcome is raised for outcome in outcomes]
    (decision,) = filter(None, decisions)
    assert decision.entry == ResetEntry(raised.version + 1, "drift")
