"""JSON values to arrays, for tensors and rows alike."""

from __future__ import annotations

from typing import Any

import numpy as np

from thalweg.proto.schema import Array


def array_of(data: Any, dtype: str) -> Array:
    """Values as an array with the shape of their lists. Raises TypeError, ValueError, OverflowError."""
    if dtype != "bytes":
        kind = np.dtype(dtype).kind
        found = np.array(data)
        if found.size and found.dtype.kind not in {"f": "fiu", "b": "b"}.get(kind, "iu"):
            raise TypeError(f"expected {'numbers' if kind == 'f' else dtype}, got {str(data)[:80]}")
        with np.errstate(over="ignore"):  # too large for float32 becomes infinite, which is rejected later
            cast = found.astype(dtype)
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
