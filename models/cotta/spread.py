"""Every eighth of the latest inputs: rows that are judged together although their neighbours are of one class.

Fifty inputs in a row of correlated traffic are of a few classes, and by their own statistics no network tells them
apart: whether another domain has come cannot be seen in them (`new_domain.py`). Fifty that are spread over four hundred
are of many classes wherever runs are much shorter than that.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from thalweg.proto.schema import Array

_STRIDE, _ROWS = 8, 50
_DUE = 10
"""Rows that are new since it was judged last."""


class Spread:
    """One thread uses it.

    Args:
        shape: Of an input.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._rows = np.zeros((0, *shape), dtype=np.float32)
        self._seen = self._new = 0

    def take(self, x: Array) -> Array | None:
        """Add inputs (B, …) as they came; the sample, if it is to be judged now."""
        chosen = x[-self._seen % _STRIDE :: _STRIDE]
        self._rows = np.concatenate([self._rows, chosen])[-_ROWS:]
        self._seen, self._new = self._seen + len(x), self._new + len(chosen)
        if len(self._rows) < _ROWS or self._new < _DUE:
            return None
        self._new = 0
        return self._rows.copy()

    def clear(self) -> None:
        """Begin: what was sampled is of another domain."""
        self._rows, self._new = self._rows[:0], 0

    def tensors(self) -> dict[str, Array]:
        """Everything, for a snapshot."""
        return {"rows": self._rows, "counts": np.array([self._seen, self._new])}

    def restore(self, tensors: Mapping[str, Array]) -> None:
        """Become the one whose `tensors()` these are; of an earlier version that had none, begin."""
        self._rows, self._seen, self._new = self._rows[:0], 0, 0
        if "rows" in tensors:
            self._rows = np.array(tensors["rows"])
            self._seen, self._new = tensors["counts"].tolist()
