"""Which columns have been calm: what moves all the time is news once, not for ever.

After the first news a column is news again only if it was tested and found calm for a number of rows before. The number
grows fourfold with each news, so that a stream that moves for ever is told of ever less often, and stays when the
stream as a whole was calm for four times as long. A column that never moved before must have been calm, too, and after
the predictions became worse all columns must be calm again. What moves as soon as there is a new reference has been
moving while that was gathered, and is no news either. All columns together, as the maximum mean discrepancy compares
them, count as one more column.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

_MOST_NEWS = 4
_GROWTH = 4
_OF_REFERENCE = 4  # a quarter of the rows must have been tested against the present reference
_CALM_AGAIN = 4  # times the rows: the stream's restless time is over


class Calm:
    """For how many tested rows each column has been calm.

    Args:
        columns: Number of columns, F; all together are one more.
        rows: How long a column must have been calm after the first news.
    """

    def __init__(self, columns: int, rows: int) -> None:
        self._rows = rows
        self._calm: NDArray[np.int64] = np.zeros(columns + 1, dtype=np.int64)
        self._moved: NDArray[np.bool_] = np.zeros(columns + 1, dtype=np.bool_)  # and no news since
        self._news = 0
        self._tested = 0  # rows against the present reference
        self._least = np.zeros_like(self._calm)
        self._known: tuple[int, NDArray[np.int64]] | None = None  # what `_needed` gives after so many news
        self.apart: NDArray[np.bool_] = np.zeros(columns, dtype=np.bool_)
        """(F,), the columns that all columns together are compared without."""
        self.news: NDArray[np.bool_] = np.ones(columns + 1, dtype=np.bool_)
        """(F + 1,), the columns whose movement is news; the last: all together."""

    def tested(self, moving: NDArray[np.bool_] | None, rows: int) -> None:
        """Columns (F + 1,), or none, were found moving, the others calm for so many more rows."""
        self._calm += rows
        self._tested += rows
        if moving is not None:
            self._calm[moving] = 0
            self._moved |= moving
        if self._news:
            self._judge()

    def told(self, moved: NDArray[np.bool_]) -> None:
        """A movement was news: these columns (F + 1,) moved."""
        calm_before = bool(self._news) and bool((self._calm >= _CALM_AGAIN * self._needed()).all())
        self._news = min(self._news + (not calm_before), _MOST_NEWS)
        self._calm[moved] = 0
        self._moved |= moved
        self._judge()

    def disturbed(self) -> None:
        """The predictions became worse: what moves soon after is part of that change."""
        self._calm[:] = 0
        self._judge()

    def explained(self, columns: NDArray[np.bool_], passages: NDArray[np.int64]) -> None:
        """A season is taken out of these columns (F,) now: what moved was that season.

        `passages`: rows (F,) of a passage of the longest season of each column, for which it must be calm at least.
        """
        self.require(passages)
        self._moved[:-1] &= ~columns
        if not self._moved[:-1].any():
            self._news, self._moved[-1] = 0, False
        else:
            self._calm[:-1][columns] = self._needed()[:-1][columns]
        self.apart = self.apart & ~columns
        self._judge()

    def require(self, passages: NDArray[np.int64]) -> None:
        """Rows (F,) for which each column must be calm at least: a season that changed is calm at some times of it."""
        self._least, self._known = np.append(passages, passages.max(initial=0)), None
        self._judge()

    def begin_reference(self) -> None:
        """A new reference begins: all together are compared without the columns that keep moving."""
        self.apart = self._moved[:-1] & ~self._calm_enough()[:-1]
        self._tested = 0
        self._judge()

    def tensors(self) -> dict[str, NDArray[Any]]:
        """For a snapshot."""
        return {
            "calm": self._calm,
            "moved": self._moved.astype(np.uint8),
            "apart": self.apart.astype(np.uint8),
            "news": np.array([self._news, self._tested]),
        }

    def restore(self, tensors: Mapping[str, NDArray[Any]]) -> None:
        """Become the one whose `tensors()` these are."""
        self._calm = tensors["calm"].copy()
        self._moved, self.apart = tensors["moved"].astype(np.bool_), tensors["apart"].astype(np.bool_)
        self._news, self._tested = (int(number) for number in tensors["news"])
        self._judge()

    def _judge(self) -> None:
        enough = self._calm_enough()
        self._moved &= ~enough
        known = not self._news or self._tested >= self._rows // _OF_REFERENCE
        self.news = enough if known else np.zeros_like(enough)

    def _calm_enough(self) -> NDArray[np.bool_]:
        return np.asarray(self._calm >= self._needed())

    def _needed(self) -> NDArray[np.int64]:
        if self._known is None or self._known[0] != self._news:  # asked for at every step, changed by few
            most = np.maximum(self._rows * _GROWTH ** (self._news - 1), self._least) if self._news else 0 * self._calm
            self._known = self._news, np.asarray(most)
        return self._known[1]
