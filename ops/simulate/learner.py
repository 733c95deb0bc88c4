"""A learner for the simulation: any other one, but some events make it raise."""

from __future__ import annotations

from typing import Any, cast

import numpy as np

from thalweg.models.contract.learner import Learner
from thalweg.proto.event import Batch

POISON = 666.0
"""An event that has this as its first feature cannot be learned."""


class Poisoned(Exception):
    """The learner has met an event that it cannot learn."""


class Touchy:
    """Passes everything on to another learner, but raises when it is to learn poison."""

    def __init__(self, inner: Learner) -> None:
        self._inner = inner

    @classmethod
    def around(cls, inner: Learner) -> Learner:
        """A learner that is touchy."""
        return cast(Learner, cls(inner))

    def learn(self, batch: Batch) -> None:
        """As the other learner. Raises Poisoned."""
        if (np.asarray(batch.inputs["x"])[:, 0] == POISON).any():
            raise Poisoned("this event cannot be learned")
        self._inner.learn(batch)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)
