"""A new owner that knows less than the one before: its versions are held back until they catch up."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from thalweg.memory.relay.announced import Announced, Order

log = structlog.get_logger(__name__)

HOLD_SECONDS = 60.0
"""A new owner begins with the state that was saved last, and learns again what came since: the version that callers
have seen stays until it is passed, but no longer than this, as the state may have been put back on purpose."""


class Behind:
    """Tells whether a version is to be held back.

    Args:
        model: Its name.
        ticks: Monotonic seconds.
    """

    def __init__(self, model: str, ticks: Callable[[], float]) -> None:
        self._model, self._ticks = model, ticks
        self._owner: int | None = None  # generation of the owner whose versions are held back
        self._since = 0.0
        self._version = 0

    def holds(self, here: Order | None, version: int, announced: Announced) -> bool:
        """Whether a version is of another owner than the one here, and older than that, and may still catch up.

        Owners are told by the generation of the state, which only a store of states has. Without one a learner has its
        state on its own disk, and is not behind; one that begins anew is followed at once.

        Args:
            here: The order of the version here; None: there is none.
            version: Its number.
            announced: What may follow it.
        """
        owner = announced.order.generation
        if here is None or here.generation == owner or announced.version >= version:
            self._owner = None
            return False
        if self._owner != owner:
            self._owner, self._since = owner, self._ticks()
        self._version = announced.version
        if self._ticks() - self._since < HOLD_SECONDS:
            return True
        self._owner = None
        log.warning(
            "a new owner has not learned again what the one before it knew: its version is served",
            model=self._model,
            version=announced.version,
            before=version,
        )
        return False

    def reason(self, after_seconds: float) -> str:
        """Why an older version is served; empty if none is held back, or not yet for so long."""
        if self._owner is None or self._ticks() - self._since <= after_seconds:
            return ""
        return f"its new owner, at version {self._version}, still learns again what came since"
