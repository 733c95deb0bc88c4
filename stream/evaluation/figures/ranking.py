"""Ranking quality of scores: AUC, exact over a window, in constant memory over all events, and by group."""

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
_FARTHEST = 20.0  # log-odds beyond this fall into the outermost bins
_STEEPNESS = float(1 << 20)  # for scores that are not probabilities: above a millionth they are distinguished by ratio
_MOST_UNSURE = 0.02
_IDS = 1 << 52  # exact integers in float64


def auc(scores: Floats, positive: NDArray[np.bool_]) -> float:
    """Probability that a positive outranks a negative, ties counting half (Mann-Whitney); both must occur."""
    _, place = np.unique(scores, return_inverse=True)
    both = np.bincount(place)
    yes = np.bincount(place[positive], minlength=len(both))
    return auc_of_counts(yes, both - yes)


def auc_of_counts(positives: NDArray[Any], negatives: NDArray[Any]) -> float:
    """The same from counts per score, in ascending order."""
    below = negatives.cumsum() - negatives / 2
    return float(positives @ below) / (float(positives.sum()) * float(negatives.sum()))


class Ranks:
    """AUC over all events, in 64 kB: events are counted by class in 4,096 bins of their score, evenly spaced in
    log-odds.

    Order is lost only within a bin, where pairs count half, so the error is at most half the share of pairs in the
    same bin. If that is more than 0.02, the AUC is not reported: the scores lie too close together. Scores that are
    not probabilities are binned by ratio, 1 % per bin, from a millionth to 400.
    """

    def __init__(self) -> None:
        self._counts = np.zeros((2, 0), dtype=np.int64)

    def add(self, margins: Floats, positive: NDArray[np.bool_], probabilities: bool) -> None:
        """Add events (N,).

        Args:
            margins: By how much the positive class is preferred; for probabilities within [-1, 1].
            positive: Which events are positive.
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
        """AUC and its bounds; None if a class has no events, or the scores lie too close together."""
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
        """Tensors for a snapshot; empty before the first event."""
        return {"ranks": self._counts} if self._counts.shape[1] else {}

    @classmethod
    def of(cls, tensors: Mapping[str, Array]) -> Ranks:
        """Restore from the result of `tensors()`."""
        ranks = cls()
        if "ranks" in tensors:
            ranks._counts = tensors["ranks"].copy()
        return ranks


def auc_by_group(scores: Floats, positive: NDArray[np.bool_], groups: Floats) -> tuple[Floats, Floats]:
    """AUC and number of events of each group that has both classes, (G,) each; events with group NaN are ignored."""
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
    below -= (tied_no.cumsum() - tied_no)[ties_begin][of_tie]  # minus those of earlier groups
    won = np.add.reduceat(tied_yes * below, ties_begin)
    size = np.diff(np.r_[first_of_group, len(yes)])
    positives = np.add.reduceat(yes, first_of_group)
    both = (positives > 0) & (positives < size)
    return won[both] / (positives * (size - positives))[both], size[both].astype(np.float64)


def groups_of(batch: Batch) -> Array | Sequence[str | None] | None:
    """The group of each event: the input or column `user`, else the event key; None if events have neither."""
    user = batch.inputs.get("user")
    if user is not None and user.ndim == 1 and user.dtype.kind in "iu":
        return user
    if user is not None and user.ndim == 1 and user.dtype.kind == "O":  # a column of texts
        return [one.decode(errors="replace") or None for one in user.tolist()]
    return batch.keys


def group_numbers(groups: Array | Sequence[str | None]) -> Floats:
    """A number for each group, (N,), NaN if there is none.

    For keys it is their CRC-32: among a thousand keys, two collide once in 8,000 windows and are then one group.
    """
    if isinstance(groups, np.ndarray):
        found: Floats = (groups % _IDS).astype(np.float64)
        return found
    return np.array([np.nan if key is None else float(zlib.crc32(key.encode())) for key in groups], dtype=np.float64)
