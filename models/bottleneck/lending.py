"""Values lent to the answers that were made of them, and copied only if these are still there when they change.

A copy of the values of a thousand classes takes a hundred times as long as learning an event, and mostly nobody keeps
an answer's votes beyond the micro-batch that they were made for.
"""

from __future__ import annotations

from typing import TypeVar
from weakref import ref

Votes = TypeVar("Votes")


class Lending:
    """Whether somebody still reads the arrays of the values."""

    def __init__(self) -> None:
        self._borrower: ref[object] | None = None

    def to(self, votes: Votes) -> Votes:
        """Remember the latest votes, which read the arrays as they are now; returns them."""
        self._borrower = ref(votes)
        return votes

    def take_back(self) -> bool:
        """Before a change: whether the arrays must be left to who borrowed them, and copies be changed."""
        borrower, self._borrower = self._borrower, None
        return borrower is not None and borrower() is not None
