"""Is this another domain, or a run of one class? Told without labels, by what the network would say.

Statistics that are balanced over the predicted classes are those of the source while every input is predicted as one
class: after an abrupt shift that never ends by itself. The statistics of the latest inputs are then a second
hypothesis. If they are right, the network tells its inputs apart again, surely and into many classes; the statistics
of a run of one class only spread its inputs over the classes, without confidence. Both are measured at once by the
mutual information between inputs and predictions, the entropy of the mean prediction less the mean entropy (Bridle,
Heading and MacKay, NeurIPS 1991).
"""

from __future__ import annotations

import numpy as np

from thalweg.models.cotta.class_prior import entropy
from thalweg.proto.schema import Array

LEAST_ROWS = 30
"""Of fewer inputs no statistics can be judged."""
_GAIN = 0.2
_TEACHES = 0.25
"""The information of predictions that steps learn from, at least."""


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
