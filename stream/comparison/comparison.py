"""A champion's comparison: the tests of its challengers, event by event, as a function of the losses of all.

A test ends when its challenger is better, which ends the comparison; when the champion is better, though not before a
thousand events or a hundredth of all compared so far; or after a million events without either. Then another one
begins: a challenger that was worse for long is found within that hundredth if the world turns. Each test has a share of
alpha of its own, and the shares of all tests of an alias, over all its champions, add up to alpha.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from thalweg.stream.comparison.block_losses import BY_ID, BlockLosses
from thalweg.stream.comparison.bounds import Bounds
from thalweg.stream.comparison.evidence import Path, Sums, share_of_alpha
from thalweg.stream.comparison.pairing import Pairs
from thalweg.stream.comparison.pairing_by_id import RESYNC

MOST_EVENTS = 1_000_000
"""Events of one test at most."""
LEAST_EVENTS, LEAST_SHARE = 1000, 0.01
"""Events after which a test may end for the champion, at least; and as a share of those compared before it."""
_AT_ONCE = 8192
_NONE = Sums()


@dataclass(frozen=True, slots=True)
class ChallengerTest:
    """One challenger against the champion; a value."""

    challenger: str
    alpha: float
    """Its share."""
    sums: Sums = _NONE
    compared: int = 0
    """Events compared since the comparison began, in this test and those before it."""
    unanswered: int = 0
    """Of those, events that the champion answered and the challenger did not: its loss is the worst."""
    reached: int | None = None
    """Number of the furthest of its events with late labels that was compared; None: to be looked for."""
    missing: int = 0
    """The champion's newest events with late labels that the challenger does not have, in a row."""
    ended: int = 0
    """Tests of this challenger in this comparison that ended without a promotion."""

    @property
    def least(self) -> int:
        """Events after which it may end for the champion."""
        return max(LEAST_EVENTS, int(LEAST_SHARE * (self.compared - self.sums.events)))

    @property
    def log_needed(self) -> float:
        """The natural logarithm of the evidence that promotes the challenger."""
        return -math.log(self.alpha)


@dataclass(frozen=True, slots=True)
class Comparison:
    """A champion and its challengers; a value."""

    champion: str
    promotion: int
    """Number of the promotion that made it the champion."""
    alpha: float
    """Of all tests together."""
    groups: int
    """Groups of tests that were begun, for this champion and those before it."""
    bounds: Bounds
    tests: tuple[ChallengerTest, ...] = ()
    done: Mapping[str, int] = field(default_factory=dict)
    """By place in the log, the last offset that was compared."""

    def at(self, done: Mapping[str, int]) -> Comparison:
        """The same comparison at another place."""
        return replace(self, done=dict(done))

    def with_challengers(self, challengers: Sequence[str]) -> Comparison:
        """The comparison with these challengers: tests of those that it had go on, those of others begin."""
        known = {test.challenger: test for test in self.tests}
        fresh = [name for name in challengers if name not in known]
        groups = self.groups + bool(fresh)
        for name in fresh:
            known[name] = ChallengerTest(name, share_of_alpha(self.alpha, groups, len(fresh)))
        return replace(self, groups=groups, tests=tuple(known[name] for name in challengers))


@dataclass(frozen=True, slots=True)
class Decision:
    """A challenger is better than the champion."""

    challenger: str
    sums: Sums
    """Of its test."""
    alpha: float
    """Its share."""
    place: str
    """Place in the log of the event that decided it …"""
    offset: int
    """… and its offset."""
    version: int
    """The champion's version after the block of that event."""


def step(
    comparison: Comparison, block: BlockLosses, pairs: Mapping[str, Pairs], *, acting: bool = True
) -> tuple[Comparison, Decision | None]:
    """The comparison after the champion's next block, or after the event within it that decided.

    Args:
        comparison: The comparison before.
        block: The champion's losses; what is done already is left out.
        pairs: By challenger, its losses; none of them is `behind` in this block.
        acting: Whether a challenger that is better ends the comparison.
    """
    done = dict(comparison.done)
    mine = undone(block, done)
    ours = block.losses[mine]
    theirs, tests = dict[str, NDArray[np.float64]](), list[ChallengerTest]()
    for test in comparison.tests:
        theirs[test.challenger], now = _theirs(test, pairs[test.challenger], block, mine)
        tests.append(now)
    bounds, groups = comparison.bounds, comparison.groups
    start = 0
    while tests and start < len(mine):
        end = min(len(mine), start + (_AT_ONCE if bounds.given else bounds.until_moved()))
        differences = [_differences(bounds, ours[start:end], theirs[test.challenger][start:end]) for test in tests]
        rows, marked = _first_mark(tests, differences, acting=acting)
        for number, (test, path) in enumerate(zip(tests, _paths(tests, differences, rows))):
            silent = int(np.isinf(theirs[test.challenger][start : start + rows]).sum())
            sums = path.sums(-1) if rows else test.sums
            compared = test.compared + sums.events - test.sums.events
            tests[number] = replace(test, sums=sums, compared=compared, unanswered=test.unanswered + silent)
        bounds = bounds.after(ours[start : start + rows])
        start += rows
        better = [test for test in tests if acting and test.challenger in marked and _is_better(test)]
        if better:
            best = max(better, key=lambda test: test.sums.log_evidence - test.log_needed)
            last = mine[start - 1]
            for place, offset in zip(block.which[mine[:start]].tolist(), block.offsets[mine[:start]].tolist()):
                done[block.places[place]] = offset
            place, offset = block.places[block.which[last]], int(block.offsets[last])
            decision = Decision(best.challenger, best.sums, best.alpha, place, offset, block.version)
            return replace(comparison, tests=tuple(tests), bounds=bounds, groups=groups, done=done), decision
        for number, test in enumerate(tests):
            if test.challenger in marked:
                groups += 1
                share = share_of_alpha(comparison.alpha, groups, 1)
                tests[number] = replace(test, alpha=share, sums=_NONE, ended=test.ended + 1)
    done |= {place: last for place, (_, last) in block.spans.items() if last > done.get(place, -1)}
    return replace(comparison, tests=tuple(tests), bounds=bounds, groups=groups, done=done), None


def undone(block: BlockLosses, done: Mapping[str, int]) -> NDArray[np.intp]:
    """The rows of events that were not compared yet."""
    last = np.array([done.get(place, -1) for place in block.places], dtype=np.int64)
    return np.flatnonzero(block.offsets > last[block.which]) if len(block) else np.zeros(0, dtype=np.intp)


def _theirs(
    test: ChallengerTest, pairs: Pairs, block: BlockLosses, mine: NDArray[np.intp]
) -> tuple[NDArray[np.float64], ChallengerTest]:
    """The challenger's losses of these rows, (M,), as of `Pairs.losses_at`; and the test with how far they reach."""
    found = np.full(len(mine), np.nan)
    keyed = block.keys[mine] >= 0
    for number, place in enumerate(block.places):
        rows = np.flatnonzero((block.which[mine] == number) & ~keyed)
        if not place.startswith(BY_ID):
            found[rows] = pairs.losses_at(place, block.offsets[mine[rows]])
    late = np.flatnonzero(keyed)
    if not len(late) or test.reached is None:
        return found, test
    losses, reached = pairs.by_id.losses_of(block.keys[mine[late]].tolist(), test.reached)
    found[late] = losses
    has = np.flatnonzero(~np.isnan(losses))
    missing = len(late) - 1 - int(has[-1]) if len(has) else test.missing + len(late)
    if missing >= RESYNC:
        return found, replace(test, reached=None, missing=0)
    return found, replace(test, reached=reached, missing=missing)


def _differences(bounds: Bounds, ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> NDArray[np.float64]:
    """The champion's losses less the challenger's, (N,) in [-1, 1]; NaN where they are not compared."""
    return np.where(np.isnan(theirs), np.nan, bounds.bounded(ours) - bounds.bounded(theirs))


def _paths(tests: Sequence[ChallengerTest], differences: Sequence[NDArray[np.float64]], rows: int) -> list[Path]:
    return [Path.after(test.sums, some[:rows]) for test, some in zip(tests, differences)]


def _first_mark(
    tests: Sequence[ChallengerTest], differences: Sequence[NDArray[np.float64]], *, acting: bool
) -> tuple[int, set[str]]:
    """How many rows there are up to the first after which a test ends, and whose tests end there; all rows and nobody
    if none does.
    """
    count = len(differences[0]) if tests else 0
    ends: dict[str, int] = {}
    for test, path in zip(tests, _paths(tests, differences, count)):
        full = int(np.searchsorted(path.known, MOST_EVENTS))
        against = path.first_against(test.log_needed, test.least)
        ends[test.challenger] = min(full, against, path.first_for(test.log_needed) if acting else count)
    first = min(ends.values(), default=count)
    if first >= count:
        return count, set()
    return first + 1, {name for name, end in ends.items() if end == first}


def _is_better(test: ChallengerTest) -> bool:
    return test.sums.log_evidence >= test.log_needed
