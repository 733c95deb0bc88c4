"""Running mean and standard deviation per input, applied in steps that depend only on the number of events.

Moments are exact after every event (Chan, Golub and LeVeque 1979, pairwise merging), but the scale in use changes
only after 1, 2, 3, 4, 6, 8, 11 … events, each time by a quarter more. So the scaling of an event does not depend on
how the log is cut into batches, scaling costs two passes over the batch, and sums from an older scale stay nearly
right.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from thalweg.proto.schema import Array

Floats = NDArray[np.float64]
REACH = 60.0
"""Values further from the mean than this many standard deviations are clipped to that distance."""
_MANY = 4096
"""Numbers that are read before they are clipped."""
_MANY_ROWS = 8
"""Rows that are converted before they are shifted."""
_FEW = 16
"""So few are read in Python: in less time than a call of NumPy takes."""


def scaled(rows: Array, shift: Floats, factor: Floats, clip: float, out: Floats | None = None) -> Floats:
    """(rows - shift) * factor, clipped to ± clip, (N, F) float64; written to `out` if given."""
    if rows.dtype == np.float64 or len(rows) < _MANY_ROWS:
        z: Floats = np.subtract(rows, shift, out=out)
    else:  # converted first: the same numbers in half the time
        z = np.empty(rows.shape) if out is None else out
        np.copyto(z, rows)
        z -= shift
    z *= factor
    return limited(z, clip)


def limited(z: Floats, clip: float) -> Floats:
    """z, clipped to ± clip in place: two calls, and still less than one of `clip` for a few numbers."""
    if (z.size > _MANY or z.size <= _FEW) and within(z, clip):  # the usual case, and reading is twice as fast
        return z
    np.maximum(z, -clip, out=z)
    return np.minimum(z, clip, out=z)


def within(z: Floats, clip: float) -> bool:
    """Whether clipping to ± clip would change no number of z."""
    if 0 < z.size <= _FEW:
        values = z.ravel().tolist()
        return bool(max(values) <= clip and min(values) >= -clip)
    return bool(z.size and z.max() <= clip and z.min() >= -clip)


class Standardiser:
    """Centres and scales (N, F) inputs; deterministic, and independent of batch boundaries up to rounding."""

    def __init__(self, width: int) -> None:
        self.events = 0
        self.next_step = 1
        """The scale in use changes after this many events."""
        self.shift: Floats = np.zeros(width)  # (F,), in use
        self.factor: Floats = np.ones(width)  # (F,), in use
        self._mean: Floats = np.zeros(width)  # (F,), exact
        self._m2: Floats = np.zeros(width)  # (F,), sum of squared deviations from the mean, exact

    def stretches(self, events: int) -> Iterator[slice]:
        """Consecutive parts of the next `events` events, each with a constant scale: `take` one before the next."""
        start = 0
        while start < events:
            end = min(events, start + max(1, self.next_step - self.events))
            yield slice(start, end)
            start = end

    def take(self, rows: Array, clip: float) -> tuple[Floats, bool]:
        """Scale (n, F) events by the scale in use, then add them to the moments; n at most up to the next step.

        One extreme value must not distort the scale for good, and a real change of scale must be followed: values
        beyond REACH deviations are clipped before they are added. The very first event is its own centre.

        Returns:
            The scaled events, within ± clip, (n, F) float64, and whether the scale in use has changed after them.
        """
        if self.events == 0:
            self.shift = rows[0].astype(np.float64)
        z = scaled(rows, self.shift, self.factor, REACH)
        n = len(z)
        mean = np.ones(n) @ z / n
        m2 = np.einsum("nf,nf->f", z, z) - n * mean * mean  # numerically safe: z is small and nearly centred
        self._merge(n, self.shift + mean / self.factor, np.maximum(m2, 0.0) / (self.factor * self.factor))
        stepped = self.events >= self.next_step
        if stepped:
            self._step()
        return np.clip(z, -clip, clip, out=z), stepped

    def _merge(self, n: int, mean: Floats, m2: Floats) -> None:
        total = self.events + n
        delta = mean - self._mean
        if self.events == 0:
            self._mean, self._m2 = mean, m2
        else:
            self._mean = self._mean + delta * (n / total)
            self._m2 = self._m2 + m2 + delta * delta * (self.events * n / total)
        self.events = total

    def _step(self) -> None:
        self.next_step = max(self.events + 1, self.events + self.events // 4)
        self.shift = self._mean
        deviation = np.sqrt(self._m2 / self.events)
        size = np.abs(self._mean)
        flat = deviation <= 1e-12 * size  # constant so far, up to rounding
        self.factor = 1.0 / np.where(flat, np.where(size > 0, size, 1.0), deviation)

    def tensors(self) -> Mapping[str, Array]:
        """Tensors for `state()`; the two counters are saved separately."""
        return {"mean": self._mean, "m2": self._m2, "shift": self.shift, "factor": self.factor}

    def restore(self, tensors: Mapping[str, Array], events: int, next_step: int) -> None:
        """Restore from `tensors()` and the counters."""
        self.events, self.next_step = events, next_step
        self._mean, self._m2 = np.array(tensors["mean"]), np.array(tensors["m2"])
        self.shift, self.factor = np.array(tensors["shift"]), np.array(tensors["factor"])
