"""Grading of next-event predictions: likelihood, time, and whether the type is among the most likely."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thalweg.models.contract.learner import Predictor
from thalweg.proto.event import Batch, ClassLabels
from thalweg.proto.schema import Array
from thalweg.proto.task import SEQUENCE, Task
from thalweg.stream.evaluation.class_grades import grade_classes
from thalweg.stream.evaluation.figures.bounds import Bound, positive_bound, root_bound, share_bound
from thalweg.stream.evaluation.figures.recent import RecentWindow
from thalweg.stream.evaluation.figures.window_figures import Figures
from thalweg.stream.evaluation.grading import ClassNumbers, Floats, Graded, TaskGrading
from thalweg.stream.evaluation.number_grades import mean

SEQUENCE_MEANS = ("log_likelihood", "top3", "gap_squared", "log_gap")
"""Columns whose means are figures."""

TIMED = np.dtype([("label", np.intp), ("gap", "f8"), ("unit", "f8")])
"""Labels with the gap before each event."""


class SequenceGrading(TaskGrading):
    """Types are graded as classes; events without a prediction (`next_time` is NaN) are not graded."""

    means = SEQUENCE_MEANS
    kept = ("hazard", *SEQUENCE_MEANS)
    bounded = False
    # the event before is mostly of another key
    controls = MappingProxyType({"majority": "majority_class", "event_rate": "event_rate"})
    controls_task = SEQUENCE

    def grade(
        self, batch: Batch, predictor: Predictor, task: Task, outputs: Mapping[str, Array], numbers: ClassNumbers
    ) -> Graded | None:
        assert isinstance(batch.labels, ClassLabels)
        rows = np.flatnonzero(batch.labels.present & np.isfinite(outputs["next_time"]))
        graded = grade_classes(batch, batch.labels, rows, predictor, task, outputs, numbers)
        if graded is not None and "hazard" in outputs:
            predicted = {name: column[rows] for name, column in outputs.items()}
            graded.columns |= grade_sequences(batch.times[rows], predicted, graded.columns["column"])
            unit = _unit_seconds(predictor)
            graded.columns |= {"gap": batch.times[rows] - predicted["last_time"], "unit": np.full(len(rows), unit)}
            graded.alike = graded.alike._replace(columns=tuple(graded.columns))
        return graded

    def control_labels(
        self, batch: Batch, rows: NDArray[np.intp] | slice, numbers: ClassNumbers, graded: Graded | None
    ) -> NDArray[Any] | None:
        """Class numbers, the gap before each event in seconds, and the unit of likelihoods; NaN where unknown."""
        kinds = super().control_labels(batch, rows, numbers, graded)
        if kinds is None:
            return None
        found = np.zeros(len(batch), TIMED)
        found["gap"] = found["unit"] = np.nan
        if graded is not None and "gap" in graded.columns:
            found["gap"][graded.rows], found["unit"][graded.rows] = graded.columns["gap"], graded.columns["unit"]
        found = found[rows]
        found["label"] = kinds
        return found

    def unanswered(
        self, batch: Batch, predictor: Predictor, task: Task, outputs: Mapping[str, Array]
    ) -> NDArray[np.bool_] | None:
        return None if predictor.classes else np.ones(len(batch), np.bool_)

    def losses(self, graded: Graded) -> Floats:
        """The negative log-likelihood of the event."""
        likelihood = graded.columns.get("log_likelihood")
        losses: Floats = -likelihood if likelihood is not None else 1.0 - graded.columns["correct"]
        return losses

    def main(self, recent: RecentWindow) -> float:
        likelihood = recent.column("log_likelihood")
        return math.nan if likelihood is None else mean(likelihood)

    def figures(self, means: Figures, counts: Mapping[str, int]) -> Figures:
        return sequence_figures(means, counts)

    def recent_figures(self, means: Figures, columns: Mapping[str, Floats]) -> Figures:
        if "hazard" not in columns:
            return {}
        found = super().recent_figures(means, columns)
        hazard = columns["hazard"][~np.isnan(columns["hazard"])]
        if len(hazard):
            found["rescaling_ks"] = uniform_distance(1.0 - np.exp(-hazard.clip(0.0, None))), None
        return found


def _unit_seconds(predictor: Predictor) -> float:
    """The unit of time of its likelihoods; NaN while it is unknown."""
    try:
        return float(predictor.properties["time_unit_seconds"])
    except (KeyError, ValueError):
        return math.nan


def grade_sequences(times: Floats, outputs: Mapping[str, Array], truth: NDArray[Any]) -> dict[str, Floats]:
    """The columns for events at these times (N,), given their predictions and the true columns of the scores.

    Returns:
        Per event: `log_likelihood`, its log-density; `hazard`, ∫ λ until its time; `top3`, whether its type is among
        the three most likely; `gap_squared`, the squared error of the expected gap in s²; `log_gap`, the absolute
        error of its logarithm, NaN for a gap of 0. Infinite values become NaN.
    """
    gaps, expected = times - outputs["last_time"], outputs["next_time"] - outputs["last_time"]
    scores = outputs["type_scores"]
    likeliest = np.argsort(-scores, axis=1, kind="stable")[:, :3]
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):  # a time may be any number
        log_gap = np.abs(np.log(expected) - np.log(gaps))
        squared = (expected - gaps) ** 2
    found = {
        "log_likelihood": outputs["log_likelihood"],
        "hazard": outputs["hazard"],
        "top3": ((likeliest == truth[:, None]) & (truth[:, None] >= 0)).any(axis=1).astype(np.float64),
        "gap_squared": squared,
        "log_gap": log_gap,
    }
    return {name: np.where(np.isfinite(column), column, np.nan) for name, column in found.items()}


def sequence_figures(
    means: Mapping[str, tuple[float, Bound | None]], counts: Mapping[str, int]
) -> dict[str, tuple[float, Bound | None]]:
    """Figures by name, with their bounds, from the means of the columns."""
    found: dict[str, tuple[float, Bound | None]] = {}
    if "log_likelihood" in means:
        found["log_likelihood"] = means["log_likelihood"]
    if "top3" in means:
        share = means["top3"][0]
        found["top3_accuracy"] = share, share_bound(share * counts["top3"], counts["top3"])
    if "gap_squared" in means:
        square, bound = means["gap_squared"]
        found["gap_rmse"] = square**0.5, root_bound(bound)
    if "log_gap" in means:
        absolute, bound = means["log_gap"]
        found["log_gap_mae"] = absolute, positive_bound(bound)
    return found


def uniform_distance(sample: Floats) -> float:
    """Kolmogorov-Smirnov distance between a sample (N,), N > 0, and the uniform distribution on [0, 1]."""
    ordered, count = np.sort(sample), len(sample)
    level = np.arange(1, count + 1) / count
    return float(np.maximum(level - ordered, ordered - level + 1 / count).max())
