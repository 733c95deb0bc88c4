"""What to try where a naive control predicted as well as the model."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence

from thalweg.ops.init.labels import zero_and_one
from thalweg.proto.bounds.counted import counted
from thalweg.proto.columns import of_untyped
from thalweg.proto.task import SCORING, Task
from thalweg.stream.evaluation.figures.text import figure_text

LEAST = 200
"""Graded events from which on a model is compared with the controls."""
FEW = 20
"""Those from which on it is said that it is far below the first of them, or that there is one class."""
RARE = 0.9
"""Share of the most frequent class from which on accuracy says little."""
_LAST = "repeat_last_label"
_RATE = "event_rate"
_CONTROLS = {
    "majority": "the most frequent label",
    "mean": "the mean label",
    _LAST: "the label before",
    _RATE: "the rate of events",
}
_FAR_SHARE, _FAR_RATIO = 0.1, 1.5  # how much worse than a control is far, of an accuracy and of an error
_DEVIATIONS = 3.0  # of a share: what chance does not explain
_CLEAR_RATIO = 0.95  # of the error of the label before to that of the mean: at random it is the root of 2


def hints(
    task: Task,
    graded: int,
    metrics: Mapping[str, float],
    controls: Mapping[str, Mapping[str, float]],
    classes: Sequence[str] = (),
    ids: tuple[str, str] | None = None,
    learner: str = "",
) -> list[str]:
    """One sentence for each control that did as well as the model, by the main metric, and what to try.

    Args:
        task: Of the model; it names the metric.
        graded: Events in the figures.
        metrics: The figures of the model.
        controls: Those of each naive control.
        classes: Names of the known classes; none: of no such task.
        ids: The columns of users and items, if the model has such and takes them for categories.
        learner: Its name, which is not advised.
    """
    own = metrics.get(task.quality)
    given = {name: figures[task.quality] for name, figures in controls.items() if task.quality in figures}
    if graded >= FEW and task.name == SCORING.name and controls.get("majority", {}).get("accuracy") == 1.0:
        return [_ONE_SCORE]  # its metric, which compares two classes, is not there
    if own is None or graded < FEW:
        return []
    simple = next((given[name] for name in ("majority", "mean") if name in given), None)
    if simple is not None and simple == (0.0 if task.lower_is_better else 1.0):
        return [_ONE_CLASS if "majority" in given else _ONE_NUMBER]
    found: list[str] = []
    for name, control in given.items():
        beaten = f"{_CONTROLS.get(name, name)} alone has {task.quality} {figure_text(control)}"
        compared = f"hint: {beaten}, the model {figure_text(own)}"
        if graded < LEAST:
            if name != _LAST and _far(task, own, control, graded):
                found.append(f"{compared}: {counted(graded, 'graded row')} {_TRY_MORE_ROWS}{_simpler(learner)}")
            continue
        if (control - own if task.lower_is_better else own - control) > 0:
            continue
        remedy = _recommender(ids, classes) + _TRY_OTHERS + _forest(learner)
        if name == _LAST and _clear(task, control, simple, len(classes), graded):
            remedy = _TRY_LAGS
        elif name == _RATE:
            remedy = _NO_HISTORY
        elif name == _LAST and found:
            continue  # the same, of labels that do not resemble those before them
        elif name == "majority" and task.quality == "accuracy" and control >= RARE:
            remedy = _recommender(ids, classes) + _OTHER_FIGURES + _rarer(learner)
        found.append(f"{compared}: {remedy}")
    return found


def _clear(task: Task, last: float, simple: float | None, classes: int, graded: int) -> bool:
    """Whether the label before predicts better than what is known of all labels alone: they come in runs, or walk."""
    if task.lower_is_better:
        return simple is None or last < _CLEAR_RATIO * simple
    least = max(simple or 0.0, 1.0 / classes if classes else 0.0)
    return last > least + _DEVIATIONS * _deviation(least, graded)


def _far(task: Task, own: float, control: float, graded: int) -> bool:
    """Whether the model is so much worse that few rows do not explain it."""
    if task.lower_is_better:
        return own > _FAR_RATIO * control
    return control - own > max(_FAR_SHARE, _DEVIATIONS * _deviation(control, graded))


def _deviation(share: float, count: int) -> float:
    return math.sqrt(max(0.0, share * (1.0 - share)) / count)


def _recommender(ids: tuple[str, str] | None, classes: Sequence[str]) -> str:
    if ids is None:
        return ""
    user, item = ids
    two = zero_and_one([of_untyped(name) for name in classes])  # 0, 1, true and false are taken as they are
    names = f", and classes = {json.dumps(two, ensure_ascii=False)} for the labels 0 and 1" if two else ""
    return (
        f"{user!r} and {item!r} look like ids of users and items: if the label is a click, or a liking from 0 to 1, "
        f'first try learner = "error_memory", with them as the columns user and item{names}. Else: '
    )


def _simpler(learner: str) -> str:
    if learner == "nearest_mean":
        return ""
    return " or a simpler learner, such as nearest_mean for classes, or ridge with expansion = 0"


def _forest(learner: str) -> str:
    if "forest" in learner:
        return ""
    return ', or try a forest: learner = "river:river.forest.ARFClassifier" (ARFRegressor for numbers)'


def _rarer(learner: str) -> str:
    if learner == "nearest_mean":
        return ""
    what = "to find more of the rare class, at the price of accuracy, try"
    return f'; {what} balance = "reweighted" of ridge, or nearest_mean'


_ONE_CLASS = (
    "hint: all graded rows have the same label: there is one class, and nothing to learn. Is it the right column?"
)
_ONE_SCORE = (
    "hint: all graded rows have the same label: there is nothing to learn. If only clicks are recorded, add what was "
    "shown and not clicked as rows with the label 0; ratings of 1 to 5 as 1 from 4 on, else 0"
)
_ONE_NUMBER = "hint: all graded rows have the same label: there is nothing to learn. Is it the right column?"
_TRY_MORE_ROWS = "are few, and it is far behind. Replay more; while there are so few, try fewer columns"
_TRY_LAGS = (
    "labels resemble those before them. Give the model the latest labels that are known when it is asked as columns of "
    "their own (the value an hour ago, yesterday's), or the difference from the one before as the label"
)
_TRY_OTHERS = (
    "the inputs told it nothing. Is the label in the right column, and what it depends on among the inputs? Where it "
    "depends on several of them together, write these as one column"
)
_NO_HISTORY = (
    "what came before told it nothing. Do the events of a key follow from one another, is `key` the column that says "
    "whose they are, and is the time read in the right unit?"
)
_OTHER_FIGURES = "where one class is so frequent, accuracy says little. Look at balanced_accuracy and auc"
