"""How well scores rank: area under the curve, exactly of a window, in constant memory of all events, and by group."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thalweg.proto.event import Batch
from thalweg.proto.schema import Array
from thalweg.stream.evaluation.figures.bounds import Bound, ranking_bound

Floats = NDArray[np.float64]
_BINS = 4096
_FARTHEST = 20.0  # log-odds beyond this share the outermost bins
_STEEPNESS = float(1 << 20)  # of scores that are no probabilities: above a millionth they are told apart by ratio
_MOST_UNSURE = 0.02
_IDS = 1 << 52  # whole in float64


def auc(scores: Floats, positive: NDArray[np.bool_]) -> float:
    """Probability that a positive outranks a negative, ties counting half (Mann-Whitney); there are both."""
    _, place = np.unique(scores, return_inverse=True)
    both = np.bincount(place)
    yes = np.bincount(place[positive], minlength=len(both))
    return auc_of_counts(yes, both - yes)


def auc_of_counts(positives: NDArray[Any], negatives: NDArray[Any]) -> float:
    """The same of events counted by their score, in ascending order."""
    below = negatives.cumsum() - negatives / 2
    return float(positives @ below) / (float(positives.sum()) * float(negatives.sum()))


class Ranks:
    """AUC over all events, in 64 kB: events are counted by class in 4,096 bins of their score, even in log-odds.

    Order is lost within a bin alone, where pairs count half: half of the pairs that share one is the most by which it
    can be wrong. Where that is more than 0.02 it is not told: scores lie too close together. Scores that
    are no probabilities are binned by their ratio, 1 % a bin, from a millionth to 400.
    """

    def __init__(self) -> None:
        self._counts = np.zeros((2, 0), dtype=np.int64)

    def add(self, margins: Floats, positive: NDArray[np.bool_], probabilities: bool) -> None:
        """Take up events (N,).

        Args:
            margins: By how much the positive class was preferred; of probabilities within [-1, 1].
            positive: Which events were of it.
            probabilities: Whether the margin is the difference of two probabilities that sum to 1.
        """
        if probabilities:
            held = margins.clip(-1.0 + 1e-15, 1.0 - 1e-15)
            steep = np.log((1.0 + held) / (1.0 - held))
        else:
            steep = np.copysign(np.log(1.0 + _STEEPNESS * np.abs(margins)), margins)
        place = (steep * ((_BINS - 1) / 2 / _FARTHEST) + _BINS / 2).clip(0.0, _BINS - 0.5).astype(np.int64)
        if not self._counts.shape[1]:
            self._counts = np.zeros((2, _BINS), dtype=np.int64)
        self._counts += np.bincount(np.where(positive, place + _BINS, place), minlength=2 * _BINS).reshape(2, _BINS)

    @property
    def found(self) -> tuple[float, Bound] | None:
        """AUC and its bounds; None while there are not both classes, or it cannot be told."""
        negatives, positives = self._counts.sum(axis=1).tolist()
        if not positives or not negatives:
            return None
        no, yes = self._counts.astype(np.float64)
        unsure = float(no @ yes) / (2.0 * positives * negatives)
        if unsure > _MOST_UNSURE:
            return None
        area = auc_of_counts(yes, no)
        low, high = ranking_bound(area, positives, negatives)
        return area, (max(0.0, low - unsure), min(1.0, high + unsure))

    def tensors(self) -> dict[str, Array]:
        """For a snapshot; nothing before the first event."""
        return {"ranks": self._counts} if self._counts.shape[1] else {}

    @classmethod
    def of(cls, tensors: Mapping[str, Array]) -> Ranks:
        """Those whose `tensors()` are among these."""
        ranks = cls()
        if "ranks" in tensors:
            ranks._counts = tensors["ranks"].copy()
        return ranks


def auc_by_group(scores: Floats, positive: NDArray[np.bool_], groups: Floats) -> tuple[Floats, Floats]:
    """AUC and number of events of each group with both classes, (G,) each; events whose group is NaN are left out."""
    known = ~np.isnan(groups)
    scores, positive, groups = scores[known], positive[known], groups[known]
    order = np.lexsort((scores, groups))
    scores, yes, groups = scores[order], positive[order].astype(np.int64), groups[order]
    if not len(groups):
        return np.zeros(0), np.zeros(0)
    first_of_group = np.flatnonzero(np.r_[True, groups[1:] != groups[:-1]])
    first_of_tie = np.flatnonzero(np.r_[True, (groups[1:] != groups[:-1]) | (scores[1:] != scores[:-1])])
    tied_yes = np.add.reduceat(yes, first_of_tie)
    tied_no = np.diff(np.r_[first_of_tie, len(yes)]) - tied_yes
    of_tie = np.searchsorted(first_of_group, first_of_tie, side="right") - 1  # the group of each tie
    below = tied_no.cumsum() - tied_no / 2
    ties_begin = np.searchsorted(first_of_tie, first_of_group)
    below -= (tied_no.cumsum() - tied_no)[ties_begin][of_tie]  # those of earlier groups
    won = np.add.reduceat(tied_yes * below, ties_begin)
    size = np.diff(np.r_[first_of_group, len(yes)])
    positives = np.add.reduceat(yes, first_of_group)
    both = (positives > 0) & (positives < size)
    return won[both] / (positives * (size - positives))[both], size[both].astype(np.float64)


def groups_of(batch: Batch) -> Array | Sequence[str | None] | None:
    """Whose each event is: the input `user`, else the event key; None where events have neither."""
    user = batch.inputs.get("user")
    if user is not None and user.ndim == 1 and user.dtype.kind in "iu":
        return user
    return batch.keys


def group_numbers(groups: Array | Sequence[str | None]) -> Floats:
    """A number for each, (N,), NaN where there is none.

    Of keys it is their CRC-32: two of a thousand keys share it once in 8,000 windows, and are one group then.
    """
    if isinstance(groups, np.ndarray):
        found: Floats = (groups % _IDS).astype(np.float64)
        return found
    return np.array([np.nan if key is None else float(zlib.crc32(key.encode())) for key in groups], dtype=np.float64)
