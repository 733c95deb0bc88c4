"""Values as label counts: each key counts the labels of the events that fetched it.

Counts have no rate, do not depend on the order of events, add up when learners are merged, and give back what is
unlearned. `decay` below 1 gives that up for a key that follows its newest labels. How they answer: `votes.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thalweg.memory.vectors.key_tables import Ids, Mask
from thalweg.models.bottleneck.lending import Lending
from thalweg.models.bottleneck.params import Params
from thalweg.models.bottleneck.row_sample import RowSample
from thalweg.models.bottleneck.votes import CountVotes, FitRows
from thalweg.proto.schema import Array

Floats = NDArray[np.float64]

_SMALLEST = 1e-30  # faded counts below become 0: denormal numbers make arithmetic a hundred times slower
_ROUNDING = 1e-3  # of the weights taken away: how far below 0 rounding may bring a count


class CountValues:
    """Weights of the events of K classes that fetched each of M keys in C heads, float32: whole weights are exact up to
    16.7 million per key and class.
    """

    def __init__(self, params: Params) -> None:
        self.params = params
        self.classes = 0
        self._table = np.zeros((params.heads, params.pairs, 0), dtype=np.float32)  # K and spare room
        self._events = np.zeros(0, dtype=np.int64)  # (K,) learned, never faded
        self._sample = RowSample(params.heads * params.top_k)
        self._faded = 0
        self._lending = Lending()

    def _own(self) -> None:
        """Before a change: whoever still reads the table keeps it."""
        if self._lending.take_back():
            self._table = self._table.copy()

    @property
    def counts(self) -> NDArray[np.float32]:
        """(C, M, K), a view."""
        return self._table[:, :, : self.classes]

    @property
    def fetched(self) -> Mask:
        """Keys that hold a count, (C, M)."""
        held: Mask = np.logical_or.reduce(self.counts, axis=2)
        return held

    def grow(self, classes: int) -> None:
        """Zeros for new classes, up to this many."""
        if classes > self.classes:
            room = self._table.shape[2]
            if classes > room:  # in powers of two: a thousand classes one by one do not copy a thousand tables
                more = (1 << (classes - 1).bit_length()) - room
                self._table = np.pad(self._table, ((0, 0), (0, 0), (0, more)))
            self._events = np.pad(self._events, (0, classes - self.classes))
            self.classes = classes
            self._sample.grow(classes)

    def learn(self, ids: Ids, codes: NDArray[np.int32], weights: Floats) -> None:
        """Count events whose keys are `ids` (n, C, k)."""
        self._own()
        self._events += np.bincount(codes, minlength=self.classes)
        if self.params.fade == 1.0:
            np.add.at(
                self._table.reshape(-1), self._cells(ids, codes), np.repeat(weights.astype(np.float32), ids[0].size)
            )
            self._sample.add(ids.reshape(len(ids), -1), codes, weights)
            return
        rows = self._table.reshape(-1, self._table.shape[2])
        for event, (place, code, weight) in enumerate(zip(self._places(ids), codes, weights)):
            fetched = rows[place] * np.float32(self.params.fade)
            fetched[fetched < _SMALLEST] = 0.0
            fetched[:, code] += weight
            rows[place] = fetched
            self._sample.fade(self.params.fade ** (1.0 / self.params.pairs))  # as a key does on average
            one = slice(event, event + 1)
            self._sample.add(ids[one].reshape(1, -1), codes[one], weights[one])

    def unlearn(self, ids: Ids, codes: NDArray[np.int32], weights: Floats) -> None:
        """Take events away, known classes throughout.

        Raises:
            ValueError: They cannot have been learned, or order matters; nothing was changed.
        """
        self.must_not_fade("unlearn")
        cells, where = np.unique(self._cells(ids, codes), return_inverse=True)
        taken = np.bincount(where, np.repeat(weights, ids[0].size))
        left = self._table.reshape(-1)[cells] - taken
        gone = np.bincount(codes, minlength=self.classes)
        if (left < -_ROUNDING * taken).any() or (gone > self._events).any():
            raise ValueError("cannot unlearn: at least one of these events was not learned with this label and weight")
        self._own()
        self._table.reshape(-1)[cells] = np.maximum(left, 0.0)
        self._events -= gone
        self._sample.add(ids.reshape(len(ids), -1), codes, weights, sign=-1)

    def merge(self, other: CountValues, columns: NDArray[np.int64]) -> None:
        """Add the counts of another learner over the same keys, whose class i is `columns[i]` here.

        Raises:
            ValueError: Order matters, here or there; nothing was changed.
        """
        self.must_not_fade("merge")
        other.must_not_fade("merge")
        self._own()
        self.counts[:, :, columns] += other.counts
        self._events[columns] += other._events
        self._sample.merge(other._sample, columns)

    @property
    def events(self) -> NDArray[np.int64]:
        """Events learned of each class, (K,)."""
        return self._events

    def select_classes(self, kept: NDArray[np.bool_]) -> None:
        """Only these classes (K,) are left; the others have no events."""
        self._table, self.classes = self.counts[:, :, kept].copy(), int(np.count_nonzero(kept))
        self._events = self._events[kept]
        self._sample.select_classes(kept)

    def raise_forgetting(self, factor: float, events: int) -> None:
        """Divide everything counted by `factor`, at once."""
        self._own()
        self._table /= np.float32(factor)
        self._table[self._table < _SMALLEST] = 0.0
        self._sample.fade(1.0 / factor)
        self._faded += 1

    def must_not_fade(self, verb: str) -> None:
        """Raise ValueError if the order of events matters."""
        if self.params.fade < 1.0 or self._faded:
            raise ValueError(
                f"cannot {verb}: needs decay = 1 and no raised forgetting, so that the order of events does not matter"
            )

    def votes(self) -> CountVotes:
        """What answers need, as it is now."""
        p = self.params
        return self._lending.to(CountVotes(self.counts, p.top_k, p.strength, FitRows.of(self._sample)))

    def _places(self, ids: Ids) -> NDArray[np.int64]:
        """Rows (n, C·k) of the table as (C·M, K)."""
        heads, pairs, _ = self._table.shape
        places: NDArray[np.int64] = (ids + (np.arange(heads) * pairs)[:, None]).reshape(len(ids), -1)
        return places

    def _cells(self, ids: Ids, codes: NDArray[np.int32]) -> NDArray[np.int64]:
        """Indices (n·C·k,) of the table as one line."""
        cells: NDArray[np.int64] = (self._places(ids) * self._table.shape[2] + codes[:, None]).ravel()
        return cells

    def tensors(self) -> dict[str, Array]:
        """For a state."""
        return {"counts": np.ascontiguousarray(self.counts), "events": self._events, **self._sample.tensors()}

    def meta(self) -> dict[str, Any]:
        """For a state."""
        return {"faded": self._faded, **self._sample.meta()}

    def restore(self, tensors: Mapping[str, Array], meta: Mapping[str, Any]) -> None:
        """Restore from `tensors()` and `meta()`."""
        self._table = np.array(tensors["counts"], order="C")
        self._events = np.array(tensors["events"])
        self.classes = self._table.shape[2]
        self._sample.restore(tensors, meta)
        self._faded = meta["faded"]
