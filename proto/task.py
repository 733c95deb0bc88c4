"""What kind of answer a model gives: the one place that says which output is the answer, and what may be done with it.

How the answers of a task are graded stands in `stream.evaluation.tasks`, under the task's name. A new task is a value
like those below (beside its learner, where it has but one), one file with its grading, and a row in that table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

from thalweg.proto.schema import LabelKind

Remembered: TypeAlias = Literal["class", "numbers", "probability", ""]


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One kind of answer."""

    name: str
    """Under which its grading is found."""
    label: LabelKind
    """Of the events that grade it."""
    outputs: Mapping[str, tuple[str, int]]
    """What predictors give at least: by name the dtype, and how many dimensions follow that of the rows."""
    answer: str
    """The output that is the answer."""
    scores: str = ""
    """An output with a column for each of `Predictor.classes`, of those that give one; empty: there is none."""
    probabilities: bool = False
    """Whether those scores are probabilities: graded by log-loss and calibration, too."""
    remembered: Remembered = ""
    """What is kept of an answer until its label comes, so that what was served is graded: `Answer` has the forms.
    Empty: nothing, the answer of the moment at which the label came is graded."""
    watched: bool = True
    """Whether answers are watched for drift, as the signal `predictions`."""
    recallable: bool = False
    """Whether an answer is right or wrong and follows from inputs alone, so that held events can be asked again."""
    quality: str
    """The figure to look at first."""
    lower_is_better: bool = False
    """Whether that is an error."""

    def with_probabilities(self) -> Task:
        """The same with scores that are probabilities."""
        return replace(self, probabilities=True)

    def problem(self, outputs: Mapping[str, Any]) -> str:
        """Why a predictor with these outputs (specs by name) does not have this task; empty where it does."""
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
)
REGRESSION = Task(
    name="regression",
    label="number",
    outputs={"value": ("", 1)},
    answer="value",
    remembered="numbers",
    quality="rmse",
    lower_is_better=True,
)
SCORING = Task(
    name="scoring",
    label="number",
    outputs={"score": ("", 0)},
    answer="score",
    remembered="probability",
    recallable=True,
    quality="auc",
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
"""What comes next of a key, and when; answers follow from what came before, not from inputs."""
ADAPTATION = replace(CLASSIFICATION, name="adaptation")
"""Classification that learns without labels: those that come grade it, and teach it nothing."""

BUILT_IN = {task.name: task for task in (CLASSIFICATION, REGRESSION, SCORING, SEQUENCE, ADAPTATION)}
_BY_OUTPUT = {"next_time": SEQUENCE, "value": REGRESSION, "score": SCORING, "label": CLASSIFICATION}


def task_of(predictor: Any, outputs: Mapping[str, Any] | None = None) -> Task:
    """The task that a predictor says; of one from before there were any, that which its outputs have always meant.

    Args:
        predictor: A `Predictor`.
        outputs: By name, where they are known otherwise than from the predictor.

    Raises:
        ValueError: It says none, and its outputs are those of none.
    """
    task: Task | None = getattr(predictor, "task", None)
    if task is not None:
        return task
    names = predictor.outputs if outputs is None else outputs
    for name, meant in _BY_OUTPUT.items():
        if name in names:
            said = getattr(predictor, "properties", {}).get("scores")
            return meant.with_probabilities() if said == "probabilities" else meant
    raise ValueError(f"the predictor has no `task`, and its outputs are those of none: {', '.join(names) or 'none'}")
