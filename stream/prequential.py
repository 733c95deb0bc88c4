"""Prequential evaluation: each answer is graded by the label that came, before the learner has seen it.

Figures are kept over all events and over a recent window, in constant memory, one vectorised step per micro-batch. They
are part of what a snapshot holds, so a restart goes on with the same figures.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thalweg.memory.state import State
from thalweg.models.learner import Predictor
from thalweg.proto.event import Array, Batch, ClassLabels, NumberLabels
from thalweg.stream.sequence_grades import SEQUENCE_COLUMNS, SequenceSums, grade_sequences, sequence_metrics

_SMALLEST_PROBABILITY = 1e-15
_NO_AND_YES = ("0", "1")
_MOST_CLASSES = 10_000  # events of further classes are graded alike, but share one recall


@dataclass(frozen=True, slots=True)
class Grades:
    """How the answers to a micro-batch of N events were graded."""

    rows: NDArray[np.bool_]
    """(N,), which events were."""
    columns: Mapping[str, Any]
    """Figures of those, one each or one for all, by the names under which the recent window keeps them."""


class Prequential:
    """Accuracy, balanced accuracy, log-loss and AUC of class labels; RMSE and MAE of numbers.

    An output `score` is the probability that a number is 1 rather than 0, and graded as that: from one half up it
    answers 1. A number between counts as the nearer of both; others are not graded. Log-loss is kept where a predictor
    says that its scores are probabilities (property `scores`), AUC where there are two classes. An answer from before
    the class was known counts as wrong. Unlabelled events are not graded. No figure depends on how the stream was cut
    into micro-batches.

    Where outputs tell a `next_time`, events for which it is NaN are not graded: nothing could be foreseen. Then there
    are also the mean `log_likelihood`, the share of types among the three likeliest, RMSE of the expected gap in
    seconds, mean absolute error of its logarithm, and of the recent window the Kolmogorov-Smirnov distance between
    1 - exp(-hazard) and what it is where the model is right, uniform (time rescaling).

    Args:
        window_events: How many events the recent figures look back.
    """

    def __init__(self, window_events: int = 1000) -> None:
        self._window = window_events
        self._graded = 0
        self._classes: dict[str, int] = {}
        self._hits = np.zeros(0, dtype=np.int64)  # (C,) right answers by class
        self._seen = np.zeros(0, dtype=np.int64)  # (C,) events by class
        self._log_loss = 0.0
        self._log_loss_events = 0
        self._squared = 0.0
        self._absolute = 0.0
        self._numbers = 0
        self._worst = float("nan")
        self._begun = 0  # events graded before the recent window began
        self._hits_in_window = 0.0
        self._recent: dict[str, NDArray[np.float64]] = {}
        self._sequence = SequenceSums()
        self.grades = None
        self._tabled: tuple[tuple[str, ...], tuple[str, ...], NDArray[np.intp], NDArray[np.intp]] | None = None

    grades: Grades | None
    """Of the latest micro-batch; None where nothing in it was graded."""

    @property
    def graded(self) -> int:
        """Labelled events so far."""
        return self._graded

    def predicted(self, batch: Batch, predictor: Predictor, outputs: Mapping[str, Array]) -> None:
        """Grade the answers that stood before the batch was learned."""
        self.grades = None
        if isinstance(batch.labels, ClassLabels):
            self._grade_classes(batch, predictor, outputs)
        elif isinstance(batch.labels, NumberLabels) and "score" in outputs:
            self._grade_scores(batch.labels, outputs["score"])
        elif isinstance(batch.labels, NumberLabels):
            self._grade_numbers(batch.labels, outputs)

    def metrics(self) -> dict[str, float]:
        """Figures over all events graded so far; {} before the first."""
        found: dict[str, float] = {}
        if self._seen.any():
            found["accuracy"] = float(self._hits.sum() / self._seen.sum())
            known = self._seen > 0
            found["balanced_accuracy"] = float(np.mean(self._hits[known] / self._seen[known]))
        if self._log_loss_events:
            found["log_loss"] = self._log_loss / self._log_loss_events
        if self._numbers:
            found["rmse"] = float(np.sqrt(self._squared / self._numbers))
            found["mae"] = self._absolute / self._numbers
        return found | self._sequence.metrics()

    def recent(self) -> dict[str, float]:
        """Figures over the recent window; {} before the first event."""
        found: dict[str, float] = {}
        if self._graded == self._begun:
            return found
        if "correct" in self._recent:
            correct, label = self._column("correct"), self._column("label").astype(np.int64)
            found["accuracy"] = float(correct.mean())
            seen = np.bincount(label, minlength=len(self._classes))
            hits = np.bincount(label, weights=correct, minlength=len(self._classes))
            found["balanced_accuracy"] = float(np.mean(hits[seen > 0] / seen[seen > 0]))
            loss = self._column("log_loss")
            if not np.isnan(loss).all():
                found["log_loss"] = float(np.nanmean(loss))
            margin = self._column("margin")
            if len(self._classes) == 2 and not np.isnan(margin).any() and len(set(label)) == 2:
                found["auc"] = _auc(margin, label == 1)
        if "squared" in self._recent:
            found["rmse"] = float(np.sqrt(self._column("squared").mean()))
            found["mae"] = float(self._column("absolute").mean())
        if "hazard" in self._recent:
            found |= sequence_metrics({name: self._column(name) for name in SEQUENCE_COLUMNS})
        return found

    @property
    def worst_case_accuracy(self) -> float:
        """The lowest accuracy that the recent window, once full, had after any event; NaN before."""
        return self._worst

    def state(self) -> State:
        """Everything later figures depend on."""
        tensors: dict[str, Array] = {"hits": self._hits, "seen": self._seen}
        tensors |= self._sequence.tensors()
        tensors["sums"] = np.array([self._log_loss, self._squared, self._absolute, self._worst])
        tensors["counts"] = np.array([self._graded, self._log_loss_events, self._numbers], dtype=np.int64)
        tensors |= {f"recent.{name}": ring for name, ring in self._recent.items()}
        meta = {"classes": list(self._classes), "window_events": self._window, "window_begun": self._begun}
        return State(tensors, meta)

    def restore(self, state: State) -> None:
        """Become the evaluation whose `state()` this was; under another window the recent figures begin anew."""
        tensors = state.tensors
        self._classes = {name: code for code, name in enumerate(state.meta["classes"])}
        self._hits, self._seen = tensors["hits"].copy(), tensors["seen"].copy()
        self._log_loss, self._squared, self._absolute, self._worst = tensors["sums"].tolist()
        self._graded, self._log_loss_events, self._numbers = tensors["counts"].tolist()
        self._sequence = SequenceSums.of(tensors)
        same = state.meta["window_events"] == self._window
        self._begun = state.meta.get("window_begun", 0) if same else self._graded
        self._worst = self._worst if same else float("nan")
        self._recent = {
            name.removeprefix("recent."): ring.copy()
            for name, ring in tensors.items()
            if name.startswith("recent.") and same
        }
        self._hits_in_window = float(np.nansum(self._recent.get("correct", 0.0)))
        self._tabled = None

    def _grade_classes(self, batch: Batch, predictor: Predictor, outputs: Mapping[str, Array]) -> None:
        labels = batch.labels
        assert isinstance(labels, ClassLabels)
        codes = labels.codes
        answers = outputs["label"] if "label" in outputs else outputs["next_type"]
        scores = outputs.get("scores", outputs.get("type_scores"))
        graded = labels.present & np.isfinite(outputs["next_time"]) if "next_time" in outputs else labels.present
        if not graded.all():
            codes, answers = codes[graded], answers[graded]
            scores = None if scores is None else scores[graded]
        if not len(codes):
            return
        ours, columns = self._tables(labels.names, codes, predictor.classes)
        truth, theirs = ours[codes], columns[codes]
        correct = (answers == theirs) & (theirs >= 0)
        self._grow(int(truth.max()) + 1)
        self._hits += np.bincount(truth[correct], minlength=len(self._hits))
        self._seen += np.bincount(truth, minlength=len(self._seen))
        loss: Any = np.nan
        margin: Any = np.nan
        if scores is not None and predictor.properties.get("scores") == "probabilities":
            loss = _log_losses(scores, theirs)
            self._log_loss += float(loss.sum())
            self._log_loss_events += len(loss)
        if scores is not None and len(self._classes) <= 2 and len(predictor.classes) <= 2:
            margin = self._margins(scores, predictor.classes)
        self._note_worst(correct)
        pushed: dict[str, Any] = {"correct": correct, "label": truth, "log_loss": loss, "margin": margin}
        if "hazard" in outputs:
            pushed |= grade_sequences(batch.times[graded], {n: o[graded] for n, o in outputs.items()}, theirs)
            self._sequence.add(pushed)
        self._push(graded, pushed)

    def _tables(
        self, names: tuple[str, ...], codes: NDArray[Any], classes: tuple[str, ...]
    ) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """What the codes of a batch are here, and in the columns of a predictor (-1: unknown to it), per name.

        The batches of a block share their names, so the tables of last time mostly serve again.
        """
        known = self._tabled
        if known is None or known[0] is not names or known[1] != classes or known[2].min(initial=0) < 0:
            self._meet(names, codes)
            where = {name: column for column, name in enumerate(classes)}
            unknown = _MOST_CLASSES if len(self._classes) == _MOST_CLASSES else -1  # -1: not met yet, so not in codes
            ours = np.array([self._classes.get(name, unknown) for name in names], dtype=np.intp)
            columns = np.array([where.get(name, -1) for name in names], dtype=np.intp)
            self._tabled = known = (names, classes, ours, columns)
        return known[2], known[3]

    def _meet(self, names: tuple[str, ...], codes: NDArray[Any]) -> None:
        """Number new classes in the order of their first events, which no cut changes."""
        met, first = np.unique(codes, return_index=True)
        for code in met[np.argsort(first)]:
            if len(self._classes) < _MOST_CLASSES:
                self._classes.setdefault(names[code], len(self._classes))

    def _margins(self, scores: Array, classes: tuple[str, ...]) -> NDArray[np.float64]:
        """By how much the second of two classes was preferred, (N,); the score of an unknown class is 0."""
        finite = _finite(scores)
        first = next(iter(self._classes))
        total: NDArray[np.float64] = finite.sum(axis=1)
        if first in classes:
            total -= 2 * finite[:, classes.index(first)]
        return total

    def _note_worst(self, correct: NDArray[np.bool_]) -> None:
        """Slide the window over these answers event by event, before they are pushed into it."""
        count, window, earlier = len(correct), self._window, self._graded - self._begun
        change = correct.astype(np.float64)
        leaving = min(count, window) - max(0, window - earlier)  # answers of earlier batches that leave the window
        if leaving > 0:
            ring, start = self._recent["correct"], max(0, earlier - window) % window
            at = max(0, window - earlier)  # from which of these on they leave
            until_end = min(leaving, window - start)
            change[at : at + until_end] -= ring[start : start + until_end]
            change[at + until_end : at + leaving] -= ring[: leaving - until_end]
        if count > window:
            change[window:] -= correct[: count - window]
        hits = self._hits_in_window + change.cumsum()
        self._hits_in_window = float(hits[-1])
        if earlier + count >= window:
            lowest = float(hits[max(0, window - 1 - earlier) :].min()) / window
            self._worst = lowest if math.isnan(self._worst) else min(self._worst, lowest)

    def _grade_numbers(self, labels: NumberLabels, outputs: Mapping[str, Array]) -> None:
        present = labels.present
        if not present.any():
            return
        error = outputs["value"][present] - labels.values[present]
        with np.errstate(over="ignore"):  # a target of 1e300 is an infinite error, not a reason to stop
            squared, absolute = np.mean(error**2, axis=1), np.mean(np.abs(error), axis=1)
        self._squared += float(squared.sum())
        self._absolute += float(absolute.sum())
        self._numbers += len(error)
        self._push(present, {"squared": squared, "absolute": absolute})

    def _grade_scores(self, labels: NumberLabels, scores: Array) -> None:
        number = labels.values[:, 0]
        graded = labels.present & (number >= 0.0) & (number <= 1.0)
        number, given = number[graded], _finite(scores[graded])
        if not len(number):
            return
        for name in _NO_AND_YES:
            self._classes.setdefault(name, len(self._classes))
        self._grow(len(_NO_AND_YES))
        truth = (number >= 0.5).astype(np.int64)
        correct = (given >= 0.5) == truth
        self._hits += np.bincount(truth[correct], minlength=len(self._hits))
        self._seen += np.bincount(truth, minlength=len(self._seen))
        loss = -np.log(np.where(truth == 1, given, 1.0 - given).clip(_SMALLEST_PROBABILITY, 1.0))
        self._log_loss += float(loss.sum())
        self._log_loss_events += len(loss)
        self._note_worst(correct)
        self._push(graded, {"correct": correct, "label": truth, "log_loss": loss, "margin": given})

    def _grow(self, count: int) -> None:
        more = count - len(self._seen)
        if more > 0:
            self._hits, self._seen = np.pad(self._hits, (0, more)), np.pad(self._seen, (0, more))

    def _push(self, rows: NDArray[np.bool_], columns: Mapping[str, Any]) -> None:
        """Put a value, or one per event, of those that were graded into the recent window."""
        self.grades, count = Grades(rows, columns), int(np.count_nonzero(rows))
        if not self._recent:  # all at once: the metrics' thread may be reading
            self._recent = {name: np.full(self._window, np.nan) for name in columns}
        kept = min(count, self._window)
        start = (self._graded - self._begun + count - kept) % self._window
        until_end = min(kept, self._window - start)
        for name, column in columns.items():
            ring = self._recent[name]
            if isinstance(column, float):
                ring[start : start + until_end] = ring[: kept - until_end] = column
            else:
                newest = column[count - kept :]
                ring[start : start + until_end], ring[: kept - until_end] = newest[:until_end], newest[until_end:]
        self._graded += count

    def _column(self, name: str) -> NDArray[np.float64]:
        return self._recent[name][: min(self._graded - self._begun, self._window)]


def _log_losses(scores: Array, truth: NDArray[np.intp]) -> NDArray[np.float64]:
    """Of probabilities (N, C), given the true columns (N,), -1 where the class was unknown: its probability is 0."""
    known = np.flatnonzero(truth >= 0)
    given = np.zeros(len(truth))
    given[known] = _finite(scores[known, truth[known]])
    losses: NDArray[np.float64] = -np.log(given.clip(_SMALLEST_PROBABILITY, 1.0))
    return losses


def _finite(scores: Array) -> NDArray[np.float64]:
    """As float64, with what is no number or endless replaced: a score may be anything, a figure must not."""
    return np.nan_to_num(scores.astype(np.float64), posinf=1e300, neginf=-1e300)


def _auc(score: NDArray[np.float64], positive: NDArray[np.bool_]) -> float:
    """Probability that a positive outranks a negative, ties counting half (Mann-Whitney)."""
    _, inverse, counts = np.unique(score, return_inverse=True, return_counts=True)
    rank = (np.cumsum(counts) - (counts - 1) / 2)[inverse]  # mean rank of each score
    positives = int(positive.sum())
    negatives = len(score) - positives
    return float((rank[positive].sum() - positives * (positives + 1) / 2) / (positives * negatives))
