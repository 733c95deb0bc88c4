"""Events that wait until the keys are learned."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from thalweg.proto.schema import Array

Floats = NDArray[np.float64]


class Waiting:
    """Events in order: inputs (n, F) float64, class codes (n,) int32 (-1: none), weights (n,) float64."""

    def __init__(self, inputs: Floats, codes: NDArray[np.int32], weights: Floats) -> None:
        self.inputs, self.codes, self.weights = inputs, codes, weights

    def __len__(self) -> int:
        return len(self.inputs)

    @classmethod
    def none(cls, width: int) -> Waiting:
        """Without events."""
        return cls(np.zeros((0, width)), np.zeros(0, np.int32), np.zeros(0))

    @classmethod
    def of(cls, tensors: Mapping[str, Array]) -> Waiting:
        """The events of a state."""
        return cls(*(np.array(tensors[f"waiting.{name}"]) for name in ("inputs", "codes", "weights")))

    def tensors(self) -> dict[str, Array]:
        """For a state."""
        return {"waiting.inputs": self.inputs, "waiting.codes": self.codes, "waiting.weights": self.weights}

    def joined(self, later: Waiting) -> Waiting:
        """These events, then those."""
        pairs = zip(self.tensors().values(), later.tensors().values())
        return Waiting(*(np.concatenate(pair) for pair in pairs))

    def labelled(self) -> Waiting:
        """Those with a label."""
        known = self.codes >= 0
        return self if known.all() else self._of_rows(known)

    def recoded(self, columns: NDArray[np.int64]) -> Waiting:
        """With the class codes `columns[code]`."""
        return Waiting(self.inputs, np.where(self.codes < 0, -1, columns[self.codes]).astype(np.int32), self.weights)

    def without(self, others: Waiting) -> Waiting:
        """These events less one equal to each of those; raises ValueError if there is none equal to one of them."""
        kept = np.ones(len(self), dtype=np.bool_)
        for row, code, weight in zip(others.inputs, others.codes, others.weights):
            same = kept & (self.codes == code) & (self.weights == weight) & (self.inputs == row).all(axis=1)
            if not same.any():
                raise ValueError("cannot unlearn: an event is not among those that were learned")
            kept[int(np.argmax(same))] = False
        return self._of_rows(kept)

    def _of_rows(self, rows: NDArray[np.bool_]) -> Waiting:
        return Waiting(self.inputs[rows], self.codes[rows], self.weights[rows])
