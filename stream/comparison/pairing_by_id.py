"""What a challenger lost on events with late labels: found by id, because each model has a joined topic of its own.

Both joiners read the same labels, so both topics have the same events in about the same order. An event is paired if
the challenger has it among those up to a hundred after the furthest one that was paired; whatever is read ahead of
that does not count yet, so that the pairs do not depend on when somebody looks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from thalweg.stream.comparison.block_losses import BY_ID, BlockLosses

WINDOW = 100
"""By how many events the order of two joined topics may differ."""
RESYNC = 1000
"""After so many events in a row that the challenger does not have, its place is looked for anew."""
_MOST = 1 << 20
_KEPT = 4 * WINDOW


class PairsById:
    """A challenger's losses by the hash of the event's id. Not thread-safe."""

    def __init__(self) -> None:
        self._losses: dict[int, tuple[int, float]] = {}
        self._spans: deque[tuple[int, dict[str, int]]] = deque()  # by block, its last number, and its last offsets
        self.end = 0
        """One more than the number of the last event that was read."""

    def add(self, block: BlockLosses) -> None:
        """The losses of the challenger's next block."""
        rows = np.flatnonzero(block.keys >= 0)
        for number, row in enumerate(rows.tolist(), block.first):
            if len(self._losses) < _MOST:
                self._losses[int(block.keys[row])] = number, float(block.losses[row])
        if len(rows):
            self.end = block.first + len(rows)
        if spans := {place: last for place, (_, last) in block.spans.items() if place.startswith(BY_ID)}:
            self._spans.append((block.first + len(rows) - 1, spans))

    def number_of(self, keys: Sequence[int]) -> int:
        """The number of the first of these events that it has; without one, that of the last event that was read."""
        return next((self._losses[key][0] for key in keys if key in self._losses), self.end - 1)

    def behind(self, keys: Sequence[int], reached: int) -> bool:
        """Whether it must be read further before these events can be paired."""
        return self._pairs(keys, reached, None)[1]

    def losses_of(self, keys: Sequence[int], reached: int) -> tuple[NDArray[np.float64], int]:
        """The challenger's losses of these events (N,), and how far they reach then.

        Returns:
            Infinite for a worst loss; NaN for events that the challenger does not have.
        """
        found = np.full(len(keys), np.nan)
        return found, self._pairs(keys, reached, found)[0]

    def done(self, reached: int) -> dict[str, int]:
        """The last offset by place of blocks that no further event is looked for in."""
        found: dict[str, int] = {}
        while self._spans and self._spans[0][0] <= reached - WINDOW:
            found |= self._spans.popleft()[1]
        return found

    def drop(self, reached: int) -> None:
        """Forget events that are long paired."""
        if len(self._losses) > 2 * _KEPT + (self.end - reached):
            self._losses = {key: one for key, one in self._losses.items() if one[0] >= reached - _KEPT}

    def _pairs(self, keys: Sequence[int], reached: int, found: NDArray[np.float64] | None) -> tuple[int, bool]:
        for row, key in enumerate(keys):
            number, loss = self._losses.get(key, (None, 0.0))
            if number is not None and number <= reached + WINDOW:
                reached = max(reached, number)
                if found is not None:
                    found[row] = np.inf if np.isnan(loss) else loss
            elif self.end <= reached + WINDOW:
                return reached, True
        return reached, False
