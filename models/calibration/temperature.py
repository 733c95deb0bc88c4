"""Temperature scaling that is learned online: how scores become probabilities.

Source: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017 (arXiv:1706.04599), section 4.2: one scale for
all scores, which changes no order. Differences: the scale follows the stream, by one Gauss-Newton step per micro-batch
on the log loss of predictions from before their events were learned, with forgetting; and a small share of each
prediction is spread evenly over all classes (a mixture, learned by online EM), because one confident mistake would
otherwise flatten all later predictions. Neither changes which class is first.

Cost: about 20 NumPy calls per micro-batch, two for one row of two classes. State: eight numbers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from thalweg.models.calibration.pair import PairSpread, pair_mixed, pair_spread
from thalweg.models.calibration.short_rows import row_highest, row_product, row_sum
from thalweg.proto.schema import Array

Floats = NDArray[np.float64]

_HORIZON = 500.0
"""Labelled events that the calibration remembers, as the mean of its exponential forgetting."""
_PRIOR = 20.0
"""Precision of the logarithm of the scale before any event: that of about 50 events."""
_EVEN_PRIOR = 50.0
"""Events that the first even share counts as."""
_FARTHEST = 30.0
"""A class is at most this many nats behind the first: keeps all sums finite."""
_LARGEST_STEP = 1.0
"""Of the logarithm of the scale, per micro-batch."""
_WIDEST = 14.0
"""Bound of the logarithm of the scale: a factor of a million either way."""
_LEAST_EVEN, _MOST_EVEN = 1e-4, 0.5
_MOVED, _MOVED_EVEN = 0.05, 0.003
"""How far scale (its logarithm) and even share move before predictions use them: costs 0.0003 nats at most, and saves
the publication of a predictor that differs in nothing else."""
_SMALLEST_SCORE = 1e-38
_PAIR = (1, 2)  # shape of the scores of one row of two classes
_FIRST_SCALE = 4.0  # of scores that are not probabilities: for least squares on 0 and 1, about right


class Spread(NamedTuple):
    """Scores of N rows and C classes as probabilities, before the even share."""

    behind: Floats
    """(N, C): scaled scores minus the row's highest, in nats, 0 to -30; NaN in rows that are not finite."""
    softmax: Floats
    """(N, C)."""

    @property
    def columns(self) -> int:
        """Classes, C."""
        return int(self.softmax.shape[1])


@dataclass(frozen=True, slots=True)
class Temperature:
    """A calibration: what predictions use, and what learning goes on from. Immutable."""

    scale: float
    """Logarithm of the scale in use."""
    even: float
    """The even share in use, 0 to 1."""
    learned_scale: float
    """Logarithm of the newest scale."""
    precision: float = _PRIOR
    """Of `learned_scale`."""
    learned_even: float = 0.01
    even_events: float = _EVEN_PRIOR
    """Events behind `learned_even`, those forgotten left out."""
    events: float = 0.0
    """Labelled events learned from."""
    logs: bool = False
    """The scores are probabilities, whose logarithms are scaled."""

    @classmethod
    def new(cls, *, logs: bool) -> Temperature:
        """The calibration before any event: probabilities as they are, other scores times 4."""
        scale = 0.0 if logs else math.log(_FIRST_SCALE)
        return cls(scale, 0.01, scale, logs=logs)

    def spread(self, scores: Array) -> Spread | PairSpread:
        """Scores (N, C), C ≥ 1. A row's bits do not depend on the others; its order is that of the scores."""
        if scores.shape == _PAIR:
            smallest = _SMALLEST_SCORE if self.logs else None
            if (pair := pair_spread(scores, math.exp(self.scale), _FARTHEST, smallest)) is not None:
                return pair
        z = scores.astype(np.float64)
        with np.errstate(invalid="ignore", over="ignore"):
            if self.logs:
                np.log(np.maximum(z, _SMALLEST_SCORE, out=z), out=z)
            z -= row_highest(z)[:, None]
            z *= math.exp(self.scale)
            np.maximum(z, -_FARTHEST, out=z)
            softmax = np.exp(z)
            softmax /= row_sum(softmax)[:, None]
        return Spread(z, softmax)

    def probabilities(self, spread: Spread | PairSpread, label: NDArray[np.int32]) -> NDArray[np.float32]:
        """(N, C), rows that sum to 1, whose first largest is the label; NaN where the scores are not finite."""
        if isinstance(spread, PairSpread):
            return settled(np.array((pair_mixed(spread, self.even),), dtype=np.float32), label)
        mixed = spread.softmax * (1.0 - self.even)
        mixed += self.even / mixed.shape[1]
        return settled(mixed.astype(np.float32), label)

    def after(self, spread: Spread | PairSpread, columns: NDArray[np.int32]) -> Temperature:
        """The calibration after the labels of predictions that it made.

        Args:
            spread: Of N events, by this calibration.
            columns: Their true columns, (N,); negative: unlabelled, or a class that was not known.
        """
        if isinstance(spread, PairSpread):
            return self.after_pair(spread, int(columns[0]))
        return self.after_usable(*usable(spread, columns))

    def after_usable(self, spread: Spread, columns: NDArray[np.int32]) -> Temperature:
        """As `after`, of what `usable` gave."""
        behind, softmax = spread
        count, classes = softmax.shape
        if not count or classes < 2:
            return self
        rows = np.arange(count)
        of_true, lag = softmax[rows, columns], behind[rows, columns]
        expected = row_product(softmax, behind)
        variance = row_product(softmax * behind, behind) - expected * expected
        kept = of_true * (1.0 - self.learned_even)
        share = kept / (kept + self.learned_even / classes)  # of the softmax in each true class's probability
        slope = float(share @ (expected - lag))
        curvature = float(share @ variance)
        return self._stepped(count, slope, curvature, float(np.add.reduce(share)))

    def after_pair(self, spread: PairSpread, column: int) -> Temperature:
        """As `after`, in plain numbers."""
        if column < 0:
            return self
        (behind, other), (softmax, rest) = spread
        expected = softmax * behind + rest * other
        variance = (softmax * behind) * behind + (rest * other) * other - expected * expected
        kept = spread.softmax[column] * (1.0 - self.learned_even)
        share = kept / (kept + self.learned_even / 2)
        return self._stepped(1, share * (expected - spread.behind[column]), share * variance, share)

    def _stepped(self, count: int, slope: float, curvature: float, shares: float) -> Temperature:
        """After so many events with these sums of slopes, curvatures and shares of the softmax."""
        fade = (1.0 - 1.0 / _HORIZON) ** count
        precision = _PRIOR + (self.precision - _PRIOR) * fade + curvature
        slope += curvature * (
            self.learned_scale - self.scale
        )  # taken where predictions were made, wanted at the newest
        step = min(_LARGEST_STEP, max(-_LARGEST_STEP, slope / precision))
        scale = min(_WIDEST, max(-_WIDEST, self.learned_scale - step))
        before = self.even_events * fade
        even = (self.learned_even * before + count - shares) / (before + count)
        even = min(_MOST_EVEN, max(_LEAST_EVEN, even))
        moved = abs(scale - self.scale) > _MOVED or abs(even - self.even) > _MOVED_EVEN
        return Temperature(
            scale if moved else self.scale,
            even if moved else self.even,
            scale,
            precision,
            even,
            before + count,
            self.events + count,
            self.logs,
        )

    def in_use(self) -> Temperature:
        """What predictions depend on, and nothing of what learning goes on from."""
        return Temperature(self.scale, self.even, self.scale, logs=self.logs)

    def forgetting(self, factor: float) -> Temperature:
        """The same, with `factor` times less weight on what was learned."""
        precision = _PRIOR + (self.precision - _PRIOR) / factor
        return replace(self, precision=precision, even_events=self.even_events / factor)

    def merged(self, other: Temperature) -> Temperature:
        """The mean of two calibrations, by their weights."""
        mine, theirs = self.precision - _PRIOR, other.precision - _PRIOR
        share = theirs / (mine + theirs) if mine + theirs else 0.0
        scale = self.learned_scale + share * (other.learned_scale - self.learned_scale)
        part = other.events / (self.events + other.events) if other.events else 0.0
        even = self.learned_even + part * (other.learned_even - self.learned_even)
        return replace(
            self,
            scale=scale,
            even=even,
            learned_scale=scale,
            precision=_PRIOR + mine + theirs,
            learned_even=even,
            even_events=max(self.even_events, other.even_events),
            events=self.events + other.events,
        )

    def tensor(self) -> Floats:
        """All of it, (8,)."""
        return np.array(
            [
                self.scale,
                self.even,
                self.learned_scale,
                self.precision,
                self.learned_even,
                self.even_events,
                self.events,
                float(self.logs),
            ]
        )

    @classmethod
    def of(cls, tensor: NDArray[Any]) -> Temperature:
        """Restore from `tensor()`."""
        found = cls(*np.asarray(tensor, dtype=np.float64).tolist())
        return replace(found, logs=bool(found.logs))


def usable(spread: Spread, columns: NDArray[np.int32]) -> tuple[Spread, NDArray[np.int32]]:
    """What can be learned from of (N, C) and (N,): the events of known classes whose scores are finite."""
    behind, softmax = spread
    if columns.size and (columns.min() < 0 or not math.isfinite(np.add.reduce(behind, axis=None))):
        kept = (columns >= 0) & np.isfinite(np.add.reduce(behind, axis=1))
        return Spread(behind[kept], softmax[kept]), columns[kept]
    return spread, columns


def settled(found: NDArray[np.float32], label: NDArray[np.int32]) -> NDArray[np.float32]:
    """Probabilities (N, C) whose first largest is the label, but for rounding, so that it is."""
    first = found.argmax(axis=1)
    if (first != label).any():
        _settle(found, first, label)
    return found


def _settle(found: NDArray[np.float32], first: NDArray[np.intp], label: NDArray[np.int32]) -> None:
    """Where rounding made others as large as the label, the label becomes the larger, by one bit."""
    tied = np.flatnonzero((first != label) & (label >= 0) & np.isfinite(found).all(axis=1))
    found[tied, label[tied]] = np.nextafter(found[tied, first[tied]], np.float32(2.0))
    found[label < 0] = np.nan
