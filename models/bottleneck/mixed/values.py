"""Mixed values: what was always so, what is so lately, and what the errors teach, weighed by how well each predicts.

A key holds for each class its count; its count faded with each event that fetches the key; and two logits learned by
gradient, slowly and fast. With how often a class comes, in all and lately, these are six kinds of evidence; a class
scores their weighted sum (`weights.py`), or, while classes are away and if that has proved better, a sum of what does
not move, the counts and the prior (`pool.py`). All weights are learned from the predictions of each micro-batch by the
values before it: what is judged is what was served.

Neither the weights nor the gradient ask an event for classes that are away (`traffic.py`): they would learn that what
does not come now is unlikely everywhere, which is what forgetting is.
State: 16·C·M·K bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thalweg.memory.vectors.key_tables import Ids, Mask
from thalweg.models.bottleneck.lending import Lending
from thalweg.models.bottleneck.mixed.pool import Pool
from thalweg.models.bottleneck.mixed.traffic import ClassTraffic
from thalweg.models.bottleneck.mixed.votes import Corrections, MixedVotes, mean_values
from thalweg.models.bottleneck.mixed.weights import KINDS
from thalweg.models.bottleneck.params import Params
from thalweg.models.bottleneck.softmax import softmax
from thalweg.models.bottleneck.votes import class_shares, count_votes, fetched, least_shares
from thalweg.models.parts.learning_rate import LearningRateBoost
from thalweg.proto.schema import Array

Floats = NDArray[np.float64]

FADE = np.float32(0.8)
"""What remains of a key's faded counts after each event that fetches it."""
RATES: Floats = np.array([0.5, 2.0])
"""How much an event moves its own slow and fast logits, times its error."""
_LARGEST_STEP = 2.0  # weights in one step of the gradient: its error is that of before, so that more would overshoot
_SMALLEST = np.float32(1e-30)  # faded counts below become 0: denormal numbers make arithmetic a hundred times slower
_JUDGED_NUMBERS = 1 << 18  # votes per micro-batch that are judged: bounds the time for many classes
_FEWEST_ROWS = 16
_TABLES = ("counts", "faded", "slow", "fast")


class MixedValues:
    """The values of C heads of M keys for K classes, float32."""

    def __init__(self, params: Params) -> None:
        self.params = params
        self._empty()

    def _empty(self) -> None:
        params = self.params
        self.classes = 0
        self._counts = np.zeros((params.heads, params.pairs, 0), dtype=np.float32)  # K and spare room
        self._moving = np.zeros((3, params.heads, params.pairs, 0), dtype=np.float32)  # faded, slow, fast
        self._traffic = ClassTraffic()
        self._pool = Pool()
        self._boost = LearningRateBoost()
        self._lending = Lending()

    def _own(self) -> None:
        """Before a change: whoever still reads the tables keeps them."""
        if self._lending.take_back():
            self._counts, self._moving = self._counts.copy(), self._moving.copy()

    @property
    def fetched(self) -> Mask:
        """Keys that hold a count, (C, M)."""
        held: Mask = np.logical_or.reduce(self._counts, axis=2)
        return held

    @property
    def _tables(self) -> tuple[Array, Array, Array, Array]:
        """Views (C, M, K): counts, faded, slow, fast."""
        moving = self._moving[..., : self.classes]
        return self._counts[..., : self.classes], moving[0], moving[1], moving[2]

    def grow(self, classes: int) -> None:
        """Zeros for new classes, up to this many."""
        if classes > self.classes:
            room = self._counts.shape[2]
            if classes > room:  # in powers of two: a thousand classes one by one do not copy a thousand tables
                more = (1 << (classes - 1).bit_length()) - room
                self._counts = np.pad(self._counts, ((0, 0), (0, 0), (0, more)))
                self._moving = np.pad(self._moving, ((0, 0), (0, 0), (0, 0), (0, more)))
            self.classes = classes
            self._traffic.grow(classes)

    def learn(self, ids: Ids, codes: NDArray[np.int32], weights: Floats) -> None:
        """Judge, then learn, events whose keys are `ids` (n, C, k)."""
        self._own()
        flat = ids.reshape(len(ids), -1)
        known = self._traffic.known if self._traffic.away.any() else None
        recent = self._traffic.log_shares()
        present = self._traffic.seen(codes, weights)
        self._judge(flat, codes, weights, present, known, recent)
        places = flat + np.repeat(np.arange(self.params.heads) * self.params.pairs, self.params.top_k)
        cells = places * self._counts.shape[2] + codes[:, None]
        np.add.at(self._counts.reshape(-1), cells.ravel(), np.repeat(weights.astype(np.float32), flat.shape[1]))
        self._follow(places, codes, weights, present)

    def _judge(
        self,
        ids: Ids,
        codes: NDArray[np.int32],
        weights: Floats,
        present: Mask,
        known: Mask | None,
        recent: Floats,
    ) -> None:
        """Learn the weights from what the values before these events (n, C·k) predict."""
        most = max(_FEWEST_ROWS, _JUDGED_NUMBERS // (ids.shape[1] * self.classes))
        if len(ids) > most:
            rows = np.linspace(0, len(ids) - 1, most).astype(np.int64)
            ids, codes, weights, present = ids[rows], codes[rows], weights[rows], present[rows]
        logits = np.empty((len(ids), self.classes, len(KINDS)))
        counts, faded, slow, fast = self._tables
        for kind, table in enumerate((counts, faded)):
            shares = class_shares(table, self.params.top_k)
            logits[:, :, kind] = count_votes(fetched(table, ids), shares, self.params.strength)
        logits[:, :, 2], logits[:, :, 3] = mean_values(slow, ids), mean_values(fast, ids)
        logits[:, :, 4], logits[:, :, 5] = least_shares(class_shares(counts, self.params.top_k)), recent
        self._pool.judge(logits, codes, weights, present, known)

    def _follow(self, places: Ids, codes: NDArray[np.int32], weights: Floats, present: Mask) -> None:
        """Fade, count and correct, event by event, at rows (n, C·k) of the values as (3, C·M, K)."""
        flat = self._moving.reshape(3, -1, self._moving.shape[3])
        steps = self._boost.of(len(codes)) * np.minimum(weights, _LARGEST_STEP)
        for place, code, weight, here, step in zip(places, codes.tolist(), weights.tolist(), present, steps.tolist()):
            rows = flat[:, place]
            faded, learned = rows[0], rows[1:]
            faded *= FADE
            faded -= _SMALLEST
            np.maximum(faded, 0.0, out=faded)
            faded[:, code] += weight
            logits = np.add.reduce(learned, axis=1, dtype=np.float64) / len(place)  # (2, K)
            # classes away are left out, not made improbable: a sum over more of them has other bits
            asked = np.flatnonzero(here)
            errors = np.zeros_like(logits)
            errors[:, asked] = -softmax(logits[:, asked])
            errors[:, code] += 1.0
            errors *= (step * RATES)[:, None]
            learned += errors.astype(np.float32)[:, None]
            flat[:, place] = rows

    def raise_forgetting(self, factor: float, events: int) -> None:
        """Divide everything counted by `factor`; for the next `events` the gradient is so much faster."""
        self._own()
        for table in (self._counts, self._moving[0]):
            table /= np.float32(factor)
            table[table < _SMALLEST] = 0.0
        self._pool.raise_forgetting(factor)
        self._boost.raised(factor, events)

    def votes(self) -> MixedVotes:
        """What answers need, as it is now."""
        w = self._pool.values(away=bool(self._traffic.away.any()))
        counts, faded, slow, fast = self._tables
        votes = MixedVotes(
            counts,
            faded,
            Corrections((slow, fast), (float(w[2]), float(w[3]))),
            w[5] * self._traffic.log_shares(),
            (float(w[0]), float(w[1]), float(w[4])),
            self.params.top_k,
            self.params.strength,
        )
        return self._lending.to(votes)

    def tensors(self) -> dict[str, Array]:
        """For a state."""
        return {
            **{name: np.ascontiguousarray(table) for name, table in zip(_TABLES, self._tables)},
            **self._traffic.tensors(),
            **self._pool.tensors(),
        }

    def meta(self) -> dict[str, Any]:
        """For a state."""
        return {**self._traffic.meta(), **self._boost.meta()}

    def restore(self, tensors: Mapping[str, Array], meta: Mapping[str, Any]) -> None:
        """Restore from `tensors()` and `meta()`."""
        self._empty()
        self.grow(tensors["counts"].shape[2])
        for name, table in zip(_TABLES, self._tables):
            table[...] = tensors[name]
        self._traffic.restore(tensors, meta)
        self._pool.restore(tensors)
        self._boost.restore(meta)
