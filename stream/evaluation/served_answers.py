"""Selects the prediction to grade: the served one if it is known, else the model's present one.

An event that was requested before its label arrived carries the prediction that was served. The model has learned in
the meantime and would now predict otherwise, but no client saw that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from thalweg.memory.snapshots.state import State
from thalweg.models.contract.learner import Predictor
from thalweg.proto.answer import Answer
from thalweg.proto.event import Batch, ClassLabels, Labels, NumberLabels
from thalweg.proto.schema import Array, Inputs, TensorSpec
from thalweg.proto.task import Task, task_of

_MOST_ADDED = 100
"""Most classes of a micro-batch that were known when they were predicted but no longer are; further ones count as
unknown.
"""


def as_served(
    batch: Batch, predictor: Predictor, outputs: Mapping[str, Array]
) -> tuple[Predictor, Mapping[str, Array]]:
    """The predictions to grade, and their predictor.

    Sequence predictions are not replaced: the likelihood of an event cannot be computed from what was served.

    Args:
        batch: N events, some perhaps with the served prediction.
        predictor: The present predictor.
        outputs: Its predictions, (N, ...) each; not modified.

    Returns:
        A predictor that names the columns of scores, and outputs of the same names, (N, ...) each; the given ones if
        none was served.
    """
    if batch.served is None:
        return predictor, outputs
    task = task_of(predictor, outputs)
    if not task.remembered:
        return predictor, outputs
    served = [(row, answer) for row, answer in enumerate(batch.served) if answer is not None]
    if task.remembered != "class":
        fill = _values if task.remembered == "numbers" else _scores
        return predictor, {**outputs, task.answer: fill(outputs[task.answer], served)}
    classes = _with_served_classes(batch, predictor.classes, served)
    answerer = predictor if len(classes) == len(predictor.classes) else _WithClasses(predictor, task, classes)
    return answerer, {**outputs, **_classes(outputs, task.scores, classes, served)}


def without_answer(batch: Batch, predictor: Predictor, labels: Array) -> Array | None:
    """Which of N predicted labels are missing because no class was known when they were asked for, (N,); None: none.

    A missing label for other reasons, such as an input that is not finite, is a wrong answer.

    Args:
        batch: The events.
        predictor: As of `as_served`.
        labels: Its labels, (N,); -1 where there is none.
    """
    present = predictor.present if isinstance(predictor, _WithClasses) else predictor
    if present.classes and batch.served is None:
        return None
    unknown = np.full(len(labels), not present.classes)
    for row, answer in enumerate(batch.served or ()):
        if answer is not None:
            unknown[row] = answer.label is None and not answer.known
    missing: Array = unknown & (labels < 0)
    return missing if missing.any() else None


def _values(now: Array, served: Sequence[tuple[int, Answer]]) -> Array:
    width = now.shape[1]
    found = now.astype(np.float64)
    for row, answer in served:
        if len(answer.value) == width:
            found[row] = answer.value
        elif not answer.value and answer.score is None:
            found[row] = np.nan  # there was no answer
    return found


def _scores(now: Array, served: Sequence[tuple[int, Answer]]) -> Array:
    found = now.astype(np.float64)
    for row, answer in served:
        if answer.score is not None:
            found[row] = answer.score
    return found


def _classes(
    outputs: Mapping[str, Array], given: str, classes: tuple[str, ...], served: Sequence[tuple[int, Answer]]
) -> dict[str, Array]:
    """Labels, and the scores `given` in columns of these classes."""
    places = {name: place for place, name in enumerate(classes)}
    label, scores = np.array(outputs["label"]), None
    if given in outputs:
        now = outputs[given]
        scores = np.zeros((len(now), len(classes)), dtype=now.dtype)
        scores[:, : now.shape[1]] = now
    for row, answer in served:
        if scores is not None:
            if answer.label is not None and not answer.known:
                continue  # a label without scores: from a model without them
            scores[row, : answer.known] = answer.rest if answer.known > len(answer.classes) else 0.0
            scores[row, answer.known :] = 0.0
            for name, score in zip(answer.classes, answer.scores):
                if (place := places.get(name)) is not None:
                    scores[row, place] = score
        label[row] = -1 if answer.label is None else places.get(answer.label, -1)
    return {"label": label} if scores is None else {"label": label, given: scores}


def _with_served_classes(batch: Batch, known: tuple[str, ...], served: Sequence[tuple[int, Answer]]) -> tuple[str, ...]:
    """The present classes, and those of served labels that are no longer known, after a rollback say."""
    if not isinstance(batch.labels, ClassLabels):
        return known
    now, added = set(known), dict[str, None]()
    names, codes = batch.labels.names, batch.labels.codes
    for row, answer in served:
        if codes[row] < 0 or (name := names[codes[row]]) in now:
            continue
        if len(added) < _MOST_ADDED and (name == answer.label or name in answer.classes):
            added[name] = None
    return (*known, *added)


class _WithClasses:
    """A predictor with additional classes that it never predicts."""

    def __init__(self, predictor: Predictor, task: Task, classes: tuple[str, ...]) -> None:
        self.present, self._task, self._classes = predictor, task, classes

    @property
    def task(self) -> Task:
        return self._task

    @property
    def inputs(self) -> Mapping[str, TensorSpec]:
        return self.present.inputs

    @property
    def outputs(self) -> Mapping[str, TensorSpec]:
        return self.present.outputs

    @property
    def classes(self) -> tuple[str, ...]:
        return self._classes

    @property
    def properties(self) -> Mapping[str, str]:
        return self.present.properties

    def predict(self, inputs: Inputs) -> Mapping[str, Array]:
        return self.present.predict(inputs)

    def state(self) -> State:
        return self.present.state()


def without_labels(labels: Labels, rows: NDArray[np.intp]) -> Labels:
    """The labels of many events, of which these rows have none any more."""
    if isinstance(labels, ClassLabels):
        codes = labels.codes.copy()
        codes[rows] = -1
        return ClassLabels(codes, labels.names)
    values = labels.values.copy()
    values[rows] = np.nan
    return NumberLabels(values)
