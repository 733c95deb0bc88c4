"""JSON values to arrays, for tensors and rows alike."""

from __future__ import annotations

from typing import Any

import numpy as np

from thalweg.proto.bounds.number_range import expected_and_got
from thalweg.proto.schema import Array


def array_of(data: Any, dtype: str) -> Array:
    """Values as an array with the shape of their lists; those that JSON has no number for (NaN, infinity) stay.

    Raises:
        TypeError, ValueError: They do not fit the dtype.
        OverflowError: A number is beyond its range.
    """
    if dtype != "bytes":
        kind = np.dtype(dtype).kind
        found = _numbers(data) if kind == "f" else np.array(data)
        if found.size and found.dtype.kind not in {"f": "fiu", "b": "b"}.get(kind, "iu"):
            raise TypeError(f"expected {'numbers' if kind == 'f' else dtype}, got {str(data)[:80]}")
        with np.errstate(over="ignore"):
            cast = found.astype(dtype)
        if kind == "f" and (np.isinf(cast) & np.isfinite(found)).any():
            raise OverflowError(expected_and_got(dtype, found))
        if kind in "iu" and (cast != found).any():
            raise OverflowError(f"expected {dtype}, got {found.min()} to {found.max()}")
        return cast
    texts = np.array(data, dtype=object)
    flat = texts.reshape(-1).tolist()
    if not all(isinstance(text, str) for text in flat):
        raise TypeError("expected strings")
    encoded = np.empty(len(flat), dtype=object)
    encoded[:] = [text.encode() for text in flat]
    return encoded.reshape(texts.shape)


def _numbers(data: Any) -> Array:
    """As np.array, but integers beyond 64 bits are floats. Raises OverflowError for one beyond every float."""
    found = np.array(data)
    if found.dtype != object or {*map(type, found.reshape(-1))} - {int, float}:
        return found
    try:
        return found.astype(np.float64)
    except OverflowError:
        raise OverflowError(expected_and_got("float64", found)) from None
