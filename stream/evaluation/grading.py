"""Grading of one micro-batch: which predictions are right, and the columns that metrics are computed from.

`stream.evaluation.tasks` maps each task to its `TaskGrading`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from thalweg.models.contract.learner import Predictor
from thalweg.proto.event import Batch, ClassLabels, NumberLabels
from thalweg.proto.schema import Array
from thalweg.proto.task import Task
from thalweg.stream.evaluation.figures.recent import RecentWindow
from thalweg.stream.evaluation.figures.window_figures import Figures

Floats: TypeAlias = NDArray[np.float64]
ALL_ROWS = slice(None)
_SMALLEST_PROBABILITY = 1e-15
_MOST_CLASSES = 10_000  # all events of further classes are graded, but share one recall


class Alike(NamedTuple):
    """Micro-batches with equal values here are added to the figures together."""

    kind: str
    """`classes`: right predictions are counted by class; `scores`: the same for two classes, where `given` is the
    probability of the second; `means`: all figures are means of columns.
    """
    classes: tuple[str, ...] = ()
    """The classes of the predictor."""
    probabilities: bool = False
    """Whether its scores are probabilities."""
    columns: tuple[str, ...] = ()


@dataclass(slots=True)
class Graded:
    """The grades of the predictions for a micro-batch of N events."""

    rows: NDArray[np.intp] | slice
    """The M graded rows."""
    columns: dict[str, Any]
    """Columns of those rows, (M, …). For classes and scores `correct`, `label` for scores (for classes see there), and
    the event's `group`; for classes with scores `scores` and `column`, the true one among them; for scores `given`,
    for numbers `squared`, `absolute` and `numbers`, for sequences those of `grade_sequences`.
    """
    alike: Alike
    codes: NDArray[np.int32] | None = None
    """For classes: the batch's label codes, and the table that maps them to class numbers."""
    numbers: NDArray[np.intp] | None = None

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    @property
    def labels(self) -> NDArray[np.intp] | None:
        """The class numbers, (M,); None for numbers."""
        if self.codes is not None and self.numbers is not None:
            return self.numbers[self.codes]
        return self.columns.get("label")


class _Tables(NamedTuple):
    """Maps from the label codes of a batch."""

    names: tuple[str, ...]
    classes: tuple[str, ...]
    ours: NDArray[np.intp]
    """Class numbers, -1 for classes not seen."""
    columns: NDArray[np.int32]
    """Columns of the predictor's scores, -2 for classes unknown to it: -1 is a possible prediction."""
    whole: bool
    """All names have been seen."""


class ClassNumbers:
    """Numbers classes in the order of their first events."""

    def __init__(self, classes: Mapping[str, int] | None = None) -> None:
        self.classes = dict(classes or {})
        """The numbers of the classes seen."""
        self._tabled: _Tables | None = None

    def fix(self, *names: str) -> None:
        """Number these classes now, in this order."""
        for name in names:
            self.classes.setdefault(name, len(self.classes))

    def tables(self, names: tuple[str, ...], codes: NDArray[Any], classes: tuple[str, ...]) -> _Tables:
        """The batches of a block share their names, so the previous tables can mostly be reused."""
        known = self._tabled
        if known is None or known.names is not names or known.classes != classes or not known.whole:
            self._number(names, codes)
            where = {name: column for column, name in enumerate(classes)}
            unknown = _MOST_CLASSES if len(self.classes) == _MOST_CLASSES else -1  # -1: not seen yet, so not in codes
            ours = np.array([self.classes.get(name, unknown) for name in names], dtype=np.intp)
            columns = np.array([where.get(name, -2) for name in names], dtype=np.int32)
            self._tabled = known = _Tables(names, classes, ours, columns, bool((ours >= 0).all()))
        return known

    def of(self, labels: ClassLabels, rows: NDArray[np.intp] | slice) -> NDArray[np.intp]:
        """The numbers of the classes of these labelled events, (M,)."""
        codes = labels.codes[rows]
        return self.tables(labels.names, codes, self._tabled.classes if self._tabled is not None else ()).ours[codes]

    def _number(self, names: tuple[str, ...], codes: NDArray[Any]) -> None:
        """Number new classes in the order of their first events, which does not depend on how the stream is cut."""
        met, first = np.unique(codes, return_index=True)
        for code in met[np.argsort(first)]:
            if len(self.classes) < _MOST_CLASSES:
                self.classes.setdefault(names[code], len(self.classes))


class TaskGrading(ABC):
    """How the predictions of a task are graded. Stateless; not thread-safe."""

    means: tuple[str, ...] = ()
    """Extra columns whose means over all events are kept, besides `log_loss`, `squared` and `absolute`."""
    kept: tuple[str, ...] = ()
    """Extra columns that the recent window holds."""
    right_alone: bool = False
    """Whether `main` is the share of right answers, which needs no column of the window but `correct`."""
    bounded: bool = True
    """Whether losses lie within [0, 1]."""
    controls: Mapping[str, str] = MappingProxyType({})
    """The naive controls that make sense, by the name under which they are reported: see `controls.py`."""
    controls_task: Task | None = None
    """The task whose figures they have; None: those of their columns."""

    @abstractmethod
    def grade(
        self, batch: Batch, predictor: Predictor, task: Task, outputs: Mapping[str, Array], numbers: ClassNumbers
    ) -> Graded | None:
        """Compare the predictions for N events with labels of the task's kind; None if none can be graded.

        Args:
            batch: The events.
            predictor: The predictor that made the predictions; names the columns of scores.
            task: Its task.
            outputs: The predictions, (N, ...) each.
            numbers: The class numbers; new classes are numbered.
        """

    @abstractmethod
    def losses(self, graded: Graded) -> Floats:
        """The losses in which drift is detected, (M,); higher is worse."""

    @abstractmethod
    def main(self, recent: RecentWindow) -> float:
        """The task's `quality` metric over a non-empty window; NaN if unknown."""

    def confidence(self, task: Task, outputs: Mapping[str, Array], count: int) -> Floats:
        """The confidence of N predictions, (N,); NaN if they have none."""
        return np.full(count, np.nan)

    def right(self, outputs: Mapping[str, Array], numbers: NDArray[np.intp], columns: NDArray[np.intp]) -> Array:
        """Which predictions for held-out events are right, (N,) bool; only for tasks that are `recallable`.

        Args:
            outputs: The predictions, (N, ...) each.
            numbers: The class numbers of the events, (N,).
            columns: The columns of those classes in the predictor's scores, (N,); -1 if unknown to it.
        """
        raise NotImplementedError(f"{type(self).__name__} does not say which answers are right")

    def control_labels(
        self, batch: Batch, rows: NDArray[np.intp] | slice, numbers: ClassNumbers, graded: Graded | None
    ) -> NDArray[Any] | None:
        """The labels of these labelled events, (M, ...), as the task's controls predict them; None: there are none.

        `graded`: the grades of the batch, if any of it was graded.
        """
        return numbers.of(batch.labels, rows) if isinstance(batch.labels, ClassLabels) else None

    def unanswered(
        self, batch: Batch, predictor: Predictor, task: Task, outputs: Mapping[str, Array]
    ) -> NDArray[np.bool_] | None:
        """Which of N events got no answer because the model had learned too little to have one, (N,); None: none."""
        return None

    def figures(self, means: Figures, counts: Mapping[str, int]) -> Figures:
        """Figures over all events from the means of `means`; `counts` are the numbers of events per mean."""
        return dict(means)

    def recent_figures(self, means: Figures, columns: Mapping[str, Floats]) -> Figures:
        """Figures over the recent window from the means of `means` and the window's columns (N,), N > 0."""
        counts = {name: int(np.count_nonzero(~np.isnan(columns[name]))) for name in self.means if name in columns}
        return self.figures({name: means[name] for name in self.means if name in means}, counts)


def fits(batch: Batch, task: Task) -> bool:
    """Whether the batch has labels of the kind that this task is graded with."""
    kinds: Mapping[str, Any] = {"class": ClassLabels, "number": NumberLabels}
    return task.label not in kinds or isinstance(batch.labels, kinds[task.label])


def finite(scores: Array) -> NDArray[np.float64]:
    """Convert to float64 and replace NaN and infinities: a score may be anything, a figure must be finite."""
    wide = scores.astype(np.float64)
    if not np.isfinite(wide).all():
        np.nan_to_num(wide, copy=False, posinf=1e300, neginf=-1e300)
    return wide


LARGEST_LOSS = -math.log(_SMALLEST_PROBABILITY)
"""Log-loss of an event whose class was given no probability."""


def log_losses(given: Floats) -> Floats:
    """The log-losses from the probabilities of the true classes."""
    losses: Floats = -np.log(given.clip(_SMALLEST_PROBABILITY, 1.0))
    return losses


def joined_column(parts: list[Any]) -> Any:
    """The parts of a column as one."""
    if len(parts) == 1:
        return parts[0]
    if isinstance(parts[0], np.ndarray):
        return np.concatenate(parts)
    return [one for part in parts for one in part]


def those(groups: Any, rows: NDArray[np.intp] | slice) -> Any:
    """The groups (N,) at these rows."""
    if isinstance(groups, np.ndarray) or isinstance(rows, slice):
        return groups[rows]
    return [groups[row] for row in rows.tolist()]


def earlier_alike(label: NDArray[np.intp]) -> NDArray[np.intp]:
    """For each event the number of earlier ones with the same label, (N,)."""
    order = np.argsort(label, kind="stable")
    ordered = label[order]
    begins = np.flatnonzero(np.diff(ordered, prepend=-1))
    found = np.empty(len(label), dtype=np.intp)
    found[order] = np.arange(len(label)) - np.repeat(begins, np.diff(begins, append=len(label)))
    return found


def log_loss_of_known(metrics: Mapping[str, float], graded: int, unknown: int) -> float | None:
    """Log-loss over so many events without those of classes that were not known yet; None: there is none."""
    mean, known = metrics.get("log_loss"), graded - unknown
    return None if mean is None or not known else (mean * graded - LARGEST_LOSS * unknown) / known
