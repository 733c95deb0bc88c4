"""Is this another domain, or a run of one class? Told without labels, by what the network would say.

Statistics that are balanced over the predicted classes are those of the source while every input is predicted as one
class: after an abrupt shift that never ends by itself. The statistics of the latest inputs are then a second
hypothesis. If they are right, the network tells its inputs apart again, surely and into many classes; the statistics
of a run of one class only spread its inputs over the classes, without confidence. Both are measured at once by the
mutual information between inputs and predictions, the entropy of the mean prediction less the mean entropy (Bridle,
Heading and MacKay, NeurIPS 1991).

Are they worse than the source's? Where only one class comes, whatever is taken for another fills that one's place
behind the statistics with more of the same. By such statistics the network spreads the class over all others: it is
less sure than by those of the source, which is right. Where the stream is of another domain it is the other way round:
by the statistics of the stream the network is sure (the entropy that TENT minimises, Wang et al., ICLR 2021), or sure
of many classes where the source is sure of one. So while the source says that one class comes, and the mean entropy of
predictions by the target's statistics is above that by the source's, and large for how many classes they name, the
source is served and nothing is learned; the target's statistics go on beside it, and return.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from thalweg.models.cotta.class_prior import entropy
from thalweg.proto.schema import Array

LEAST_ROWS = 30
"""Of fewer inputs no statistics can be judged."""
_GAIN = 0.2
_TEACHES = 0.25
"""The information of predictions that steps learn from, at least."""
_HALF_LIFE = 50.0
"""In rows, of the mean difference."""
_BEGINS, _ENDS = 0.04, 0.01
"""The difference, as a share of the largest entropy, at which the source is served, and at which it is no longer."""
_UNSURE = 0.25
"""Mean entropy, as a share of that of the mean prediction, from which on nothing speaks for the target's statistics:
of one class spread over others 0.4 to 0.6; of shuffled classes mostly 0.1 to 0.2, also where the source is sure of all
inputs, and wrong."""
_ONE_CLASS = 0.4
"""Entropy of the mean prediction by the source's statistics, below which it says that one class comes: 0.03 to 0.25
where it does and the source is right, 0.6 to 0.9 on corrupted pictures in runs of a class."""


def information(shares: Array) -> float:
    """Of probabilities (N, K), as a share of the largest possible."""
    return float(entropy(shares.mean(axis=0)) - np.mean([entropy(row) for row in shares]))


def is_new(latest: Array, served: Array, least: float) -> bool:
    """Whether inputs' own statistics hold rather than those that are served: probabilities (N, K) by either, and the
    information that is wanted of the former.
    """
    if len(latest) < LEAST_ROWS or not (np.isfinite(latest).all() and np.isfinite(served).all()):
        return False
    found = information(latest)
    return found > least and found - information(served) > _GAIN


def teaches(shares: Array) -> bool:
    """Whether predictions (N, K) say enough to be learned from; unknown of few."""
    return len(shares) < LEAST_ROWS or not np.isfinite(shares).all() or information(shares) >= _TEACHES


class Doubt:
    """One thread uses it."""

    def __init__(self) -> None:
        self._excess, self._holds = 0.0, False
        self._overruled = False  # labels have shown that the target's statistics are better

    @property
    def holds(self) -> bool:
        """Whether the source ought to be served."""
        return self._holds and not self._overruled

    def note(self, target: Array, source: Array) -> bool:
        """Probabilities (N, K) by either; whether `holds` has changed."""
        before = self.holds
        if np.isfinite(target).all() and np.isfinite(source).all():
            kept = 0.5 ** (len(target) / _HALF_LIFE)
            own, other = (float(np.mean([entropy(row) for row in shares])) for shares in (target, source))
            one_class = entropy(source.mean(axis=0)) < _ONE_CLASS
            unsure = one_class and own > _UNSURE * entropy(target.mean(axis=0))
            self._excess = kept * self._excess + (1.0 - kept) * (own - other if unsure else 0.0)
            self._holds = self._excess > (_ENDS if self._holds else _BEGINS)
        return self.holds != before

    def overrule(self, *, by_labels: bool) -> None:
        """Labels say that the target's statistics are better, or, False, that the source is."""
        self._overruled = by_labels

    def tensors(self) -> dict[str, Array]:
        """Everything, for a snapshot."""
        return {"state": np.array([self._excess, float(self._holds), float(self._overruled)])}

    def restore(self, tensors: Mapping[str, Array]) -> None:
        """Become the one whose `tensors()` these are; of an earlier version that had none, begin."""
        excess, holds, overruled = tensors["state"].tolist() if "state" in tensors else (0.0, 0.0, 0.0)
        self._excess, self._holds, self._overruled = excess, bool(holds), bool(overruled)
