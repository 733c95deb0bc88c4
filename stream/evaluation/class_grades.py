"""Grading of classes: zero-one loss, and of scores also confidence."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thalweg.models.contract.learner import Predictor
from thalweg.proto.event import Batch, ClassLabels
from thalweg.proto.schema import Array
from thalweg.proto.task import Task
from thalweg.stream.evaluation.figures.ranking import groups_of
from thalweg.stream.evaluation.figures.recent import RecentWindow
from thalweg.stream.evaluation.grading import Alike, ClassNumbers, Floats, Graded, TaskGrading, those
from thalweg.stream.evaluation.served_answers import without_answer

_EVERY = slice(None)


class ClassGrading(TaskGrading):
    """Zero-one loss; for scores that are probabilities also log-loss and calibration error, for two classes AUC."""

    right_alone = True
    controls = MappingProxyType({"majority": "majority_class", "repeat_last_label": "last_class"})

    def grade(
        self, batch: Batch, predictor: Predictor, task: Task, outputs: Mapping[str, Array], numbers: ClassNumbers
    ) -> Graded | None:
        assert isinstance(batch.labels, ClassLabels)
        codes = batch.labels.codes
        labelled = len(codes) and codes.min() >= 0
        rows: NDArray[np.intp] | slice = _EVERY if labelled else np.flatnonzero(codes >= 0)
        return grade_classes(batch, batch.labels, rows, predictor, task, outputs, numbers)

    def unanswered(
        self, batch: Batch, predictor: Predictor, task: Task, outputs: Mapping[str, Array]
    ) -> NDArray[np.bool_] | None:
        return without_answer(batch, predictor, outputs[task.answer])

    def losses(self, graded: Graded) -> Floats:
        losses: Floats = 1.0 - graded.columns["correct"]
        return losses

    def main(self, recent: RecentWindow) -> float:
        return recent.share_right

    def confidence(self, task: Task, outputs: Mapping[str, Array], count: int) -> Floats:
        name = task.confidence or task.scores  # uncalibrated: a calibration that moves is no drift of the stream
        if name in outputs and outputs[name].shape[1] > 1:
            highest: Floats = outputs[name].max(axis=1).astype(np.float64)
            return highest
        return np.full(count, np.nan)

    def right(self, outputs: Mapping[str, Array], numbers: NDArray[np.intp], columns: NDArray[np.intp]) -> Array:
        found: Array = (outputs["label"] == columns) & (columns >= 0)
        return found


def grade_classes(
    batch: Batch,
    labels: ClassLabels,
    rows: NDArray[np.intp] | slice,
    predictor: Predictor,
    task: Task,
    outputs: Mapping[str, Array],
    numbers: ClassNumbers,
) -> Graded | None:
    """Compare the predictions for these labelled rows with the labels; None if there are none."""
    codes, answers, scores = labels.codes, outputs[task.answer], outputs.get(task.scores)
    if not isinstance(rows, slice):
        codes, answers = codes[rows], answers[rows]
        scores = None if scores is None else scores[rows]
        if not len(codes):
            return None
    classes = predictor.classes
    known = numbers.tables(labels.names, codes, classes)
    column = known.columns[codes]
    found: dict[str, Any] = {"correct": answers == column}
    probabilities = False
    if scores is not None:
        found["scores"], found["column"] = scores, column
        probabilities = task.probabilities
        if (groups := groups_of(batch)) is not None:
            found["group"] = those(groups, rows)
    return Graded(rows, found, Alike("classes", classes, probabilities, tuple(found)), codes, known.ours)
