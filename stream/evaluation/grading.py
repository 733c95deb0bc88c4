"""Grading one micro-batch: which answers were right, and what further figures are made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from thalweg.models.contract.learner import Predictor
from thalweg.proto.event import Batch, ClassLabels, NumberLabels
from thalweg.proto.schema import Array
from thalweg.stream.evaluation.figures.ranking import groups_of
from thalweg.stream.evaluation.sequence_grades import grade_sequences

_NO_AND_YES = ("0", "1")
_EVERY = slice(None)
_MOST_CLASSES = 10_000  # events of further classes are graded alike, but share one recall


class Alike(NamedTuple):
    """What micro-batches must share to be taken into the figures together."""

    kind: str
    """`classes`, `scores` or `numbers`."""
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


class Grader:
    """Numbers classes in the order of their first events, and holds answers against labels."""

    def __init__(self, classes: Mapping[str, int] | None = None) -> None:
        self.classes = dict(classes or {})
        """The numbers of those met."""
        self._tabled: _Tables | None = None

    def grade(self, batch: Batch, predictor: Predictor, outputs: Mapping[str, Array]) -> Graded | None:
        """Hold the answers against the labels; None where nothing can be."""
        if isinstance(batch.labels, ClassLabels):
            return self._classes(batch, batch.labels, predictor, outputs)
        if isinstance(batch.labels, NumberLabels) and "score" in outputs:
            return self._scores(batch, batch.labels, outputs["score"])
        if isinstance(batch.labels, NumberLabels):
            return _numbers(batch.labels, outputs)
        return None

    def _classes(
        self, batch: Batch, labels: ClassLabels, predictor: Predictor, outputs: Mapping[str, Array]
    ) -> Graded | None:
        rows: NDArray[np.intp] | slice = _EVERY
        codes = labels.codes
        answers = outputs["label"] if "label" in outputs else outputs["next_type"]
        scores = outputs.get("scores", outputs.get("type_scores"))
        if "next_time" in outputs:
            rows = np.flatnonzero(labels.present & np.isfinite(outputs["next_time"]))
        elif not len(codes) or codes.min() < 0:
            rows = np.flatnonzero(codes >= 0)
        if rows is not _EVERY:
            codes, answers = codes[rows], answers[rows]
            scores = None if scores is None else scores[rows]
            if not len(codes):
                return None
        classes = predictor.classes
        known = self._tables(labels.names, codes, classes)
        column = known.columns[codes]
        found: dict[str, Any] = {"correct": answers == column}
        two, probabilities = False, False
        if scores is not None:
            found["scores"], found["column"] = scores, column
            probabilities = predictor.properties.get("scores") == "probabilities"
            two = len(self.classes) <= 2 and len(classes) <= 2
        if two and (groups := groups_of(batch)) is not None:
            found["group"] = _those(groups, rows)
        if "hazard" in outputs:
            found |= grade_sequences(batch.times[rows], {n: o[rows] for n, o in outputs.items()}, column)
        return Graded(rows, found, Alike("classes", classes, probabilities, two, tuple(found)), codes, known.ours)

    def _tables(self, names: tuple[str, ...], codes: NDArray[Any], classes: tuple[str, ...]) -> _Tables:
        """The batches of a block share their names, so the tables of last time mostly serve again."""
        known = self._tabled
        if known is None or known.names is not names or known.classes != classes or not known.whole:
            self._meet(names, codes)
            where = {name: column for column, name in enumerate(classes)}
            unknown = _MOST_CLASSES if len(self.classes) == _MOST_CLASSES else -1  # -1: not met yet, so not in codes
            ours = np.array([self.classes.get(name, unknown) for name in names], dtype=np.intp)
            columns = np.array([where.get(name, -2) for name in names], dtype=np.int32)
            self._tabled = known = _Tables(names, classes, ours, columns, bool((ours >= 0).all()))
        return known

    def _meet(self, names: tuple[str, ...], codes: NDArray[Any]) -> None:
        """Number new classes in the order of their first events, which no cut changes."""
        met, first = np.unique(codes, return_index=True)
        for code in met[np.argsort(first)]:
            if len(self.classes) < _MOST_CLASSES:
                self.classes.setdefault(names[code], len(self.classes))

    def _scores(self, batch: Batch, labels: NumberLabels, scores: Array) -> Graded | None:
        number = labels.values[:, 0]
        rows = np.flatnonzero(labels.present & (number >= 0.0) & (number <= 1.0))
        number, given = number[rows], finite(scores[rows])
        if not len(number):
            return None
        for name in _NO_AND_YES:
            self.classes.setdefault(name, len(self.classes))
        truth = (number >= 0.5).astype(np.int64)
        found: dict[str, Any] = {"correct": (given >= 0.5) == truth, "label": truth, "given": given}
        if (groups := groups_of(batch)) is not None:
            found["group"] = _those(groups, rows)
        return Graded(rows, found, Alike("scores", columns=tuple(found)))


def _numbers(labels: NumberLabels, outputs: Mapping[str, Array]) -> Graded | None:
    rows = np.flatnonzero(labels.present)
    if not len(rows):
        return None
    error = outputs["value"][rows] - labels.values[rows]
    with np.errstate(over="ignore"):  # a target of 1e300 is an infinite error, not a reason to stop
        found = {"squared": np.mean(error**2, axis=1), "absolute": np.mean(np.abs(error), axis=1)}
    return Graded(rows, found, Alike("numbers"))


def finite(scores: Array) -> NDArray[np.float64]:
    """As float64, with what is no number or endless replaced: a score may be anything, a figure must not."""
    wide = scores.astype(np.float64)
    if not np.isfinite(wide).all():
        np.nan_to_num(wide, copy=False, posinf=1e300, neginf=-1e300)
    return wide


def _those(groups: Any, rows: NDArray[np.intp] | slice) -> Any:
    if isinstance(groups, np.ndarray) or isinstance(rows, slice):
        return groups[rows]
    return [groups[row] for row in rows.tolist()]
