"""The grading of each task: one row per task.

The entry-point group `thalweg.tasks` adds others: the task's name, and a `TaskGrading` object.
"""

from __future__ import annotations

from importlib.metadata import entry_points

from thalweg.models.parts.user_modules import not_allowed
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
    """There is no grading for this task; the message lists the known tasks."""


def grading_of(task: Task) -> TaskGrading:
    """The grading of this task.

    Raises:
        UnknownTask: There is none.
    """
    if task.name not in GRADINGS:
        for entry in entry_points(group=GROUP, name=task.name):
            if why := not_allowed(entry.module):
                raise UnknownTask(f"the grading for the task {task.name!r} is registered as {entry.value}; {why}")
            GRADINGS[task.name] = entry.load()
    if task.name not in GRADINGS:
        known = ", ".join(sorted({*GRADINGS, *entry_points(group=GROUP).names}))
        raise UnknownTask(f"no grading for the task {task.name!r}; known tasks: {known}")
    return GRADINGS[task.name]
