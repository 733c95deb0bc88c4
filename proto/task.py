"""The task of a model, its kind of prediction: which output is the prediction, and how it may be used.

The grading of a task is in `stream.evaluation.tasks`, under the task's name. A new task needs a value like those
below (next to its learner, if only one has it), a file with its grading, and a row in that table.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

from thalweg.proto.schema import LabelKind

Remembered: TypeAlias = Literal["class", "numbers", "probability", ""]


SHARES = ("probabilities", "type_scores")
"""Outputs with a probability for each of `Predictor.classes`, whatever the task."""
BY_CLASS = (*SHARES, "scores")
"""Outputs with a column for each of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One kind of prediction."""

    name: str
    """The name under which its grading is registered."""
    label: LabelKind
    """The label kind of the events that grade it."""
    outputs: Mapping[str, tuple[str, int]]
    """Required outputs of a predictor: by name the dtype, and the number of dimensions after the rows."""
    answer: str
    """The output that is the prediction."""
    scores: str = ""
    """An optional output with a column for each of `Predictor.classes`; empty if there is none."""
    probabilities: bool = False
    """Whether those scores are probabilities, also graded by log-loss and calibration."""
    confidence: str = ""
    """The output whose highest value is the confidence that drift detection watches; empty: `scores`."""
    remembered: Remembered = ""
    """The form in which a prediction is stored until its label arrives, so that the served one is graded: see `Answer`.
    Empty: not stored; the prediction at the time of the label is graded.
    """
    watched: bool = True
    """Whether drift is detected in the predictions, as the signal `predictions`."""
    recallable: bool = False
    """Whether a prediction is right or wrong and depends on inputs alone, so that held-out events can be evaluated."""
    quality: str
    """The main metric."""
    lower_is_better: bool = False
    """Whether a lower value of that metric is better."""
    quality_range: tuple[float, float] = (-math.inf, math.inf)
    """The values that metric can have."""

    def with_probabilities(self) -> Task:
        """The same task with scores that are probabilities."""
        return replace(self, probabilities=True)

    def problem(self, outputs: Mapping[str, Any]) -> str:
        """Why a predictor with these outputs (specs by name) does not match this task; empty if it does."""
        for name, (dtype, dimensions) in self.outputs.items():
            spec = outputs.get(name)
            if spec is None:
                return f"task {self.name}: expected an output {name!r}, got {', '.join(outputs) or 'none'}"
            if spec.dtype != dtype and dtype:
                return f"task {self.name}: expected output {name!r} of dtype {dtype}, got {spec.dtype}"
            if len(spec.shape) != dimensions:
                return f"task {self.name}: expected {dimensions} dimensions a row in {name!r}, got {len(spec.shape)}"
        return ""


CLASSIFICATION = Task(
    name="classification",
    label="class",
    outputs={"label": ("bytes", 0)},
    answer="label",
    scores="scores",
    remembered="class",
    recallable=True,
    quality="accuracy",
    quality_range=(0.0, 1.0),
)
REGRESSION = Task(
    name="regression",
    label="number",
    outputs={"value": ("", 1)},
    answer="value",
    remembered="numbers",
    quality="rmse",
    lower_is_better=True,
    quality_range=(0.0, math.inf),
)
SCORING = Task(
    name="scoring",
    label="number",
    outputs={"score": ("", 0)},
    answer="score",
    remembered="probability",
    recallable=True,
    quality="auc",
    quality_range=(0.0, 1.0),
)
"""The probability that a number is 1 rather than 0."""
SEQUENCE = Task(
    name="sequence",
    label="class",
    outputs={"next_time": ("float64", 0), "next_type": ("int64", 0), "type_scores": ("", 1)},
    answer="next_type",
    scores="type_scores",
    watched=False,
    quality="log_likelihood",
)
"""The next event of a key, and its time; predictions depend on the history, not on inputs."""
ADAPTATION = replace(CLASSIFICATION, name="adaptation")
"""Classification that adapts without labels: labels only grade it."""

BUILT_IN = {task.name: task for task in (CLASSIFICATION, REGRESSION, SCORING, SEQUENCE, ADAPTATION)}
_BY_OUTPUT = {"next_time": SEQUENCE, "value": REGRESSION, "score": SCORING, "label": CLASSIFICATION}


def task_of(predictor: Any, outputs: Mapping[str, Any] | None = None) -> Task:
    """The predictor's task; for predictors that declare none, derived from the outputs.

    Args:
        predictor: A `Predictor`.
        outputs: By name, if known from elsewhere than the predictor.

    Raises:
        ValueError: It declares none, and its outputs match no task.
    """
    task: Task | None = getattr(predictor, "task", None)
    if task is not None:
        return task
    names = predictor.outputs if outputs is None else outputs
    for name, meant in _BY_OUTPUT.items():
        if name in names:
            said = getattr(predictor, "properties", {}).get("scores")
            return meant.with_probabilities() if said == "probabilities" else meant
    raise ValueError(f"the predictor has no `task`, and its outputs match none: {', '.join(names) or 'none'}")
