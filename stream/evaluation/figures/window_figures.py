"""Metrics and their bounds from columns of graded events."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from thalweg.stream.evaluation.figures.bounds import (
    Bound,
    mean_of_shares_bound,
    positive_bound,
    ranking_bound,
    root_bound,
    share_bound,
    weighted_mean_bound,
)
from thalweg.stream.evaluation.figures.calibration import Calibration
from thalweg.stream.evaluation.figures.few import few
from thalweg.stream.evaluation.figures.ranking import auc, auc_by_group
from thalweg.stream.evaluation.figures.two_classes import COLUMNS, Pair

Floats = NDArray[np.float64]
Figures: TypeAlias = dict[str, tuple[float, Bound | None]]
"""By name, the figure and its 95 % confidence interval; None if unknown."""


def class_figures(hits: NDArray[np.int64], seen: NDArray[np.int64], stray: NDArray[np.bool_]) -> Figures:
    """Accuracy and balanced accuracy from the right predictions and events by class, (C,) each; {} without events.

    `stray`: the classes that hardly ever come, (C,): each would weigh as much as one with thousands of events. They are
    no part of balanced accuracy where others are.
    """
    known = seen > 0
    if not known.any():
        return {}
    right, all_events = float(hits.sum()), float(seen.sum())
    if (known & ~stray).any():
        known &= ~stray
    rights, events = hits[known].astype(np.float64), seen[known].astype(np.float64)
    return {
        "accuracy": (right / all_events, share_bound(right, all_events)),
        "balanced_accuracy": (float(np.mean(rights / events)), mean_of_shares_bound(rights, events)),
    }


def number_figures(means: Mapping[str, tuple[float, Bound | None]]) -> Figures:
    """RMSE and MAE from the means of the columns `squared` and `absolute`."""
    found: Figures = {}
    if "squared" in means:
        square, bound = means["squared"]
        found["rmse"] = float(np.sqrt(square)), root_bound(bound)
        absolute, bound = means["absolute"]
        found["mae"] = absolute, positive_bound(bound)
    return found


def window_figures(
    columns: Mapping[str, Floats],
    means: Mapping[str, tuple[float, Bound | None]],
    pair: Pair | None,
    stray: NDArray[np.bool_],
    scores: bool,
) -> Figures:
    """The figures of a window that are common to several tasks.

    Args:
        columns: Of equal length N > 0: `correct`, `label`, `log_loss`, `group`, `confidence` and those of `two_classes`
            for classes, `margin` for scores; `squared` and `absolute` for numbers.
        means: The means of those columns that figures are made of, with their bounds.
        pair: The two classes of the stream; None if there are not two.
        stray: The classes that hardly ever come, (C,).
        scores: Whether `margin` is the probability of class 1.
    """
    found: Figures = {}
    if "correct" in columns:
        label = columns["label"].astype(np.int64)
        seen = np.bincount(label, minlength=len(stray))
        hits = np.bincount(label, weights=columns["correct"], minlength=len(seen)).astype(np.int64)
        found |= class_figures(hits, seen, stray)
        if "log_loss" in means:
            loss, bound = means["log_loss"]
            found["log_loss"] = loss, positive_bound(bound)
        if pair is not None:
            found |= _ranking_figures(columns, label, pair)
        stated, happened = ("margin", "label") if scores else ("confidence", "correct")
        if stated in columns:
            calibration = Calibration()
            calibration.add(columns[stated], columns[happened])
            if (error := calibration.error) is not None:
                found["calibration_error"] = error, None
    return found | number_figures(means)


def _ranking_figures(columns: Mapping[str, Floats], label: NDArray[np.int64], pair: Pair) -> Figures:
    (no, yes), (first, second) = pair.numbers, (COLUMNS[place] for place in pair.places)
    rows = (label == no) | (label == yes)
    if "margin" in columns:
        margin = columns["margin"]
    elif second in columns:
        margin = columns[second] - columns[first]
    else:
        return {}
    rows &= ~np.isnan(margin)  # of micro-batches that had no scores
    others = len(rows) - int(np.count_nonzero(rows))
    if others and not few(others, len(rows)):
        return {}
    margin, positive = margin[rows], label[rows] == yes
    positives = int(np.count_nonzero(positive))
    negatives = len(positive) - positives
    if not positives or not negatives:
        return {}
    area = auc(margin, positive)
    found: Figures = {"auc": (area, ranking_bound(area, positives, negatives))}
    if (groups := columns.get("group")) is not None:
        areas, sizes = auc_by_group(margin, positive, groups[rows])
        if len(areas):
            found["gauc"] = float((areas * sizes).sum() / sizes.sum()), weighted_mean_bound(areas, sizes)
    return found
