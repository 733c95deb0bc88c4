"""From a network's hidden layers to a memory's keys: centred by a frozen mean, of length 1.

After a ReLU all vectors are in one orthant and similar; centred ones are not (ReLoop2's hashing needs that).
The mean, and the centroids of cells for an approximate search, are learned from the first events of a network, then
frozen: compared keys must be from one space.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from thalweg.memory.vectors.neighbours import learn_cells
from thalweg.proto.schema import Array

Floats = NDArray[np.float64]
Keys = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class KeySpace:
    """Immutable."""

    centre: Floats
    """(h,)."""
    middles: Keys | None
    """(cells, h): centroids, if configured."""

    def keys(self, hidden: Array) -> Keys:
        """Keys (N, h) of hidden layers (N, h); zeros where a layer equals the mean."""
        moved = hidden.astype(np.float64) - self.centre
        length = np.sqrt((moved * moved).sum(axis=1))
        found: Keys = (moved / np.where(length > 0, length, 1.0)[:, None]).astype(np.float32)
        return found

    @classmethod
    def of_rows(cls, hidden: Array, cells: int, seed: int) -> KeySpace:
        """The key space of hidden layers (N, h), N at least `cells`; 0 cells: none."""
        plain = cls(hidden.mean(axis=0, dtype=np.float64), None)
        return plain if not cells else cls(plain.centre, learn_cells(plain.keys(hidden), cells, seed))

    def tensors(self) -> dict[str, Array]:
        """For a state."""
        return {"centre": self.centre} | ({} if self.middles is None else {"middles": self.middles})

    @classmethod
    def of(cls, tensors: Mapping[str, Array]) -> KeySpace | None:
        """The one of these `tensors()`; None for None."""
        return cls(tensors["centre"], tensors.get("middles")) if "centre" in tensors else None
