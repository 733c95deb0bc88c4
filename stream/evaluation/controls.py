"""Naive controls: predictions that look at labels alone, graded on the same events. A model that is no better than they
are has learned nothing from its inputs, however high its accuracy.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thalweg.memory.snapshots.state import State
from thalweg.proto.event import Batch
from thalweg.stream.evaluation.figures.window_figures import Figures
from thalweg.stream.evaluation.grading import Alike, Graded, TaskGrading
from thalweg.stream.evaluation.prequential import Prequential

_AT_ONCE = 4096  # labels that are followed together
_LARGEST = 1e100  # of the labels that a mean is taken of: its square is finite
_ALL = slice(None)


class Control(ABC):
    """Predicts the label of each event from the labels before it. Not thread-safe.

    The grades do not depend on how the labels are cut into calls.
    """

    @abstractmethod
    def follow(self, labels: NDArray[Any]) -> Graded:
        """Grade the predictions for events with these labels, (M,) or (M, K), M > 0, in order."""

    @abstractmethod
    def tensors(self) -> dict[str, NDArray[Any]]:
        """The state that later predictions depend on."""

    @abstractmethod
    def restore(self, tensors: Mapping[str, NDArray[Any]]) -> None:
        """Restore from `tensors()`."""


class MajorityClass(Control):
    """The class with the most events so far; of equal ones, the first that had so many."""

    def __init__(self) -> None:
        self._counts = np.zeros(0, dtype=np.int64)
        self._best = -1

    def follow(self, labels: NDArray[Any]) -> Graded:
        if (more := int(labels.max()) + 1 - len(self._counts)) > 0:
            self._counts = np.pad(self._counts, (0, more))
        counts, best = self._counts, self._best
        others = np.delete(counts, best) if best >= 0 else counts
        if best >= 0 and counts[best] - (others.max() if len(others) else 0) >= len(labels):
            predicted = np.full(len(labels), best)  # no class can overtake it within these events
            counts += np.bincount(labels, minlength=len(counts))
        else:
            predicted = self._one_by_one(labels)
        return _of_classes(predicted, labels)

    def _one_by_one(self, labels: NDArray[Any]) -> NDArray[np.intp]:
        counts, best, predicted = self._counts.tolist(), self._best, []
        for label in labels.tolist():
            predicted.append(best)
            counts[label] += 1
            if best < 0 or counts[label] > counts[best]:
                best = label
        self._counts, self._best = np.array(counts, dtype=np.int64), best
        return np.array(predicted, dtype=np.intp)

    def tensors(self) -> dict[str, NDArray[Any]]:
        return {"counts": self._counts, "best": np.array([self._best])}

    def restore(self, tensors: Mapping[str, NDArray[Any]]) -> None:
        self._counts, self._best = tensors["counts"].copy(), int(tensors["best"][0])


class LastClass(Control):
    """The class of the event before."""

    def __init__(self) -> None:
        self._last = -1

    def follow(self, labels: NDArray[Any]) -> Graded:
        predicted = np.concatenate([[self._last], labels[:-1]])
        self._last = int(labels[-1])
        return _of_classes(predicted, labels)

    def tensors(self) -> dict[str, NDArray[Any]]:
        return {"last": np.array([self._last])}

    def restore(self, tensors: Mapping[str, NDArray[Any]]) -> None:
        self._last = int(tensors["last"][0])


def _of_classes(predicted: NDArray[Any], labels: NDArray[Any]) -> Graded:
    return Graded(
        _ALL, {"correct": predicted == labels, "label": labels}, Alike("classes", columns=("correct", "label"))
    )


class MeanNumbers(Control):
    """The mean of the labels so far; 0 before the first."""

    def __init__(self) -> None:
        self._sums = np.zeros(0)
        self._count = 0

    def follow(self, labels: NDArray[Any]) -> Graded:
        known = np.clip(labels, -_LARGEST, _LARGEST)
        if not self._count:
            self._sums = np.zeros(labels.shape[1])
        # one running sum from the first event on, so that it does not depend on the cut in any bit
        sums = np.cumsum(np.concatenate([self._sums[None], known]), axis=0)
        counts = np.arange(self._count, self._count + len(labels))
        self._sums, self._count = sums[-1], self._count + len(labels)
        return _of_numbers(sums[:-1] / np.maximum(counts, 1)[:, None], labels)

    def tensors(self) -> dict[str, NDArray[Any]]:
        return {"sums": self._sums, "count": np.array([self._count])}

    def restore(self, tensors: Mapping[str, NDArray[Any]]) -> None:
        self._sums, self._count = tensors["sums"].copy(), int(tensors["count"][0])


class LastNumbers(Control):
    """The label of the event before; 0 before the first."""

    def __init__(self) -> None:
        self._last = np.zeros(0)

    def follow(self, labels: NDArray[Any]) -> Graded:
        last = self._last if len(self._last) else np.zeros(labels.shape[1])
        predicted = np.concatenate([last[None], labels[:-1]])
        self._last = labels[-1].copy()
        return _of_numbers(predicted, labels)

    def tensors(self) -> dict[str, NDArray[Any]]:
        return {"last": self._last}

    def restore(self, tensors: Mapping[str, NDArray[Any]]) -> None:
        self._last = tensors["last"].copy()


def _of_numbers(predicted: NDArray[Any], labels: NDArray[Any]) -> Graded:
    with np.errstate(over="ignore", invalid="ignore"):  # as the model is graded
        error = predicted - labels
        found = {"squared": np.mean(error**2, axis=1), "absolute": np.mean(np.abs(error), axis=1)}
    return Graded(_ALL, found, Alike("means"))


class ShareOfOnes(Control):
    """The share of 1s so far as the probability of a 1; one half before the first."""

    def __init__(self) -> None:
        self._ones = self._count = 0

    def follow(self, labels: NDArray[Any]) -> Graded:
        counts = np.arange(self._count, self._count + len(labels))
        ones = self._ones + np.concatenate([[0], np.cumsum(labels[:-1])])
        given = np.where(counts > 0, ones / np.maximum(counts, 1), 0.5)
        self._ones, self._count = self._ones + int(labels.sum()), self._count + len(labels)
        return _of_scores(given, labels)

    def tensors(self) -> dict[str, NDArray[Any]]:
        return {"counts": np.array([self._ones, self._count])}

    def restore(self, tensors: Mapping[str, NDArray[Any]]) -> None:
        self._ones, self._count = tensors["counts"].tolist()


class LastScore(Control):
    """The label of the event before as the probability of a 1; one half before the first."""

    def __init__(self) -> None:
        self._last = 0.5

    def follow(self, labels: NDArray[Any]) -> Graded:
        given = np.concatenate([[self._last], labels[:-1].astype(np.float64)])
        self._last = float(labels[-1])
        return _of_scores(given, labels)

    def tensors(self) -> dict[str, NDArray[Any]]:
        return {"last": np.array([self._last])}

    def restore(self, tensors: Mapping[str, NDArray[Any]]) -> None:
        self._last = float(tensors["last"][0])


def _of_scores(given: NDArray[np.float64], labels: NDArray[Any]) -> Graded:
    found = {"correct": (given >= 0.5) == labels, "label": labels, "given": given}
    return Graded(_ALL, found, Alike("scores", columns=tuple(found)))


_KINDS: Mapping[str, type[Control]] = {
    "majority_class": MajorityClass,
    "last_class": LastClass,
    "mean_numbers": MeanNumbers,
    "last_numbers": LastNumbers,
    "share_of_ones": ShareOfOnes,
    "last_score": LastScore,
}


class Controls:
    """The naive controls of a task, over all events and the recent window; saved with the state. Not thread-safe.

    Args:
        grading: The task's grading; says which controls make sense.
        window_events: Size of the recent window in events.
    """

    def __init__(self, grading: TaskGrading, window_events: int) -> None:
        self._grading = grading
        self._controls = {name: _KINDS[kind]() for name, kind in grading.controls.items()}
        self._window_events = window_events
        self._figures = {name: Prequential(window_events) for name in self._controls}
        self._waiting: list[NDArray[Any]] = []
        self._waiting_events = 0

    def graded(self, graded: Graded, batch: Batch) -> None:
        """The model was graded on these events of a micro-batch: grade the controls on them, too."""
        if self._controls and (labels := self._grading.control_labels(graded, batch)) is not None:
            self._waiting.append(labels)
            self._waiting_events += len(labels)
            if self._waiting_events >= _AT_ONCE:
                self._flush()

    def metrics(self) -> dict[str, dict[str, float]]:
        """By control, figures over all events."""
        self._flush()
        return {name: one.metrics() for name, one in self._figures.items()}

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
        """Restore from `state()`; controls that were not saved begin empty."""
        self._waiting, self._waiting_events = [], 0
        for name, control in self._controls.items():
            if name in state.meta:
                control.restore(_under(f"{name}/control/", state.tensors))
                self._figures[name].restore(State(_under(f"{name}/figures/", state.tensors), state.meta[name]))

    def _flush(self) -> None:
        if not self._waiting:
            return
        labels = np.concatenate(self._waiting)
        starts = np.cumsum([0, *map(len, self._waiting[:-1])])
        self._waiting, self._waiting_events = [], 0
        for name, control in self._controls.items():
            self._figures[name].add(control.follow(labels), starts)


def _under(prefix: str, tensors: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
