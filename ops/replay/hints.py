"""What to try where a naive control predicted as well as the model."""

from __future__ import annotations

from collections.abc import Mapping

from thalweg.proto.task import Task
from thalweg.stream.evaluation.figures.text import figure_text

LEAST = 200
"""Graded events from which on a model is compared with the controls."""
RARE = 0.9
"""Share of the most frequent class from which on accuracy says little."""
_LAST = "repeat_last_label"
_CONTROLS = {"majority": "the most frequent label", "mean": "the mean label", _LAST: "the label before"}


def hints(
    task: Task, graded: int, metrics: Mapping[str, float], controls: Mapping[str, Mapping[str, float]]
) -> list[str]:
    """One sentence for each control that did as well as the model, by the main metric, and what to try.

    Args:
        task: Of the model; it names the metric.
        graded: Events in the figures.
        metrics: The figures of the model.
        controls: Those of each naive control.
    """
    own = metrics.get(task.quality)
    if own is None or graded < LEAST:
        return []
    sign, found = -1 if task.lower_is_better else 1, []
    for name, figures in controls.items():
        control = figures.get(task.quality)
        if control is None or sign * (own - control) > 0:
            continue
        beaten = f"{_CONTROLS.get(name, name)} alone has {task.quality} {figure_text(control)}"
        remedy = _TRY_LAGS if name == _LAST else _TRY_OTHERS
        if name == "majority" and task.quality == "accuracy" and control >= RARE:
            remedy = _OTHER_FIGURES
        found.append(f"hint: {beaten}, the model {figure_text(own)}: {remedy}")
    return found


_TRY_LAGS = (
    "labels resemble those before them. Give the model the latest labels that are known when it is asked as columns of "
    "their own (the value an hour ago, yesterday's), or the difference from the one before as the label"
)
_TRY_OTHERS = (
    "the inputs told it nothing. Is the label in the right column, and what it depends on among the inputs? Where it "
    "depends on several of them together, write these as one column, or try a forest: "
    'learner = "river:river.forest.ARFClassifier" (ARFRegressor for numbers)'
)
_OTHER_FIGURES = (
    "where one class is so frequent, accuracy says little. Look at balanced_accuracy and auc; to find more of the rare "
    'class, at the price of accuracy, try balance = "reweighted" of ridge, or nearest_mean'
)
