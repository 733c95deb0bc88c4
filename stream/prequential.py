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


class Prequential:
    """Accuracy, balanced accuracy, log-loss and AUC of class labels; RMSE and MAE of numbers.

    Log-loss is kept where a predictor says that its scores are probabilities (property `scores`), AUC where there are
    two classes. An answer from before the class was known counts as wrong. Unlabelled events are not graded.

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
        self._recent: dict[str, NDArray[np.float64]] = {}

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
        """The lowest accuracy that the recent window, once full, ever had; NaN before."""
        return self._worst

    def state(self) -> State:
        """Everything later figures depend on."""
        tensors: dict[str, Array] = {"hits": self._hits, "seen": self._seen}
        tensors["sums"] = np.array([self._log_loss, self._squared, self._absolute, self._worst])
        tensors["counts"] = np.array([self._graded, self._log_loss_events, self._numbers], dtype=np.int64)
        tensors |= {f"recent.{name}": ring for name, ring in self._recent.items()}
        return State(tensors, {"classes": list(self._classes), "window_events": self._window})

    def restore(self, state: State) -> None:
        """Become the evaluation whose `state()` this was; under another window the recent figures begin anew."""
        tensors = state.tensors
        self._classes = {name: code for code, name in enumerate(state.meta["classes"])}
        self._hits, self._seen = tensors["hits"].copy(), tensors["seen"].copy()
        self._log_loss, self._squared, self._absolute, self._worst = tensors["sums"].tolist()
        self._graded, self._log_loss_events, self._numbers = tensors["counts"].tolist()
        same = state.meta["window_events"] == self._window
        self._recent = {
            name.removeprefix("recent."): ring.copy()
            for name, ring in tensors.items()
            if name.startswith("recent.") and same
        }

    def _grade_classes(self, labels: ClassLabels, predictor: Predictor, outputs: Mapping[str, Array]) -> None:
        present = labels.present
        if not present.any():
            return
        for name in labels.names:
            self._classes.setdefault(name, len(self._classes))
        truth = labels.recoded(self._classes)[present]
        mine = np.array([self._classes.get(name, -1) for name in predictor.classes] + [-1])
        correct = mine[outputs["label"][present]] == truth
        self._grow()
        count = len(self._classes)
        self._hits += np.bincount(truth[correct], minlength=count)
        self._seen += np.bincount(truth, minlength=count)
        loss, margin = self._losses(truth, mine, predictor, outputs, present)
        if not np.isnan(loss).any():
            self._log_loss += float(loss.sum())
            self._log_loss_events += len(loss)
        self._push({"correct": correct, "label": truth, "log_loss": loss, "margin": margin})
        if self._graded >= self._window:
            accuracy = float(self._column("correct").mean())
            self._worst = accuracy if np.isnan(self._worst) else min(self._worst, accuracy)

    def _losses(
        self,
        truth: NDArray[Any],
        mine: NDArray[Any],
        predictor: Predictor,
        outputs: Mapping[str, Array],
        present: NDArray[np.bool_],
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Log-loss and, of two classes, by how much the second was preferred, (N,) each; NaN where there is none."""
        none = np.full(len(truth), np.nan)
        scores = outputs.get("scores")
        if scores is None:
            return none, none
        probabilities = predictor.properties.get("scores") == "probabilities"
        if not probabilities and len(self._classes) > 2:
            return none, none
        ours = np.zeros((len(truth), len(self._classes)))
        ours[:, mine[:-1][mine[:-1] >= 0]] = scores[present][:, mine[:-1] >= 0]
        loss = none
        if probabilities:
            loss = -np.log(np.maximum(ours[np.arange(len(truth)), truth], _SMALLEST_PROBABILITY))
        margin = ours[:, 1] - ours[:, 0] if len(self._classes) == 2 else none
        return loss, margin

    def _grade_numbers(self, labels: NumberLabels, outputs: Mapping[str, Array]) -> None:
        present = labels.present
        if not present.any():
            return
        error = outputs["value"][present] - labels.values[present]
        squared, absolute = np.mean(error**2, axis=1), np.mean(np.abs(error), axis=1)
        self._squared += float(squared.sum())
        self._absolute += float(absolute.sum())
        self._numbers += len(error)
        self._push({"squared": squared, "absolute": absolute})

    def _grow(self) -> None:
        more = len(self._classes) - len(self._seen)
        if more:
            self._hits = np.concatenate([self._hits, np.zeros(more, dtype=np.int64)])
            self._seen = np.concatenate([self._seen, np.zeros(more, dtype=np.int64)])

    def _push(self, columns: Mapping[str, NDArray[Any]]) -> None:
        count = len(next(iter(columns.values())))
        kept = min(count, self._window)
        places = (self._graded + np.arange(count - kept, count)) % self._window
        for name, column in columns.items():
            ring = self._recent.setdefault(name, np.full(self._window, np.nan))
            ring[places] = column[count - kept :]
        self._graded += count

    def _column(self, name: str) -> NDArray[np.float64]:
        return self._recent[name][: min(self._graded, self._window)]


def _auc(score: NDArray[np.float64], positive: NDArray[np.bool_]) -> float:
    """Probability that a positive outranks a negative, ties counting half (Mann-Whitney)."""
    _, inverse, counts = np.unique(score, return_inverse=True, return_counts=True)
    rank = (np.cumsum(counts) - (counts - 1) / 2)[inverse]  # mean rank of each score
    positives = int(positive.sum())
    negatives = len(score) - positives
    return float((rank[positive].sum() - positives * (positives + 1) / 2) / (positives * negatives))
