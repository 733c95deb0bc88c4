"""Events of wide tables that are not in the sums yet.

Adding one event to D² sums costs as much as reading all of them, so events wait and many are added at once. The first
ones wait until they are half as many as the inputs: D² sums of fewer events say no more than these themselves, and
heads follow from the n² products between events (`statistics.py`), at a fraction of the time and the memory.
State: 8 n (D + C + 1) bytes, n events.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from thalweg.models.parts.random_features import FeatureMap
from thalweg.models.ridge.params import Params
from thalweg.models.ridge.rescaled import Rescaling
from thalweg.models.ridge.statistics import Rows
from thalweg.proto.schema import Array

Floats = NDArray[np.float64]
WIDE = 2048
"""Inputs from which on events wait; behind columns a number that may be missing is two. Below that the sums are dear
but bearable, and re-express random features class by class when scales move, which events that wait do not.
"""
TOGETHER = 64
"""Events that are added at once when the sums have begun."""
FREE = 30_000_000.0
"""Multiply-adds allowed for solving per event while the sums have not begun: some milliseconds."""
GROWTH = 0.25
"""Then heads are solved at the latest when events have grown by this share."""


def holds(params: Params, features: FeatureMap) -> bool:
    """Whether events wait: features are scaled elsewhere, and heads are plain ones of all events."""
    plain = params.standardise is False and params.balance == "none" and not params.half_life_seconds
    whole = features.direct and features.bias and features.width >= WIDE
    return plain and whole and params.solver != "recursive" and params.refresh_events == "auto"


class Held:
    """Features, targets and weights of the events that wait, in order."""

    def __init__(self, features: FeatureMap, *, classes: bool) -> None:
        """None.

        Args:
            features: From inputs, which are among the features, to features.
            classes: Targets are one-hot.
        """
        self.map, self.classes = features, classes
        self.events = 0
        self._features: Floats = np.zeros((0, features.size))  # the first `events` rows are in use
        self._targets: Floats = np.zeros((0, 0))
        self._weights: Floats = np.zeros(0)
        self._products: dict[int, Floats] = {}  # what was computed of them as they are now

    @property
    def features(self) -> Floats:
        """(n, D)."""
        return self._features[: self.events]

    @property
    def targets(self) -> Floats:
        """(n, C)."""
        return self._targets[: self.events]

    @property
    def weights(self) -> Floats:
        """(n,), without those of their ages."""
        return self._weights[: self.events]

    @property
    def columns(self) -> int:
        """C."""
        return int(self._targets.shape[1])

    @property
    def first_ones(self) -> int:
        """How many of the first events wait before the sums begin."""
        return self.map.width // 2

    def add(self, rows: Rows) -> None:
        """Add n events."""
        n = len(rows.features)
        self.grow(rows.targets.shape[1])
        if self.events + n > len(self._features):
            self._enlarge(max(self.events + n, 2 * self.events, TOGETHER) - len(self._features))
        part = slice(self.events, self.events + n)
        self._features[part], self._targets[part] = rows.features, rows.targets
        self._weights[part] = 1.0 if rows.weights is None else rows.weights
        self.events += n
        self._products.clear()

    def _enlarge(self, more: int) -> None:
        self._features = np.pad(self._features, ((0, more), (0, 0)))
        self._targets = np.pad(self._targets, ((0, more), (0, 0)))
        self._weights = np.pad(self._weights, (0, more))

    def grow(self, columns: int) -> None:
        """Add columns of targets up to `columns`."""
        if (more := columns - self._targets.shape[1]) > 0:
            self._targets = np.pad(self._targets, ((0, 0), (0, more)))
            self._products.clear()

    @property
    def all(self) -> Rows:
        """All of them, at least one; valid until the next `add`."""
        weights, codes = self.weights, self.targets.argmax(axis=1).astype(np.int32) if self.classes else None
        return Rows(self.features, self.targets, None if (weights == 1.0).all() else weights, codes)

    def clear(self) -> None:
        """None waits any longer; what they took of memory beyond a few is given back."""
        self.events = 0
        self._features, self._targets = self._features[:TOGETHER].copy(), self._targets[:TOGETHER].copy()
        self._weights = self._weights[:TOGETHER].copy()
        self._products.clear()

    def fade(self, share: float) -> None:
        """Multiply the weight of all of them by this factor."""
        self.weights[:] *= share

    def rescale(self, rescaling: Rescaling) -> None:
        """Re-express them under a new scale, as sums of them would be."""
        rescaling.events(self.features, self.means)
        self._products.clear()

    @property
    def means(self) -> Floats:
        """Of the inputs (F,)."""
        m = self.map
        return np.asarray(self.features[:, m.expansion : m.expansion + m.width].mean(axis=0))

    def due(self, columns: int, heads: int, since: int) -> bool:
        """Whether to solve for new heads while the sums have not begun.

        Args:
            columns: C.
            heads: Factorisations of one solve.
            since: Events since the last one.
        """
        n, D = float(self.events), float(self.map.size)
        cost = n * n * D / 2 + heads * (n**3 / 3 + 2 * n * D * columns)
        return since >= max(1.0, min(cost / FREE, GROWTH * n))

    def products(self, first: int) -> Floats:
        """Of the events, over the features from this one on but the constant one, (n, n); not to be changed."""
        found = self._products.get(first)
        if found is None:
            used = self.features[:, first:-1]
            used = used[:, used.any(axis=0)]  # nothing is missing in most columns
            found = self._products[first] = used @ used.T
        return found

    def tensors(self) -> Mapping[str, Array]:
        """Tensors for `state()`."""
        return {"features": self.features, "targets": self.targets, "weights": self.weights}

    def restore(self, tensors: Mapping[str, Array]) -> None:
        """Restore from `tensors()`; copies. A state of a version without them has none."""
        self.events = len(tensors["features"]) if tensors else 0
        self._features = np.array(tensors["features"]) if tensors else np.zeros((0, self.map.size))
        self._targets = np.array(tensors["targets"]) if tensors else np.zeros((0, 0))
        self._weights = np.array(tensors["weights"]) if tensors else np.zeros(0)
        self._products.clear()
