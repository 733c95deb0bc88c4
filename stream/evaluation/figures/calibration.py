"""Calibration of predicted probabilities: the expected calibration error."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thalweg.proto.schema import Array

_BINS = 15
_UNIT = float(1 << 30)  # probabilities are summed as integer multiples of 1 / unit: exact in any order


class Calibration:
    """Expected calibration error: |observed frequency - mean probability| by bin, weighted by the bin's events.

    Source: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, eq. 3: 15 bins of equal width. For
    classes it compares the probability of the predicted class with whether it was right; for scores that of a 1 with
    the label. For perfectly calibrated probabilities it is not 0 but at most about 0.4 * sqrt(15 / N): 0.05 for
    1,000 events.
    """

    def __init__(self) -> None:
        self._sums = np.zeros((3, _BINS), dtype=np.int64)

    def add(self, probability: NDArray[np.float64], happened: NDArray[Any]) -> None:
        """Add events (N,); those with probability NaN are ignored."""
        known = np.isfinite(probability)
        if not known.all():
            probability, happened = probability[known], happened[known]
        held = probability.clip(0.0, 1.0)
        place = np.minimum((held * _BINS).astype(np.int64), _BINS - 1)
        self._sums[0] += np.bincount(place, minlength=_BINS)
        self._sums[1] += np.bincount(place, weights=np.rint(held * _UNIT), minlength=_BINS).astype(np.int64)
        self._sums[2] += np.bincount(place, weights=happened, minlength=_BINS).astype(np.int64)

    @property
    def error(self) -> float | None:
        """The error; None before the first event."""
        events, probability, happened = self._sums.astype(np.float64)
        total = events.sum()
        return float(np.abs(happened - probability / _UNIT).sum() / total) if total else None

    def tensors(self) -> dict[str, Array]:
        """Tensors for a snapshot; empty before the first event."""
        return {"calibration": self._sums} if self._sums.any() else {}

    @classmethod
    def of(cls, tensors: Mapping[str, Array]) -> Calibration:
        """Restore from the result of `tensors()`."""
        calibration = cls()
        if "calibration" in tensors:
            calibration._sums = tensors["calibration"].copy()
        return calibration
