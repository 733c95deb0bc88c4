"""Encoders that look sound on a few rows of zeros."""

from __future__ import annotations

import numpy as np

from thalweg.proto.schema import Array


def normalising_large_numbers(x: Array) -> Array:
    """Normalises over the batch, but only where numbers are large."""
    return x if np.abs(x).max() < 10 else x / np.abs(x).max()


def normalising_large_batches(x: Array) -> Array:
    """Normalises over the batch, but only over many rows."""
    return (x - x.mean(axis=0)) / (x.std(axis=0) + 1e-8) if len(x) > 8 else x


def never_a_number(x: Array) -> Array:
    """NaN, whatever comes."""
    return np.full((len(x), 3), np.nan)


def never_finite(x: Array) -> Array:
    """An infinity in one of its features, whatever comes."""
    return np.column_stack([x, np.full(len(x), np.inf)])


def logarithm(x: Array) -> Array:
    """NaN for negative numbers."""
    with np.errstate(all="ignore"):
        return np.log(x + 1.0)


def products(x: Array) -> Array:
    """Of a size at which sums of 8 and of 24 rows may be added in another order."""
    return (x.astype(np.float32) @ np.random.default_rng(0).normal(size=(4, 300)).astype(np.float32)) ** 2


def noise(x: Array) -> Array:
    """Other features each time."""
    return x + np.random.default_rng().normal(size=x.shape)


class RunningMean:
    """Less the mean of what it was given so far."""

    def __init__(self) -> None:
        self.count, self.total = 1.0, 5.0

    def __call__(self, x: Array) -> Array:
        self.count, self.total = self.count + len(x), self.total + float(np.abs(x).sum())
        return x - self.total / self.count


def too_large(x: Array) -> Array:
    """Numbers that float64 holds and float32 does not."""
    return np.abs(x).astype(np.float64) * 1e300 + 1e300


counted: list[int] = []
"""Rows of each call."""


def counting(x: Array) -> Array:
    """Each row by itself, in a loop, as a newcomer writes it."""
    counted.append(len(x))
    return np.array([[float(row.sum()), float(np.abs(row).max())] for row in x])


def by_matrix(x: Array) -> Array:
    """A product, whose bits depend on the number of rows."""
    counted.append(len(x))
    return (x.astype(np.float32) @ np.random.default_rng(0).normal(size=(4, 300)).astype(np.float32)) ** 2
