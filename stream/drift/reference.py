"""The reference that recent rows are compared with: bins at its quantiles, and random features of its ranks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

BINS = 32
"""Of a column; the last is for missing values."""
COARSE = 8
"""Bins of the population stability index."""
FOURIER = 64
"""Random features of all columns together."""
_GRID = 1024


class Reference:
    """Values computed once from reference rows (R, F).

    Args:
        reference: The rows, less what seasons explain of them.
        apart: Columns (F,) that all together are compared without.
        categorical: Columns (F,) of codes without an order.
        random: Of the random features.
        explained: (K, 32), the shares of each bin that seasons explain of the first K columns of codes; None: nothing.
    """

    def __init__(
        self,
        reference: NDArray[np.float32],
        apart: NDArray[np.bool_],
        categorical: NDArray[np.bool_],
        random: np.random.Generator,
        explained: NDArray[np.float32] | None = None,
    ) -> None:
        self._categorical, self._apart = categorical, apart
        self.explained = explained
        """As given."""
        columns = reference.shape[1]
        sound = np.where(np.isfinite(reference), reference, np.nan).astype(np.float64)
        sound[:, np.isnan(sound).all(axis=0)] = 0.0
        low, high = np.nanquantile(sound, [0.005, 0.995], axis=0)
        self.deviations = ((high - low) / 5.0).astype(np.float32)
        """(F,), about the standard deviation of each column."""
        span = np.where(high > low, high - low, np.maximum(1e-6, np.abs(low) * 1e-6))
        with np.errstate(over="ignore"):  # values may be as large as float32 holds
            self._low, self._per = (low - span * 0.01).astype(np.float32), (_GRID / (1.02 * span)).astype(np.float32)
        self._offsets = np.arange(columns, dtype=np.int64) * _GRID
        cells = self._cells(reference)
        held = np.bincount((cells + self._offsets).ravel(), minlength=columns * _GRID).reshape(columns, _GRID)
        level = (held.cumsum(axis=1) - 0.5 * held) / len(reference)
        codes = np.minimum(level * (BINS - 1), BINS - 2).astype(np.int64)  # the last bin: missing values
        self._codes = (codes + np.arange(columns)[:, None] * BINS).ravel()
        self._firsts = np.arange(columns, dtype=np.int64) * BINS
        bins = self.binned(reference)
        self.share = self.counts(bins) / np.float32(len(reference))
        self.coarse = self.share.reshape(columns, COARSE, -1).sum(axis=2)
        self._embed(bins, random)

    def binned(self, rows: NDArray[np.float32]) -> NDArray[np.int64]:
        """The bin of each value of rows (N, F), numbered over all columns."""
        bins = self._codes[self._cells(rows) + self._offsets]
        if self._categorical.any():
            bins[:, self._categorical] = hashed(rows[:, self._categorical]) + self._firsts[self._categorical]
        missing = ~np.isfinite(rows)
        return np.where(missing, self._firsts + BINS - 1, bins) if missing.any() else bins

    def counts(self, bins: NDArray[np.int64]) -> NDArray[np.float32]:
        """Number of rows per column and bin, (F, 32)."""
        size = len(self._firsts) * BINS
        return np.bincount(bins.ravel(), minlength=size).reshape(-1, BINS).astype(np.float32)

    def embedding(self, bins: NDArray[np.int64]) -> Floats:
        """Mean of the random Fourier features of rows, (64,), each value replaced by its rank in the reference."""
        return self._embedded(bins).mean(axis=0, dtype=np.float64)  # type: ignore[no-any-return]

    def _embedded(self, bins: NDArray[np.int64]) -> NDArray[np.float32]:
        return np.cos(self._ranks[bins] @ self._weights + self._phases)  # type: ignore[no-any-return]

    def _cells(self, rows: NDArray[np.float32]) -> NDArray[np.int64]:
        with np.errstate(over="ignore", invalid="ignore"):
            places = (rows - self._low) * self._per
        np.nan_to_num(places, copy=False, nan=0.0, posinf=_GRID, neginf=0.0)
        return np.clip(places, 0, _GRID - 1, out=places).astype(np.int64)  # type: ignore[no-any-return]

    def _embed(self, bins: NDArray[np.int64], random: np.random.Generator) -> None:
        """Random features of a Gaussian kernel (Rahimi & Recht 2007), its width the median distance (Gretton 2012)."""
        columns = len(self._firsts)
        self._ranks = np.tile(np.arange(BINS, dtype=np.float32) / (BINS / 2) - 1.0, columns)
        ranks = self._ranks[bins].astype(np.float64)
        spread = ranks.std(axis=0)
        moves = ~self._apart & (spread > 0)
        scale = np.where(moves, 1.0 / np.where(moves, spread, 1.0), 0.0)
        some = (ranks * scale)[:: max(1, len(ranks) // 200)]
        squares = (some**2).sum(axis=1)
        apart = np.sqrt(np.maximum(0.0, squares[:, None] + squares[None] - 2.0 * some @ some.T))
        width = float(np.median(apart[np.triu_indices(len(some), 1)])) if len(some) > 1 else 1.0
        draws = random.normal(size=(columns, FOURIER))
        self._weights = (draws * scale[:, None] / max(width, 1e-12)).astype(np.float32)
        self._phases = random.uniform(0.0, 2.0 * np.pi, FOURIER).astype(np.float32)
        embedded = self._embedded(bins).astype(np.float64)
        self.mean = embedded.mean(axis=0)
        spectrum = np.linalg.eigvalsh(np.cov(embedded.T)).clip(0.0)
        total, squared = float(spectrum.sum()), float((spectrum**2).sum())
        # a weighted sum of chi-squares, by its first two moments (Satterthwaite)
        self.scale = squared / total if total > 1e-12 else 1.0
        self.degrees = total**2 / squared if total > 1e-12 and moves.any() else 0.0


def hashed(codes: NDArray[np.float32]) -> NDArray[np.int64]:
    """A bin for each code, of all but the last, which is for missing values."""
    named = np.nan_to_num(codes).clip(-(2.0**62), 2.0**62).astype(np.int64)
    return np.asarray((named * 2654435761 >> 7) % (BINS - 1))
