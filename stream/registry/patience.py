"""How long an id that the registry does not know is asked for again, before its records are judged."""

from __future__ import annotations

from collections.abc import Callable


class Patience:
    """Bounds the waiting: each spell by itself, and all of them together to a share of the time.

    A replica of a registry answers a moment late, and one that has just started may be empty for a moment; but a
    stream of stray bytes names one id after the other, and must not stand still for each.

    Args:
        clock: Monotonic seconds.
        seconds: The longest spell.
        spells: So many of the longest may follow each other at once.
        share: Of the time that passes, so much is given back for later spells.
    """

    def __init__(
        self, clock: Callable[[], float], seconds: float = 5.0, spells: float = 4.0, share: float = 0.05
    ) -> None:
        self.seconds = seconds
        self._clock, self._most, self._share = clock, seconds * spells, share
        self._left, self._counted = self._most, clock()
        self._began: float | None = None

    def lasts(self) -> bool:
        """Whether to go on waiting; begins a spell if none goes on, and is false once it is over."""
        now = self._clock()
        if self._began is None:
            self._left = min(self._most, self._left + self._share * (now - self._counted))
            self._began = self._counted = now
        return now - self._began < min(self.seconds, self._left)

    def end(self) -> None:
        """The spell that goes on, if any, is over: what it waited for is there, or is not waited for any more."""
        if self._began is not None:
            now = self._clock()
            self._left = max(0.0, self._left - (now - self._began))
            self._began, self._counted = None, now
