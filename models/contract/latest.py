"""The predictor that a wrapper of a learner made last, held no longer than it must be."""

from __future__ import annotations

from typing import Generic, TypeVar
from weakref import ref

P = TypeVar("P")


class LatestPredictor(Generic[P]):
    """Holds a predictor until the learner learns; after that only as long as somebody else holds it.

    A learner may lend what it has learned to its predictor. Whoever holds that predictor while the learner goes on
    makes it copy all of it, for each micro-batch.
    """

    def __init__(self) -> None:
        self._held: P | None = None
        self._known: ref[P] | None = None

    def get(self) -> P | None:
        """The predictor, if somebody holds it."""
        if self._held is not None:
            return self._held
        return None if self._known is None else self._known()

    def set(self, predictor: P) -> P:
        """Hold another one; returns it."""
        self._held, self._known = predictor, ref(predictor)
        return predictor

    def let_go(self) -> None:
        """Hold it no longer: the learner learns next."""
        self._held = None

    def clear(self) -> None:
        """Know none: what it was made of has changed."""
        self._held = self._known = None
