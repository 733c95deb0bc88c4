"""The seasons of watched columns: of a number its mean, of a code the share of each bin."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from thalweg.stream.drift.seasons.seasons import Prepared, Seasons

Floats = NDArray[np.float32]

_MOST_CODES = 16
"""Columns of codes that have seasons, the first ones: each takes as much memory as 32 numbers."""
_USUAL_SHARE = 0.1


class Rest(NamedTuple):
    """What seasons leave of rows (N, F)."""

    rows: Floats
    """(N, F), numbers less what is explained; codes as they are."""
    shares: Floats | None
    """(K, bins), the mean of what is explained of the share of each bin of K columns of codes; None: nothing."""


class SeasonalColumns:
    """Learns the seasons of columns, and takes them out.

    Args:
        categorical: Which columns are codes, (F,).
        bins: Of a code.
    """

    def __init__(self, categorical: NDArray[np.bool_], bins: int) -> None:
        self._bins, self._categorical = bins, categorical
        self._numbers = np.flatnonzero(~categorical)
        self.codes: NDArray[np.intp] = np.flatnonzero(categorical)[:_MOST_CODES]
        """The columns of codes that have seasons, (K,)."""
        self._all_numbers = len(self._numbers) == len(categorical)
        self._seasons = Seasons(len(self._numbers) + bins * len(self.codes))

    @property
    def adopted(self) -> bool:
        """Whether any season explains anything."""
        return self._seasons.adopted

    def rest(self, times: NDArray[np.float64], rows: Floats) -> Rest:
        """Rows (N, F) at times (N,) without what seasons explain."""
        explained = self._seasons.explained(times)
        if explained is None:
            return Rest(rows, None)
        count = len(self._numbers)
        with np.errstate(over="ignore", invalid="ignore"):
            if self._all_numbers:
                return Rest(rows - explained, None)
            found = rows.copy()
            found[:, self._numbers] -= explained[:, :count]
        shares = explained[:, count:].mean(axis=0).reshape(-1, self._bins) if len(self.codes) else None
        return Rest(found, shares)

    def learn(self, times: NDArray[np.float64], rows: Floats, codes: NDArray[np.int64]) -> bool:
        """Learn from rows (N, F), N at most 64, and the bins of their codes (N, K).

        Returns whether a period has ended.
        """
        return self._seasons.learn(times, self._values(rows, codes))

    def prepare(self, times: NDArray[np.float64], rows: Floats, codes: NDArray[np.int64]) -> Prepared | None:
        """Several steps at once, for `learn_prepared`; None where they must be learned one by one.

        Args:
            times: (S, N).
            rows: Of one row in `EVERY`, (S · N / EVERY, F).
            codes: The bins of their codes, (S · N / EVERY, K).
        """
        return self._seasons.prepare(times, self._values(rows, codes))

    def learn_prepared(self, steps: Prepared, number: int) -> bool:
        """As `learn`, of one of the steps."""
        return self._seasons.learn_prepared(steps, number)

    def center(self, rows: Floats, codes: NDArray[np.int64]) -> None:
        """These rows (N, F), with the bins of their codes (N, K), are a new level."""
        self._seasons.center(self._values(rows, codes))

    def level_changed(self) -> None:
        """The rows from now on have another level."""
        self._seasons.break_passages()

    def adopt(self, usual: Floats) -> NDArray[np.bool_] | None:
        """Take out what was learned from now on, where that makes a difference.

        Args:
            usual: Deviation of each column (F,); of codes it is not read.

        Returns:
            None if nothing has changed; else the columns (F,) that a period explains which explained nothing before.
        """
        shares = np.full(self._bins * len(self.codes), _USUAL_SHARE, dtype=np.float32)
        fresh = self._seasons.adopt(np.concatenate([usual[self._numbers], shares]))
        if fresh is None:
            return None
        found = np.zeros(len(self._categorical), dtype=np.bool_)
        found[self._numbers] = fresh[: len(self._numbers)]
        found[self.codes] = fresh[len(self._numbers) :].reshape(-1, self._bins).any(axis=1)
        return found

    def rows(self) -> NDArray[np.int64]:
        """Rows of one passage of the longest period that is taken out of each column, (F,); 0 where none is."""
        held = self._seasons.rows().astype(np.int64)
        found = np.zeros(len(self._categorical), dtype=np.int64)
        found[self._numbers] = held[: len(self._numbers)]
        found[self.codes] = held[len(self._numbers) :].reshape(-1, self._bins).max(axis=1, initial=0)
        return found

    def tensors(self) -> dict[str, NDArray[Any]]:
        """For a snapshot; nothing where there were no times."""
        return self._seasons.tensors()

    def restore(self, tensors: Mapping[str, NDArray[Any]]) -> None:
        """Become the one whose `tensors()` these are."""
        self._seasons.restore(tensors)

    def _values(self, rows: Floats, codes: NDArray[np.int64]) -> Floats:
        numbers = rows if self._all_numbers else rows[:, self._numbers]
        if not len(self.codes):
            return numbers
        held = np.zeros((len(rows), len(self.codes), self._bins), dtype=np.float32)
        np.put_along_axis(held, codes[:, :, None], np.float32(1.0), axis=2)
        return np.concatenate([numbers, held.reshape(len(rows), -1)], axis=1)
