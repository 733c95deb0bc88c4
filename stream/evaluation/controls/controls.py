"""Naive controls: predictions that look at labels alone, and know none that the model does not know yet, graded on the
same events. A model that is no better than they are has learned nothing from its inputs, however high its accuracy.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from thalweg.memory.snapshots.state import State, under
from thalweg.proto.event import Batch
from thalweg.stream.evaluation.controls.event_rate import EventRate
from thalweg.stream.evaluation.controls.kinds import (
    Control,
    LastClass,
    LastNumbers,
    LastScore,
    MajorityClass,
    MeanNumbers,
    ShareOfOnes,
)
from thalweg.stream.evaluation.figures.window_figures import Figures
from thalweg.stream.evaluation.grading import TaskGrading, log_loss_of_known
from thalweg.stream.evaluation.prequential import Prequential

KINDS: Mapping[str, type[Control]] = {
    "majority_class": MajorityClass,
    "last_class": LastClass,
    "mean_numbers": MeanNumbers,
    "last_numbers": LastNumbers,
    "share_of_ones": ShareOfOnes,
    "last_score": LastScore,
    "event_rate": EventRate,
}
"""By the name under which a grading declares them."""
_AT_ONCE = 4096  # labels that are followed together


class _Waiting(NamedTuple):
    """Labelled events of a few micro-batches that are not followed yet."""

    labels: NDArray[Any]
    """(M,) or (M, K)."""
    answered: NDArray[np.bool_] | None
    """Which of them the model answered, (M,); None: all."""
    known: NDArray[np.intp] | None
    """How many labels were known when each was predicted, (M,); None: all before it."""


class Controls:
    """The naive controls of a task, over all events and the recent window; saved with the state. Not thread-safe.

    They are graded on the events that the model is graded on. Of all labels they know those that the model had been
    given when it predicted: none of the same micro-batch, and none of the last `delay_events` before it.

    Args:
        grading: The task's grading; says which controls make sense.
        window_events: Size of the recent window in events.
        delay_events: How many events late a label is known, besides those of its micro-batch.
    """

    def __init__(self, grading: TaskGrading, window_events: int, delay_events: int = 0) -> None:
        self._grading = grading
        self._controls = {name: KINDS[kind]() for name, kind in grading.controls.items()}
        self._window_events = window_events
        task = grading.controls_task
        self._figures = {name: Prequential(window_events, task) for name in self._controls}
        self._delay = delay_events
        self._begin()

    def _begin(self) -> None:
        self._waiting: list[_Waiting] = []
        self._waiting_events = 0
        self._events = 0
        self._labels = self._known = self._followed = 0  # labelled events so far: of all, known, and followed
        # micro-batches not known yet: events and labels until their end
        self._unknown: deque[tuple[int, int]] = deque()
        self._earlier: dict[str, NDArray[Any]] = {}  # predictions from after `_known` labels and more

    def graded(self, live: Prequential, batch: Batch, sizes: Sequence[int] = ()) -> None:
        """The model was graded on these events: grade the controls on them, too.

        Args:
            live: Has graded the batch.
            batch: Whole micro-batches.
            sizes: Events of each of them; (): it is one.
        """
        if not self._controls:
            return
        rows, answered = live.labelled_rows()
        if rows is None:
            self._known_before(batch, np.zeros(0, np.intp), sizes)
            return
        labels = self._grading.control_labels(batch, rows, live.numbers, live.grades)
        if labels is None:
            return
        known = self._known_before(batch, rows, sizes)
        self._waiting.append(_Waiting(labels, answered, known))
        self._waiting_events += len(labels)
        if self._waiting_events >= _AT_ONCE:
            self._flush()

    def _known_before(
        self, batch: Batch, rows: NDArray[np.intp] | slice, sizes: Sequence[int]
    ) -> NDArray[np.intp] | None:
        """How many labels are known at each of these rows; None: all before it."""
        count = len(batch)
        one_by_one = len(sizes) == count or count == 1
        if not self._delay and (one_by_one or len(sizes) <= 1):
            self._unknown.clear()  # of several micro-batches before: all are known now
        if one_by_one and not self._delay:
            self._events += count
            self._labels += count if isinstance(rows, slice) else len(rows)
            self._known = self._labels
            return None
        if len(sizes) <= 1 and not self._delay:
            before, labelled = self._labels, count if isinstance(rows, slice) else len(rows)
            self._events, self._labels, self._known = self._events + count, before + labelled, before + labelled
            return np.full(labelled, before)
        if not self._delay:  # as below
            upto = np.cumsum(sizes)
            upto = upto if isinstance(rows, slice) else np.searchsorted(rows, upto)
            starts = np.concatenate([[0], upto[:-1]])
            known_then = self._labels + np.repeat(starts, upto - starts)
            self._unknown.clear()
            self._events += count
            self._labels = self._known = self._labels + int(upto[-1])
            return known_then
        ends = np.cumsum(sizes if len(sizes) else [count])
        places = np.arange(count) if isinstance(rows, slice) else rows
        labels = self._labels + np.searchsorted(places, ends)  # until the end of each micro-batch
        known = []
        for size, end, labelled in zip(np.diff(ends, prepend=0).tolist(), ends.tolist(), labels.tolist()):
            first = self._events + end - size
            while self._unknown and self._unknown[0][0] <= first - self._delay:
                self._known = self._unknown.popleft()[1]
            known.append(self._known)
            self._unknown.append((self._events + end, labelled))
        self._events += count
        self._labels = int(labels[-1])
        return np.repeat(known, np.diff(labels, prepend=self._labels - len(places)))

    def metrics(self) -> dict[str, dict[str, float]]:
        """By control, figures over all events."""
        self._flush()
        return {name: one.metrics() for name, one in self._figures.items()}

    def log_loss_of_known(self) -> dict[str, float]:
        """By control that has a log loss, what it is without events of classes that no label before was of."""
        self._flush()
        figures = self._figures.items()
        found = {name: log_loss_of_known(one.metrics(), one.graded, one.unknown_class) for name, one in figures}
        return {name: value for name, value in found.items() if value is not None}

    def recent_figures(self) -> dict[str, Figures]:
        """By control, figures over the recent window, with their bounds."""
        self._flush()
        return {name: one.recent_figures() for name, one in self._figures.items()}

    def recent(self) -> dict[str, dict[str, float]]:
        """By control, figures over the recent window."""
        return {
            name: {key: value for key, (value, _) in found.items()} for name, found in self.recent_figures().items()
        }

    def begin_window(self) -> None:
        """Begin with an empty recent window, as the model's does."""
        self._flush()
        for one in self._figures.values():
            one.begin_window()

    def state(self) -> State:
        """The state that later figures depend on."""
        self._flush()
        tensors: dict[str, NDArray[Any]] = {}
        meta = {}
        for name, control in self._controls.items():
            figures = self._figures[name].state()
            tensors |= {f"{name}/control/{key}": tensor for key, tensor in control.tensors().items()}
            tensors |= {f"{name}/figures/{key}": tensor for key, tensor in figures.tensors.items()}
            meta[name] = figures.meta
        return State(tensors, meta)

    def restore(self, state: State) -> None:
        """Restore from `state()`; controls that were not saved begin empty. All labels before count as known."""
        self._begin()
        for name, control in self._controls.items():
            if name in state.meta:
                control.restore(under(f"{name}/control/", state.tensors))
                self._figures[name].restore(State(under(f"{name}/figures/", state.tensors), state.meta[name]))

    def _flush(self) -> None:
        if not self._waiting:
            return
        waiting, self._waiting, self._waiting_events = self._waiting, [], 0
        labels = np.concatenate([one.labels for one in waiting])
        first, self._followed = self._followed, self._followed + len(labels)
        answered = _masks(waiting)
        known = _joined_known(waiting, first)
        sizes = [len(one.labels) if one.answered is None else int(one.answered.sum()) for one in waiting]
        starts = np.cumsum([0, *sizes[:-1]])[np.array(sizes) > 0]
        whole = labels
        for name, control in self._controls.items():
            labels = whole["label"] if whole.dtype.names and not control.timed else whole
            predicted = control.follow(labels)
            if known is not None:
                predicted = self._late(name, predicted, known, first)
            if answered is not None:
                predicted, labels = predicted[answered], labels[answered]
            if answered is None or len(starts):
                self._figures[name].add(control.grade(predicted, labels), starts)
                self._figures[name].unknown_class += control.unknown(predicted, labels)

    def _late(self, name: str, prompt: NDArray[Any], known: NDArray[np.intp], first: int) -> NDArray[Any]:
        """The predictions after so many labels, from those after `first` labels and each one more."""
        earlier = self._earlier.get(name, prompt[:0])
        series = np.concatenate([earlier, prompt])
        begin = first - len(earlier)
        self._earlier[name] = series[max(0, self._known - begin) :]
        return np.asarray(series[known - begin])


def _masks(waiting: Sequence[_Waiting]) -> NDArray[np.bool_] | None:
    if all(one.answered is None for one in waiting):
        return None
    return np.concatenate(
        [np.ones(len(one.labels), np.bool_) if one.answered is None else one.answered for one in waiting]
    )


def _joined_known(waiting: Sequence[_Waiting], first: int) -> NDArray[np.intp] | None:
    """How many labels were known at each event, where `first` came before them."""
    if all(one.known is None for one in waiting):
        return None
    found, count = [], first
    for one in waiting:
        found.append(np.arange(count, count + len(one.labels)) if one.known is None else one.known)
        count += len(one.labels)
    return np.concatenate(found)
