"""The reference that recent rows are compared with: bins at its quantiles, and random features of its ranks."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtrc, chdtri, kolmogi, kolmogorov

Floats = NDArray[np.float64]

InputTest: TypeAlias = Literal["ks", "psi", "mmd"]
TESTS: tuple[InputTest, ...] = get_args(InputTest)
STEP = 64
"""Rows that are taken together."""
SHORT = 3
"""Steps of a short window."""
BINS = 32
"""Of a column; the last is for missing values."""
COARSE = 8
"""Bins of the population stability index."""
FOURIER = 64
"""Random features of all columns together."""
_GRID = 1024
_MANY = 512  # columns of windows
_LEAST_PSI = 0.1  # below this a column counts as stable, for any number of rows
_SMALLEST = 1e-300
_NEAR = 0.999  # of the critical value: what is below is surely not significant


class Reference:
    """Values computed once from reference rows (R, F).

    Args:
        reference: The rows, less what seasons explain of them.
        apart: Columns (F,) that all together are compared without.
        categorical: Columns (F,) of codes without an order.
        random: Of the random features.
        explained: (K, 32), the shares of each bin that seasons explain of the first K columns of codes; None: nothing.
        level: Of a test of all columns.
        tests: From `TESTS`.
    """

    def __init__(
        self,
        reference: NDArray[np.float32],
        apart: NDArray[np.bool_],
        categorical: NDArray[np.bool_],
        random: np.random.Generator,
        explained: NDArray[np.float32] | None = None,
        level: float = 1e-4,
        tests: Sequence[str] = TESTS,
    ) -> None:
        self._categorical, self._apart, self._tests, self._level = categorical, apart, tuple(tests), level
        self.explained = explained
        """As given."""
        columns = reference.shape[1]
        sound = np.where(np.isfinite(reference), reference, np.nan).astype(np.float64)
        sound[:, np.isnan(sound).all(axis=0)] = 0.0
        low, high = quantiles(sound, [0.005, 0.995])
        self.deviations = ((high - low) / 5.0).astype(np.float32)
        """(F,), about the standard deviation of each column."""
        span = np.where(high > low, high - low, np.maximum(1e-6, np.abs(low) * 1e-6))
        with np.errstate(over="ignore"):  # values may be as large as float32 holds
            self._low, self._per = (low - span * 0.01).astype(np.float32), (_GRID / (1.02 * span)).astype(np.float32)
        self._offsets = np.arange(columns, dtype=np.int32) * _GRID
        cells = self._cells(reference, np.isfinite(reference))
        held = np.bincount((cells + self._offsets).ravel(), minlength=columns * _GRID).reshape(columns, _GRID)
        ranks = (held.cumsum(axis=1) - 0.5 * held) / len(reference)
        codes = np.minimum(ranks * (BINS - 1), BINS - 2).astype(np.int32)  # the last bin: missing values
        self._firsts = np.arange(columns, dtype=np.int32) * BINS
        self._codes = (codes + self._firsts[:, None]).ravel()
        self._any_categorical = bool(categorical.any())
        bins = self.binned(reference)
        self.share = self.counts(bins) / np.float32(len(reference))
        self.coarse = self.share.reshape(columns, COARSE, -1).sum(axis=2)
        self._embed(bins, random)
        self._coarse_degrees = np.maximum(1, (self.coarse + 1e-3 > 2e-3).sum(axis=1) - 1)
        self._critical = float(kolmogi(level / max(1, columns)))
        self._critical_squared = chdtri(self._coarse_degrees, level / max(1, columns))
        self._critical_gap = float(chdtri(self.degrees, level)) * self.scale if self.degrees else np.inf

    def binned(self, rows: NDArray[np.float32]) -> NDArray[np.int32]:
        """The bin of each value of rows (N, F), numbered over all columns."""
        known = np.isfinite(rows)
        cells = self._cells(rows, known)
        cells += self._offsets
        bins = self._codes.take(cells)
        if self._any_categorical:
            bins[:, self._categorical] = hashed(rows[:, self._categorical]) + self._firsts[self._categorical]
        return bins if known.all() else np.where(known, bins, self._firsts + np.int32(BINS - 1))

    def counts(self, bins: NDArray[np.int32]) -> NDArray[np.float32]:
        """Number of rows per column and bin, (F, 32)."""
        size = len(self._firsts) * BINS
        return np.bincount(bins.ravel(), minlength=size).reshape(-1, BINS).astype(np.float32)

    def counts_by_step(self, bins: NDArray[np.int32], steps: int) -> NDArray[np.float32]:
        """The same for each of several steps of equally many rows, (steps, F, 32)."""
        size = len(self._firsts) * BINS
        numbered = bins.reshape(steps, -1) + np.arange(steps)[:, None] * size
        return np.bincount(numbered.ravel(), minlength=steps * size).reshape(steps, -1, BINS).astype(np.float32)

    def embedding_by_step(self, bins: NDArray[np.int32], steps: int) -> Floats:
        """`embedding` of each of several steps of equally many rows, (steps, 64); bit by bit the same."""
        if not self.degrees:  # columns that are all compared without: the same for all rows
            return np.tile(np.cos(self._phases).astype(np.float64), (steps, 1))
        found = _ranks(bins).reshape(steps, -1, bins.shape[1]) @ self._weights
        found += self._phases
        embedded = np.cos(found, out=found).astype(np.float64)
        return np.asarray(np.add.reduce(embedded, axis=1) / embedded.shape[1])

    def distances(self, share: NDArray[np.float32]) -> Floats:
        """Of windows with these shares of bins (..., F, 32): Kolmogorov-Smirnov, of codes total variation, (..., F)."""
        gap = share - self.share
        by_bin = np.ascontiguousarray(gap.reshape(-1, BINS).T)  # sums along the first axis take a third of the time
        if by_bin.shape[1] < _MANY:
            np.cumsum(by_bin, axis=0, out=by_bin)
        else:  # the same sums; of many columns `cumsum` takes four times as long
            for lower, upper in pairwise(by_bin):
                upper += lower
        found = np.abs(by_bin, out=by_bin).max(axis=0).astype(np.float64).reshape(gap.shape[:-1])
        if self._any_categorical:
            found[..., self._categorical] = 0.5 * np.abs(gap[..., self._categorical, :]).sum(axis=-1)
        return np.asarray(found)

    def windows(self, counts: NDArray[np.float32], means: Floats | None) -> tuple[NDArray[np.float32], Floats]:
        """Of steps (S, F, 32), (S, 64): shares of bins and mean embeddings of each three that follow each other."""
        share = (counts[:-2] + counts[1:-1] + counts[2:]) / np.float32(SHORT * STEP)
        if self.explained is not None:  # shares less an expectation may fall below 0
            np.maximum(share, np.float32(0.0), out=share)
        mean = np.zeros((len(share), FOURIER)) if means is None else (means[:-2] + means[1:-1] + means[2:]) / SHORT
        return share, mean

    def window(
        self, counts: NDArray[np.float32], means: Floats | None, steps: int
    ) -> tuple[NDArray[np.float32], Floats]:
        """Shares of bins (F, 32) and the mean embedding (64,) of the last so many steps."""
        if steps == SHORT:
            share, mean = self.windows(counts[-steps:], None if means is None else means[-steps:])
            return share[0], mean[0]
        share = counts[-steps:].sum(axis=0) / np.float32(steps * STEP)
        if self.explained is not None:
            np.maximum(share, np.float32(0.0), out=share)
        return share, np.zeros(FOURIER) if means is None else means[-steps:].mean(axis=0)

    def near(self, distances: Floats, share: NDArray[np.float32], mean: Floats, effective: float) -> NDArray[np.bool_]:
        """Whether any test of windows may be significant, (...,); quick, and never wrong if it says no.

        Args:
            distances: Of the windows, (..., F).
            share: Of bins, (..., F, 32).
            mean: The mean embedding of each, (..., 64).
            effective: The effective size of both samples.
        """
        found = np.zeros(distances.shape[:-1], dtype=np.bool_)
        if "ks" in self._tests:
            found |= (np.sqrt(effective) * distances > _NEAR * self._critical).any(axis=-1)
        if "psi" in self._tests:
            shares = self._coarse_shares(share)
            over = self._chi_square(*shares, effective) > _NEAR * self._critical_squared
            if over.any():  # in the usual case no logarithm is taken
                found |= (over & (_index(*shares) >= _LEAST_PSI)).any(axis=-1)
        if "mmd" in self._tests and self.degrees:
            found |= effective * ((mean - self.mean) ** 2).sum(axis=-1) > _NEAR * self._critical_gap
        return found

    def scores(
        self, distances: Floats, share: NDArray[np.float32], mean: Floats, effective: float
    ) -> tuple[dict[str, Floats], Floats]:
        """Of windows (..., F), (..., F, 32), (..., 64): the scores of the tests of each column (..., F), and those of
        all columns together (...,).

        A score is the logarithm of the p-value in units of that of the level: above 1 is significant.
        """
        found: dict[str, Floats] = {}
        columns = distances.shape[-1]
        if "ks" in self._tests:
            p = kolmogorov(np.sqrt(effective) * distances)
            found["ks"] = self._scored(np.where(self._categorical, 1.0, p) * columns)
        if "psi" in self._tests:
            shares = self._coarse_shares(share)
            squared = self._chi_square(*shares, effective)
            p = np.where(_index(*shares) >= _LEAST_PSI, chdtrc(self._coarse_degrees, squared), 1.0)
            found["psi"] = self._scored(p * columns)
        if "mmd" not in self._tests or not self.degrees:
            return found, np.zeros(distances.shape[:-1])
        gap = ((mean - self.mean) ** 2).sum(axis=-1)
        return found, self._scored(chdtrc(self.degrees, effective * gap / self.scale))

    def _coarse_shares(self, share: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Of windows and of the reference, (..., F, 8) and (F, 8), none of them 0."""
        parts = share.reshape(*share.shape[:-1], COARSE, BINS // COARSE)
        one, two, three, four = (parts[..., number] for number in range(BINS // COARSE))
        return one + ((two + three) + four) + np.float32(1e-3), self.coarse + np.float32(1e-3)

    @staticmethod
    def _chi_square(now: NDArray[np.float32], then: NDArray[np.float32], effective: float) -> Floats:
        """Of these shares, for this effective size, (..., F)."""
        squares = (now - then) ** 2
        squares /= np.float32(0.5) * (now + then)
        while squares.shape[-1] > 1:  # in pairs, as `sum` adds eight numbers, in less time
            squares = squares[..., ::2] + squares[..., 1::2]
        return np.asarray(effective * squares[..., 0])

    def _scored(self, p: Any) -> Floats:
        return np.maximum(0.0, np.log(np.maximum(p, _SMALLEST)) / np.log(self._level))  # type: ignore[no-any-return]

    def _embedded(self, bins: NDArray[np.int32]) -> NDArray[np.float32]:
        return np.cos(_ranks(bins) @ self._weights + self._phases)  # type: ignore[no-any-return]

    def _cells(self, rows: NDArray[np.float32], known: NDArray[np.bool_]) -> NDArray[np.int32]:
        with np.errstate(over="ignore", invalid="ignore"):
            places = rows - self._low
            places *= self._per
        (np.maximum if known.all() else np.fmax)(places, np.float32(0.0), out=places)  # of a missing value, 0
        return np.asarray(np.minimum(places, np.float32(_GRID - 1), out=places).astype(np.int32))

    def _embed(self, bins: NDArray[np.int32], random: np.random.Generator) -> None:
        """Random features of a Gaussian kernel (Rahimi & Recht 2007), its width the median distance (Gretton 2012)."""
        columns = len(self._firsts)
        ranks = _ranks(bins).astype(np.float64)
        spread = ranks.std(axis=0)
        moves = ~self._apart & (spread > 0)
        scale = np.where(moves, 1.0 / np.where(moves, spread, 1.0), 0.0)
        some = (ranks * scale)[:: max(1, len(ranks) // 200)]
        squares = (some**2).sum(axis=1)
        apart = np.sqrt(np.maximum(0.0, squares[:, None] + squares[None] - 2.0 * some @ some.T))
        width = float(np.median(apart[~np.tri(len(some), dtype=np.bool_)])) if len(some) > 1 else 1.0
        draws = random.normal(size=(columns, FOURIER))
        self._weights = (draws * scale[:, None] / max(width, 1e-12)).astype(np.float32)
        self._phases = random.uniform(0.0, 2.0 * np.pi, FOURIER).astype(np.float32)
        embedded = self._embedded(bins).astype(np.float64)
        self.mean = embedded.mean(axis=0)
        covariance = np.cov(embedded.T)
        total, squared = float(np.trace(covariance)), float((covariance**2).sum())  # of its eigenvalues, and squares
        # a weighted sum of chi-squares, by its first two moments (Satterthwaite)
        self.scale = squared / total if total > 1e-12 else 1.0
        self.degrees = total**2 / squared if total > 1e-12 and moves.any() else 0.0


def _ranks(bins: NDArray[np.int32]) -> NDArray[np.float32]:
    """Of values in these bins, -1 in the first of a column to almost 1 in the last."""
    ranks = (bins & (BINS - 1)).astype(np.float32)
    ranks *= np.float32(2.0 / BINS)
    ranks -= np.float32(1.0)
    return ranks


def _index(now: NDArray[np.float32], then: NDArray[np.float32]) -> NDArray[np.float32]:
    """The population stability index of these shares, (..., F)."""
    return np.asarray(((now - then) * np.log(now / then)).sum(axis=-1))


def quantiles(values: Floats, shares: Sequence[float]) -> Floats:
    """Of each column of values (N, F), those that are not NaN: (shares, F)."""
    if np.isnan(values).any():  # slow: column by column, in Python
        return np.asarray(np.nanquantile(values, shares, axis=0))
    ordered = np.sort(np.ascontiguousarray(values.T), axis=1)  # sorts a column in a tenth of the time
    return np.asarray(np.quantile(ordered, shares, axis=1))


def hashed(codes: NDArray[np.float32]) -> NDArray[np.int64]:
    """A bin for each code, of all but the last, which is for missing values."""
    named = np.nan_to_num(codes).clip(-(2.0**62), 2.0**62).astype(np.int64)
    return np.asarray((named * 2654435761 >> 7) % (BINS - 1))
