"""Categories as features: one each for those that came often enough, one for all others, one for missing values.

A category that is not known is counted in a bounded table, from which the one not seen for longest is dropped; after
`min_events` it has a feature of its own from the next event on, and keeps it. So ten million different categories
take no more room than the table, and a feature never changes its meaning.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from itertools import repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thalweg.models.columns.layout import Layout, Span, slots
from thalweg.proto.schema import Array, InputError, Inputs

Codes = NDArray[np.intp]
Tables = tuple[dict[bytes, int], ...]
"""For each categorical column, the feature of each category."""

LONGEST = 64
"""Longer categories are held as their first bytes and a hash, so that every one takes at most this many bytes."""
NOTHING = -1
"""Code of a missing value that has no feature of its own."""


def bounded(category: bytes) -> bytes:
    """A category as it is held."""
    if len(category) <= LONGEST:
        return category
    return category[: LONGEST - 33] + b"~" + blake2b(category, digest_size=16).hexdigest().encode()


def candidates_of(span: Span) -> int:
    """How many categories without a feature of their own are counted at most."""
    return 0 if span.column.categories else max(1024, 2 * span.column.max_categories)


class CategoricalColumns:
    """How categorical columns become features; holds nothing that is learned."""

    def __init__(self, layout: Layout) -> None:
        self._spans = layout.categorical
        self._width = layout.width
        self._others = np.array([span.other for span in self._spans], dtype=np.intp)[:, None]
        self.imputed = [number for number, span in enumerate(self._spans) if span.missing < 0]
        """Columns whose missing values become the most frequent category."""

    def codes(self, inputs: Inputs, tables: Tables, events: int) -> tuple[Codes, list[list[bytes]]]:
        """The feature of each value (K, N), and the values; that of all others for one that is not in its table."""
        found = np.empty((len(self._spans), events), dtype=np.intp)
        texts = []
        for number, (span, table) in enumerate(zip(self._spans, tables)):
            values: list[bytes] = inputs[span.column.name].tolist()
            found[number] = np.fromiter(map(table.get, values, repeat(span.other)), np.intp, events)
            texts.append(values)
        return found, texts

    def others(self, codes: Codes, texts: list[list[bytes]]) -> list[list[int]]:
        """For each column the events whose category is not in its table. Raises InputError if one is not bytes."""
        shared = codes == self._others
        if not shared.any():
            return [[] for _ in texts]
        found = []
        for span, row, values in zip(self._spans, shared, texts):
            found.append(np.flatnonzero(row).tolist())
            for event in found[-1]:
                if type(values[event]) is not bytes:
                    kind = type(values[event]).__name__
                    raise InputError(f"input {span.column.name!r}: expected UTF-8 bytes, got {kind}")
        return found

    def find_long(self, codes: Codes, texts: list[list[bytes]], tables: Tables) -> None:
        """Look up long categories, which the tables hold in their bounded form. Raises InputError."""
        for number, events in enumerate(self.others(codes, texts)):
            for event in events:
                if len(texts[number][event]) > LONGEST:
                    place = tables[number].get(bounded(texts[number][event]))
                    codes[number, event] = codes[number, event] if place is None else place

    def tables(self, categories: Sequence[Sequence[bytes]]) -> Tables:
        """The feature of each category, given those that have one."""
        return tuple(table_of(span, known) for span, known in zip(self._spans, categories, strict=True))

    def fill(self, out: NDArray[np.float32], codes: Codes, modes: Sequence[int]) -> None:
        """Write the features of codes into contiguous rows (N, F). `modes`: of the columns `imputed`."""
        if not codes.size:
            return
        for number, mode in zip(self.imputed, modes):
            codes[number, codes[number] == NOTHING] = mode
        places = codes + np.arange(0, out.size, self._width)
        flat = out.reshape(-1)
        flat[places[codes >= 0] if self.imputed else places.ravel()] = 1.0


def table_of(span: Span, known: Sequence[bytes]) -> dict[bytes, int]:
    """The feature of each category of a column, and of the missing value."""
    table = {text: span.first + place for place, text in enumerate(known)}
    table[b""] = span.missing if span.missing >= 0 else NOTHING
    return table


class Categories:
    """The categories of one column that have a feature of their own, and those that may get one."""

    def __init__(self, span: Span) -> None:
        self._span = span
        self._most = candidates_of(span)
        self._slots = slots(span.column)
        self.table: dict[bytes, int] = {}
        """The feature of each category; replaced, not changed, when there is a new one."""
        self._waiting: OrderedDict[bytes, int] = OrderedDict()  # how often each came, that seen last at the end
        self._set([bounded(one.encode()) for one in span.column.categories])

    def _set(self, known: Sequence[bytes]) -> None:
        self.known = list(known)
        """In the order of their features."""
        self.table = table_of(self._span, known)

    @property
    def open(self) -> bool:
        """Whether there are features that no category has yet."""
        return len(self.known) < self._slots

    def count(self, values: Sequence[bytes], events: Sequence[int], codes: Codes) -> bool:
        """Count categories without a feature, in order; whether one has got a feature.

        Its later events are given that feature in `codes`; the event that gave it still has the shared one.
        """
        granted = False
        waiting, least = self._waiting, self._span.column.min_events
        for event in events:
            text = bounded(values[event])
            place = self.table.get(text)
            if place is not None:
                codes[event] = place
            elif self.open:
                times = waiting.pop(text, 0) + 1
                if times >= least:
                    self._set([*self.known, text])
                    granted = True
                else:
                    waiting[text] = times
                    if len(waiting) > self._most:
                        waiting.popitem(last=False)
        if not self.open:
            waiting.clear()
        return granted

    def candidates(self) -> tuple[list[bytes], list[int]]:
        """Categories that may get a feature, that seen last at the end, and how often each came."""
        return list(self._waiting), list(self._waiting.values())

    def merge(self, other: Categories) -> None:
        """Add the counts of another that has the same categories."""
        for text, times in other._waiting.items():
            self._waiting[text] = self._waiting.pop(text, 0) + times
        while len(self._waiting) > self._most:
            self._waiting.popitem(last=False)

    def restore(self, known: Sequence[bytes], waiting: Sequence[bytes], times: Sequence[int]) -> None:
        """Restore what was learned."""
        self._set(known)
        self._waiting = OrderedDict(zip(waiting, times))


def packed(name: str, texts: Sequence[Sequence[bytes]]) -> dict[str, Array]:
    """Lists of texts as three tensors: their bytes, the length of each, and how many are in each list."""
    return {
        name: np.frombuffer(b"".join(text for one in texts for text in one), dtype=np.uint8),
        f"{name}.lengths": np.array([len(text) for one in texts for text in one], dtype=np.int32),
        f"{name}.counts": np.array([len(one) for one in texts], dtype=np.int32),
    }


def unpacked(name: str, tensors: Mapping[str, Any]) -> list[list[bytes]]:
    """The lists of `packed`."""
    joined = tensors[name].tobytes()
    ends = np.cumsum(tensors[f"{name}.lengths"]).tolist()
    texts = [joined[start:end] for start, end in zip([0, *ends], ends)]
    found, first = [], 0
    for count in tensors[f"{name}.counts"].tolist():
        found.append(texts[first : first + count])
        first += count
    return found
