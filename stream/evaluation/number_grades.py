"""Grading of numbers: by their error, or, if the prediction is the probability of a 1, as a binary class."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thalweg.models.contract.learner import Predictor
from thalweg.proto.event import Batch, NumberLabels
from thalweg.proto.schema import Array
from thalweg.proto.task import Task
from thalweg.stream.evaluation.figures.orders import number_columns
from thalweg.stream.evaluation.figures.ranking import auc, groups_of
from thalweg.stream.evaluation.figures.recent import RecentWindow
from thalweg.stream.evaluation.grading import Alike, ClassNumbers, Floats, Graded, TaskGrading, finite, those


class NumberGrading(TaskGrading):
    """Squared and absolute error, each the mean over the numbers of a label."""

    bounded = False
    controls = MappingProxyType({"mean": "mean_numbers", "repeat_last_label": "last_numbers"})

    def control_labels(
        self, batch: Batch, rows: NDArray[np.intp] | slice, numbers: ClassNumbers, graded: Graded | None
    ) -> NDArray[Any] | None:
        return batch.labels.values[rows] if isinstance(batch.labels, NumberLabels) else None

    def unanswered(
        self, batch: Batch, predictor: Predictor, task: Task, outputs: Mapping[str, Array]
    ) -> NDArray[np.bool_] | None:
        missing = np.asarray(np.isnan(outputs[task.answer]).all(axis=1))
        return missing if missing.any() else None

    def grade(
        self, batch: Batch, predictor: Predictor, task: Task, outputs: Mapping[str, Array], numbers: ClassNumbers
    ) -> Graded | None:
        assert isinstance(batch.labels, NumberLabels)
        rows = np.flatnonzero(batch.labels.present)
        if not len(rows):
            return None
        return Graded(rows, number_columns(outputs[task.answer][rows], batch.labels.values[rows]), Alike("means"))

    def losses(self, graded: Graded) -> Floats:
        losses: Floats = np.minimum(graded.columns["absolute"], 1e300)
        return losses

    def main(self, recent: RecentWindow) -> float:
        squared = recent.column("squared")
        return math.nan if squared is None else math.sqrt(mean(squared))


class ScoreGrading(TaskGrading):
    """A probability of at least one half predicts 1; labels between 0 and 1 are rounded, others are not graded."""

    controls = MappingProxyType({"majority": "share_of_ones", "repeat_last_label": "last_score"})

    def grade(
        self, batch: Batch, predictor: Predictor, task: Task, outputs: Mapping[str, Array], numbers: ClassNumbers
    ) -> Graded | None:
        assert isinstance(batch.labels, NumberLabels)
        number = batch.labels.values[:, 0]
        rows = np.flatnonzero(batch.labels.present & (number >= 0.0) & (number <= 1.0))
        number, given = number[rows], finite(outputs[task.answer][rows])
        if not len(number):
            return None
        numbers.fix("0", "1")
        truth = (number >= 0.5).astype(np.int64)
        found: dict[str, Any] = {"correct": (given >= 0.5) == truth, "label": truth, "given": given}
        if (groups := groups_of(batch)) is not None:
            found["group"] = those(groups, rows)
        return Graded(rows, found, Alike("scores", columns=tuple(found)))

    def control_labels(
        self, batch: Batch, rows: NDArray[np.intp] | slice, numbers: ClassNumbers, graded: Graded | None
    ) -> NDArray[Any] | None:
        if not isinstance(batch.labels, NumberLabels):
            return None
        return np.asarray(batch.labels.values[rows, 0] >= 0.5).astype(np.int64)

    def losses(self, graded: Graded) -> Floats:
        """The Brier score."""
        losses: Floats = (np.clip(graded.columns["given"], 0, 1) - graded.columns["label"]) ** 2
        return losses

    def main(self, recent: RecentWindow) -> float:
        margin, label = recent.column("margin"), recent.column("label")
        if margin is None or label is None:
            return math.nan
        yes = label == 1
        return auc(margin, yes) if yes.any() and not yes.all() else math.nan

    def confidence(self, task: Task, outputs: Mapping[str, Array], count: int) -> Floats:
        """The distance from one half."""
        distance: Floats = np.abs(outputs[task.answer].astype(np.float64) - 0.5)
        return distance

    def right(self, outputs: Mapping[str, Array], numbers: NDArray[np.intp], columns: NDArray[np.intp]) -> Array:
        with np.errstate(invalid="ignore"):
            found: Array = (outputs["score"] >= 0.5) == (numbers == 1)
        return found


def mean(column: Floats) -> float:
    """The mean of the known values of a column; NaN if there are none."""
    known = column[~np.isnan(column)]
    with np.errstate(over="ignore", invalid="ignore"):
        return float(known.mean()) if len(known) else math.nan
