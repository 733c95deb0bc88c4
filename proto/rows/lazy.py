"""Values of many records that are kept as they came, and become Python's only for whoever asks for these."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thalweg.proto.schema import Array


class _Lazy(Sequence[Any]):
    """A sequence that is made when it is first asked for."""

    _made: list[Any] | None = None

    def _make(self) -> list[Any]:
        raise NotImplementedError

    def _values(self) -> list[Any]:
        if self._made is None:
            self._made = self._make()
        return self._made

    def __iter__(self) -> Iterator[Any]:
        return iter(self._values())

    def __getitem__(self, place: Any) -> Any:
        return self._values()[place]

    def __contains__(self, value: object) -> bool:
        return value in self._values()


class Numbers(_Lazy):
    """N numbers, None where one is missing.

    Args:
        array: Finite float64 (N,), NaN where one is missing.
    """

    def __init__(self, array: NDArray[np.float64]) -> None:
        self.array = array

    def __len__(self) -> int:
        return len(self.array)

    def __contains__(self, value: object) -> bool:
        return bool(np.isnan(self.array).any()) if value is None else super().__contains__(value)

    def _make(self) -> list[Any]:
        found = self.array.tolist()
        return [None if value != value else value for value in found] if np.isnan(self.array).any() else list(found)


class Texts(_Lazy):
    """N texts, None where one is missing.

    Args:
        pieces: Each in UTF-8.
        known: The text of each that there is.
    """

    def __init__(self, pieces: Sequence[bytes | None], known: Mapping[bytes, str]) -> None:
        self.pieces, self.known = pieces, known

    def __len__(self) -> int:
        return len(self.pieces)

    def __contains__(self, value: object) -> bool:
        return None in self.pieces if value is None else super().__contains__(value)

    def encoded(self) -> list[bytes]:
        """In UTF-8, empty where one is missing."""
        return [piece or b"" for piece in self.pieces]

    def _make(self) -> list[Any]:
        known = self.known
        return [None if piece is None else known[piece] for piece in self.pieces]


def spread(values: Sequence[Any], present: NDArray[np.bool_], absent: Any = None) -> Sequence[Any]:
    """The values of all rows, from those of the rows that are present, (N,)."""
    if isinstance(values, Numbers) and (absent is None or isinstance(absent, float)):
        numbers = np.full(len(present), np.nan if absent is None else absent)
        numbers[present] = values.array
        return Numbers(numbers)
    if isinstance(values, Texts) and (absent is None or isinstance(absent, str)):
        known = values.known if absent is None else {**values.known, absent.encode(): absent}
        piece = None if absent is None else absent.encode()
        return Texts(_scattered(values.pieces, present, piece).tolist(), known)
    return list(_scattered(values, present, absent).tolist())


def _scattered(values: Sequence[Any], present: NDArray[np.bool_], absent: Any) -> Array:
    found, given = np.empty(len(present), dtype=object), np.empty(len(values), dtype=object)
    found[:] = absent
    given[:] = values
    found[present] = given
    return found
