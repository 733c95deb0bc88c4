"""A new owner that knows less than the one before: its versions are held back until they catch up."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from thalweg.memory.relay.announced import Announced, Order

log = structlog.get_logger(__name__)

HOLD_SECONDS = 60.0
"""A new owner begins with the state that was saved last, and learns again what came since: the version that callers
have seen stays until it is passed, but no longer than this, as the state may have been put back on purpose. Of several
owners in turn, from the first one on: one that ends again and again keeps nothing from being served."""
_AGAIN_SECONDS = 10.0


class Behind:
    """Tells whether a version is to be held back.

    Args:
        model: Its name.
        ticks: Monotonic seconds.
    """

    def __init__(self, model: str, ticks: Callable[[], float]) -> None:
        self._model, self._ticks = model, ticks
        self._held: Order | None = None  # of the newest announcement that is held back
        self._since = self._heard = self._asked = 0.0
        self._version = 0

    @property
    def seen(self) -> Order | None:
        """The order of the announcement that is held back: only one after it is news. None: there is none, or it is
        time to look at it again, as a store that was emptied may have an older one by now.
        """
        return self._held if self._ticks() - self._asked < _AGAIN_SECONDS else None

    @property
    def heard_at(self) -> float | None:
        """When the announcement that is held back came, monotonic seconds; None: there is none."""
        return None if self._held is None else self._heard

    def holds(self, here: Order | None, version: int, announced: Announced) -> bool:
        """Whether a version is of another owner than the one here, and older than that, and may still catch up.

        Owners are told by the generation of the state, which only a store of states has. Without one a learner has its
        state on its own disk, and is not behind; one that begins anew is followed at once. An announcement that was
        held back is never taken later: its owner announces its version again for as long as it lives.

        Args:
            here: The order of the version here; None: there is none.
            version: Its number.
            announced: What may follow it.
        """
        if here is None or here.generation == announced.order.generation or announced.version >= version:
            self._held = None
            return False
        now = self._asked = self._ticks()
        if announced.order == self._held:
            return True
        if self._held is None or now - self._heard > HOLD_SECONDS:
            self._since = now
        self._held, self._heard, self._version = announced.order, now, announced.version
        if now - self._since < HOLD_SECONDS:
            return True
        self._held = None
        log.warning(
            "a new owner has not learned again what the one before it knew: its version is served",
            model=self._model,
            version=announced.version,
            before=version,
        )
        return False

    def reason(self, after_seconds: float) -> str:
        """Why an older version is served; empty if none is held back, or not yet for so long."""
        if self._held is None or self._ticks() - self._since <= after_seconds:
            return ""
        return f"its new owner, at version {self._version}, still learns again what came since"
