"""Means that a few events of another order of magnitude do not ruin for good.

One label of 1e99 among a million would be all that a mean square ever tells. So events are added up by their order of
magnitude, and what lies far beyond all others can be left out of a figure whenever it is asked for: nothing is decided
when the event comes, and neither the order of events nor their cut into micro-batches matters.

Orders are steps of a factor of 32. Far beyond is what is separated from all orders below by empty ones, at least `gap`
of them, and what is also rare: at most four events or one in a hundred, and one in ten. Once more come they count.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from thalweg.proto.schema import Array
from thalweg.stream.evaluation.figures.bounds import Bound, mean_bound
from thalweg.stream.evaluation.figures.few import few
from thalweg.stream.evaluation.figures.means import Means

Floats = NDArray[np.float64]
_BITS = 5  # a step is a factor of 2**5
_NOTHING = -1000  # the order of 0, below that of every number


class By(NamedTuple):
    """How the events of a column are told apart."""

    size: str
    """The column whose order an event has."""
    usual: str
    """The column that says which orders are usual; zeros in it say nothing."""
    gap: int
    """Empty orders between what is usual and what is far beyond."""


BY = {
    "squared": By("size", "label_size", 2),
    "absolute": By("size", "label_size", 2),
    "log_likelihood": By("log_likelihood", "log_likelihood", 4),
    "gap_squared": By("gap_squared", "gap_squared", 8),
}
"""The columns whose values have no bound. `size` is the larger one of label and error, `label_size` that of the label:
an error that is usual for the labels is never far beyond, however exact the model was before."""
LABELS = "numbers"
"""The column (M, K) of labels that sizes are computed from, of many events at once."""


def number_columns(answers: Array, labels: Floats) -> dict[str, Floats]:
    """The columns `squared` and `absolute`, (M,) each, and `numbers`, of predictions and labels (M, K)."""
    with np.errstate(over="ignore", invalid="ignore"):  # an answer of 1e300 has an infinite error: no reason to stop
        error = answers - labels
        squared, absolute = np.mean(error**2, axis=1), np.mean(np.abs(error), axis=1)
    return {"squared": squared, "absolute": absolute, LABELS: labels}


def with_sizes(columns: Mapping[str, Any]) -> Mapping[str, Any]:
    """The columns with `size` and `label_size`, (M,), where they hold labels that are numbers."""
    if LABELS not in columns:
        return columns
    label = np.abs(columns[LABELS]).max(axis=1)
    return {**columns, "label_size": label, "size": np.fmax(label, columns["absolute"])}


class Parts(NamedTuple):
    """Events of several micro-batches by their order of magnitude."""

    usual: list[tuple[int, int]]
    """Orders that are usual, and how many events say so."""
    of_order: list[tuple[int, NDArray[np.intp] | slice, NDArray[np.intp]]]
    """By order, the rows of its events, and where among them micro-batches begin."""


def parts_of(columns: Mapping[str, Floats], by: By, starts: NDArray[np.intp]) -> Parts:
    """The parts of events (N,), N > 0, of the micro-batches that begin at `starts` (B,)."""
    orders = _orders(columns[by.size])
    usual = orders if by.usual == by.size else _orders(columns[by.usual])
    counts = [*zip(*(one.tolist() for one in np.unique(usual, return_counts=True)))]
    found = np.unique(orders).tolist()
    if len(found) == 1:
        return Parts(counts, [(found[0], slice(None), starts)])
    batch = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(orders)))
    parts: list[tuple[int, NDArray[np.intp] | slice, NDArray[np.intp]]] = []
    for order in found:
        rows = np.flatnonzero(orders == order)
        parts.append((order, rows, np.flatnonzero(np.diff(batch[rows], prepend=-1))))
    return Parts(counts, parts)


class Orders:
    """The mean of one column, with each order of magnitude by itself.

    Not thread-safe.
    """

    def __init__(self, name: str) -> None:
        self._name, self._by = name, BY[name]
        self._means: dict[int, Means] = {}
        self._usual: dict[int, int] = {}

    def add(self, values: Floats, parts: Parts) -> None:
        """Add events (N,), N > 0, with these parts."""
        for order, count in parts.usual:
            self._usual[order] = self._usual.get(order, 0) + count
        for order, rows, starts in parts.of_order:
            self._means.setdefault(order, Means((self._name,))).add(self._name, values[rows], starts)

    def figure(self, before: Means) -> tuple[float, Bound | None, int] | None:
        """The mean, its 95 % confidence interval, and how many events it leaves out; None without events.

        `before`: events of an earlier version, which did not tell orders apart: none of them is left out.
        """
        counts = {order: means.count(self._name) for order, means in sorted(self._means.items())}
        last = self._last(counts)
        beyond = [order for order in counts if order > last]
        left_out = sum(counts[order] for order in beyond)
        parts = [before, *(self._means[order] for order in counts if order not in beyond)]
        parts = [means for means in parts if means.count(self._name)]
        if not parts:
            return None
        if len(parts) == 1:
            mean = parts[0].mean(self._name)
            assert mean is not None
            return mean, parts[0].bound(self._name), left_out
        rows = [means.names.index(self._name) for means in parts]
        with np.errstate(over="ignore", invalid="ignore"):
            number = sum(int(means.counts[row]) for means, row in zip(parts, rows))
            mean = float(sum(means.sums[row] for means, row in zip(parts, rows)) / number)
            bound = _bound(mean, np.array([means.spreads[row] for means, row in zip(parts, rows)]))
        return mean, bound, left_out

    def _last(self, counts: Mapping[int, int]) -> float:
        """The highest order that a figure counts, of these numbers of events by order."""
        last = self._limit(sum(self._usual.values())) + self._by.gap
        left_out = sum(count for order, count in counts.items() if order > last)
        return last if few(left_out, sum(counts.values())) else math.inf

    def beyond(self, columns: Mapping[str, Floats]) -> NDArray[np.bool_] | None:
        """Which events of a window, (N,), its figure leaves out: those that the figure over all events leaves out, if
        they are few in the window, too; None: none, or their size is not known.
        """
        if self._by.size not in columns:
            return None
        last = self._last({order: means.count(self._name) for order, means in self._means.items()})
        if math.isinf(last):
            return None
        found = np.asarray(_orders(columns[self._by.size]) > last)
        return found if found.any() and few(int(np.count_nonzero(found)), len(found)) else None

    def _limit(self, events: int) -> float:
        """The highest order that is usual; infinite if none is known."""
        known = sorted(order for order in self._usual if order != _NOTHING)
        if not known:
            return math.inf
        limit, beyond = known[-1], 0
        for lower, higher in reversed([*pairwise(known)]):
            beyond += self._usual[higher]
            if not few(beyond, events):
                break
            if higher - lower > self._by.gap:
                limit = lower
        return limit

    def tensors(self) -> dict[str, Array]:
        """Tensors for a snapshot; {} without events."""
        if not self._means:
            return {}
        orders = sorted(self._means)
        parts = [self._means[order] for order in orders]
        usual = sorted(self._usual)
        return {
            "orders": np.array(orders, dtype=np.int64),
            "counts": np.array([means.counts[0] for means in parts], dtype=np.int64),
            "sums": np.array([means.sums[0] for means in parts]),
            "spreads": np.array([means.spreads[0] for means in parts]),
            "usual": np.array([usual, [self._usual[order] for order in usual]], dtype=np.int64),
        }

    @classmethod
    def of(cls, name: str, tensors: Mapping[str, Array]) -> Orders:
        """From `tensors()`; copies."""
        made = cls(name)
        for row, order in enumerate(tensors["orders"].tolist() if tensors else ()):
            made._means[order] = means = Means((name,))
            means.restore(*(tensors[key][row : row + 1] for key in ("sums", "counts", "spreads")))
        if tensors:
            made._usual = dict(zip(*tensors["usual"].tolist()))
        return made


def _orders(values: Floats) -> NDArray[np.int64]:
    """The order of magnitude of each value, (N,); NaN counts as 0."""
    size = np.abs(values)
    exponents = np.frexp(np.minimum(size, np.finfo(np.float64).max))[1].astype(np.int64) // _BITS
    return np.where(size > 0, exponents, _NOTHING)


def _bound(mean: float, spreads: Array) -> Bound | None:
    """The confidence interval of the mean of parts with these spreads (P, 4), as in `Means`."""
    spreads = spreads[spreads[:, 0] > 0]
    events, first, near, square = spreads.T
    number = int(events.sum())
    if number < 2 or not np.isfinite(square).all():
        return None
    means = first + near / events
    overall = float((events * means).sum() / number)
    about = float((np.maximum(0.0, square - near * near / events) + events * (means - overall) ** 2).sum())
    return mean_bound(mean, math.sqrt(about / (number - 1)), number)
