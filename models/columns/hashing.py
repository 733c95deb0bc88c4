"""Texts as features without a table: hash buckets of values, of the words of a text, or of the texts of a list.

Hashes are CRC-32 from a start that depends on column and seed, stirred by a multiplication (Knuth, TAOCP 3, section
6.4), so they are the same in every process. Each hash has a sign as well, so that two values in one bucket do not add
up (Weinberger et al., "Feature Hashing for Large Scale Multitask Learning", ICML 2009).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from itertools import repeat
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from thalweg.models.columns.layout import Layout, Span
from thalweg.proto.schema import InputError, Inputs

Features = NDArray[np.float32]
LONGEST_TEXT = 1 << 16
"""Bytes of a text, or of a list as JSON, that are read; the rest of a text is left out, a longer list is missing."""
_STIR = np.uint64(0x9E3779B97F4A7C15)
_WORDS = re.compile(r"\w+")


class HashedColumns:
    """How hashed, text and list columns become features; there is nothing to learn."""

    def __init__(self, layout: Layout, seed: int) -> None:
        self._values = [(span, _start(span, seed)) for span in layout.hashed]
        self._texts = [(span, _start(span, seed)) for span in layout.texts]

    def fill(self, out: Features, inputs: Inputs) -> None:
        """Write the features of all hashed, text and list columns into rows (N, F). Raises InputError."""
        events = np.arange(len(out))
        for span, start in self._values:
            values = inputs[span.column.name].tolist()
            try:
                hashes = np.fromiter(map(crc32, values, repeat(start)), np.uint64, len(values))
            except TypeError:
                raise _not_bytes(span) from None
            present = hashes != start  # the hash of nothing
            places, signs = _bucket(hashes, span)
            out[events, places] = np.where(present, signs, 0.0)
            if span.missing >= 0:
                out[:, span.missing] = ~present
        for span, start in self._texts:
            self._fill_words(out, inputs[span.column.name].tolist(), span, start)

    def _fill_words(self, out: Features, values: list[bytes], span: Span, start: int) -> None:
        read: Callable[[bytes, Span], list[bytes] | None] = _runs if span.column.kind == "text" else _members
        counts = np.zeros(len(values), dtype=np.intp)
        hashes: list[int] = []
        for event, value in enumerate(values):
            if type(value) is not bytes:
                raise _not_bytes(span)
            parts = read(value, span) if value else None
            counts[event] = 0 if parts is None else len(parts)
            if parts:
                hashes.extend(map(crc32, parts, repeat(start)))
            if parts is None and span.missing >= 0:
                out[event, span.missing] = 1.0
        places, signs = _bucket(np.array(hashes, dtype=np.uint64), span)
        buckets = span.column.buckets
        flat = np.repeat(np.arange(len(values)), counts) * buckets + (places - span.first)
        bag = np.bincount(flat, signs, minlength=len(values) * buckets).reshape(len(values), buckets)
        length = np.sqrt(np.einsum("nb,nb->n", bag, bag))  # of whole numbers: exact in any order
        out[:, span.first : span.first + buckets] = bag / np.where(length > 0, length, 1.0)[:, None]


def _start(span: Span, seed: int) -> int:
    return crc32(f"{seed} {span.column.name}".encode())


def _bucket(hashes: NDArray[np.uint64], span: Span) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """The feature and the sign of each hash."""
    stirred = (hashes * _STIR) >> np.uint64(32)
    places = (stirred >> np.uint64(1)) % np.uint64(span.column.buckets)
    return places.astype(np.intp) + span.first, 1.0 - 2.0 * (stirred & np.uint64(1)).astype(np.float64)


def _runs(value: bytes, span: Span) -> list[bytes]:
    """Runs of one to `ngrams` words, lower case."""
    words = _WORDS.findall(value[:LONGEST_TEXT].decode(errors="replace").lower())
    return [run.encode() for run in _all_runs(words, span.column.ngrams)]


def _all_runs(words: list[str], longest: int) -> Iterator[str]:
    for length in range(1, longest + 1):
        for first in range(len(words) - length + 1):
            yield " ".join(words[first : first + length])


def _members(value: bytes, span: Span) -> list[bytes] | None:
    """The texts and numbers of a JSON list; None if it is not one."""
    if len(value) > LONGEST_TEXT:
        return None
    try:
        found = json.loads(value)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, list):
        return None
    return [str(one).encode(errors="replace") for one in found if isinstance(one, (str, int, float))]


def _not_bytes(span: Span) -> InputError:
    return InputError(f"input {span.column.name!r}: expected UTF-8 bytes, got another type")
