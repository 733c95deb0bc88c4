"""How much the predictions suffer from inputs that moved: the severity of an input alarm."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

_RECENT = 2048  # graded events: a movement may have begun 1,024 events before it is found
_LEAST = 32  # graded events on either side of the change
_HARMLESS = 0.25  # share of the distance that counts where the loss does not rise


class Harm:
    """Compares the loss before and after a movement, over at most 2,048 graded events."""

    def __init__(self) -> None:
        self._loss: NDArray[np.float64] = np.zeros(0)
        self._at: NDArray[np.int64] = np.zeros(0, dtype=np.int64)

    def extend(self, loss: NDArray[np.float64], at: NDArray[np.int64]) -> None:
        """Losses (N,) of graded events with these numbers (N,)."""
        self._loss, self._at = np.concatenate([self._loss, loss]), np.concatenate([self._at, at])

    def trim(self) -> None:
        """Keep the newest."""
        self._loss, self._at = self._loss[-_RECENT:], self._at[-_RECENT:]

    def severity(self, distance: float, since: int, event: int, bounded: bool) -> float:
        """Within [0, 1]: the rise of the loss, but at least a quarter of the distance; the distance without labels.

        Args:
            distance: Of the inputs that moved, within [0, 1].
            since: The first event after the change.
            event: The event at which it was detected.
            bounded: Whether losses lie within [0, 1]; the rise of others is measured in usual deviations.
        """
        end = int(np.searchsorted(self._at, event, side="right"))
        cut = int(np.searchsorted(self._at, since, side="left"))
        before, after = self._loss[max(0, end - _RECENT) : cut], self._loss[cut:end]
        if len(before) < _LEAST or len(after) < _LEAST:
            return distance
        rise = float(after.mean() - before.mean())
        if not bounded:
            rise = float(np.tanh(rise / max(1e-12, 2.0 * float(before.std()))))
        return max(min(rise, 1.0), _HARMLESS * distance)

    def tensors(self) -> dict[str, NDArray[Any]]:
        """For a snapshot."""
        return {"loss": self._loss, "at": self._at}

    def restore(self, tensors: Mapping[str, NDArray[Any]]) -> None:
        """Become the one whose `tensors()` these are."""
        self._loss, self._at = tensors["loss"].copy(), tensors["at"].copy()
