"""The frozen half of the bottleneck: from inputs to the ids of the keys they fetch."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from thalweg.memory.vectors.key_tables import Backend, HeadSearch, Ids
from thalweg.models.parts.random_features import ROWS
from thalweg.proto.schema import Array

if TYPE_CHECKING:
    from thalweg.memory.devices.device import Device

Floats = NDArray[np.float64]
_LARGEST = 1e6
"""Scaled inputs are clipped to ± this: squares of larger ones would overflow float32."""
_KEPT_SEARCHES = 8
_searches: OrderedDict[str, HeadSearch] = OrderedDict()


@dataclass(frozen=True)
class Codes:
    """Immutable: scale, projections, keys. All versions of a model share them and their search indexes."""

    shift: Floats
    """(F,)."""
    factor: Floats
    """(F,)."""
    projection: Floats
    """(F, C·d)."""
    search: HeadSearch

    @classmethod
    def of(cls, tensors: Mapping[str, Array], backend: Backend, device: Device | None = None) -> Codes:
        """From the arrays of `tensors`; indexes are built once per set of keys in a process.

        `device`: where `auto` searches; None: with the processor. Raises DeviceFailed if there is no room.
        """
        keys = tensors["keys"]
        name = f"{backend}{sha256_of(keys)}{'' if device is None else device.name}"
        search = _searches.get(name)
        if search is None:
            search = _searches[name] = HeadSearch(np.array(keys, dtype=np.float64), backend, device)
            while len(_searches) > _KEPT_SEARCHES:
                _searches.popitem(last=False)
        return cls(tensors["shift"], tensors["factor"], tensors["projection"], search)

    def tensors(self) -> dict[str, Array]:
        """The arrays that `of` needs."""
        return {
            "shift": self.shift,
            "factor": self.factor,
            "projection": self.projection,
            "keys": self.search.keys,
        }

    def queries(self, rows: Array) -> Floats:
        """Input of each head for inputs (N, F): (N, C, d); a row that is not finite becomes zeros."""
        heads, _, width = self.search.keys.shape
        return projected(rows, self.shift, self.factor, self.projection).reshape(len(rows), heads, width)

    def ids(self, rows: Array, k: int) -> tuple[Floats, Ids]:
        """Queries (N, C, d) of inputs (N, F) and the ids (N, C, k) of their nearest keys."""
        queries = self.queries(rows)
        return queries, self.search.nearest(queries, k)


def projected(rows: Array, shift: Floats, factor: Floats, projection: Floats) -> Floats:
    """(N, C·d) of inputs (N, F)."""
    n = len(rows)
    z = np.zeros((n + -n % ROWS, rows.shape[1]))  # whole tiles: a row's bits do not depend on the other rows
    with np.errstate(invalid="ignore", over="ignore"):
        np.subtract(rows, shift, out=z[:n])
        z *= factor
        np.clip(z, -_LARGEST, _LARGEST, out=z)
    z[np.isnan(z)] = 0.0
    out: Floats = (z @ projection)[:n]
    return out


def draw_projection(width: int, heads: int, key_width: int, seed: int) -> Floats:
    """(width, C·d) Gaussian, every column of unit length; the same bits for the same arguments."""
    generator = np.random.Generator(np.random.PCG64([seed, 0x6865616473]))
    projection = generator.standard_normal((width, heads * key_width))
    projection /= np.linalg.norm(projection, axis=0)
    return projection


def scale_of(rows: Floats) -> tuple[Floats, Floats]:
    """Shift (F,) and factor (F,) that give these rows mean 0 and deviation 1; constant columns are only shifted."""
    deviation = rows.std(axis=0)
    constant = deviation <= 1e-12 * np.abs(rows).max(axis=0, initial=1e-300)
    return rows.mean(axis=0), np.where(constant, 1.0, 1.0 / np.where(constant, 1.0, deviation))


def sha256_of(keys: Array) -> str:
    """The identity of frozen keys."""
    return hashlib.sha256(np.ascontiguousarray(keys).reshape(-1).view(np.uint8).data).hexdigest()
