"""Prequential evaluation: each prediction is graded against its label before the learner learns from it.

Figures are kept over all events and over a recent window, in constant memory. They are part of a snapshot, so they
continue after a restart.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thalweg.memory.snapshots.state import State, under
from thalweg.models.contract.learner import Predictor
from thalweg.models.parts.strays import strays
from thalweg.proto.event import Batch, ClassLabels
from thalweg.proto.schema import Array
from thalweg.proto.task import BUILT_IN, Task, task_of
from thalweg.stream.evaluation.figures.bounds import Bound, positive_bound
from thalweg.stream.evaluation.figures.calibration import Calibration
from thalweg.stream.evaluation.figures.means import Means, figures_of
from thalweg.stream.evaluation.figures.orders import BY, By, Orders, Parts, parts_of, with_sizes
from thalweg.stream.evaluation.figures.ranking import group_numbers
from thalweg.stream.evaluation.figures.recent import RecentWindow
from thalweg.stream.evaluation.figures.two_classes import COLUMNS, TwoClasses, with_scores
from thalweg.stream.evaluation.figures.window_figures import Figures, class_figures, number_figures, window_figures
from thalweg.stream.evaluation.grading import (
    Alike,
    ClassNumbers,
    Graded,
    TaskGrading,
    finite,
    fits,
    joined_column,
    log_losses,
)
from thalweg.stream.evaluation.served_answers import without_labels
from thalweg.stream.evaluation.tasks import grading_of

_AT_ONCE = 4096  # events that are added to the figures together: a hundred small arrays cost as much as a large one
_MOST_WAITING = 1 << 20  # … or so many scores


class Prequential:
    """Accuracy, balanced accuracy, log-loss, calibration error and AUC of class labels; RMSE and MAE of numbers.

    The task says how predictions are graded (`tasks`). A `score` is the probability that a number is 1 rather than
    0, and is graded as that. Log-loss and calibration error are available if scores are probabilities, AUC if there
    are two classes, over all events from counts; for the recent window also the mean AUC by group
    (`gauc`), where a group is the events of one `user` (an input) or key, weighted by its events, and groups of one
    class are ignored. A prediction from before the class was known counts as wrong. Unlabelled events are not
    graded, and neither are labelled ones that got no answer because the model knew no class at all yet: those are
    counted (`unanswered`). No figure depends on how the stream is cut into micro-batches.

    RMSE, MAE and the figures of event sequences leave out a few events of another order of magnitude (`orders.py`),
    balanced accuracy classes that hardly ever come (`strays.py`), and AUC all but two while the others are few
    (`two_classes.py`). How many those are over all events is told (`left_out`).

    For event sequences there are also the mean `log_likelihood`, the share of types among the three most likely,
    RMSE of the expected gap in seconds, mean absolute error of its logarithm, and for the recent window the
    Kolmogorov-Smirnov distance between 1 - exp(-hazard) and the uniform distribution, which it has if the model is
    right (time rescaling).

    Not thread-safe.

    Args:
        window_events: Size of the recent window in events.
        task: The task of the predictions; None: that of the first predictor.
    """

    def __init__(self, window_events: int = 1000, task: Task | None = None) -> None:
        self._graded = 0
        self._numbers = ClassNumbers()
        self._hits = np.zeros(0, dtype=np.int64)  # (C,) right predictions by class
        self._seen = np.zeros(0, dtype=np.int64)  # (C,) events by class
        self._means = Means(("log_loss", "squared", "absolute"))
        self._task: Task | None = None
        self._grading: TaskGrading | None = None
        self._own = Means(())
        self._orders: dict[str, Orders] = {}
        self._two = TwoClasses()
        self._calibration = Calibration()
        self._scores = False
        self._recent = RecentWindow(window_events)
        self._waiting: list[Graded] = []
        self._waiting_events = self._waiting_scores = 0
        self.unanswered = self.unknown_class = 0
        self.grades = None
        self._hidden: NDArray[np.intp] | None = None  # rows of the latest micro-batch that got no answer
        if task is not None:
            self._set_task(task)

    grades: Graded | None
    """The grades of the latest micro-batch; None if nothing in it was graded."""
    unanswered: int
    """Labelled events that got no answer because the model had learned too little to have one; in no other figure."""
    unknown_class: int
    """Answered events of a class not known yet, in `metrics`: log-loss counts `grading.LARGEST_LOSS` for each."""

    @property
    def graded(self) -> int:
        """Graded events so far."""
        return self._graded + self._waiting_events

    @property
    def left_out(self) -> int:
        """Events that a figure over all events leaves out: of another order of magnitude, or of a rare class."""
        self._flush()
        orders = (found[2] for name in self._orders if (found := self._order_figure(name)))
        pair = self._two.pair(self._seen, self.classes)
        others = 0 if pair is None else int(self._seen.sum() - self._seen[list(pair.numbers)].sum())
        return max(*orders, others, int(self._seen[strays(self._seen)].sum()), 0)

    @property
    def numbers(self) -> ClassNumbers:
        """The numbers of the classes seen."""
        return self._numbers

    def labelled_rows(self) -> tuple[NDArray[np.intp] | slice | None, NDArray[np.bool_] | None]:
        """The rows of the latest micro-batch whose labels count, (M,), and which of them were graded, (M,); None: there
        are none, all were.
        """
        graded = None if self.grades is None else self.grades.rows
        if self._hidden is None:
            return graded, None
        assert not isinstance(graded, slice)  # that would be all rows
        rows = self._hidden if graded is None else np.sort(np.concatenate([graded, self._hidden]))
        return rows, np.isin(rows, self._hidden, invert=True)

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes seen, in the order of their first events: the numbers in `grades`."""
        return tuple(self._numbers.classes)

    def predicted(
        self, batch: Batch, predictor: Predictor, outputs: Mapping[str, Array], first: int | None = None
    ) -> None:
        """Grade the predictions made before the batch was learned.

        `first`: the number of its first event, for `figures_of_events`; None: events are not numbered.
        """
        task = task_of(predictor, outputs)
        if self._grading is None or self._task is None or self._task.name != task.name:
            grading = self._set_task(task)
        else:
            grading = self._grading
        self.grades = graded = self._hidden = None
        if fits(batch, task):
            if (unanswered := grading.unanswered(batch, predictor, task, outputs)) is not None:
                batch = self._without_labels(batch, unanswered)
            self.grades = graded = grading.grade(batch, predictor, task, outputs, self._numbers)
        if graded is not None:
            if first is not None:
                graded.columns["event"] = np.arange(first, first + len(batch))[graded.rows]
            self._wait(graded)

    def _without_labels(self, batch: Batch, unanswered: NDArray[np.bool_]) -> Batch:
        """The batch without the labels of events that got no answer; counts them."""
        labels = batch.labels
        assert labels is not None
        rows = np.flatnonzero(unanswered & labels.present)
        if not len(rows):
            return batch
        self.unanswered += len(rows)
        self._hidden = rows
        if isinstance(labels, ClassLabels):
            self._numbers.of(labels, np.flatnonzero(labels.codes >= 0))  # classes are numbered as they come
        return replace(batch, labels=without_labels(labels, rows))

    def add(self, graded: Graded, starts: NDArray[np.intp]) -> None:
        """Add the grades of micro-batches that were graded elsewhere.

        `starts`: the first row of each; none is empty.
        """
        if graded.alike.kind == "scores":
            self._numbers.fix("0", "1")
        self._scores = graded.alike.kind == "scores"
        self._flush()
        self._take(graded.alike, dict(graded.columns), starts, len(graded))

    def losses(self, count: int) -> NDArray[np.float64]:
        """Losses of the latest micro-batch's events (N,), higher is worse; NaN if not graded."""
        losses = np.full(count, np.nan)
        if self.grades is not None and self._grading is not None:
            losses[self.grades.rows] = self._grading.losses(self.grades)
        return losses

    def _set_task(self, task: Task) -> TaskGrading:
        """Grade predictions of this task from now on."""
        self._flush()
        self._task, self._grading = task, grading_of(task)
        if self._own.names != self._grading.means:
            self._own = Means(self._grading.means)
            self._orders = {name: one for name, one in self._orders.items() if name in self._means.names}
        return self._grading

    def metrics(self) -> dict[str, float]:
        """Figures over all events graded so far; {} before the first."""
        return {name: figure for name, (figure, _) in self.figures().items()}

    def bounds(self) -> dict[str, Bound]:
        """The 95 % confidence intervals of those figures, where they are known.

        They assume independent events, see `bounds.py`. There is none for the calibration error, whose estimate is
        far from normally distributed where it is small.
        """
        return {name: bound for name, (_, bound) in self.figures().items() if bound is not None}

    def recent(self) -> dict[str, float]:
        """Figures over the recent window; {} before the first event."""
        return {name: figure for name, (figure, _) in self.recent_figures().items()}

    def recent_bounds(self) -> dict[str, Bound]:
        """The same as `bounds`, for the recent window."""
        return {name: bound for name, (_, bound) in self.recent_figures().items() if bound is not None}

    def begin_window(self) -> None:
        """Begin with an empty recent window; figures over all events go on."""
        self._flush()
        lowest, self._recent = self._recent.lowest, RecentWindow(self._recent.size)
        self._recent.lowest = lowest

    def main(self) -> tuple[str, float] | None:
        """Name and recent value of the main metric, the task's `quality`; None before the first event.

        NaN if unknown, as AUC is while there is only one class in the window.
        """
        if self._waiting and self._task is not None and self._grading is not None and self._grading.right_alone:
            share = self._recent.share_right_after([one.columns["correct"] for one in self._waiting])
            if share is not None:  # what waits goes on waiting: points of the curve lie close together at first
                return self._task.quality, share
        self._flush()
        if not len(self._recent) or self._task is None or self._grading is None:
            return None
        window = self._recent
        if beyond := self._beyond(window.columns() if self._orders else {}):
            window = window.without(beyond)
        return self._task.quality, self._grading.main(window)

    @property
    def worst_case_accuracy(self) -> float:
        """The lowest accuracy that the full recent window ever had; NaN before."""
        self._flush()
        return self._recent.lowest

    def state(self) -> State:
        """The state that later figures depend on."""
        self._flush()
        means, own = self._means, self._own
        tensors: dict[str, Array] = {"hits": self._hits, "seen": self._seen}
        tensors["sums"] = np.array([*means.sums, self._recent.lowest])
        tensors["counts"] = np.array([self._graded, means.count("log_loss"), means.count("squared")])
        tensors["spreads"] = means.spreads
        if self._task is not None and own.counts.any():
            kept = {"sums": own.sums, "counts": own.counts, "spreads": own.spreads}
            tensors |= {f"{self._task.name}.{name}": tensor for name, tensor in kept.items()}
        for name, orders in self._orders.items():
            tensors |= {f"order.{name}.{key}": tensor for key, tensor in orders.tensors().items()}
        tensors |= self._two.tensors() | self._calibration.tensors() | self._recent.tensors()
        meta: dict[str, Any] = {
            "classes": list(self._numbers.classes),
            "window_events": self._recent.size,
            "scores": self._scores,
            "ranked": self._two.names,
        }
        meta |= {name: count for name in _COUNTERS if (count := getattr(self, name))}
        return State(tensors, meta | {"window_begun": self._graded - self._recent.pushed})

    def restore(self, state: State) -> None:
        """Restore from `state()`. If the window size differs, the recent figures start empty, as do parts that an older
        version did not save.
        """
        tensors, meta = state.tensors, state.meta
        self._waiting, self._waiting_events, self._waiting_scores = [], 0, 0
        self._numbers = ClassNumbers({name: code for code, name in enumerate(meta["classes"])})
        self._hits, self._seen = tensors["hits"].copy(), tensors["seen"].copy()
        self._graded, losses, numbers = tensors["counts"].tolist()
        counts = np.array([losses, numbers, numbers])
        self._means.restore(tensors["sums"][:3], counts, tensors.get("spreads"))
        if self._task is None:
            for name in (name for name in BUILT_IN if f"{name}.sums" in tensors):
                self._set_task(BUILT_IN[name])
        self._own = Means(self._own.names)
        if self._task is not None and f"{self._task.name}.sums" in tensors:
            name = self._task.name
            spreads = tensors.get(f"{name}.spreads")
            self._own.restore(tensors[f"{name}.sums"], tensors[f"{name}.counts"], spreads)
        self._orders = {
            name: Orders.of(name, under(f"order.{name}.", tensors)) for name in BY if f"order.{name}.sums" in tensors
        }
        names = meta.get("ranked", meta["classes"][:2])
        self._two, self._calibration = TwoClasses.of(tensors, names, int(self._seen.sum())), Calibration.of(tensors)
        self._scores = meta.get("scores", False)
        self.unanswered, self.unknown_class = map(meta.get, _COUNTERS, (0, 0))
        self._recent = RecentWindow(self._recent.size)
        if meta["window_events"] == self._recent.size:
            pushed = self._graded - meta.get("window_begun", 0)
            self._recent.restore(with_scores(tensors, self._scores), pushed, float(tensors["sums"][3]))

    def figures(self) -> Figures:
        """Figures over all events with their bounds."""
        self._flush()
        found = class_figures(self._hits, self._seen, strays(self._seen))
        means = self._means_of(self._means)
        if "log_loss" in means:
            loss, bound = means["log_loss"]
            found["log_loss"] = loss, positive_bound(bound)
        pair = self._two.pair(self._seen, self.classes)
        if pair is not None and (ranked := self._two.found(pair)) is not None:
            found["auc"] = ranked
        if (error := self._calibration.error) is not None:
            found["calibration_error"] = error, None
        found |= number_figures(means)
        if self._grading is not None:
            counts = dict(zip(self._own.names, self._own.counts.tolist()))
            found |= self._grading.figures(self._means_of(self._own), counts)
        return found

    def recent_figures(self) -> Figures:
        """Figures over the recent window with their bounds."""
        self._flush()
        return self._figures_of(self._recent.columns()) if len(self._recent) else {}

    def figures_of_events(self, first: int, end: int) -> tuple[Figures, int]:
        """Figures over the events of the recent window with numbers in [first, end), and how many were graded."""
        self._flush()
        numbers = self._recent.column("event")
        if numbers is None:
            return {}, 0
        rows = np.flatnonzero((numbers >= first) & (numbers < end))  # NaN: saved by a version that kept no numbers
        if not len(rows):
            return {}, 0
        return self._figures_of({name: column[rows] for name, column in self._recent.columns().items()}), len(rows)

    @property
    def recent_events(self) -> int:
        """Graded events in the recent window."""
        self._flush()
        return len(self._recent)

    def _figures_of(self, columns: dict[str, NDArray[np.float64]]) -> Figures:
        for name, rows in self._beyond(columns).items():
            columns[name] = np.where(rows, np.nan, columns[name])
        means = figures_of({name: columns[name] for name in (*self._means.names, *self._own.names) if name in columns})
        pair, stray = self._two.pair(self._seen, self.classes), strays(self._seen)
        found = window_figures(columns, means, pair, stray, self._scores)
        return found if self._grading is None else found | self._grading.recent_figures(means, columns)

    def _means_of(self, means: Means) -> Figures:
        found: Figures = {}
        for name in means.names:
            if name in self._orders and (figure := self._order_figure(name)) is not None:
                found[name] = figure[:2]
            elif (mean := means.mean(name)) is not None:
                found[name] = mean, means.bound(name)
        return found

    def _beyond(self, columns: Mapping[str, NDArray[np.float64]]) -> dict[str, NDArray[np.bool_]]:
        """The events of a window that its figures leave out, by column (N,)."""
        sized = {name: orders.beyond(columns) for name, orders in self._orders.items() if name in columns}
        return {name: rows for name, rows in sized.items() if rows is not None}

    def _order_figure(self, name: str) -> tuple[float, Bound | None, int] | None:
        return self._orders[name].figure(self._means if name in self._means.names else self._own)

    # -- adding graded micro-batches to the figures --------------------------------------------------------------------

    def _wait(self, graded: Graded) -> None:
        if self._two.several:
            graded.columns.pop("group", None)
        if self._waiting and self._waiting[0].alike != graded.alike:
            self._flush()
        self._scores = graded.alike.kind == "scores"
        self._waiting.append(graded)
        self._waiting_events += len(graded)
        if "scores" in graded.columns:
            self._waiting_scores += graded.columns["scores"].size
        if self._waiting_events >= _AT_ONCE or self._waiting_scores >= _MOST_WAITING:
            self._flush()

    def _flush(self) -> None:
        """Add the waiting micro-batches. The figures do not depend on when this happens, in no bit."""
        waiting, count = self._waiting, self._waiting_events
        if not waiting:
            return
        alike = waiting[0].alike
        self._waiting, self._waiting_events, self._waiting_scores = [], 0, 0
        starts = np.cumsum([0, *map(len, waiting[:-1])])
        joined = {name: joined_column([graded.columns[name] for graded in waiting]) for name in waiting[0].columns}
        if alike.kind == "classes":
            joined["label"] = joined_column([graded.labels for graded in waiting])
        self._take(alike, joined, starts, count)

    def _take(self, alike: Alike, joined: Mapping[str, Any], starts: NDArray[np.intp], count: int) -> None:
        """Add the columns (N,) of micro-batches that begin at these rows."""
        joined = with_sizes(joined)
        kept = () if self._grading is None else self._grading.kept
        pushed: dict[str, Any] = {name: joined[name] for name in (*_KEPT, *kept) if name in joined}
        if "scores" in joined:
            pushed |= self._figures_of_scores(alike, joined, starts)
        if "group" in joined:
            pushed["group"] = group_numbers(joined["group"])
            if "scores" in joined:
                pushed["group"] = np.where(np.isnan(pushed.get(COLUMNS[0], math.nan)), math.nan, pushed["group"])
        if "given" in joined:
            given, yes = joined["given"], joined["label"] == 1
            pushed["margin"], pushed["log_loss"] = given, log_losses(np.where(yes, given, 1.0 - given))
            self._means.add("log_loss", pushed["log_loss"], starts)
            self._two.add_probabilities(given, yes)
            self._calibration.add(given, yes)
        if alike.kind != "means":
            self._count(joined["label"], joined["correct"])
        parts: dict[By, Parts] = {}
        for means in (self._means, self._own):
            for name in means.names:
                if name in joined and name in BY and (by := BY[name]).size in joined:
                    if by not in parts:
                        parts[by] = parts_of(joined, by, starts)
                    self._orders.setdefault(name, Orders(name)).add(joined[name], parts[by])
                elif name in joined:
                    means.add(name, joined[name], starts)
        self._recent.push(pushed, count)
        self._graded += count

    def _count(self, truth: NDArray[np.intp], correct: NDArray[np.bool_]) -> None:
        both = np.bincount(2 * truth + correct, minlength=2 * len(self._seen))
        wrong, right = both[::2], np.append(both[1::2], 0)[: (len(both) + 1) // 2]
        if (more := len(wrong) - len(self._seen)) > 0:
            self._hits, self._seen = np.pad(self._hits, (0, more)), np.pad(self._seen, (0, more))
        self._hits += right
        self._seen += wrong + right

    def _figures_of_scores(
        self, alike: Alike, joined: Mapping[str, Any], starts: NDArray[np.intp]
    ) -> dict[str, NDArray[np.float64]]:
        scores, column = joined["scores"], joined["column"]
        found = {}
        if alike.probabilities:
            known = np.flatnonzero(column >= 0)
            given, self.unknown_class = np.zeros(len(column)), self.unknown_class + len(column) - len(known)
            given[known] = finite(scores[known, column[known]])  # 0 for an unknown class
            found["log_loss"] = log_losses(given)
            self._means.add("log_loss", found["log_loss"], starts)
            if scores.shape[1]:
                highest = scores.max(axis=1).astype(np.float64)
                # NaN is ignored: all zeros mean that no class was known
                found["confidence"] = np.where(highest > 0, highest, np.nan)
                self._calibration.add(found["confidence"], joined["correct"])
        if not self._two.several:
            found |= self._two.add(
                finite(scores), alike.classes, joined["label"], self.classes, alike.probabilities, self._seen
            )
        return found


_COUNTERS = ("unanswered", "unknown_class")
_KEPT = ("correct", "label", "log_loss", "squared", "absolute", "size", "label_size", "event")
