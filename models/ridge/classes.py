"""The classes of a learner: names, columns, and how many events of each were learned."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from thalweg.models.parts.rarity import VARIED, rarity_of
from thalweg.models.parts.selection import Selected, select_classes, select_numbers
from thalweg.proto.event import Batch, NumberLabels
from thalweg.proto.schema import Array, InputError, Schema


class Classes:
    """Class names in the order of their columns; events without decay."""

    def __init__(self) -> None:
        self.table: dict[str, int] = {}
        """Column of each class; others may add to it, then call `grow`."""
        self.events: NDArray[np.int64] = np.zeros(0, np.int64)
        """(C,)."""
        self._seen: tuple[Array | None, tuple[str, ...]] | None = None
        self._total, self._squares = 0, 0  # of the events, and of their squares
        self._rarity: float | None = None

    @property
    def rarity(self) -> float:
        """As of `rarity_of`."""
        if self._rarity is None:
            total = float(self._total)
            varied = 1.0 - float(self._squares) / (total * total) if total else VARIED
            self._rarity = rarity_of(varied)
        return self._rarity

    @property
    def total(self) -> float:
        """Events of all classes."""
        return float(self._total)

    def _count(self) -> None:
        self._total, self._squares = int(np.add.reduce(self.events)), int(self.events @ self.events)
        self._rarity = None

    def grow(self) -> None:
        """Count the events of all classes of the table."""
        self.events = np.pad(self.events, (0, len(self.table) - len(self.events)))
        self._seen = None

    def add(self, codes: NDArray[np.int32]) -> None:
        """Count the events of these columns (n,)."""
        if len(codes) == 1:
            before = int(self.events[codes[0]])
            self.events[codes[0]] = before + 1
            self._total, self._squares, self._rarity = self._total + 1, self._squares + 2 * before + 1, None
        else:
            self.events += np.bincount(codes, minlength=len(self.events))
            self._count()

    def subtract(self, codes: NDArray[np.int32]) -> None:
        """Count these events (n,) no longer."""
        self.events -= np.bincount(codes, minlength=len(self.events))
        self._count()
        self._seen = None

    def merge(self, other: Classes) -> NDArray[np.int64]:
        """Add the classes and events of another worker; the columns here of its own, (C',)."""
        for name in other.table:
            self.table.setdefault(name, len(self.table))
        self.grow()
        order = np.array([self.table[name] for name in other.table], dtype=np.int64)
        np.add.at(self.events, order, other.events)
        self._count()
        return order

    def check_known(self, names: Sequence[str]) -> None:
        """Raises ValueError if one of these names is none of the classes."""
        if strange := sorted(set(names) - set(self.table)):
            raise ValueError(f"cannot unlearn: class {strange[0]!r} was never learned")

    def check_room(self, other: Classes, most: int) -> None:
        """Raises ValueError if both have more classes together than may be."""
        if (together := len({**self.table, **other.table})) > most:
            raise ValueError(f"cannot merge: {together} classes are more than max_classes = {most} allows")

    def seen(self, columns: int) -> tuple[Array | None, tuple[str, ...]]:
        """Those of the first columns that have events, None if all, and their names, the same tuple until they change.

        A class of which all events were unlearned is never predicted.
        """
        if self._seen is None or len(self._seen[1]) > columns:
            here = self.events[:columns] > 0
            names = tuple(name for name, code in self.table.items() if code < columns and here[code])
            self._seen = None if here.all() else np.flatnonzero(here), names
        return self._seen

    def restore(self, names: Sequence[str], events: Array) -> None:
        """Restore from the names and `events`; copies."""
        self.table = {name: code for code, name in enumerate(names)}
        self.events, self._seen = np.array(events), None
        self._count()


def select(inputs: Array, batch: Batch, schema: Schema, table: dict[str, int], most: int) -> Selected:
    """The valid labelled events of a batch with inputs (N, F); new classes are added to `table`, up to `most`.

    Raises:
        InputError: Labels are of the other kind.
    """
    labels, numbers = batch.labels, schema.label == "number"
    if labels is None:
        return Selected(inputs[:0], np.zeros((0, 0)), None, None, 0)
    if isinstance(labels, NumberLabels) != numbers:
        raise InputError(f"labels: expected {schema.label}, got {type(labels).__name__}")
    if isinstance(labels, NumberLabels):
        return select_numbers(inputs, labels, batch.weights, schema.label_width)
    return select_classes(inputs, labels, batch.weights, table, most)
