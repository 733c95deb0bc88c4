"""Answers while the keys are not learned yet: by the nearest of the labelled events that wait for them.

A stream may be shorter than the sample that keys need, and a service is asked from its first event on. The events that
wait are in the state anyway. The k nearest of the latest of them vote, k being half the root of their number, each by
exp(-(d² - the least d²) / the mean of that), so that one class among a hundred is found by its few events, and labels
that are wrong at random are outvoted. Distances are of inputs with deviation 1. None of this is learned from.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from thalweg.models.bottleneck.codes import projected, scale_of
from thalweg.models.bottleneck.waiting import Waiting
from thalweg.proto.schema import Array

Floats = NDArray[np.float64]

_LATEST = 1000
"""Events that are looked at: bounds the time of an answer, whatever `key_events` is."""
_PRIOR = 0.5  # votes of the share of each class among them
_LARGEST = 1e15  # numbers beyond it are clipped: their squares would be infinite


class FirstAnswers:
    """Immutable.

    Args:
        rows: Inputs (n, F) of labelled events, n ≥ 1; not copied.
        codes: Their classes (n,).
        weights: (n,).
        classes: K.
    """

    def __init__(self, rows: Floats, codes: NDArray[np.int32], weights: Floats, classes: int) -> None:
        self._rows, self._codes, self._weights = rows, codes, weights
        self._classes = classes

    @classmethod
    def of_waiting(cls, events: Waiting, classes: int) -> FirstAnswers | None:
        """By events that wait for the keys; None if no labelled one does."""
        labelled = events.labelled()
        latest = slice(-_LATEST, None)
        if not len(labelled):
            return None
        return cls(labelled.inputs[latest], labelled.codes[latest], labelled.weights[latest], classes)

    @cached_property
    def _scaled(self) -> tuple[Floats, Floats, Floats, Floats]:
        """Shift and factor (F,), the scaled rows as columns (F, n), their squared lengths (n,)."""
        rows = np.clip(self._rows, -_LARGEST, _LARGEST)
        shift, factor = scale_of(rows)
        scaled = np.ascontiguousarray(((rows - shift) * factor).T)
        return shift, factor, scaled, np.square(scaled).sum(axis=0)

    def scores(self, rows: Array) -> Floats:
        """Probabilities (N, K) of gathered inputs (N, F)."""
        shift, factor, scaled, squares = self._scaled
        distances = squares - 2.0 * projected(rows, shift, factor, scaled)  # less the row's own squared length
        votes = math.ceil(0.5 * math.sqrt(len(self._codes)))
        nearest = np.argsort(distances, axis=1, kind="stable")[:, :votes]
        farther = np.take_along_axis(distances, nearest, axis=1)
        farther -= farther[:, :1]
        spread = farther.mean(axis=1, keepdims=True)
        voices = np.exp(-farther / np.where(spread > 0, spread, 1.0)) * self._weights[nearest]
        found = np.zeros((len(rows), self._classes))
        np.add.at(found, (np.arange(len(rows))[:, None], self._codes[nearest]), voices)
        shares = np.bincount(self._codes, self._weights, self._classes)
        found += _PRIOR * shares / shares.sum()
        scores: Floats = found / found.sum(axis=1, keepdims=True)
        return scores

    def tensors(self) -> dict[str, Array]:
        """For the state of a predictor."""
        return {"first.rows": self._rows, "first.codes": self._codes, "first.weights": self._weights}

    @classmethod
    def of(cls, tensors: Mapping[str, Array], classes: int) -> FirstAnswers | None:
        """From `tensors()`; arrays are used in place. None if there are none."""
        if "first.rows" not in tensors:
            return None
        return cls(tensors["first.rows"], tensors["first.codes"], tensors["first.weights"], classes)
