"""Two-sample tests of many columns at once: recent rows against reference rows.

The reference is the first rows; every 64 rows, the last 192 and, less often, the last 1,024 are compared with it.
A change that is news starts a new reference; columns that go on moving are no news until they have been calm
(`thalweg.stream.drift.calm`), and the reference follows them at a pace.
Each numeric column is cut into 32 bins at the reference's quantiles, so a test reads counts, whatever the number of
rows. The level is divided over columns and tests (Bonferroni), so false alarms do not grow with the columns;
the reported columns are those of Benjamini and Hochberg's procedure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtrc, kolmogorov

from thalweg.stream.drift.calm import Calm

Floats = NDArray[np.float64]

InputTest: TypeAlias = Literal["ks", "psi", "mmd"]
TESTS: tuple[InputTest, ...] = get_args(InputTest)
STEP = 64
_BINS, _GRID = 32, 1024
_COARSE = 8  # bins of the population stability index
_SHORT, _LONG = 3, 16  # steps
_FOURIER = 64
_LEAST_PSI = 0.1  # below this a column counts as stable, for any number of rows
_TOLD = 10
_SMALLEST = 1e-300


@dataclass(frozen=True, slots=True)
class Moved:
    """The distribution of the columns has changed."""

    test: str
    score: float
    """Logarithm of the p-value in units of that of the level: above 1."""
    rows: int
    """How many rows the watch had seen at that test."""
    since: int
    """Estimated number of rows before the change, to 64 rows."""
    distance: float
    """Largest Kolmogorov-Smirnov distance of a column, within [0, 1]."""
    columns: tuple[tuple[str, float], ...]
    """The columns that drifted most, with their distances."""
    news: bool = True
    """Whether a column moved that had been calm; else all of them have been moving for a while."""


class ColumnsWatch:
    """Detects changes of the distribution of columns of numbers, each alone and all together.

    Args:
        names: Of the columns, F.
        categorical: Which of them are codes without an order, (F,).
        tests: From `TESTS`: `ks` (Kolmogorov-Smirnov, numeric columns), `psi` (population stability index), `mmd`
            (maximum mean discrepancy of all numeric columns together, by 64 random Fourier features).
        reference_rows: Number of rows of the reference.
        false_alarms: Expected number in 10,000 independent rows without a change.
        calm_rows: After a change that was news, columns must have been calm for so long before they are news again.
        follow_rows: Of columns that keep moving, the reference is replaced once it is this old.
        seed: Of the random features.
    """

    def __init__(
        self,
        names: Sequence[str],
        categorical: NDArray[np.bool_],
        tests: Sequence[str] = TESTS,
        *,
        reference_rows: int = 1000,
        false_alarms: float = 0.05,
        calm_rows: int = 2000,
        follow_rows: int = 5000,
        seed: int = 0,
    ) -> None:
        self._names = tuple(names)
        self._categorical = np.asarray(categorical, dtype=np.bool_)
        self._tests = tuple(tests)
        self._reference_rows = reference_rows
        self._seed = seed
        tried = 10_000 / STEP * (1 + 1 / (_LONG // 4)) * max(1, len(self._tests))
        self._level = false_alarms / tried
        self._rows = 0
        self._reference: NDArray[np.float32] = np.zeros((0, len(names)), dtype=np.float32)
        self._waiting: NDArray[np.float32] = self._reference
        self._base: _Base | None = None
        self._calm = Calm(len(names), calm_rows)
        self._follow_rows = follow_rows
        self._since = 0  # rows before the reference was complete
        self._next: NDArray[np.float32] | None = None  # of the next reference, while it is gathered
        self._counts: NDArray[np.float32] = np.zeros((0, len(names), _BINS), dtype=np.float32)
        self._means: Floats = np.zeros((0, _FOURIER))
        self._scores: dict[str, float] = {}
        self._distances: Floats = np.zeros(len(names))
        self._trail: list[tuple[int, Floats]] = []

    @property
    def width(self) -> int:
        """Number of columns."""
        return len(self._names)

    def feed(self, rows: NDArray[np.float32], worse: Sequence[int] = ()) -> list[Moved]:
        """Feed rows (N, F), NaN where there is no value; changes found, in order. Those that are news start a new
        reference. `worse`: numbers of rows, in order, at which the predictions were found worse.
        """
        found = []
        disturbed = 0
        self._trail = [(0, self._distances)]
        while len(rows):
            if self._base is None:
                room = self._reference_rows - len(self._reference)
                self._reference = np.concatenate([self._reference, rows[:room]])
                self._rows += min(room, len(rows))
                rows = rows[room:]
                if len(self._reference) == self._reference_rows:
                    self._base, self._since = self._based(), self._rows
                continue
            room = STEP - len(self._waiting)
            self._waiting = np.concatenate([self._waiting, rows[:room]]) if len(self._waiting) else rows[:room]
            self._rows += min(room, len(rows))
            rows = rows[room:]
            if len(self._waiting) == STEP:
                step = self._waiting
                while disturbed < len(worse) and worse[disturbed] <= self._rows:
                    self._calm.disturbed()
                    disturbed += 1
                moved = self._test()
                self._trail.append((self._rows, self._distances))
                if moved is not None:
                    found.append(moved)
                if moved is not None and moved.news:
                    self._begin_anew()
                else:
                    self._follow(step, moved is not None)
        if disturbed < len(worse):
            self._calm.disturbed()
        return found

    def scores(self) -> dict[str, float]:
        """Latest score by test, relative to the alarm threshold: above 1 is an alarm."""
        return dict(self._scores)

    def most_moved(self, rows: int) -> tuple[tuple[str, float], ...]:
        """The columns farthest from the reference at this number of rows, with their distances; at a level of 0.01.

        `rows` is within the last call of `feed`.
        """
        distances = [distances for tested, distances in self._trail if tested <= rows]
        return self._told(distances[-1], self._rows_of(_SHORT)) if distances else ()

    def tensors(self) -> dict[str, NDArray[Any]]:
        """For a snapshot."""
        return {
            "reference": self._reference,
            "waiting": self._waiting,
            "counts": self._counts.astype(np.uint16),
            "means": self._means,
            "rows": np.array([self._rows]),
            "distances": self._distances,
            "since": np.array([self._since]),
            "next": self._reference[:0] if self._next is None else self._next,
            "following": np.array([self._next is not None]),
            **self._calm.tensors(),
        }

    def restore(self, tensors: Mapping[str, NDArray[Any]]) -> None:
        """Become the watch whose `tensors()` these are."""
        self._reference, self._waiting = tensors["reference"].copy(), tensors["waiting"].copy()
        self._counts, self._means = tensors["counts"].astype(np.float32), tensors["means"].copy()
        self._rows, self._distances = int(tensors["rows"][0]), tensors["distances"].copy()
        if "calm" in tensors:  # an older state has none of these
            self._calm.restore(tensors)
            self._since = int(tensors["since"][0])
            self._next = tensors["next"].copy() if tensors["following"][0] else None
        self._base = self._based() if len(self._reference) == self._reference_rows else None

    def begin_after(self, rows: int) -> None:
        """Begin with an empty reference, after this many rows that are not read."""
        self._begin_anew()
        self._rows, self._distances = rows, np.zeros(self.width)

    def _based(self) -> _Base:
        random = np.random.default_rng(self._seed)
        return _Base(self._reference, self._categorical | self._calm.apart, self._categorical, random)

    def _follow(self, step: NDArray[np.float32], moved: bool) -> None:
        """Once the reference is old and does not fit, gather the next; compare with the old one until that is full."""
        if self._next is None:
            if moved and self._rows - self._since >= self._follow_rows:
                self._next = step[:0]
            return
        self._next = np.concatenate([self._next, step])
        if len(self._next) >= self._reference_rows:
            self._calm.begin_reference()
            self._reference, self._next, self._since = self._next[-self._reference_rows :], None, self._rows
            self._counts, self._means, self._base = self._counts[:0], self._means[:0], self._based()

    def _begin_anew(self) -> None:
        self._calm.begin_reference()
        self._base = self._next = None
        self._reference = self._waiting = self._reference[:0]
        self._counts, self._means = self._counts[:0], self._means[:0]

    def _rows_of(self, steps: int) -> float:
        """The effective size of both samples."""
        window, reference = steps * STEP, self._reference_rows
        return window * reference / (window + reference)

    def _test(self) -> Moved | None:
        base = self._base
        assert base is not None
        bins = base.binned(self._waiting)
        counts = base.counts(bins)
        self._counts = np.concatenate([self._counts, counts[None]])[-_LONG:]
        if "mmd" in self._tests:
            self._means = np.concatenate([self._means, base.embedding(bins)[None]])[-_LONG:]
        self._waiting = self._waiting[:0]
        steps = len(self._counts)
        if steps < _SHORT:
            return None
        moved = self._compare(base, _SHORT)
        if (moved is None or not moved.news) and steps == _LONG and self._rows % (_LONG // 4 * STEP) < STEP:
            moved = self._compare(base, _LONG) or moved
        return moved

    def _compare(self, base: _Base, steps: int) -> Moved | None:
        window, effective = steps * STEP, self._rows_of(steps)
        share = self._counts[-steps:].sum(axis=0) / window
        distances = np.abs((share - base.share).cumsum(axis=1)).max(axis=1).astype(np.float64)
        distances[self._categorical] = 0.5 * np.abs(share - base.share).sum(axis=1)[self._categorical]
        by_column: dict[str, Floats] = {}
        if "ks" in self._tests:
            p = kolmogorov(np.sqrt(effective) * distances)
            by_column["ks"] = self._scored(np.where(self._categorical, 1.0, p) * len(self._names))
        if "psi" in self._tests:
            by_column["psi"] = self._scored(self._stability(share, base, effective) * len(self._names))
        joint = 0.0
        if "mmd" in self._tests and base.degrees:
            gap = self._means[-steps:].mean(axis=0) - base.mean
            joint = float(self._scored(chdtrc(base.degrees, effective * float(gap @ gap) / base.scale)))
        calm = self._calm
        scores = {name: float(column.max(initial=0.0)) for name, column in by_column.items()}
        if "mmd" in self._tests:
            scores["mmd"] = joint
        if steps == _SHORT:
            self._scores, self._distances = scores, distances
        if max(scores.values(), default=0.0) <= 1.0:  # the usual case, and quick
            calm.tested(None, STEP if steps == _SHORT else 0)
            return None
        moving = np.append(np.max([np.zeros(len(self._names)), *by_column.values()], axis=0), joint) > 1.0
        scores = {name: float(column[calm.news[:-1]].max(initial=0.0)) for name, column in by_column.items()}
        if "mmd" in self._tests:
            scores["mmd"] = joint if calm.news[-1] else 0.0
        if steps == _SHORT:
            self._scores, self._distances = scores, distances
        test = max(scores, key=lambda name: scores[name], default=None)
        told = self._told(distances, effective)
        if test is None or scores[test] <= 1.0:
            calm.tested(moving, STEP if steps == _SHORT else 0)
            strongest = max(by_column, key=lambda name: float(by_column[name].max(initial=0.0)), default="mmd")
            farthest = float(distances.max(initial=0.0))
            return Moved(strongest, 1.0, self._rows, self._rows, farthest, told, news=False)
        self._scores, self._distances = scores, distances
        since = self._rows - self._lasting(base, steps)
        calm.told(moving | np.append([name in dict(told) for name in self._names], False))
        return Moved(test, scores[test], self._rows, since, float(distances.max()), told)

    def _scored(self, p: Any) -> Floats:
        """Logarithms of p-values in units of that of the level."""
        return np.maximum(0.0, np.log(np.maximum(p, _SMALLEST)) / np.log(self._level))  # type: ignore[no-any-return]

    def _stability(self, share: NDArray[np.float32], base: _Base, effective: float) -> Floats:
        """The p-value of each column, 1 where its index is stable, (F,)."""
        now = share.reshape(len(share), _COARSE, -1).sum(axis=2) + 1e-3
        then = base.coarse + 1e-3
        index = ((now - then) * np.log(now / then)).sum(axis=1)
        squared = effective * ((now - then) ** 2 / (0.5 * (now + then))).sum(axis=1)
        p = chdtrc(np.maximum(1, (then > 2e-3).sum(axis=1) - 1), squared)
        return np.asarray(np.where(index >= _LEAST_PSI, p, 1.0))

    def _told(self, distances: Floats, effective: float) -> tuple[tuple[str, float], ...]:
        p = kolmogorov(np.sqrt(effective) * distances)
        order = np.argsort(p, kind="stable")
        passing = np.flatnonzero(p[order] <= 0.01 * np.arange(1, len(p) + 1) / max(1, len(p)))
        kept = order[: passing[-1] + 1] if len(passing) else order[:0]
        kept = kept[np.argsort(-distances[kept], kind="stable")][:_TOLD]
        return tuple((self._names[place], round(float(distances[place]), 4)) for place in kept)

    def _lasting(self, base: _Base, steps: int) -> int:
        """For how many rows, up to now, each step was closer to the recent rows than to the reference."""
        column = int(np.argmax(self._distances))
        by_step = self._counts[:, column] / STEP
        latest = by_step[-steps:].mean(axis=0)
        toward = np.abs(by_step - base.share[column]).sum(axis=1) - np.abs(by_step - latest).sum(axis=1)
        away = np.flatnonzero(toward < 0)
        last = int(away[-1]) + 1 if len(away) else 0
        return STEP * max(1, len(by_step) - last)


class _Base:
    """Values computed once from a reference (R, F)."""

    def __init__(
        self,
        reference: NDArray[np.float32],
        apart: NDArray[np.bool_],
        categorical: NDArray[np.bool_],
        random: np.random.Generator,
    ) -> None:
        self._categorical, self._apart = categorical, apart
        columns = reference.shape[1]
        sound = np.where(np.isfinite(reference), reference, np.nan).astype(np.float64)
        sound[:, np.isnan(sound).all(axis=0)] = 0.0
        low, high = np.nanquantile(sound, [0.005, 0.995], axis=0)
        span = np.where(high > low, high - low, np.maximum(1e-6, np.abs(low) * 1e-6))
        with np.errstate(over="ignore"):  # values may be as large as float32 holds
            self._low, self._per = (low - span * 0.01).astype(np.float32), (_GRID / (1.02 * span)).astype(np.float32)
        self._offsets = np.arange(columns, dtype=np.int64) * _GRID
        cells = self._cells(reference)
        held = np.bincount((cells + self._offsets).ravel(), minlength=columns * _GRID).reshape(columns, _GRID)
        level = (held.cumsum(axis=1) - 0.5 * held) / len(reference)
        codes = np.minimum(level * (_BINS - 1), _BINS - 2).astype(np.int64)  # the last bin: missing values
        self._codes = (codes + np.arange(columns)[:, None] * _BINS).ravel()
        self._firsts = np.arange(columns, dtype=np.int64) * _BINS
        bins = self.binned(reference)
        self.share = self.counts(bins) / np.float32(len(reference))
        self.coarse = self.share.reshape(columns, _COARSE, -1).sum(axis=2)
        self._embed(bins, random)

    def binned(self, rows: NDArray[np.float32]) -> NDArray[np.int64]:
        """The bin of each value of rows (N, F), numbered over all columns."""
        bins = self._codes[self._cells(rows) + self._offsets]
        if self._categorical.any():
            named = np.nan_to_num(rows[:, self._categorical]).clip(-(2.0**62), 2.0**62).astype(np.int64)
            bins[:, self._categorical] = (named * 2654435761 >> 7) % (_BINS - 1) + self._firsts[self._categorical]
        missing = ~np.isfinite(rows)
        return np.where(missing, self._firsts + _BINS - 1, bins) if missing.any() else bins

    def counts(self, bins: NDArray[np.int64]) -> NDArray[np.float32]:
        """Number of rows per column and bin, (F, 32)."""
        size = len(self._firsts) * _BINS
        return np.bincount(bins.ravel(), minlength=size).reshape(-1, _BINS).astype(np.float32)

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
        self._ranks = np.tile(np.arange(_BINS, dtype=np.float32) / (_BINS / 2) - 1.0, columns)
        ranks = self._ranks[bins].astype(np.float64)
        spread = ranks.std(axis=0)
        moves = ~self._apart & (spread > 0)
        scale = np.where(moves, 1.0 / np.where(moves, spread, 1.0), 0.0)
        some = (ranks * scale)[:: max(1, len(ranks) // 200)]
        squares = (some**2).sum(axis=1)
        apart = np.sqrt(np.maximum(0.0, squares[:, None] + squares[None] - 2.0 * some @ some.T))
        width = float(np.median(apart[np.triu_indices(len(some), 1)])) if len(some) > 1 else 1.0
        draws = random.normal(size=(columns, _FOURIER))
        self._weights = (draws * scale[:, None] / max(width, 1e-12)).astype(np.float32)
        self._phases = random.uniform(0.0, 2.0 * np.pi, _FOURIER).astype(np.float32)
        embedded = self._embedded(bins).astype(np.float64)
        self.mean = embedded.mean(axis=0)
        spectrum = np.linalg.eigvalsh(np.cov(embedded.T)).clip(0.0)
        total, squared = float(spectrum.sum()), float((spectrum**2).sum())
        # a weighted sum of chi-squares, by its first two moments (Satterthwaite)
        self.scale = squared / total if total > 1e-12 else 1.0
        self.degrees = total**2 / squared if total > 1e-12 and moves.any() else 0.0
