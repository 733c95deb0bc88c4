"""Whether most of what a model is given lately is dropped as duplicates: nothing is learned then, and no figure falls.

So it is where a file is appended a second time, where a log that was begun anew gets the same events again, and where
`id` names something that many events share.
"""

from __future__ import annotations

from collections import deque

from thalweg.stream.health.skips import LEAST_EVENTS, MOST_OF, WINDOW_EVENTS


class RecentRepeats:
    """How many of the newest events were dropped as duplicates, counted by blocks."""

    def __init__(self) -> None:
        self._blocks: deque[tuple[int, int]] = deque()
        self._given = self._dropped = 0
        self._example = ""

    def note(self, events: int, duplicates: int, example: str) -> None:
        """A block had so many new events and duplicates; `example`: the newest of the latter."""
        if events + duplicates == 0:
            return
        self._example = example or self._example
        self._blocks.append((events + duplicates, duplicates))
        self._given += events + duplicates
        self._dropped += duplicates
        while self._given - self._blocks[0][0] >= WINDOW_EVENTS:
            given, dropped = self._blocks.popleft()
            self._given -= given
            self._dropped -= dropped

    def told(self) -> str:
        """What is to be told of it; empty if nothing is."""
        if self._given < LEAST_EVENTS or self._dropped < MOST_OF * self._given:
            return ""
        share = f"{100 * self._dropped / self._given:.0f} % of the newest {self._given:,} events"
        return (
            f"it drops {share} as duplicates, by ids that came before; the newest has {self._example}: they were "
            "appended again, or `id` of [model.fields] names what several events share"
        )
