"""Finds the items that make a block fail, by cutting it in halves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

MOST_TRIALS = 400
"""A search ends after this many trials; one culprit among 500 items takes about 20."""


@dataclass(slots=True)
class Found:
    """The outcome of a search. Every item is in exactly one of the three."""

    good: list[int] = field(default_factory=list)
    """Work together, in this order."""
    bad: dict[int, str] = field(default_factory=dict)
    """Fail after the good ones before them; with the reason."""
    unresolved: list[int] = field(default_factory=list)
    """Were not tried one by one any more."""
    reason: str = ""
    """Why the last failed trial failed."""


def find(count: int, trial: Callable[[Sequence[int]], str | None], most_bad: int, most_trials: int) -> Found:
    """Find the items among 0 … count - 1 that fail.

    Accepted items stay in later trials, so that an item that fails only after others is found, too; d bad items among n
    take about 2 d log2(n / d) trials.

    Args:
        count: How many items there are.
        trial: Tries these items, in rising order; returns None if they work, else why they fail.
        most_bad: Stop once more bad items than this are found.
        most_trials: Stop after this many trials.
    """
    found = Found()
    waiting = [range(count)] if count else []
    trials = 0
    while waiting:
        part = waiting.pop()
        if len(found.bad) > most_bad or trials >= most_trials:
            found.unresolved += part
            continue
        trials += 1
        reason = trial([*found.good, *part])
        if reason is None:
            found.good += part
            continue
        found.reason = reason
        if len(part) == 1:
            found.bad[part[0]] = reason
        else:
            half = len(part) // 2
            waiting += [part[half:], part[:half]]
    return found
