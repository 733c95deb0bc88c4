"""Times of many records that come as numbers of a known unit, and are RFC 3339 to whoever asks for texts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thalweg.proto.bounds.limits import MAX_SECONDS

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Moments(Sequence[Any]):
    """N times, as texts; None where one is missing.

    Args:
        micros: Microseconds since 1970, (N,), each within the bounds of times.
        missing: Which of them are missing, (N,).
    """

    def __init__(self, micros: NDArray[np.int64], missing: NDArray[np.bool_]) -> None:
        self.micros, self.missing = micros, missing
        self._texts: list[str | None] | None = None

    def seconds(self) -> NDArray[np.float64]:
        """Unix seconds, (N,), NaN where one is missing: the same as from the texts."""
        found = self.micros / 1e6
        found[self.missing] = np.nan
        return np.asarray(found)

    def __len__(self) -> int:
        return len(self.micros)

    def __iter__(self) -> Iterator[str | None]:
        return iter(self._as_texts())

    def __contains__(self, value: object) -> bool:
        return bool(self.missing.any()) if value is None else value in self._as_texts()

    def __getitem__(self, place: Any) -> Any:
        return self._as_texts()[place]

    def _as_texts(self) -> list[str | None]:
        if self._texts is None:
            self._texts = [
                None if gone else (_EPOCH + timedelta(microseconds=micros)).isoformat()
                for micros, gone in zip(self.micros.tolist(), self.missing.tolist())
            ]
        return self._texts


def in_bounds(micros: NDArray[np.int64]) -> bool:
    """Whether all are times that need no closer look: within the bounds of seconds, either way."""
    return bool(np.abs(micros).max(initial=0) < MAX_SECONDS * 1e6) and bool(micros.min(initial=0) > -(2**62))
