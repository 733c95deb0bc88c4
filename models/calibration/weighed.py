"""How scores become probabilities: three ways, weighed by the likelihood of labels.

One scale for all scores (`temperature`) follows a stream within some hundred events and is right where classes come
about equally often. Where one comes in one event of five hundred, it has nothing to say it with: `bias_corrected`
begins at the shares of the classes. The shares alone are the third: whatever scores are worth, probabilities are not
much worse than the rate at which classes come. A share of all weight is spread after each event, so that any may lead
again (fixed share: Herbster and Warmuth, "Tracking the Best Expert", Machine Learning 32, 1998). They are weighed by
many events at once, and a tenth of what those say: where now the one and now the other is better, weights that follow
each are always those of the events before. What is rare is told by few events: the rarer a class, the less the
temperature counts, whose moves took the order from the scores of such. All three name the learner's label first.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from thalweg.models.calibration.bias_corrected import BiasCorrected, first_of, label_first
from thalweg.models.calibration.pair import PairSpread, pair_corrected, pair_mixed
from thalweg.models.calibration.short_rows import row_highest
from thalweg.models.calibration.temperature import Spread, Temperature, settled, usable
from thalweg.proto.schema import Array

Floats = NDArray[np.float64]

SHARE = 1e-4
"""Weight spread after each labelled event."""
_RATE = 0.1
"""What a nat of log loss counts."""
_SOONEST, _LATEST, _PART = 16.0, 256.0, 1 / 16
"""Events that are learned together: a part of those so far, within these bounds …"""
_LARGEST = 1 << 14
"""… or with so many scores."""
_APART = 1e-6
"""Probabilities that rounding to 32 bits leaves in their order."""
_MOVED = 0.02
"""How far weights move before predictions use them; predictions leave out what has less."""
Weights = tuple[float, float, float]
"""Of the temperature, the bias-corrected one, the shares; their sum is 1."""
_FIRST: Weights = (0.5, 0.45, 0.05)
"""The shares alone rank nothing: they must be the likelier by far to count."""


class Waiting(NamedTuple):
    """n events that were predicted, and will be learned with others."""

    behind: Floats
    """(n, C) scores less the row's highest."""
    columns: NDArray[np.int32]
    """(n,) true classes."""
    first: Floats
    """(n,) probabilities of those by the temperature."""


Single = tuple[float, float, int, float]
"""One such event of two classes, in plain numbers: scores, true class, probability."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """A calibration: what predictions use, and what learning goes on from. Immutable.

    The temperature learns at once; the others and the weights from several micro-batches together, for the cost.
    """

    temperature: Temperature
    corrected: BiasCorrected
    weights: Weights = _FIRST
    used: Weights = _FIRST
    waiting: tuple[Waiting, ...] = ()
    singles: tuple[Single, ...] = ()
    """After those."""
    held: int = 0
    """Events that wait."""

    @classmethod
    def new(cls, *, logs: bool) -> Calibration:
        """Before any event; `logs`: scores are probabilities."""
        return cls(Temperature.new(logs=logs), BiasCorrected.new())

    def sized(self, classes: int) -> Calibration:
        """The same for so many classes."""
        corrected = self.corrected.sized(classes)
        return self if corrected is self.corrected else replace(self, corrected=corrected)

    def at(self, columns: Sequence[int]) -> Calibration:
        """The same for other columns, as of `BiasCorrected.at`."""
        known = self.learned
        return replace(known, corrected=known.corrected.at(columns))

    def spread(self, scores: Array) -> Spread | PairSpread:
        """Scores (N, C), C ≥ 1. A row's bits do not depend on the others."""
        return self.temperature.spread(scores)

    def probabilities(self, spread: Spread | PairSpread, label: NDArray[np.int32]) -> NDArray[np.float32]:
        """(N, C), rows that sum to 1, whose first largest is the label; NaN where the scores are not finite."""
        used, even = self.sized(spread.columns).corrected.used, self.temperature.even
        unit = 1.0 / math.exp(self.temperature.scale)
        if isinstance(spread, PairSpread):
            mixed = pair_mixed(spread, even)
            both = self.used[1] or self.used[2]
            return _pair(
                (mixed, pair_corrected(spread, unit, used), used.shares) if both else (mixed,), self.used, label
            )
        by_scale, by_correction, by_shares = self.used
        found = spread.softmax * (by_scale * (1.0 - even))
        found += by_scale * even / found.shape[1]
        known = np.maximum(label, 0)
        if by_correction:
            found += by_correction * label_first(used.given(spread.behind, unit), known)
        if by_shares:
            found += by_shares * label_first(np.tile(np.array(used.shares), (len(label), 1)), known)
        return settled(found.astype(np.float32), label)

    def after(self, spread: Spread | PairSpread, columns: NDArray[np.int32]) -> Calibration:
        """The calibration after the labels of predictions that it made.

        Args:
            spread: Of N events, by this calibration.
            columns: Their true columns, (N,); negative: unlabelled, or a class that was not known.
        """
        if isinstance(spread, PairSpread):
            return self._after_pair(spread, int(columns[0]))
        (behind, given), columns = kept = usable(spread, columns)
        count, classes = behind.shape
        if not count:
            return self
        temperature, even = self.temperature.after_usable(*kept), self.temperature.even
        first = given[np.arange(count), columns] * (1.0 - even) + even / classes
        new = Waiting(behind / math.exp(self.temperature.scale), columns, first)
        known = self._waiting_for(classes)
        return replace(
            known, temperature=temperature, waiting=(*known._all_waiting, new), singles=(), held=known.held + count
        )._learned_when_many(classes)

    def _after_pair(self, spread: PairSpread, column: int) -> Calibration:
        """As `after`, in plain numbers."""
        if column < 0:
            return self
        even, unit = self.temperature.even, math.exp(self.temperature.scale)
        one, other = spread.behind
        single = one / unit, other / unit, column, spread.softmax[column] * (1.0 - even) + even / 2
        known = self._waiting_for(2)
        return Calibration(
            self.temperature.after_pair(spread, column),
            known.corrected,
            known.weights,
            known.used,
            known.waiting,
            (*known.singles, single),
            known.held + 1,
        )._learned_when_many(2)

    def _waiting_for(self, classes: int) -> Calibration:
        """The same without events that wait with other numbers of classes."""
        others = self.waiting and self.waiting[0].behind.shape[1] != classes
        return self.learned if others or (self.singles and classes != 2) else self

    def _learned_when_many(self, classes: int) -> Calibration:
        most = min(_LATEST, max(_SOONEST, self.corrected.events * _PART))
        return self.learned if self.held >= most or self.held * classes >= _LARGEST else self

    @property
    def _all_waiting(self) -> tuple[Waiting, ...]:
        """Those that wait one by one as one of the others."""
        if not self.singles:
            return self.waiting
        one, other, columns, first = np.array(self.singles, dtype=np.float64).T
        return (*self.waiting, Waiting(np.stack([one, other], axis=1), columns.astype(np.int32), first))

    def _waiting_together(self) -> Waiting:
        behind, columns, first = (np.concatenate(parts) for parts in zip(*self._all_waiting))
        return Waiting(behind, columns, first)

    @property
    def learned(self) -> Calibration:
        """The same without events that wait."""
        if not self.held:
            return self
        behind, columns, first = self._waiting_together()
        count, classes = behind.shape
        corrected, now = self.corrected.sized(classes), max(classes, len(self.corrected.counts))  # others came since
        if classes < 2:
            after = corrected.after(behind, columns).sized(now)
            return replace(self, corrected=after, waiting=(), singles=(), held=0)
        label, used, rows = behind.argmax(axis=1), corrected.used, np.arange(count)
        given, right = used.given(behind, 1.0), columns == label
        second = first_of(row_highest(given), given[rows, label], given[rows, columns], right)
        shares = np.array(used.shares)
        third = first_of(shares.max(), shares[label], shares[columns], right)
        gains = [float(np.add.reduce(np.log(np.maximum(one, 1e-15)))) for one in (first, second, third)]
        weights = _weighed(self.weights, gains, count)
        after = corrected.after(behind, columns)
        leaning = _leaning(weights, after.rarity)
        far = max(abs(one - other) for one, other in zip(leaning, self.used))
        return Calibration(self.temperature, after.sized(now), weights, _used(leaning) if far > _MOVED else self.used)

    def in_use(self) -> Calibration:
        """What predictions depend on, and nothing of what learning goes on from."""
        used = self.corrected.used
        nothing = np.zeros(len(used.shares))
        return Calibration(
            self.temperature.in_use(), BiasCorrected(nothing, nothing, nothing, used=used), self.used, self.used
        )

    def alike(self, other: Calibration) -> bool:
        """Whether predictions are the same by both."""
        mine, theirs = self.temperature, other.temperature
        scales = (mine.scale, mine.even) == (theirs.scale, theirs.even)
        return scales and self.used == other.used and self.corrected.used == other.corrected.used

    def forgetting(self, factor: float) -> Calibration:
        """The same, with `factor` times less weight on what was learned."""
        temperature, known = self.temperature.forgetting(factor), self.learned
        return replace(known, temperature=temperature, corrected=known.corrected.forgetting(factor))

    def merged(self, other: Calibration) -> Calibration:
        """The mean of two calibrations of the same classes, by their events."""
        mine, theirs = self.temperature.events, other.temperature.events
        share, known, others = theirs / (mine + theirs) if theirs else 0.0, self.learned, other.learned
        first, second, third = (one + share * (two - one) for one, two in zip(known.weights, others.weights))
        weights = first, second, third
        corrected = known.corrected.merged(others.corrected)
        used = _used(_leaning(weights, corrected.rarity))
        return Calibration(self.temperature.merged(other.temperature), corrected, weights, used)

    def tensors(self) -> dict[str, Floats]:
        """All of it, but for the names of classes."""
        corrected = self.corrected.tensors()
        found = {"temperature": self.temperature.tensor(), "weights": np.array([self.weights, self.used])}
        found |= {f"corrected_{name}": tensor for name, tensor in corrected.items()}
        if self.held:
            behind, columns, first = self._waiting_together()
            found |= {"waiting_scores": behind, "waiting": np.stack([columns.astype(np.float64), first])}
        return found

    @classmethod
    def of(cls, tensors: Mapping[str, NDArray[Any]]) -> Calibration:
        """Restore from `tensors()`; of an earlier version's temperature alone, that answers, and the others begin."""
        temperature = Temperature.of(tensors["temperature"])
        if "weights" not in tensors:
            return cls(temperature, BiasCorrected.new(), (1.0 - 2 * SHARE, SHARE, SHARE), (1.0, 0.0, 0.0))
        weights, used = (tuple(row) for row in np.asarray(tensors["weights"], dtype=np.float64).tolist())
        corrected = BiasCorrected.of(tensors["corrected_numbers"], tensors["corrected_classes"])
        if "waiting" not in tensors:
            return cls(temperature, corrected, weights, used)
        columns, first = np.array(tensors["waiting"], dtype=np.float64)
        waiting = Waiting(np.array(tensors["waiting_scores"]), columns.astype(np.int32), first)
        return cls(temperature, corrected, weights, used, (waiting,), held=len(columns))


def _weighed(weights: Weights, gains: Sequence[float], count: int) -> Weights:
    best = max(gains)
    first, second, third = (weight * math.exp(_RATE * (gain - best)) for weight, gain in zip(weights, gains))
    spread = 1.0 - (1.0 - SHARE) ** count
    kept = (1.0 - spread) / (first + second + third)
    return first * kept + spread * _FIRST[0], second * kept + spread * _FIRST[1], third * kept + spread * _FIRST[2]


def _leaning(weights: Weights, rarity: float) -> Weights:
    """With so many times less of the temperature: it has nothing to say of a rare class, and moves for the others."""
    if rarity == 1.0:
        return weights
    first, second, third = weights
    total = first / rarity + second + third
    return first / rarity / total, second / total, third / total


def _used(weights: Weights) -> Weights:
    first, second, third = (weight if weight > _MOVED else 0.0 for weight in weights)
    total = first + second + third
    return first / total, second / total, third / total


def _pair(ways: Sequence[Sequence[float]], weights: Weights, label: NDArray[np.int32]) -> NDArray[np.float32]:
    """Probabilities (1, 2) of the ways of one row, in plain numbers."""
    named = int(label[0])
    first, second = ways[0][0] * weights[0], ways[0][1] * weights[0]
    for (one, two), weight in zip(ways[1:], weights[1:]):
        lead = two - one if named == 0 else one - two
        if lead > 0 and named >= 0:
            moved = lead / (1.0 + lead)
            one, two = one * (1.0 - moved), two * (1.0 - moved)
            one, two = (one + moved, two) if named == 0 else (one, two + moved)
        first, second = first + weight * one, second + weight * two
    found = np.array(((first, second),), dtype=np.float32)
    apart = first - second if named == 0 else second - first
    return found if apart > _APART and named >= 0 else settled(found, label)
