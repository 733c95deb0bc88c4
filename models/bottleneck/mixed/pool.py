"""Which weights answer: those of all kinds of evidence, or, while classes are away, those of steady evidence alone.

What follows the latest events has seen only classes that came together; its logits for those that did not come are not
comparable. Whether that costs more than it gains cannot be seen within the present classes. So while some class is
away, both are asked for all classes, and the odds follow from how much likelier each made what came (Bayes' rule, with
a memory): on a stream whose classes pause and move, all evidence wins; where classes come one after the other, the
steady.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from thalweg.models.bottleneck.mixed.weights import COUNTS, PRIOR, Weights
from thalweg.proto.schema import Array

Floats = NDArray[np.float64]

_START = [3.0, 0.0, 0.0, 1.0, 1.0, 0.0]
_LEAST = [-np.inf, -np.inf, -np.inf, -np.inf, -np.inf, 0.0]
_STEADY = [COUNTS, PRIOR]
_FIRST_ODDS = 2.0  # logarithm, for steady evidence
_LARGEST_ODDS = 30.0
_TOLERATED = 0.03  # nats per event that steady evidence may cost: in return it knows the others
_LARGEST = 3.0  # nats of one event
_HORIZON = 3000.0  # events over which the odds decay to 1/e


class Pool:
    """Weights of both, and the odds."""

    def __init__(self) -> None:
        self._all = Weights(_START, _LEAST)
        self._steady = Weights([_START[kind] for kind in _STEADY], [_LEAST[kind] for kind in _STEADY])
        self._odds = _FIRST_ODDS

    def values(self, *, away: bool) -> Floats:
        """Weights (6,) of an answer while classes are away, or not: the answers of both are linear in the logits."""
        believed = 1.0 / (1.0 + np.exp(-self._odds)) if away else 0.0
        values: Floats = (1.0 - believed) * self._all.values
        values[_STEADY] += believed * self._steady.values
        return values

    def judge(
        self,
        logits: Floats,
        codes: NDArray[np.int32],
        weights: Floats,
        asked: NDArray[np.bool_],
        known: NDArray[np.bool_] | None,
    ) -> None:
        """Learn from events that came.

        Args:
            logits: (n, K, 6), from before the events.
            codes: (n,).
            weights: (n,).
            asked: (n, K), the classes that each event is compared with, its own included.
            known: While classes are away: those of which an event had come before, (K,). Else None.
        """
        if known is not None and (old := known[codes]).any():
            steady = logits[:, :, _STEADY]
            gain = _losses(logits[old] @ self._all.values, codes[old])
            gain -= _losses(steady[old] @ self._steady.values, codes[old])
            gain = weights[old] * (np.clip(gain, -_LARGEST, _LARGEST) + _TOLERATED)
            left = (1.0 - 1.0 / _HORIZON) ** len(gain)
            odds = _FIRST_ODDS + left * (self._odds - _FIRST_ODDS) + float(gain.sum())
            self._odds = min(_LARGEST_ODDS, max(-_LARGEST_ODDS, odds))
        self._steady.judge(logits[:, :, _STEADY], codes, weights, asked)
        self._all.judge(logits, codes, weights, asked)

    def raise_forgetting(self, factor: float) -> None:
        """What was judged so far counts as `factor` times fewer events."""
        self._all.raise_forgetting(factor)
        self._steady.raise_forgetting(factor)

    def tensors(self) -> dict[str, Array]:
        """For a state."""
        return {
            **{f"weights.all.{name}": array for name, array in self._all.tensors().items()},
            **{f"weights.steady.{name}": array for name, array in self._steady.tensors().items()},
            "weights.odds": np.array([self._odds]),
        }

    def restore(self, tensors: Mapping[str, Array]) -> None:
        """Restore from `tensors()`."""
        for name, weights in (("all", self._all), ("steady", self._steady)):
            weights.restore({key: tensors[f"weights.{name}.{key}"] for key in weights.tensors()})
        self._odds = float(tensors["weights.odds"][0])


def _losses(scores: Floats, codes: NDArray[np.int32]) -> Floats:
    """Log losses (n,) of the classes (n,) under scores (n, K)."""
    scores = scores - scores.max(axis=1, keepdims=True)
    losses: Floats = np.log(np.exp(scores).sum(axis=1)) - scores[np.arange(len(codes)), codes]
    return losses
