"""Prequential evaluation: each answer is graded by the label that came, before the learner has seen it.

Figures are kept over all events and over a recent window, in constant memory, one vectorised step per micro-batch. They
are part of what a snapshot holds, so a restart goes on with the same figures.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thalweg.memory.state import State
from thalweg.models.learner import Predictor
from thalweg.proto.event import Array, Batch, ClassLabels, NumberLabels

_SMALLEST_PROBABILITY = 1e-15
_MOST_CLASSES = 10_000  # events of further classes are graded alike, but share one recall


class Prequential:
    """Accuracy, balanced accuracy, log-loss and AUC of class labels; RMSE and MAE of numbers.

    Log-loss is kept where a predictor says that its scores are probabilities (property `scores`), AUC where there are
    two classes. An answer from before the class was known counts as wrong. Unlabelled events are not graded. No figure
    depends on how the stream was cut into micro-batches.

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
        self._columns_of: tuple[tuple[str, ...], dict[str, int]] = ((), {})  # of the predictor met last

    @property
    def graded(self) -> int:
        """Labelled events so far."""
        return self._graded

    def predicted(self, batch: Batch, predictor: Predictor, outputs: Mapping[str, Array]) -> None:
        """Grade the answers that stood before the batch was learned."""
        if isinstance(batch.labels, ClassLabels):
            self._grade_classes(batch.labels, predictor, outputs)
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
        return found

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
        return found

    @property
    def worst_case_accuracy(self) -> float:
        """The lowest accuracy that the recent window, once full, had after any event; NaN before."""
        return self._worst

    def state(self) -> State:
        """Everything later figures depend on."""
        tensors: dict[str, Array] = {"hits": self._hits, "seen": self._seen}
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
        same = state.meta["window_events"] == self._window
        self._begun = state.meta.get("window_begun", 0) if same else self._graded
        self._worst = self._worst if same else float("nan")
        self._recent = {
            name.removeprefix("recent."): ring.copy()
            for name, ring in tensors.items()
            if name.startswith("recent.") and same
        }
        self._hits_in_window = float(np.nansum(self._recent.get("correct", 0.0)))

    def _grade_classes(self, labels: ClassLabels, predictor: Predictor, outputs: Mapping[str, Array]) -> None:
        present = labels.present
        if not present.any():
            return
        self._meet(labels, present)
        truth = labels.recoded(self._classes)[present]
        truth[truth < 0] = _MOST_CLASSES
        theirs = labels.recoded(self._columns(predictor))[present]  # the truth in the predictor's coding
        correct = (outputs["label"][present] == theirs) & (theirs >= 0)
        self._grow(int(truth.max()) + 1)
        self._hits += np.bincount(truth[correct], minlength=len(self._hits))
        self._seen += np.bincount(truth, minlength=len(self._seen))
        loss, margin = self._losses(theirs, predictor, outputs, present)
        if not np.isnan(loss).any():
            self._log_loss += float(loss.sum())
            self._log_loss_events += len(loss)
        self._note_worst(correct)
        self._push({"correct": correct, "label": truth, "log_loss": loss, "margin": margin})

    def _meet(self, labels: ClassLabels, present: NDArray[np.bool_]) -> None:
        """Number new classes in the order of their first events, which no cut changes."""
        if all(name in self._classes for name in labels.names) or len(self._classes) == _MOST_CLASSES:
            return
        codes, first = np.unique(labels.codes[present], return_index=True)
        for code in codes[np.argsort(first)]:
            if len(self._classes) < _MOST_CLASSES:
                self._classes.setdefault(labels.names[code], len(self._classes))

    def _columns(self, predictor: Predictor) -> dict[str, int]:
        """Where a predictor has each class."""
        known, columns = self._columns_of
        if known is not predictor.classes and known != predictor.classes:
            columns = {name: column for column, name in enumerate(predictor.classes)}
            self._columns_of = predictor.classes, columns
        return columns

    def _losses(
        self, theirs: NDArray[Any], predictor: Predictor, outputs: Mapping[str, Array], present: NDArray[np.bool_]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Log-loss and, of two classes, by how much the second was preferred, (N,) each; NaN where there is none.

        The score of a class that the predictor did not know is 0, and so is one that is no number.
        """
        loss = margin = np.full(len(theirs), np.nan)
        if "scores" not in outputs:
            return loss, margin
        scores = outputs["scores"][present]
        if predictor.properties.get("scores") == "probabilities":
            known = np.flatnonzero(theirs >= 0)
            given = np.zeros(len(theirs))
            given[known] = _finite(scores[known, theirs[known]])
            loss = -np.log(np.clip(given, _SMALLEST_PROBABILITY, 1.0))
        if len(self._classes) <= 2 and len(predictor.classes) <= 2:
            scores = _finite(scores)
            first = self._columns(predictor).get(next(iter(self._classes)))
            margin = scores.sum(axis=1) - (0.0 if first is None else 2 * scores[:, first])
        return loss, margin

    def _note_worst(self, correct: NDArray[np.bool_]) -> None:
        """Slide the window over these answers event by event, before they are pushed into it."""
        count, window, earlier = len(correct), self._window, self._graded - self._begun
        place = np.arange(count)
        old = (earlier + place >= window) & (place < window)  # where an answer of an earlier batch leaves
        left = np.zeros(count)
        if old.any():
            left[old] = self._recent["correct"][(earlier + place[old]) % window]
        left[window:] = correct[: max(0, count - window)]
        hits = self._hits_in_window + np.cumsum(correct - left)
        self._hits_in_window = float(hits[-1])
        full = hits[max(0, window - 1 - earlier) :]
        if len(full):
            self._worst = float(np.fmin(self._worst, full.min() / window))

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
        self._push({"squared": squared, "absolute": absolute})

    def _grow(self, count: int) -> None:
        more = count - len(self._seen)
        if more > 0:
            self._hits, self._seen = np.pad(self._hits, (0, more)), np.pad(self._seen, (0, more))

    def _push(self, columns: Mapping[str, NDArray[Any]]) -> None:
        count = len(next(iter(columns.values())))
        kept = min(count, self._window)
        places = (self._graded - self._begun + np.arange(count - kept, count)) % self._window
        if not self._recent:  # all at once: the metrics' thread may be reading
            self._recent = {name: np.full(self._window, np.nan) for name in columns}
        for name, column in columns.items():
            self._recent[name][places] = column[count - kept :]
        self._graded += count

    def _column(self, name: str) -> NDArray[np.float64]:
        return self._recent[name][: min(self._graded - self._begun, self._window)]


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
