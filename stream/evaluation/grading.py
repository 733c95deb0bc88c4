"""Grading one micro-batch: which answers were right, and what further figures are made of.

`stream.evaluation.tasks` has the grading of each task; each is a `TaskGrading`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
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
_MOST_CLASSES = 10_000  # events of further classes are graded alike, but share one recall


class Alike(NamedTuple):
    """What micro-batches must share to be taken into the figures together."""

    kind: str
    """`classes`: right answers are counted by class; `scores`: the same of two, `given` being the probability of the
    second; `means`: figures are means of columns alone."""
    classes: tuple[str, ...] = ()
    """Of the predictor."""
    probabilities: bool = False
    """Its scores are."""
    two: bool = False
    """There are no more classes than that."""
    columns: tuple[str, ...] = ()


@dataclass(slots=True)
class Graded:
    """How the answers to a micro-batch of N events were graded."""

    rows: NDArray[np.intp] | slice
    """Which were, M of them."""
    columns: dict[str, Any]
    """Of those, (M, …). Of classes and scores `correct`, `label` of scores (for classes see there), and `group`, whose
    they are; of classes with scores `scores` and `column`, the true one among them; of scores `given`, of numbers
    `squared` and `absolute`, of sequences those of `grade_sequences`."""
    alike: Alike
    codes: NDArray[np.int32] | None = None
    """Of classes those of the batch, and what they are here."""
    numbers: NDArray[np.intp] | None = None

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    @property
    def labels(self) -> NDArray[np.intp] | None:
        """The classes by their number here, (M,); None of numbers."""
        if self.codes is not None and self.numbers is not None:
            return self.numbers[self.codes]
        return self.columns.get("label")


class _Tables(NamedTuple):
    """What the codes of a batch are, by their names."""

    names: tuple[str, ...]
    classes: tuple[str, ...]
    ours: NDArray[np.intp]
    """Our numbers of the names, -1 of those not met."""
    columns: NDArray[np.int32]
    """Where the names are among the classes of the predictor, -2 of those unknown to it: -1 is an answer, too."""
    whole: bool
    """All names have been met."""


class ClassNumbers:
    """Numbers classes in the order of their first events."""

    def __init__(self, classes: Mapping[str, int] | None = None) -> None:
        self.classes = dict(classes or {})
        """The numbers of those seen."""
        self._tabled: _Tables | None = None

    def fix(self, *names: str) -> None:
        """Number these now, whatever comes first."""
        for name in names:
            self.classes.setdefault(name, len(self.classes))

    def tables(self, names: tuple[str, ...], codes: NDArray[Any], classes: tuple[str, ...]) -> _Tables:
        """The batches of a block share their names, so the tables of last time mostly serve again."""
        known = self._tabled
        if known is None or known.names is not names or known.classes != classes or not known.whole:
            self._number(names, codes)
            where = {name: column for column, name in enumerate(classes)}
            unknown = _MOST_CLASSES if len(self.classes) == _MOST_CLASSES else -1  # -1: not met yet, so not in codes
            ours = np.array([self.classes.get(name, unknown) for name in names], dtype=np.intp)
            columns = np.array([where.get(name, -2) for name in names], dtype=np.int32)
            self._tabled = known = _Tables(names, classes, ours, columns, bool((ours >= 0).all()))
        return known

    def _number(self, names: tuple[str, ...], codes: NDArray[Any]) -> None:
        """Number new classes in the order of their first events, which no cut changes."""
        met, first = np.unique(codes, return_index=True)
        for code in met[np.argsort(first)]:
            if len(self.classes) < _MOST_CLASSES:
                self.classes.setdefault(names[code], len(self.classes))


class TaskGrading(ABC):
    """How the answers of a task are graded. One thread uses it; it keeps nothing."""

    means: tuple[str, ...] = ()
    """Columns of its own whose means over all events are kept, beside `log_loss`, `squared` and `absolute`."""
    kept: tuple[str, ...] = ()
    """Columns of its own that the recent window holds."""
    bounded: bool = True
    """Whether losses lie within [0, 1]."""

    @abstractmethod
    def grade(
        self, batch: Batch, predictor: Predictor, task: Task, outputs: Mapping[str, Array], numbers: ClassNumbers
    ) -> Graded | None:
        """Hold the answers to N events against their labels, of the kind that the task says; None where none can be.

        Args:
            batch: The events.
            predictor: Whose answers they are; names the columns of scores.
            task: Its task.
            outputs: The answers, (N, ...) each.
            numbers: Of the classes; those that come first here are numbered.
        """

    @abstractmethod
    def losses(self, graded: Graded) -> Floats:
        """What drift is watched in, (M,): the higher the worse."""

    @abstractmethod
    def main(self, recent: RecentWindow) -> float:
        """The task's `quality` over a window that is not empty; NaN where it is not known."""

    def confidence(self, task: Task, outputs: Mapping[str, Array], count: int) -> Floats:
        """How sure N answers were, (N,); NaN where they do not say."""
        return np.full(count, np.nan)

    def right(self, outputs: Mapping[str, Array], numbers: NDArray[np.intp], columns: NDArray[np.intp]) -> Array:
        """Which answers to held events are right, (N,) bool; asked of tasks that are `recallable`.

        Args:
            outputs: The answers, (N, ...) each.
            numbers: Of the events' classes, (N,).
            columns: Where those are among the predictor's classes, (N,); -1 where it does not know them.
        """
        raise NotImplementedError(f"{type(self).__name__} does not say which answers are right")

    def figures(self, means: Figures, counts: Mapping[str, int]) -> Figures:
        """Figures over all events of the means of `means`; counts are the events that each is a mean of."""
        return dict(means)

    def recent_figures(self, means: Figures, columns: Mapping[str, Floats]) -> Figures:
        """Figures over the recent window of the means of `means`, and of its columns (N,), N > 0."""
        counts = {name: int(np.count_nonzero(~np.isnan(columns[name]))) for name in self.means if name in columns}
        return self.figures({name: means[name] for name in self.means if name in means}, counts)


def fits(batch: Batch, task: Task) -> bool:
    """Whether the batch has labels of the kind that grade this task."""
    kinds: Mapping[str, Any] = {"class": ClassLabels, "number": NumberLabels}
    return task.label not in kinds or isinstance(batch.labels, kinds[task.label])


def finite(scores: Array) -> NDArray[np.float64]:
    """As float64, with what is no number or endless replaced: a score may be anything, a figure must not."""
    wide = scores.astype(np.float64)
    if not np.isfinite(wide).all():
        np.nan_to_num(wide, copy=False, posinf=1e300, neginf=-1e300)
    return wide


def those(groups: Any, rows: NDArray[np.intp] | slice) -> Any:
    """The groups (N,) at these rows."""
    if isinstance(groups, np.ndarray) or isinstance(rows, slice):
        return groups[rows]
    return [groups[row] for row in rows.tolist()]
