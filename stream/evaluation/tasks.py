"""How each task is graded: one row a task.

Others come in through the entry-point group `thalweg.tasks`: the task's name, and an object that is a `TaskGrading`.
"""

from __future__ import annotations

from importlib.metadata import entry_points

from thalweg.proto.task import Task
from thalweg.stream.evaluation.class_grades import ClassGrading
from thalweg.stream.evaluation.grading import TaskGrading
from thalweg.stream.evaluation.number_grades import NumberGrading, ScoreGrading
from thalweg.stream.evaluation.sequence_grades import SequenceGrading

GROUP = "thalweg.tasks"
GRADINGS: dict[str, TaskGrading] = {
    "classification": ClassGrading(),
    "adaptation": ClassGrading(),
    "regression": NumberGrading(),
    "scoring": ScoreGrading(),
    "sequence": SequenceGrading(),
}


class UnknownTask(ValueError):
    """Nothing here grades the answers of this task; the message says which are known."""


def grading_of(task: Task) -> TaskGrading:
    """How the answers of this task are graded.

    Raises:
        UnknownTask: Nobody says.
    """
    if task.name not in GRADINGS:
        for entry in entry_points(group=GROUP, name=task.name):
            GRADINGS[task.name] = entry.load()
    if task.name not in GRADINGS:
        known = ", ".join(sorted({*GRADINGS, *entry_points(group=GROUP).names}))
        raise UnknownTask(f"nothing grades the answers of the task {task.name!r}; known: {known}")
    return GRADINGS[task.name]
