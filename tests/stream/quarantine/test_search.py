"""The search by halving: finds every culprit, in few trials, and ends whatever fails."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thalweg.stream.exceptions import first_line
from thalweg.stream.quarantine.search import MOST_TRIALS, find


class Trial:
    """Fails when one of the culprits is among the items."""

    def __init__(self, *culprits: int) -> None:
        self.culprits = set(culprits)
        self.trials = 0

    def __call__(self, some: Sequence[int]) -> str | None:
        assert list(some) == sorted(set(some))
        self.trials += 1
        found = self.culprits & set(some)
        return f"item {min(found)}" if found else None


@given(st.integers(0, 60).flatmap(lambda count: st.tuples(st.just(count), st.sets(st.integers(0, max(0, count - 1))))))
def test_it_finds_exactly_the_items_that_fail(case: tuple[int, set[int]]) -> None:
    count, culprits = case
    culprits &= set(range(count))

    found = find(count, Trial(*culprits), most_bad=count, most_trials=10_000)

    assert set(found.bad) == culprits
    assert found.good == [item for item in range(count) if item not in culprits]
    assert found.bad == {item: f"item {item}" for item in culprits}
    assert not found.unresolved


def test_one_culprit_among_five_hundred_takes_few_trials() -> None:
    trial = Trial(317)

    assert set(find(500, trial, most_bad=500, most_trials=MOST_TRIALS).bad) == {317}
    assert trial.trials <= 2 * 9 + 1


@pytest.mark.parametrize(("most_bad", "most_trials"), [(3, 10_000), (500, 40)])
def test_when_everything_fails_it_gives_up(most_bad: int, most_trials: int) -> None:
    trial = Trial(*range(500))

    found = find(500, trial, most_bad, most_trials)

    assert trial.trials <= 40
    assert len(found.unresolved) >= 400
    assert sorted([*found.bad, *found.unresolved]) == list(range(500))


def test_an_item_that_fails_only_after_another_is_found() -> None:
    def trial(some: Sequence[int]) -> str | None:
        return "7 after 2" if {2, 7} <= set(some) else None

    found = find(10, trial, most_bad=10, most_trials=100)

    assert found.bad == {7: "7 after 2"}


def test_the_first_line_of_an_exception_is_short_and_has_its_class() -> None:
    assert first_line(ValueError("one\ntwo")) == "ValueError: one"
    assert first_line(RecursionError()) == "RecursionError"
    assert len(first_line(ValueError("x" * 1000))) < 250
