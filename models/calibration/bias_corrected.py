"""Probabilities from how often classes come, moved by scores: for streams of which some classes are rare.

Source: Alexandari, Kundaje and Shrikumar, "Maximum Likelihood with Bias-Corrected Calibration is Hard-To-Beat at Label
Shift Adaptation", ICML 2020 (arXiv:1901.06852): a scale for all scores and a bias for each class. Differences: a bias
is a multiple of the logarithm of the class's share, so that two numbers are learned whatever the number of classes;
scores are centred, divided by their deviation and bent, so that a slope of 0 is the shares themselves; both follow the
stream, by one Newton step per micro-batch.

The rarer a class, the nearer to 1 is the weight of the logarithms: while none comes, the others say that it should be
more, and each that comes that it should be less.

The class that the learner names stays the first: where another would be, mass moves to it until both are alike.
Cost: about 40 NumPy calls per micro-batch. State: 6 C numbers, and a few.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from thalweg.models.calibration.short_rows import row_highest, row_product, row_sum
from thalweg.models.parts.rarity import rarity_of

Floats = NDArray[np.float64]

_SHARES_OF = 100_000.0
"""Labelled events that shares are those of: one class in ten thousand still has ten."""
_CENTRES_OF = 1_000.0
"""Events whose scores are centred: those of a learner move while it learns."""
_LEARNED_FROM = 200.0, 20_000.0
"""Events that slope and weight of the shares are learned from, least and most: half of those so far, because scores
mean little at first."""
_FIRST_COUNT = 0.5
"""Added to the events of each class (Krichevsky and Trofimov)."""
_FIRST = (0.5, 1.0)
"""Slope, in deviations of the scores, and weight of the logarithms of shares."""
_PRIOR = (4.0, 10.0)
"""Their precision before any event."""
_LARGEST_STEP, _LARGEST = 1.0, 50.0
FARTHEST = 30.0
"""A class is at most so many nats behind the first."""
_MOVED = 0.05
"""Nats by which logits move before predictions use them."""


@dataclass(frozen=True, slots=True)
class InUse:
    """What predictions are made with: softmax(`slope` · bent((score - `centres`) · `unit`) + `offsets`)."""

    slope: float
    unit: float
    """1 / deviation of the scores."""
    centres: tuple[float, ...]
    """By class, (C,)."""
    offsets: tuple[float, ...]
    """By class, (C,)."""
    shares: tuple[float, ...]
    """By class, (C,), of sum 1."""

    def given(self, behind: Floats, unit: float) -> Floats:
        """Probabilities (n, C) of scores less the row's highest (n, C), times `unit`."""
        score = (behind * unit - np.array(self.centres)) * self.unit
        return softmax(bent(score) * self.slope + np.array(self.offsets))

    def far_from(self, used: InUse) -> bool:
        """Whether predictions by the one in use differ from those by this by so much that this is to be used."""
        wider = self.slope * abs(math.log((self.unit or 1.0) / (used.unit or 1.0)))
        if max(abs(self.slope - used.slope), wider) > _MOVED:
            return True
        offsets = np.abs(np.array(self.offsets) - np.array(used.offsets)).max()
        centres = np.abs(np.array(self.centres) - np.array(used.centres)).max()
        return bool(offsets > _MOVED or self.slope * self.unit * centres > _MOVED)


@dataclass(frozen=True, slots=True)
class BiasCorrected:
    """Shares of classes, centres of their scores, slope and weight. Immutable; C classes."""

    counts: Floats
    """(C,) events of each class."""
    centres: Floats
    """(C,) mean score, less the row's highest."""
    centred: Floats
    """(C,) events behind the centres."""
    deviation: float = 0.0
    """Mean absolute, of scores from their centres."""
    slope: float = _FIRST[0]
    weight: float = _FIRST[1]
    curvature: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Of slope, of both, of weight."""
    used: InUse = InUse(0.0, 0.0, (), (), ())
    events: float = field(init=False, default=0.0)
    """Sum of `counts`."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "events", float(np.add.reduce(self.counts)))

    @classmethod
    def new(cls) -> BiasCorrected:
        """Before any event, of no class."""
        return cls(np.zeros(0), np.zeros(0), np.zeros(0))

    def sized(self, classes: int) -> BiasCorrected:
        """The same with columns for so many classes; new ones have had no event."""
        if len(self.counts) == len(self.used.shares) == classes:
            return self
        return self.at([column if column < len(self.counts) else -1 for column in range(classes)])

    def at(self, columns: Sequence[int]) -> BiasCorrected:
        """The same with these columns of this one, in this order; -1: a class that had no event."""
        place = np.array(columns, dtype=np.int64)
        of_classes = (np.append(one, 0.0)[place] for one in (self.counts, self.centres, self.centred))
        counts, centres, centred = of_classes
        return self._using(replace(self, counts=counts, centres=centres, centred=centred))

    @staticmethod
    def _using(other: BiasCorrected) -> BiasCorrected:
        """The same, with predictions made by what is newest."""
        return replace(other, used=other._newest())

    def _newest(self) -> InUse:
        shares = self._shares()
        offsets, unit = self._weight_in_use(shares) * np.log(shares), _unit(self.deviation)
        return InUse(self.slope, unit, tuple(self.centres.tolist()), tuple(offsets.tolist()), tuple(shares.tolist()))

    @property
    def rarity(self) -> float:
        """As of `rarity_of`, by the shares so far."""
        return _rarity(self._shares())

    def _weight_in_use(self, shares: Floats) -> float:
        """Of the logarithms of shares: nearer to 1 the rarer classes are, because of those it is learned from few."""
        return 1.0 + (self.weight - 1.0) / _rarity(shares)

    def _shares(self) -> Floats:
        return (self.counts + _FIRST_COUNT) / (self.events + _FIRST_COUNT * max(len(self.counts), 1))

    def after(self, behind: Floats, columns: NDArray[np.int32]) -> BiasCorrected:
        """After n ≥ 1 events that it predicted.

        Args:
            behind: (n, C) scores less the row's highest, finite.
            columns: (n,) true classes, ≥ 0.
        """
        count = len(columns)
        fade = math.exp(-count / _CENTRES_OF)
        mean = np.add.reduce(behind, axis=0) / count
        seen = float(np.sort(self.centred)[-2:].min(initial=0.0))  # since there are two classes
        centres = np.where(self.centred > 0, self.centres, mean)  # of a new class: those of now
        beside = behind - centres
        deviation = float(np.add.reduce(np.abs(beside), axis=None)) / behind.shape[1]
        deviation = (self.deviation * seen * fade + deviation) / (seen * fade + count)
        slope, weight, curvature = self._stepped(bent(beside * _unit(deviation)), columns)
        centred = self.centred * fade + count
        came = np.bincount(columns, minlength=len(self.counts))
        counts, centres = (
            self.counts * math.exp(-count / _SHARES_OF) + came,
            centres + (mean - centres) * (count / centred),
        )
        found = BiasCorrected(counts, centres, centred, deviation, slope, weight, curvature, self.used)
        newest = found._newest()
        return replace(found, used=newest) if newest.far_from(self.used) else found

    def _stepped(self, score: Floats, columns: NDArray[np.int32]) -> tuple[float, float, tuple[float, float, float]]:
        """Slope, weight and curvature after a step on the log loss of scores as they are predicted from, (n, C)."""
        shares = self._shares()
        log = np.log(shares)
        given = softmax(self.slope * score + self._weight_in_use(shares) * log)
        of_score, of_log = row_product(given, score), given @ log
        true = score[np.arange(len(columns)), columns]
        wrong = float(np.add.reduce(true - of_score)), float(np.add.reduce(log[columns] - of_log))
        bend = (
            float(np.einsum("nc,nc,nc->", given, score, score) - of_score @ of_score),
            float(np.einsum("nc,nc,c->", given, score, log) - of_score @ of_log),
            float(np.add.reduce(given @ (log * log)) - of_log @ of_log),
        )
        least, most = _LEARNED_FROM
        fade = math.exp(-len(columns) / min(most, max(least, self.events / 2)))
        first, both, second = (old * fade + new for old, new in zip(self.curvature, bend))
        a, d = first + _PRIOR[0], second + _PRIOR[1]
        determinant = a * d - both * both
        steps = (d * wrong[0] - both * wrong[1]) / determinant, (a * wrong[1] - both * wrong[0]) / determinant
        slope, weight = (
            min(_LARGEST, max(0.0, old + min(_LARGEST_STEP, max(-_LARGEST_STEP, step))))
            for old, step in zip((self.slope, self.weight), steps)
        )
        return slope, weight, (first, both, second)

    def forgetting(self, factor: float) -> BiasCorrected:
        """The same, with `factor` times less weight on what was learned."""
        first, both, second = (one / factor for one in self.curvature)
        found = replace(self, counts=self.counts / factor, centred=self.centred / factor)
        return self._using(replace(found, curvature=(first, both, second)))

    def merged(self, other: BiasCorrected) -> BiasCorrected:
        """The mean of two of the same classes, by their events."""
        mine, theirs = self.events, other.events
        share = theirs / (mine + theirs) if theirs else 0.0
        first, both, second = (one + two for one, two in zip(self.curvature, other.curvature))
        return self._using(
            BiasCorrected(
                self.counts + other.counts,
                self.centres + share * (other.centres - self.centres),
                self.centred + other.centred,
                self.deviation + share * (other.deviation - self.deviation),
                self.slope + share * (other.slope - self.slope),
                self.weight + share * (other.weight - self.weight),
                (first, both, second),
            )
        )

    def tensors(self) -> dict[str, Floats]:
        """All of it: numbers (8,), and those of classes (6, C)."""
        used = self.used
        numbers = [self.deviation, self.slope, self.weight, *self.curvature, used.slope, used.unit]
        classes = [self.counts, self.centres, self.centred, *map(np.array, (used.centres, used.offsets, used.shares))]
        return {"numbers": np.array(numbers), "classes": np.array(classes)}

    @classmethod
    def of(cls, numbers: Floats, classes: Floats) -> BiasCorrected:
        """Restore from `tensors()`."""
        counts, centres, centred, *of_used = np.array(classes, dtype=np.float64)
        deviation, slope, weight, first, both, second, *used = np.asarray(numbers, np.float64).tolist()
        in_use = InUse(*used, *(tuple(row.tolist()) for row in of_used))
        return cls(counts, centres, centred, deviation, slope, weight, (first, both, second), in_use)


def _rarity(shares: Floats) -> float:
    return rarity_of(1.0 - float(shares @ shares))


def _unit(deviation: float) -> float:
    return 1.0 / deviation if deviation > 0 else 0.0


def bent(score: Floats) -> Floats:
    """The logarithm of 1 more than the size of scores, with their signs: those of a rare class have long tails."""
    found = np.abs(score)
    found += 1.0
    return np.copysign(np.log(found, out=found), score, out=found)


def softmax(logits: Floats) -> Floats:
    """Of rows (n, C), changed in place."""
    logits -= row_highest(logits)[:, None]
    np.maximum(logits, -FARTHEST, out=logits)
    np.exp(logits, out=logits)
    logits /= row_sum(logits)[:, None]
    return logits


def label_first(given: Floats, label: NDArray[np.intp]) -> Floats:
    """Probabilities (n, C), changed in place so that none is larger than that of the label (n,)."""
    rows = np.arange(len(label))
    lead = row_highest(given) - given[rows, label]
    if lead.any():
        moved = lead / (1.0 + lead)
        given *= (1.0 - moved)[:, None]
        given[rows, label] += moved
    return given


def first_of(highest: Floats, of_label: Floats, of_true: Floats, right: NDArray[np.bool_]) -> Floats:
    """What `label_first` gives the true classes, of what they, the labels and the highest have, (n,) each."""
    lead = highest - of_label
    moved = lead / (1.0 + lead)
    return of_true * (1.0 - moved) + moved * right
