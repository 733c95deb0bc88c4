"""Guards over a classifier that adapts without labels: is it still similar to the source?

After every step the adapted model and the source, both with the batch's statistics, predict the batch just learned.
Over a window of predictions the guard measures their agreement and the entropy of each mean prediction. Where
some events have labels, served predictions are also compared with those of the deployed source.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from thalweg.proto.event import Batch, ClassLabels
from thalweg.proto.schema import Array

Floats = NDArray[np.float64]
Correct = NDArray[np.bool_]
CAUSES = ("non_finite", "agreement", "entropy", "update", "canary")
MISLED = ("entropy", "canary")
"""Causes for which not only the steps but also the statistics of the stream may be wrong."""
_LEAST_ANSWERS, _LEAST_CANARIES = 50, 30
_CALM_STEPS = 100
_MISLED_WAITS = 4
_DEVIATIONS = 2.0


class Limits(NamedTuple):
    """The limits."""

    agreement: float
    """Minimum share of a window on which both must agree."""
    entropy: float
    """Minimum entropy of the mean prediction, as a share of the source's."""
    update: float
    """Maximum distance of the weights from the source, as a share of the source's norm."""
    canary: float
    """Maximum excess of the error on labelled events over the source's."""
    backoff: int
    """Steps skipped after a violation; twice as many after the next."""


class Guard:
    """One thread uses it.

    Args:
        limits: The limits.
        window: Number of predictions.
        classes: Outputs, K.
    """

    def __init__(self, limits: Limits, window: int, classes: int) -> None:
        self._limits, self._window = limits, window
        self._agreed = np.zeros(0)
        self._ours, self._source = np.zeros((0, classes)), np.zeros((0, classes))
        self._canaries = np.zeros((0, 3))  # correct as served, by the source, by the statistics alone
        self.counts = {"waiting": 0, "backoff": limits.backoff, "calm": 0, **{f"cause_{cause}": 0 for cause in CAUSES}}

    @property
    def holds(self) -> bool:
        """Whether steps are currently skipped."""
        return self.counts["waiting"] > 0

    def passed_over(self) -> bool:
        """A step was skipped; returns whether it was the last one."""
        self.counts["waiting"] -= 1
        return not self.holds

    def canary(self, served: Correct, source: Correct, statistics: Correct) -> str | None:
        """Labelled events (N,): whether predictions were correct as served, by the source, and by its weights with the
        target's statistics. Returns what ought to be served instead: `source`, `statistics`, or None.
        """
        self._canaries = np.concatenate([self._canaries, np.stack([served, source, statistics], axis=1)])
        self._canaries = self._canaries[-self._window :]
        if len(self._canaries) < min(_LEAST_CANARIES, self._window):
            return None
        best = "statistics" if self._canaries[:, 2].sum() >= self._canaries[:, 1].sum() else "source"
        return best if self._exceeds(self._canaries[:, 2 if best == "statistics" else 1]) else None

    def _exceeds(self, other: NDArray[np.float64]) -> bool:
        """Whether another answerer is better than what was served, by the margin and by more than chance."""
        gained = other - self._canaries[:, 0]
        excess, discordant = float(gained.sum()), float(np.abs(gained).sum())
        return excess > self._limits.canary * len(gained) and excess > _DEVIATIONS * discordant**0.5

    def forget_canaries(self) -> None:
        """Another answerer is served from now on."""
        self._canaries = self._canaries[:0]

    def check(self, ours: Floats, source: Floats, update: float) -> str | None:
        """Probabilities (B, K) after a step, and the distance of the weights. Returns the violated limit, if any."""
        if not (np.isfinite(ours).all() and np.isfinite(update)):
            return "non_finite"
        self._agreed = np.concatenate([self._agreed, ours.argmax(axis=1) == source.argmax(axis=1)])[-self._window :]
        self._ours = np.concatenate([self._ours, ours])[-self._window :]
        self._source = np.concatenate([self._source, source])[-self._window :]
        self.counts["calm"] += 1
        if self.counts["calm"] >= _CALM_STEPS:
            self.counts["backoff"] = self._limits.backoff
        if update > self._limits.update:
            return "update"
        if len(self._agreed) < min(_LEAST_ANSWERS, self._window):
            return None
        if self._agreed.mean() < self._limits.agreement:
            return "agreement"
        if _entropy(self._ours.mean(axis=0)) < self._limits.entropy * _entropy(self._source.mean(axis=0)):
            return "entropy"
        return None

    def breached(self, cause: str) -> bool:
        """Count a violation and start to skip; returns whether the previous one was recent."""
        again = self.counts["calm"] < _CALM_STEPS and any(self.counts[f"cause_{one}"] for one in CAUSES)
        self.counts[f"cause_{cause}"] += 1
        longer = _MISLED_WAITS if cause in MISLED else 1
        self.counts["waiting"], self.counts["calm"] = longer * self.counts["backoff"], 0
        self.counts["backoff"] = min(2 * self.counts["backoff"], 16 * self._limits.backoff)
        self._agreed, self._canaries = self._agreed[:0], self._canaries[:0]
        self._ours, self._source = self._ours[:0], self._source[:0]
        return again

    def tensors(self) -> dict[str, Array]:
        """For a snapshot, with `counts`."""
        return {"agreed": self._agreed, "ours": self._ours, "source": self._source, "canaries": self._canaries}

    def restore(self, tensors: Mapping[str, Array], counts: Mapping[str, Any]) -> None:
        """Become the one whose these are."""
        self._agreed, self._ours, self._source, self._canaries = (
            np.array(tensors[name]) for name in ("agreed", "ours", "source", "canaries")
        )
        if self._canaries.shape[1] != 3:  # of an earlier version: without the statistics alone
            self._canaries = np.zeros((0, 3))
        self.counts = dict(counts)


def labelled(batch: Batch, usable: NDArray[np.bool_], classes: Sequence[str]) -> tuple[NDArray[np.int64], Array]:
    """The usable rows of a batch with labels of known classes, and the index of each one's class."""
    labels = batch.labels
    assert isinstance(labels, ClassLabels)
    rows = np.flatnonzero(usable & (labels.codes >= 0))
    names = [labels.names[labels.codes[row]] for row in rows]
    known = np.isin(names, classes)
    return rows[known], np.array([classes.index(name) for name in names if name in classes], dtype=np.int64)


def _entropy(shares: Floats) -> float:
    known = shares[shares > 0]
    return float(-(known * np.log(known)).sum())
