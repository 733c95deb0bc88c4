"""Places in many records at once, and the values that stand there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from thalweg.proto.rows.lazy import Numbers, Texts

Rows: TypeAlias = slice | NDArray[np.int64]
"""Some of the records."""
ALL: Rows = slice(None)
Integers: TypeAlias = NDArray[np.int64]
_LONGEST_VARINT = 10
_LONG = 64  # bytes; copying them at once is then faster than picking them
_PADDING = bytes(64)  # what stands at a place may be looked at before it is known that the record goes on


class NotAlike(Exception):
    """The records cannot be read together: each has to be read by itself, which says what is wrong, if anything is."""


class Reading:
    """N records, each read up to its own place.

    Args:
        records: The records.
        begin: Bytes that are skipped at the beginning of each.
    """

    def __init__(self, records: Sequence[bytes], begin: int = 0) -> None:
        self.blob = b"".join([*records, _PADDING])
        self._bytes = np.frombuffer(self.blob, np.uint8)
        sizes = np.fromiter(map(len, records), np.int64, len(records))
        self.ends: Integers = np.cumsum(sizes)
        """Where each ends, or what is read of it now."""
        self.at: Integers = self.ends - sizes
        """Where each is read next."""
        self._move(ALL, self.at + begin)

    def count(self, rows: Rows) -> int:
        """How many these are."""
        return len(self.at) if isinstance(rows, slice) else len(rows)

    def starts_with(self, rows: Rows, tag: bytes) -> NDArray[np.bool_]:
        """Whether these bytes stand next in each of these rows, (R,)."""
        at = self.at[rows]
        found = at + len(tag) <= self.ends[rows]
        for offset, byte in enumerate(tag):
            found &= self._bytes[at + offset] == byte
        return found

    def skip(self, rows: Rows, lengths: Integers | int) -> None:
        """Go on by so many bytes. Raises NotAlike beyond an end."""
        if not isinstance(lengths, int) and lengths.min(initial=0) < 0:
            raise NotAlike
        self._move(rows, self.at[rows] + lengths)

    def varint(self, rows: Rows) -> Integers:
        """Integers of 7 bits a byte, (R,), the lowest first. Raises NotAlike."""
        at = self.at[rows]
        byte = self._bytes[at]
        value = (byte & 127).astype(np.uint64)
        at = at + 1
        going = np.flatnonzero(byte > 127)
        for place in range(1, _LONGEST_VARINT):
            if not len(going):
                break
            byte = self._bytes[at[going]]
            if place == _LONGEST_VARINT - 1 and byte.max() > 1:
                raise NotAlike
            value[going] |= (byte & 127).astype(np.uint64) << np.uint64(7 * place)
            at[going] += 1
            going = going[byte > 127]
        self._move(rows, at)
        return value.view(np.int64)

    def zigzag(self, rows: Rows) -> Integers:
        """Signed integers, (R,), whose lowest bit is the sign. Raises NotAlike."""
        return unzigzag(self.varint(rows))

    def fixed(self, rows: Rows, size: int) -> NDArray[np.uint8]:
        """So many bytes of each, (R, size). Raises NotAlike."""
        if size > _LONG:
            found = b"".join(self.pieces(rows, np.full(self.count(rows), size, np.int64)))
            return np.frombuffer(found, np.uint8).reshape(-1, size)
        at = self.at[rows] + 0  # of a slice, it would be a view that moves
        self._move(rows, at + size)
        return np.asarray(self._bytes[at[:, None] + np.arange(size)])

    def numbers(self, rows: Rows, dtype: str) -> Numbers:
        """Finite numbers; NaN is a missing one. Raises NotAlike for infinities."""
        found = self.fixed(rows, np.dtype(dtype).itemsize).view(dtype)[:, 0].astype(np.float64)
        if np.isinf(found).any():
            raise NotAlike
        return Numbers(found)

    def pieces(self, rows: Rows, lengths: Integers) -> list[bytes]:
        """So many bytes of each. Raises NotAlike."""
        at = self.at[rows] + 0  # of a slice, it would be a view that moves
        self.skip(rows, lengths)
        blob = self.blob
        return [blob[start:stop] for start, stop in zip(at.tolist(), (at + lengths).tolist())]

    def texts(self, rows: Rows, lengths: Integers) -> Texts:
        """UTF-8 of so many bytes of each. Raises NotAlike, also where it is none."""
        pieces = self.pieces(rows, lengths)
        try:
            known = {piece: piece.decode() for piece in set(pieces)}
        except UnicodeDecodeError:
            raise NotAlike from None
        return Texts(pieces, known)

    def finish(self, rows: Rows = ALL) -> None:
        """Raises NotAlike unless each is read to its end."""
        if not np.array_equal(self.at[rows], self.ends[rows]):
            raise NotAlike

    def _move(self, rows: Rows, at: Integers) -> None:
        if (at > self.ends[rows]).any():
            raise NotAlike
        self.at[rows] = at


def unzigzag(value: Integers) -> Integers:
    """Signed integers from those whose lowest bit is the sign."""
    unsigned = value.view(np.uint64)
    return np.asarray((unsigned >> np.uint64(1)).view(np.int64) ^ -(value & 1))


def rows_of(rows: Rows, which: NDArray[np.bool_]) -> Rows:
    """Those of some rows for which this, (R,), is true."""
    return np.flatnonzero(which) if isinstance(rows, slice) else rows[which]
