"""What answers need of mixed values: two tables of counts, one of corrections, and the weights of all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thalweg.models.bottleneck.codes import Codes
from thalweg.models.bottleneck.votes import class_shares, count_votes, fetched, least_shares
from thalweg.proto.schema import Array

Floats = NDArray[np.float64]


def mean_values(values: Array, ids: Array) -> Floats:
    """(N, K) of values (C, M, K) at keys (N, C·k)."""
    return _means(fetched(values, ids))


def _means(taken: Array) -> Floats:
    # one head after another, so that a row's sum has the same bits whatever the other rows
    means: Floats = np.add.reduce(taken, axis=0, dtype=np.float64) / len(taken)
    return means


class Corrections:
    """Values learned by gradient, times their weights, (C, M, K) float32: added up where they are fetched."""

    def __init__(self, tables: Sequence[Array], weights: Sequence[float]) -> None:
        self._tables, self._weights = tables, weights

    def means(self, ids: Array) -> Floats:
        """(N, K) at keys (N, C·k)."""
        return _means(self._sum([fetched(table, ids) for table in self._tables]))

    def table(self) -> Array:
        """All of them."""
        return self._sum(self._tables)

    def _sum(self, tables: Sequence[Array]) -> Array:
        total: Array = np.float32(self._weights[0]) * tables[0]
        for weight, table in zip(self._weights[1:], tables[1:]):
            total += np.float32(weight) * table
        return total


class MixedVotes:
    """Immutable.

    Args:
        counts: (C, M, K) float32, as are `faded` and `corrections`; not copied.
        faded: Counts that follow their newest events.
        corrections: Of values learned by gradient.
        recent: (K,) logarithm of how often each class came lately, times its weight.
        weights: Of `counts`, `faded`, and the prior.
        top_k: Nearest keys per head that vote.
        strength: Events that the prior of a key counts as.
    """

    def __init__(
        self,
        counts: Array,
        faded: Array,
        corrections: Corrections,
        recent: Array,
        weights: tuple[float, float, float],
        top_k: int,
        strength: float,
    ) -> None:
        self._counts, self._faded, self._corrections, self._recent = counts, faded, corrections, recent
        self._weights, self._top_k, self._strength = weights, top_k, strength
        self._shares = [class_shares(table, top_k) for table in (counts, faded)]
        self._offset = weights[2] * least_shares(self._shares[0]) + recent

    def logits(self, codes: Codes, rows: Array) -> Floats:
        """(N, K) of gathered inputs (N, F)."""
        _, ids = codes.ids(rows, self._top_k)
        ids = ids.reshape(len(ids), -1)
        logits = self._corrections.means(ids)
        for weight, table, shares in zip(self._weights, (self._counts, self._faded), self._shares):
            logits += weight * count_votes(fetched(table, ids), shares, self._strength)
        logits += self._offset
        return logits

    def tensors(self) -> dict[str, Array]:
        """For the state of a predictor."""
        tables = {"counts": self._counts, "faded": self._faded, "corrections": self._corrections.table()}
        return {**{name: np.ascontiguousarray(table) for name, table in tables.items()}, "recent": self._recent}

    def settings(self) -> dict[str, Any]:
        """For the state of a predictor."""
        return {
            "values": "mixed",
            "top_k": self._top_k,
            "strength": self._strength,
            "weights": list(self._weights),
        }

    @classmethod
    def of(cls, tensors: Mapping[str, Array], settings: Mapping[str, Any]) -> MixedVotes:
        """From `tensors()` and `settings()`; arrays are used in place."""
        counts, faded, prior = settings["weights"]
        return cls(
            tensors["counts"],
            tensors["faded"],
            Corrections((tensors["corrections"],), (1.0,)),
            tensors["recent"],
            (counts, faded, prior),
            settings["top_k"],
            settings["strength"],
        )
