"""The kinds of naive controls: what each predicts from the labels before an event."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from thalweg.stream.evaluation.figures.orders import number_columns
from thalweg.stream.evaluation.grading import ALL_ROWS, Alike, Graded, earlier_alike, log_losses

COUNTED = 64
"""Classes whose shares are followed each by itself; what is left of a further one is shared by all such."""
_OF_SHARES = np.dtype([("best", "i8"), ("seen", "i8"), ("share", "f8", (COUNTED,))])
_BEYOND, _IN_A_ROW, _LEARNING = 1000.0, 5, 10


class Control(ABC):
    """Predicts the label of each event from the labels before it. Not thread-safe.

    The predictions do not depend on how the labels are cut into calls.
    """

    timed: ClassVar[bool] = False
    """Whether labels come with the gap before the event (`TIMED`); otherwise they are class numbers or numbers."""

    @abstractmethod
    def follow(self, labels: NDArray[Any]) -> NDArray[Any]:
        """The predictions for events with these labels, (M,) or (M, K), M > 0, each from all labels before it."""

    @staticmethod
    @abstractmethod
    def grade(predicted: NDArray[Any], labels: NDArray[Any]) -> Graded:
        """Compare predictions with labels, (M,) or (M, K) each."""

    @staticmethod
    def unknown(predicted: NDArray[Any], labels: NDArray[Any]) -> int:
        """How many of these labels are of a class that no label known before them was of."""
        return 0

    @abstractmethod
    def tensors(self) -> dict[str, NDArray[Any]]:
        """The state that later predictions depend on."""

    @abstractmethod
    def restore(self, tensors: Mapping[str, NDArray[Any]]) -> None:
        """Restore from `tensors()`."""


class MajorityClass(Control):
    """The class with the most events so far; of equal ones, the first that had so many. Its probabilities are the
    shares of the classes so far: 0 for a class that never came, as a model's that does not know it.
    """

    def __init__(self) -> None:
        self._counts = np.zeros(0, dtype=np.int64)
        self._best = -1

    def follow(self, labels: NDArray[Any]) -> NDArray[Any]:
        found = np.zeros(len(labels), _OF_SHARES)
        found["seen"] = np.maximum.accumulate(np.concatenate([[len(self._counts)], labels[:-1] + 1]))
        found["share"] = self._shares(labels)
        found["best"] = self._most(labels)
        return found

    def _shares(self, labels: NDArray[Any]) -> NDArray[Any]:
        """The shares of classes before each of these labels, (M, COUNTED); the last is that of all further ones."""
        before = np.pad(self._counts[:COUNTED], (0, max(0, COUNTED - len(self._counts))))
        before[-1] += self._counts[COUNTED:].sum()
        came = np.zeros((len(labels), COUNTED), np.int64)
        came[np.arange(1, len(labels)), np.minimum(labels[:-1], COUNTED - 1)] = 1
        counts = before + np.cumsum(came, axis=0)
        return np.asarray(counts / np.maximum(counts.sum(axis=1, keepdims=True), 1))

    def _most(self, labels: NDArray[Any]) -> NDArray[Any]:
        if (more := int(labels.max()) + 1 - len(self._counts)) > 0:
            self._counts = np.pad(self._counts, (0, more))
        counts, best = self._counts, self._best
        others = np.delete(counts, best) if best >= 0 else counts
        if best >= 0 and counts[best] - (others.max() if len(others) else 0) >= len(labels):
            predicted = np.full(len(labels), best)  # no class can overtake it within these events
            counts += np.bincount(labels, minlength=len(counts))
        else:
            predicted = self._overtaken(labels)
        return predicted

    def _overtaken(self, labels: NDArray[Any]) -> NDArray[np.intp]:
        """The class before each of these labels where the best may change, which counts them."""
        counts, most = self._counts, int(self._counts[self._best]) if self._best >= 0 else 0
        reached = counts[labels] + earlier_alike(labels) + 1
        highest = np.maximum.accumulate(np.maximum(reached, most))
        leads = reached > np.concatenate([[most], highest[:-1]])  # more than any class ever had: it is the best now
        rows = np.maximum.accumulate(np.where(leads, np.arange(1, len(labels) + 1), 0))
        best = np.concatenate([[self._best], labels])[rows]  # after each label
        predicted = np.concatenate([[self._best], best[:-1]])
        self._counts, self._best = counts + np.bincount(labels, minlength=len(counts)), int(best[-1])
        return predicted

    @staticmethod
    def grade(predicted: NDArray[Any], labels: NDArray[Any]) -> Graded:
        places, rows = np.minimum(labels, COUNTED - 1), np.arange(len(labels))
        others = np.where(places == COUNTED - 1, np.maximum(predicted["seen"] - (COUNTED - 1), 1), 1)
        given = predicted["share"][rows, places] / others
        losses = log_losses(np.where(labels < predicted["seen"], given, 0.0))
        return _of_classes(predicted["best"], labels, {"log_loss": losses})

    @staticmethod
    def unknown(predicted: NDArray[Any], labels: NDArray[Any]) -> int:
        return int(np.count_nonzero(labels >= predicted["seen"]))

    def tensors(self) -> dict[str, NDArray[Any]]:
        return {"counts": self._counts, "best": np.array([self._best])}

    def restore(self, tensors: Mapping[str, NDArray[Any]]) -> None:
        self._counts, self._best = tensors["counts"].copy(), int(tensors["best"][0])


class LastClass(Control):
    """The class of the event before."""

    def __init__(self) -> None:
        self._last = -1

    def follow(self, labels: NDArray[Any]) -> NDArray[Any]:
        predicted = np.concatenate([[self._last], labels[:-1]])
        self._last = int(labels[-1])
        return predicted

    @staticmethod
    def grade(predicted: NDArray[Any], labels: NDArray[Any]) -> Graded:
        return _of_classes(predicted, labels)

    def tensors(self) -> dict[str, NDArray[Any]]:
        return {"last": np.array([self._last])}

    def restore(self, tensors: Mapping[str, NDArray[Any]]) -> None:
        self._last = int(tensors["last"][0])


def _of_classes(
    predicted: NDArray[Any], labels: NDArray[Any], more: Mapping[str, NDArray[np.float64]] = MappingProxyType({})
) -> Graded:
    columns = {"correct": predicted == labels, "label": labels, **more}
    return Graded(ALL_ROWS, columns, Alike("classes", columns=tuple(columns)))


class MeanNumbers(Control):
    """The mean of the labels so far; 0 before the first.

    One absurd label would be all that the mean ever tells. Of the first ten, those of more than a thousand times the
    median of the sizes so far are no part of it. After them, one of more than a thousand times the largest before it is
    none, unless it is the fifth such in a row.
    """

    def __init__(self) -> None:
        self._sums = np.zeros(0)
        self._count = 0
        self._largest = 0.0  # of the labels in the mean
        self._beyond = 0  # labels in a row that are none
        self._first: NDArray[Any] | None = None  # the first ten, (M, K), while there are fewer

    def follow(self, labels: NDArray[Any]) -> NDArray[Any]:
        if self._first is None and not len(self._sums):
            self._sums, self._first = np.zeros(labels.shape[1]), labels[:0].copy()
        beginning = 0 if self._first is None else _LEARNING - len(self._first)
        found = [self._begin(one)[None] for one in labels[:beginning]]
        rest = labels[beginning:]
        return np.concatenate([*found, self._go_on(rest)] if len(rest) else found)

    def _begin(self, label: NDArray[Any]) -> NDArray[Any]:
        """The mean before one of the first labels (K,)."""
        assert self._first is not None
        before = self._sums / max(self._count, 1)
        self._first = np.concatenate([self._first, label[None]])
        sizes = np.abs(self._first).max(axis=1)
        usual = np.sort(sizes[sizes > 0])
        near = sizes <= _BEYOND * usual[(len(usual) - 1) // 2] if len(usual) else sizes == 0
        self._sums, self._count = self._first[near].sum(axis=0), int(np.count_nonzero(near))
        self._largest = float(sizes[near].max())
        if len(self._first) == _LEARNING:
            self._first = None
        return np.asarray(before)

    def _go_on(self, labels: NDArray[Any]) -> NDArray[Any]:
        counted = self._counted(np.abs(labels).max(axis=1))
        known = np.where(counted[:, None], labels, 0.0)
        # one running sum from the first event on, so that it does not depend on the cut in any bit
        sums = np.cumsum(np.concatenate([self._sums[None], known]), axis=0)
        counts = np.cumsum(np.concatenate([[self._count], counted]))
        self._sums, self._count = sums[-1], int(counts[-1])
        return np.asarray(sums[:-1] / np.maximum(counts[:-1], 1)[:, None])

    def _counted(self, sizes: NDArray[Any]) -> NDArray[np.bool_]:
        """Which labels of these sizes (M,) are part of the mean, (M,)."""
        highest = float(sizes.max())
        if highest <= _BEYOND * self._largest:
            self._largest, self._beyond = max(self._largest, highest), 0
            return np.ones(len(sizes), np.bool_)
        counted = []
        for size in sizes.tolist():
            near = not self._largest or size <= _BEYOND * self._largest
            self._beyond = 0 if near else self._beyond + 1
            counted.append(near or self._beyond == _IN_A_ROW)
            if counted[-1]:
                self._largest, self._beyond = max(self._largest, size), 0
        return np.array(counted)

    @staticmethod
    def grade(predicted: NDArray[Any], labels: NDArray[Any]) -> Graded:
        return _of_numbers(predicted, labels)

    def tensors(self) -> dict[str, NDArray[Any]]:
        seen = {"largest": np.array([self._largest]), "beyond": np.array([self._beyond])}
        if self._first is not None:
            seen["first"] = self._first
        return {"sums": self._sums, "count": np.array([self._count]), **seen}

    def restore(self, tensors: Mapping[str, NDArray[Any]]) -> None:
        self._sums, self._count = tensors["sums"].copy(), int(tensors["count"][0])
        if "largest" in tensors:  # an earlier version kept none: that of the next label
            self._largest, self._beyond = float(tensors["largest"][0]), int(tensors["beyond"][0])
        self._first = tensors["first"].copy() if "first" in tensors else None


class LastNumbers(Control):
    """The label of the event before; 0 before the first."""

    def __init__(self) -> None:
        self._last = np.zeros(0)

    def follow(self, labels: NDArray[Any]) -> NDArray[Any]:
        last = self._last if len(self._last) else np.zeros(labels.shape[1])
        predicted = np.concatenate([last[None], labels[:-1]])
        self._last = labels[-1].copy()
        return predicted

    @staticmethod
    def grade(predicted: NDArray[Any], labels: NDArray[Any]) -> Graded:
        return _of_numbers(predicted, labels)

    def tensors(self) -> dict[str, NDArray[Any]]:
        return {"last": self._last}

    def restore(self, tensors: Mapping[str, NDArray[Any]]) -> None:
        self._last = tensors["last"].copy()


def _of_numbers(predicted: NDArray[Any], labels: NDArray[Any]) -> Graded:
    return Graded(ALL_ROWS, number_columns(predicted, labels), Alike("means"))


class ShareOfOnes(Control):
    """The share of 1s so far as the probability of a 1, with half an event of each kind before the first: both are
    known of, and of a first 1 among a thousand 0s it is not taken for sure that it could not come.
    """

    def __init__(self) -> None:
        self._ones = self._count = 0

    def follow(self, labels: NDArray[Any]) -> NDArray[Any]:
        counts = np.arange(self._count, self._count + len(labels))
        ones = self._ones + np.concatenate([[0], np.cumsum(labels[:-1])])
        given = (ones + 0.5) / (counts + 1.0)
        self._ones, self._count = self._ones + int(labels.sum()), self._count + len(labels)
        return np.asarray(given)

    @staticmethod
    def grade(predicted: NDArray[Any], labels: NDArray[Any]) -> Graded:
        return _of_scores(predicted, labels)

    def tensors(self) -> dict[str, NDArray[Any]]:
        return {"counts": np.array([self._ones, self._count])}

    def restore(self, tensors: Mapping[str, NDArray[Any]]) -> None:
        self._ones, self._count = tensors["counts"].tolist()


class LastScore(Control):
    """The label of the event before as the probability of a 1; one half before the first."""

    def __init__(self) -> None:
        self._last = 0.5

    def follow(self, labels: NDArray[Any]) -> NDArray[Any]:
        given = np.concatenate([[self._last], labels[:-1].astype(np.float64)])
        self._last = float(labels[-1])
        return np.asarray(given)

    @staticmethod
    def grade(predicted: NDArray[Any], labels: NDArray[Any]) -> Graded:
        return _of_scores(predicted, labels)

    def tensors(self) -> dict[str, NDArray[Any]]:
        return {"last": np.array([self._last])}

    def restore(self, tensors: Mapping[str, NDArray[Any]]) -> None:
        self._last = float(tensors["last"][0])


def _of_scores(given: NDArray[np.float64], labels: NDArray[Any]) -> Graded:
    found = {"correct": (given >= 0.5) == labels, "label": labels, "given": given}
    return Graded(ALL_ROWS, found, Alike("scores", columns=tuple(found)))
