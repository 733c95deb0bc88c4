"""How well the next event of a key was foreseen: its likelihood, its time, its type among the likeliest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thalweg.proto.event import Array

Floats = NDArray[np.float64]
SEQUENCE_COLUMNS = ("log_likelihood", "hazard", "top3", "gap_squared", "log_gap")
"""Per event: log-density of what came; ∫ λ until then; whether its type was among the three likeliest; squared error
of the expected gap in s²; absolute error of its logarithm, NaN for a gap of 0."""


def grade_sequences(times: Floats, outputs: Mapping[str, Array], truth: NDArray[np.intp]) -> dict[str, Floats]:
    """The columns for events that came at these times (N,), given what was foreseen and the true columns of scores."""
    gaps, expected = times - outputs["last_time"], outputs["next_time"] - outputs["last_time"]
    scores = outputs["type_scores"]
    likeliest = np.argsort(-scores, axis=1, kind="stable")[:, :3]
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):  # a time may be any number
        log_gap = np.abs(np.log(expected) - np.log(gaps))
        squared = (expected - gaps) ** 2
    return {
        "log_likelihood": outputs["log_likelihood"],
        "hazard": outputs["hazard"],
        "top3": ((likeliest == truth[:, None]) & (truth[:, None] >= 0)).any(axis=1).astype(np.float64),
        "gap_squared": squared,
        "log_gap": np.where(np.isfinite(log_gap), log_gap, np.nan),
    }


def sequence_metrics(columns: Mapping[str, Floats]) -> dict[str, float]:
    """Figures over some events."""
    sums = SequenceSums()
    sums.add(columns)
    found = sums.metrics()
    hazard = columns["hazard"]
    if np.isfinite(hazard).any():
        found["rescaling_ks"] = uniform_distance(1.0 - np.exp(-hazard[np.isfinite(hazard)]))
    return found


def uniform_distance(sample: Floats) -> float:
    """Kolmogorov-Smirnov distance between a sample (N,), N > 0, and the uniform distribution on [0, 1]."""
    ordered, count = np.sort(sample), len(sample)
    level = np.arange(1, count + 1) / count
    return float(np.maximum(level - ordered, ordered - level + 1 / count).max())


class SequenceSums:
    """Means over all events, in constant memory; NaN in a column counts for nothing."""

    _SUMMED = ("log_likelihood", "top3", "gap_squared", "log_gap")

    def __init__(self) -> None:
        self._sums = np.zeros(len(self._SUMMED))
        self._counts = np.zeros(len(self._SUMMED), dtype=np.int64)

    def add(self, columns: Mapping[str, Any]) -> None:
        """Take up events."""
        for place, name in enumerate(self._SUMMED):
            known = columns[name][np.isfinite(columns[name])]
            self._sums[place] += known.sum()
            self._counts[place] += len(known)

    def metrics(self) -> dict[str, float]:
        """Figures; those without an event are missing."""
        means = {name: s / c for name, s, c in zip(self._SUMMED, self._sums.tolist(), self._counts.tolist()) if c}
        found = {"log_likelihood": means.get("log_likelihood"), "top3_accuracy": means.get("top3")}
        found |= {"gap_rmse": means["gap_squared"] ** 0.5 if "gap_squared" in means else None}
        found |= {"log_gap_mae": means.get("log_gap")}
        return {name: value for name, value in found.items() if value is not None}

    def tensors(self) -> dict[str, Array]:
        """For a snapshot; nothing before the first event."""
        return {"sequence.sums": self._sums, "sequence.counts": self._counts} if self._counts.any() else {}

    @classmethod
    def of(cls, tensors: Mapping[str, Array]) -> SequenceSums:
        """Those whose `tensors()` are among these."""
        sums = cls()
        if "sequence.sums" in tensors:
            sums._sums, sums._counts = tensors["sequence.sums"].copy(), tensors["sequence.counts"].copy()
        return sums
