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
        self._borrowers: list[ref[object]] = []  # not a set: votes need not be hashable

    def to(self, votes: Votes) -> Votes:
        """Remember votes, which read the arrays as they are now, beside those that were made of them before; returns
        them.
        """
        self._borrowers = [one for one in self._borrowers if one() is not None]
        self._borrowers.append(ref(votes))
        return votes

    def take_back(self) -> bool:
        """Before a change: whether the arrays must be left to who borrowed them, and copies be changed."""
        borrowers, self._borrowers = self._borrowers, []
        return any(one() is not None for one in borrowers)
