"""Sums of events under an old scale, re-expressed under a new one.

A scaled input z becomes r z + b, which is linear in z and the constant, so sums of the inputs themselves are re-
expressed exactly. A random feature relu(z · p + o) changes by its gate (is it open?) times the change of its
argument, which is linear too; with the share of open gates in place of each event's gate, its sums are re-expressed
to first order. Without either, an event would count for ever as what it looked like under the scale of its day: where
classes come one after the other, that of another class.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from thalweg.models.parts.random_features import FeatureMap
from thalweg.models.parts.running_scale import Move
from thalweg.models.ridge.statistics import Statistics

Floats = NDArray[np.float64]
GRADUAL = 4.0
"""A change by more than this factor, or this many deviations, is no small one: random features keep their sums."""


class Rescaling:
    """The linear map of features that follows from a move of the scale; the map needs `direct`, else nothing moves."""

    def __init__(self, feature_map: FeatureMap, move: Move, clip: float) -> None:
        self._map, self._clip = feature_map, clip
        self._columns = move.columns
        self._ratio, self._offset = move.ratio, move.offset if feature_map.bias else np.zeros_like(move.offset)
        gradual = (move.ratio < GRADUAL) & (move.ratio > 1 / GRADUAL) & (np.abs(move.offset) < GRADUAL)
        self._gradual = np.flatnonzero(gradual)

    def apply(self, sums: Statistics, *others: Floats) -> None:
        """Re-express the sums, and other cross-moments (D, C) of the same events, in place."""
        feature_map, constant = self._map, self._map.constant
        total = float(sums.gram[constant, constant]) if constant is not None else float(sums.class_weight.sum())
        if not feature_map.direct or total <= 0:
            return
        gates = self._gates(self._means(sums, total))
        shrink: Floats | None = None
        for gram in (sums.gram, *(sums.class_grams or ())):
            full = np.triu(gram)
            full += np.triu(gram, 1).T
            self._left(full, gates)
            full = np.ascontiguousarray(full.T)
            self._left(full, gates)
            if shrink is None:
                shrink = self._shrink(full, total)
            if shrink is not None:
                self._shrunk(full, shrink)
                self._shrunk(full.T, shrink)
            gram[:] = full
        for cross in (sums.cross, *others):
            self._left(cross, gates)
            if shrink is not None:
                self._shrunk(cross, shrink)

    def of_classes(self, sums: Statistics, cross: Floats, weight: Floats) -> Floats | None:
        """What `apply` leaves out of the cross-moments of each class, (D, C). To be asked for before `apply`.

        The inputs of a class are taken for normal around its mean, with the covariance within classes: then the mean of
        a random feature before and after the move is known, however far the class is from all others.

        Args:
            sums: All sums.
            cross: Cross-moments of classes (D, C).
            weight: Weights of classes (C,).
        """
        m, constant = self._map, self._map.constant
        if not m.expansion or not m.direct or constant is None:
            return None
        total = float(sums.gram[constant, constant])
        if total <= 0:
            return None
        inputs = slice(m.expansion, m.expansion + m.width)
        means = (cross[inputs] / np.maximum(weight, 1e-300)).T
        ratio, after = np.ones(m.width), means.copy()
        ratio[self._columns] = self._ratio
        after[:, self._columns] = means[:, self._columns] * self._ratio + self._offset
        within = np.triu(sums.gram[inputs, inputs])
        within += np.triu(within, 1).T
        within -= (sums.cross[inputs] / np.maximum(sums.class_weight, 1e-300)) @ sums.cross[inputs].T
        within /= total
        scaled = m.projection * ratio[:, None]
        moved = self._rectified(np.clip(after, -self._clip, self._clip), _spread(within, scaled))
        moved -= self._rectified(means, _spread(within, m.projection))
        out = np.zeros_like(cross)
        out[: m.expansion] = moved.T * weight
        if (gates := self._gates(self._means(sums, total))) is not None:
            out[: m.expansion] -= gates[:-1].T @ cross[m.expansion + self._columns[self._gradual]]
            out[: m.expansion] -= np.outer(gates[-1], cross[constant])
        return out

    def _rectified(self, means: Floats, spread: Floats) -> Floats:
        """Means (C, D) of random features of normal inputs with means (C, F), where their arguments deviate (D,)."""
        arguments = means @ self._map.projection + self._map.offsets
        return np.asarray(arguments * ndtr(arguments / spread) + spread * _density(arguments / spread))

    def _open(self, means: Floats) -> Floats:
        """Share of open gates (…, D) for inputs of these means (…, F) and unit variance."""
        m = self._map
        spread = np.sqrt(np.square(m.projection).sum(axis=0))
        return np.asarray(ndtr((means @ m.projection + m.offsets) / np.maximum(spread, 1e-300)))

    def events(self, features: Floats, means: Floats) -> None:
        """Re-express events (n, D) as `apply` does their sums, in place; their inputs have these means (F,)."""
        self._left(features.T, self._gates(means))
        rows = self._map.expansion + self._columns
        square, limit = np.square(features[:, rows]).mean(axis=0), self._clip**2
        features[:, rows] *= np.sqrt(limit / np.maximum(square, limit))

    def cross(self, array: Floats, means: Floats) -> None:
        """Re-express cross-moments (D, C) of events of which the inputs have these means (F,), in place."""
        self._left(array, self._gates(means))

    def _means(self, sums: Statistics, total: float) -> Floats:
        """Of the inputs (F,)."""
        m = self._map
        if m.constant is None:
            return np.zeros(m.width)
        return np.asarray(sums.gram[m.expansion : m.expansion + m.width, m.constant] / total)  # the last column: upper

    def _gates(self, means: Floats) -> Floats | None:
        """Change of the arguments of random features per unit of each gradual column, and of the constant, times the
        share of open gates; (K + 1, D).
        """
        m, constant = self._map, self._map.constant
        if not m.expansion or constant is None or not len(self._gradual):
            return None
        open_gates = self._open(means)
        weights = m.projection[self._columns[self._gradual]]
        ratio, offset = self._ratio[self._gradual], self._offset[self._gradual]
        return np.asarray(np.vstack([weights * (ratio - 1.0)[:, None], offset @ weights]) * open_gates)

    def _left(self, array: Floats, gates: Floats | None) -> None:
        """Multiply an array (D, …) by the map, in place."""
        m, constant = self._map, self._map.constant
        if gates is not None:
            array[: m.expansion] += gates[:-1].T @ array[m.expansion + self._columns[self._gradual]]
            array[: m.expansion] += np.outer(gates[-1], array[constant])
        rows = m.expansion + self._columns
        moved = array[rows] * self._ratio[:, None]
        if constant is not None:
            moved += np.outer(self._offset, array[constant])
        array[rows] = moved

    def _shrink(self, full: Floats, total: float) -> Floats | None:
        """Factors (K,) that keep the mean square of a moved input below clip², as clipping would have."""
        rows = self._map.expansion + self._columns
        square = full[rows, rows] / total
        limit = self._clip**2
        return np.sqrt(limit / np.maximum(square, limit)) if (square > limit).any() else None

    def _shrunk(self, array: Floats, factors: Floats) -> None:
        array[self._map.expansion + self._columns] *= factors[:, None]


def _spread(covariance: Floats, projection: Floats) -> Floats:
    """Deviations (D,) of the arguments of random features."""
    variance = np.einsum("fd,fd->d", projection, covariance @ projection)
    return np.asarray(np.sqrt(np.maximum(variance, 1e-12)))


def _density(values: Floats) -> Floats:
    """Of the normal distribution."""
    return np.asarray(np.exp(-0.5 * values**2) / np.sqrt(2 * np.pi))
