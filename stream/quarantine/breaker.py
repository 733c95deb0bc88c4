"""The circuit breaker of a model: stops it when too much of its stream cannot be learned or decoded."""

from __future__ import annotations

from collections import deque

from thalweg.stream.learn.outcome import Outcome
from thalweg.stream.learn.settings import LearnSettings

_LEAST_RECORDS = 1000


class Breaker:
    """Counts what passed and what did not. It is not part of the state: a restart begins with empty windows."""

    def __init__(self, settings: LearnSettings) -> None:
        least = settings.quarantine_least_events
        self.learning = Window(settings.quarantine_share, settings.quarantine_window_events, least_bad=least)
        """Events that were learned, and those that could not be."""
        self.decoding = Window(settings.undecodable_share, _LEAST_RECORDS, least_count=_LEAST_RECORDS)
        """Records that were decoded, and those that could not be."""

    def undecodable(self, outcome: Outcome) -> tuple[str, str] | None:
        """Note the records of a block; what is wrong and its commonest reason if too many cannot be decoded."""
        window = self.decoding
        window.note(outcome.events + outcome.duplicates, sum(outcome.rejected.values()))
        if not outcome.rejected or not window.tripped:
            return None
        commonest = max(outcome.rejected, key=lambda reason: outcome.rejected[reason])
        return window.told("records could not be decoded"), f"most of them {commonest}"

    def reset(self) -> None:
        """Begin with empty windows."""
        self.learning.reset()
        self.decoding.reset()


class Window:
    """The share of bad items among at least the newest `size`, counted by blocks.

    Args:
        share: Above this share of bad items it trips; 1: never.
        size: How many items it covers.
        least_bad: It does not trip with fewer bad items.
        least_count: It does not trip with fewer items.
    """

    def __init__(self, share: float, size: int, least_bad: int = 1, least_count: int = 1) -> None:
        self._share, self._size, self._least_bad, self._least_count = share, size, least_bad, least_count
        self._blocks: deque[tuple[int, int]] = deque()
        self.count = self.bad = 0

    def note(self, good: int, bad: int) -> None:
        """A block had so many good and bad items."""
        if good + bad == 0:
            return
        self._blocks.append((good + bad, bad))
        self.count += good + bad
        self.bad += bad
        while self.count - self._blocks[0][0] >= self._size:
            count, gone = self._blocks.popleft()
            self.count -= count
            self.bad -= gone

    @property
    def tripped(self) -> bool:
        """Whether too many of the newest items are bad."""
        return self._over(self.count, self.bad)

    def ahead(self, good: int, bad: int) -> Window:
        """As it would be after another block with so many good and bad items."""
        ahead = Window(self._share, self._size, self._least_bad, self._least_count)
        for count, failed in self._blocks:
            ahead.note(count - failed, failed)
        ahead.note(good, bad)
        return ahead

    def told(self, what: str, untried: int = 0) -> str:
        """What it has counted, as in `105 of the newest 1,840 events could not be learned, more than 10 %`.

        Args:
            what: What happened to the bad items.
            untried: How many of those that it counts as good were not tried.
        """
        text = f"{self.bad:,} of the newest {self.count:,} {what}"
        if self.tripped and self._share > 0:
            text += f", more than {100 * self._share:g} %"
        return text + (f" ({untried:,} more were not tried)" if untried else "")

    def room(self, items: int) -> int:
        """How many bad ones among so many further items would not trip it, about."""
        if self._share >= 1:
            return items
        most = max(self._least_bad - 1, int(self._share * (self.count + items)))
        return max(0, most - self.bad)

    def reset(self) -> None:
        """Begin with an empty window."""
        self._blocks.clear()
        self.count = self.bad = 0

    def _over(self, count: int, bad: int) -> bool:
        return count >= self._least_count and bad >= self._least_bad and bad > self._share * count
