"""An estimator as a predictor holds it: the learner's own while nothing has been learned since, then its state.

A copy of a large estimator costs as much as learning thousands of events. So a predictor borrows the learner's
estimator; before the learner goes on, a predictor that somebody still holds is given the walked state instead, from
which the estimator is made again if it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar
from weakref import ref

from thalweg.memory.snapshots.state import State
from thalweg.models.adapters.allowed import Allowed
from thalweg.models.adapters.rebuild import rebuild
from thalweg.models.adapters.walk import walk


class Held:
    """An estimator that is not changed while it is held. Any number of threads may call `get`."""

    def __init__(self, allowed: Allowed, estimator: Any = None, state: State | None = None) -> None:
        """Of an estimator that somebody else may change after `let_go`, or of the state of one."""
        self._allowed, self._estimator, self._state = allowed, estimator, state

    def get(self) -> Any:
        """The estimator; only for predicting, unless that changes it."""
        estimator = self._estimator
        if estimator is None:
            assert self._state is not None
            estimator = self._estimator = rebuild(self._state, self._allowed)
        return estimator

    def copy(self) -> Any:
        """A new estimator that is equal."""
        return rebuild(self.state(), self._allowed)

    def state(self) -> State:
        """The walked estimator."""
        if self._state is None:
            self._state = walk(self._estimator, self._allowed)
        return self._state

    def let_go(self) -> None:
        """From now on, hold the state alone."""
        self.state()
        self._estimator = None


class _Holding(Protocol):
    @property
    def held(self) -> Held: ...


P = TypeVar("P", bound=_Holding)


class Lent(Generic[P]):
    """A learner's estimator, and the predictor that borrows it.

    Args:
        allowed: The packages of the estimator.
        estimator: The estimator.
    """

    def __init__(self, allowed: Allowed, estimator: Any) -> None:
        self.allowed = allowed
        self._estimator = estimator
        self._held = Held(allowed, estimator)
        self._predictor: ref[P] | None = None

    @property
    def estimator(self) -> Any:
        """The estimator, for predicting."""
        return self._estimator

    def to_change(self) -> Any:
        """The estimator, for learning: whoever still holds the predictor has the state from now on."""
        if self._predictor is not None:
            if self._predictor() is not None:
                self._held.let_go()
            self._predictor = None
        self._held = Held(self.allowed, self._estimator)
        return self._estimator

    def state(self) -> State:
        """The walked estimator; the same object until it changes."""
        return self._held.state()

    def restore(self, state: State) -> None:
        """Hold the estimator of a walked state. Raises ValueError, and then nothing was changed."""
        made = rebuild(state, self.allowed)
        self.to_change()
        self._estimator = made
        self._held = Held(self.allowed, made)

    def predictor(self, make: Callable[[Held], P]) -> P:
        """The predictor that borrows the estimator; the same as before if it is still in use and nothing changed."""
        known = self._predictor() if self._predictor is not None else None
        if known is None:
            known = make(self._held)
            self._predictor = ref(known)
        return known
