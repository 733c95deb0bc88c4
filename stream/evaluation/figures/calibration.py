"""Whether probabilities are what they say: the expected calibration error."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thalweg.proto.schema import Array

_BINS = 15
_UNIT = float(1 << 30)  # probabilities are summed as whole multiples of 1 / unit: exact, in whatever order


class Calibration:
    """Expected calibration error: |share that happened - mean probability| by bin, weighted by the bin's events.

    Source: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, eq. 3: 15 bins of equal width. Of classes
    it is the probability of the answer against whether it was right; of scores that of a yes against whether it came.
    The error of true probabilities is not 0 but about 0.4 * sqrt(15 / N) at most: 0.05 of 1,000 events.
    """

    def __init__(self) -> None:
        self._sums = np.zeros((3, _BINS), dtype=np.int64)

    def add(self, probability: NDArray[np.float64], happened: NDArray[Any]) -> None:
        """Take up events (N,); those whose probability is NaN count for nothing."""
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
        """None before the first event."""
        events, probability, happened = self._sums.astype(np.float64)
        total = events.sum()
        return float(np.abs(happened - probability / _UNIT).sum() / total) if total else None

    def tensors(self) -> dict[str, Array]:
        """For a snapshot; nothing before the first event."""
        return {"calibration": self._sums} if self._sums.any() else {}

    @classmethod
    def of(cls, tensors: Mapping[str, Array]) -> Calibration:
        """That whose `tensors()` are among these."""
        calibration = cls()
        if "calibration" in tensors:
            calibration._sums = tensors["calibration"].copy()
        return calibration
