"""Whoever holds votes reads the values as they were when the votes were made."""

from __future__ import annotations

from thalweg.models.bottleneck.lending import Lending


class Votes:
    """Stands for what reads the arrays; has no hash."""

    __hash__ = None  # type: ignore[assignment]


def test_arrays_are_left_to_any_votes_that_are_still_there_not_only_to_the_latest() -> None:
    lending = Lending()
    first = lending.to(Votes())
    lending.to(Votes())  # of the same arrays, and dropped at once

    assert lending.take_back()
    assert not lending.take_back()  # they have been copied
    assert isinstance(first, Votes)


def test_votes_that_nobody_holds_cost_no_copy() -> None:
    lending = Lending()
    lending.to(Votes())

    assert not lending.take_back()
