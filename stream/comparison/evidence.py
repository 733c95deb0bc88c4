"""Evidence that one model is better than another: a sequential test that may be looked at after every event.

Sources: Howard, Ramdas, McAuliffe, Sekhon, "Time-uniform, nonparametric, nonasymptotic confidence sequences", Annals of
Statistics 2021 (the exponential supermartingale of bounded observations, its section 3.2, after Fan, Grama, Liu 2015,
and mixtures of them); Choe, Ramdas, "Comparing sequential forecasters", Operations Research 2023 (the same for paired
losses whose means drift); Ville, 1939 (such a process exceeds 1 / alpha with a probability of at most alpha, ever).

Let d_i in [-1, 1] be the champion's loss less the challenger's on event i, and m_i its mean given all before. For each
bet b in (0, 1), exp(b * sum(d_i - m_i) + (log(1 - b) + b) * sum(d_i^2)) is a supermartingale that starts at 1, and so
is a weighted mean over bets. Where sum(m_i) <= 0, the evidence, with S = sum(d_i) in place of sum(d_i - m_i), is at
most that mean. So a challenger that is promoted when the evidence exceeds 1 / alpha was on average no better, over the
events of the test, with a probability of at most alpha: whatever the stream does, drift and dependence included.

Ours differs: the bets are a fixed grid. The predictable centre of the variance is 0, which allows bets up to 1.
State: three numbers, whatever the length of the stream.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BETS: NDArray[np.float64] = np.array([0.9 * 2.0 ** (-0.5 * step) for step in range(26)])
"""From large ones, for gaps that show at once, to 0.0002, for gaps of a hundredth of a point."""
_NEAR = 1e-9  # of the logarithm, within which rounding might decide
_WEIGHTS = 1.0 / ((np.arange(26) + 2.0) * (np.arange(26) + 3.0))
_LOG_WEIGHTS = np.log(_WEIGHTS / _WEIGHTS.sum())
_AT_ONCE = 4096  # rows whose exponents stay in the processor's cache
_PER_SQUARE = np.log1p(-BETS) + BETS  # negative


@dataclass(frozen=True, slots=True)
class Sums:
    """What is known of N differences; a value."""

    events: int = 0
    total: float = 0.0
    """Sum of the differences."""
    squares: float = 0.0
    """Sum of their squares."""

    @property
    def log_evidence(self) -> float:
        """Natural logarithm of the evidence that the differences are positive on average."""
        return _exactly(self.total, self.squares)

    @property
    def log_evidence_against(self) -> float:
        """The same that they are negative on average."""
        return _exactly(-self.total, self.squares)

    @property
    def mean(self) -> float:
        """Mean difference; 0 without events."""
        return self.total / self.events if self.events else 0.0


@dataclass(frozen=True, slots=True)
class Path:
    """The sums after each of N further differences: they do not depend on how those are cut, in no bit."""

    before: Sums
    total: NDArray[np.float64]
    """(N,)."""
    squares: NDArray[np.float64]
    """(N,)."""
    known: NDArray[np.int64]
    """How many differences there were, (N,): those that are NaN do not count."""

    @classmethod
    def after(cls, before: Sums, differences: NDArray[np.float64]) -> Path:
        """Args:
        before: The sums so far.
        differences: (N,), each in [-1, 1], NaN where there is none.
        """
        known = ~np.isnan(differences)
        steps = np.where(known, differences, 0.0)
        return cls(
            before,
            np.cumsum(np.concatenate([[before.total], steps]))[1:],  # one after the other, from what was before
            np.cumsum(np.concatenate([[before.squares], steps * steps]))[1:],
            before.events + np.cumsum(known),
        )

    def sums(self, row: int) -> Sums:
        """The sums after the difference of this row."""
        return Sums(int(self.known[row]), float(self.total[row]), float(self.squares[row]))

    def first_for(self, log_needed: float) -> int:
        """The first row after which the evidence reaches this logarithm; N if none does."""
        return _first(self.total, self.squares, log_needed)

    def first_against(self, log_needed: float, least: int = 0) -> int:
        """The same for the evidence of the opposite, after this many differences at least."""
        begin = int(np.searchsorted(self.known, least))
        return begin + _first(-self.total[begin:], self.squares[begin:], log_needed)


def log_evidence(total: NDArray[np.float64], squares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Natural logarithms of the evidence (N,) of sums (N,) and sums of squares (N,) of differences."""
    found = np.empty(len(total))
    for first in range(0, len(total), _AT_ONCE):
        rows = slice(first, first + _AT_ONCE)
        exponents = BETS[:, None] * total[rows] + _PER_SQUARE[:, None] * squares[rows] + _LOG_WEIGHTS[:, None]
        highest = exponents.max(axis=0)  # (N,) of (bets, N)
        exponents -= highest
        found[rows] = highest + np.log(np.exp(exponents, out=exponents).sum(axis=0))
    return found


def share_of_alpha(alpha: float, group: int, tests: int) -> float:
    """The error that one test may make: the shares of all tests of all groups, without end, add up to `alpha`.

    Args:
        alpha: Of all tests together.
        group: From 1; tests that begin together form a group.
        tests: In this group.
    """
    return 6.0 * alpha / (np.pi * group) ** 2 / tests


def _first(total: NDArray[np.float64], squares: NDArray[np.float64], log_needed: float) -> int:
    found = log_evidence(total, squares)
    for row in np.flatnonzero(found >= log_needed - _NEAR).tolist():
        if found[row] > log_needed + _NEAR or _exactly(float(total[row]), float(squares[row])) >= log_needed:
            return int(row)
    return len(found)


def _exactly(total: float, squares: float) -> float:
    """The logarithm of the evidence, the same in every bit: NumPy's `exp` depends on where in an array a number is."""
    exponents = [
        bet * total + per_square * squares + weight
        for bet, per_square, weight in zip(BETS.tolist(), _PER_SQUARE.tolist(), _LOG_WEIGHTS.tolist())
    ]
    highest = max(exponents)
    found: float = highest + math.log(math.fsum(math.exp(exponent - highest) for exponent in exponents))
    return found
