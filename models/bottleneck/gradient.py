"""Values as logits that are learned by gradient, as published.

Source: Träuble et al., "Discrete Key-Value Bottleneck" (arXiv:2207.11240): mean of the fetched values over heads,
cross-entropy by SGD on the fetched values alone. Ours differs: an event moves its own logits by `rate` times its error.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thalweg.memory.vectors.key_tables import Ids, Mask
from thalweg.models.bottleneck.codes import Codes
from thalweg.models.bottleneck.lending import Lending
from thalweg.models.bottleneck.params import Params
from thalweg.models.bottleneck.softmax import softmax
from thalweg.models.parts.learning_rate import LearningRateBoost
from thalweg.proto.schema import Array

Floats = NDArray[np.float64]


class GradientValues:
    """The values of C heads of M pairs for K classes, and how often each was fetched in learning."""

    def __init__(self, params: Params) -> None:
        self.params = params
        self._values = np.zeros((params.heads, params.pairs, 0), dtype=np.float32)
        self._fetches = np.zeros((params.heads, params.pairs), dtype=np.int64)
        self._boost = LearningRateBoost()
        self._lending = Lending()

    @property
    def classes(self) -> int:
        """How many classes have a column."""
        return self._values.shape[2]

    @property
    def fetched(self) -> Mask:
        """Pairs fetched in learning, (C, M)."""
        return self._fetches > 0

    def grow(self, classes: int) -> None:
        """Zeros for new classes, up to this many."""
        if classes > self.classes:
            self._values = np.pad(self._values, ((0, 0), (0, 0), (0, classes - self.classes)))

    def learn(self, ids: Ids, codes: NDArray[np.int32], weights: Floats) -> None:
        """Learn from events whose keys are `ids` (n, C, k)."""
        if self._lending.take_back():
            self._values = self._values.copy()  # whoever still reads these keeps them
        heads, pairs, classes = self._values.shape
        flat = self._values.reshape(heads * pairs, classes)
        places = (ids + (np.arange(heads) * pairs)[:, None]).reshape(len(ids), -1)  # (n, C·k) rows of `flat`
        smooth = self.params.label_smoothing
        targets = np.full((len(ids), classes), smooth / classes)
        targets[np.arange(len(ids)), codes] += 1.0 - smooth
        # η/C, and C·η/C² = η/C: the step of a value is `rate` times the error
        rates = self.params.rate * self._boost.of(len(ids))
        if self.params.updates == "event":
            for place, target, step in zip(places, targets, rates * weights):
                logits = flat[place].sum(axis=0, dtype=np.float64) / heads
                flat[place] += (step * (target - softmax(logits[None])[0])).astype(np.float32)
        else:
            logits = flat[places].sum(axis=1, dtype=np.float64) / heads
            error = (rates * weights)[:, None] * (targets - softmax(logits)) / len(ids)
            np.add.at(flat, places.ravel(), np.repeat(error, places.shape[1], axis=0).astype(np.float32))
        np.add.at(self._fetches.reshape(-1), places.ravel(), 1)

    def raise_forgetting(self, factor: float, events: int) -> None:
        """Learn `factor` times as fast for the next `events` events."""
        self._boost.raised(factor, events)

    def votes(self) -> GradientVotes:
        """What answers need, as it is now."""
        votes = GradientVotes(self._values, self.fetched, self.params.mask_unfetched, self.params.top_k)
        return self._lending.to(votes)

    def tensors(self) -> dict[str, Array]:
        """For a state."""
        return {"values": self._values, "fetches": self._fetches}

    def meta(self) -> dict[str, Any]:
        """For a state."""
        return self._boost.meta()

    def restore(self, tensors: Mapping[str, Array], meta: Mapping[str, Any]) -> None:
        """Restore from `tensors()` and `meta()`."""
        self._values, self._fetches = np.array(tensors["values"]), np.array(tensors["fetches"])
        self._boost.restore(meta)


class GradientVotes:
    """Immutable values (C, M, K) float32 and the pairs (C, M) fetched in learning."""

    def __init__(self, values: Array, fetched: Mask, mask_unfetched: bool, top_k: int) -> None:
        self._values, self._fetched = values, fetched
        self._masked, self._top_k = mask_unfetched, top_k
        self._all_fetched = bool(fetched.all())

    def logits(self, codes: Codes, rows: Array) -> Floats:
        """Mean vote of the heads, (N, K), of gathered inputs (N, F)."""
        queries, ids = codes.ids(rows, self._top_k)
        if self._masked and not self._all_fetched:
            ids = codes.search.nearest_usable(queries, ids, self._fetched)
        heads = self._values.shape[0]
        votes = self._values[np.arange(heads)[:, None, None], ids.transpose(1, 0, 2)].astype(np.float64)
        # one head after another, so that a row's sum has the same bits whatever the other rows
        total = np.add.reduce(np.ascontiguousarray(votes.transpose(0, 2, 1, 3)).reshape(-1, *votes[0, :, 0].shape))
        logits: Floats = total / heads
        return logits

    def tensors(self) -> dict[str, Array]:
        """For the state of a predictor."""
        return {"values": self._values, "fetched": self._fetched}

    def settings(self) -> dict[str, Any]:
        """For the state of a predictor."""
        return {"values": "gradient", "mask_unfetched": self._masked, "top_k": self._top_k}

    @classmethod
    def of(cls, tensors: Mapping[str, Array], settings: Mapping[str, Any]) -> GradientVotes:
        """From `tensors()` and `settings()`; arrays are used in place."""
        return cls(tensors["values"], tensors["fetched"], settings["mask_unfetched"], settings["top_k"])
