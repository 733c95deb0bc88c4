"""Which numbers of inputs and answers drift is watched in.

Of a named column, a number is watched as it is, NaN where missing, and a text by a hash, so that a changed mix of
categories is noticed in the column's name. A time is not watched: it always moves on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from thalweg.proto.rows.column import Column
from thalweg.proto.schema import Array, TensorSpec

_WHOLE = 16_777_213
"""Smaller whole numbers are whole in float32."""


class WatchedColumns:
    """Some tensors as columns of numbers.

    Args:
        specs: Of the tensors.
        most: Columns, spread evenly over the tensors.
        codes: Whether texts are taken, too, as the codes that they are held as.
        columns: The named columns among them.
    """

    def __init__(
        self,
        specs: Mapping[str, TensorSpec],
        most: int,
        *,
        codes: bool = False,
        columns: Mapping[str, Column] | None = None,
    ) -> None:
        self._places: list[tuple[str, NDArray[np.intp]]] = []
        self.names: list[str] = []
        self.categorical: list[bool] = []
        named = columns or {}
        times = {name for name, column in named.items() if column.kind == "datetime"}
        taken = {name: spec for name, spec in specs.items() if name not in times}
        kept = {name: spec for name, spec in taken.items() if codes or name in named or spec.dtype != "bytes"}
        for name, spec in kept.items():
            size = int(np.prod([max(1, length) for length in spec.shape], dtype=np.int64))
            share = max(1, most // len(kept))
            places = np.unique(np.linspace(0, size - 1, min(size, share)).astype(np.intp))
            self._places.append((name, places))
            self.names += [f"{name}[{place}]" if spec.shape else name for place in places.tolist()]
            self.categorical += [spec.dtype in ("bytes", "int64", "int32")] * len(places)

    def of(self, tensors: Mapping[str, Array]) -> NDArray[np.float32]:
        """(N, F); a number too large for float32 is infinite."""
        with np.errstate(over="ignore"):
            return self._of(tensors)

    def _of(self, tensors: Mapping[str, Array]) -> NDArray[np.float32]:
        found = []
        for name, places in self._places:
            rows = tensors[name].reshape(len(tensors[name]), math.prod(tensors[name].shape[1:]))
            if rows.dtype.kind == "O":
                rows = _hashed(rows)
            if rows.shape[1] <= places[-1]:  # shorter than it may be
                blank = np.full((len(rows), int(places[-1]) + 1), np.nan, dtype=np.float32)
                blank[:, : rows.shape[1]] = rows
                rows = blank
            if rows.dtype.kind in "iu" and rows.dtype.itemsize > 2:
                rows = rows % _WHOLE
            found.append((rows if rows.shape[1] == len(places) else rows[:, places]).astype(np.float32, copy=False))
        return np.concatenate(found, axis=1) if found else np.zeros((_rows(tensors), 0), dtype=np.float32)


def _hashed(rows: Array) -> NDArray[np.float64]:
    """A number for each text, (N, 1) as they are; NaN for an empty one, which is missing."""
    found = np.fromiter(map(crc32, rows.ravel().tolist()), np.float64, rows.size)
    found[found == 0.0] = np.nan  # the hash of nothing
    return np.remainder(found, _WHOLE).reshape(rows.shape)


def _rows(tensors: Mapping[str, Array]) -> int:
    return len(next(iter(tensors.values()))) if tensors else 0
