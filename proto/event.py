"""Events in columns, and their positions in the log.

One event never becomes one Python object: a micro-batch is one array per input, one column per attribute. Everything
downstream (learners, metrics, servers) reads these columns.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from thalweg.proto.answer import Answer
from thalweg.proto.records import Partition
from thalweg.proto.rejected import Rejected
from thalweg.proto.schema import Array, Inputs

_Entry = TypeVar("_Entry")


@dataclass(frozen=True, slots=True)
class ClassLabels:
    """Class labels, dictionary-encoded: event i has the class `names[codes[i]]`; code -1 means unlabelled.

    The names belong to this batch alone; a learner maps them to its own columns.
    """

    codes: NDArray[np.int32]
    names: tuple[str, ...]

    def __getitem__(self, rows: slice | Array) -> ClassLabels:
        return ClassLabels(self.codes[rows], self.names)

    @property
    def present(self) -> NDArray[np.bool_]:
        """Which events are labelled, (N,)."""
        return self.codes >= 0

    def recoded(self, table: Mapping[str, int]) -> NDArray[np.int32]:
        """Codes in another table, (N,); -1 where unlabelled or unknown there."""
        lookup = np.array([table.get(name, -1) for name in self.names] + [-1], dtype=np.int32)
        return lookup[self.codes]


@dataclass(frozen=True, slots=True)
class NumberLabels:
    """Regression targets (N, K) float64; a row of NaN means unlabelled."""

    values: NDArray[np.float64]

    def __getitem__(self, rows: slice | Array) -> NumberLabels:
        return NumberLabels(self.values[rows])

    @property
    def present(self) -> NDArray[np.bool_]:
        """Which events are labelled, (N,)."""
        return np.asarray(np.isfinite(self.values).all(axis=1))


Labels: TypeAlias = ClassLabels | NumberLabels


@dataclass(frozen=True, slots=True)
class Places:
    """Positions of N events in the log; the events of one record share its offset."""

    partitions: tuple[Partition, ...]
    which: NDArray[np.int32]
    """Indices into `partitions`, (N,)."""
    offsets: NDArray[np.int64]
    """(N,)."""

    def __getitem__(self, rows: slice | Array) -> Places:
        return Places(self.partitions, self.which[rows], self.offsets[rows])

    def told(self, row: int) -> str:
        """Where an event stands, for people."""
        partition = self.partitions[self.which[row]]
        return f"{partition.topic}, partition {partition.number}, offset {int(self.offsets[row])}"

    @classmethod
    def of(cls, partition: Partition, offsets: Sequence[int]) -> Places:
        """For events of one partition."""
        return cls((partition,), np.zeros(len(offsets), dtype=np.int32), np.array(offsets, dtype=np.int64))


@dataclass(frozen=True, slots=True)
class Batch:
    """N events in columns, in log order.

    `ids` and `keys` are None when no event of the batch has one: the fast path carries neither. An event without an
    id is identified by its position in the log.
    """

    inputs: Inputs
    labels: Labels | None
    weights: NDArray[np.float64]
    times: NDArray[np.float64]
    ids: Sequence[str | None] | None = None
    keys: Sequence[str | None] | None = None
    places: Places | None = None
    """None for events that are not from a log."""
    served: Sequence[Answer | None] | None = None
    """The predictions that were served before the labels arrived; None when no event of the batch has one."""

    def __len__(self) -> int:
        return len(self.times)

    def __getitem__(self, part: slice) -> Batch:
        return Batch(
            {name: column[part] for name, column in self.inputs.items()},
            None if self.labels is None else self.labels[part],
            self.weights[part],
            self.times[part],
            None if self.ids is None else self.ids[part],
            None if self.keys is None else self.keys[part],
            None if self.places is None else self.places[part],
            None if self.served is None else self.served[part],
        )

    def take(self, rows: Array) -> Batch:
        """The events at `rows` (indices (M,) or a mask (N,)), in that order."""
        index = np.flatnonzero(rows) if rows.dtype == np.bool_ else rows
        places: list[int] = index.tolist()
        return Batch(
            {name: column[index] for name, column in self.inputs.items()},
            None if self.labels is None else self.labels[index],
            self.weights[index],
            self.times[index],
            None if self.ids is None else [self.ids[i] for i in places],
            None if self.keys is None else [self.keys[i] for i in places],
            None if self.places is None else self.places[index],
            None if self.served is None else [self.served[i] for i in places],
        )

    def micro_batches(self, size: int) -> Iterator[Batch]:
        """Consecutive parts of at most `size` events; a function of the batch and `size` alone."""
        return cut([self], size)

    def unlabelled(self) -> Batch:
        """The same events without their labels."""
        return replace(self, labels=None)


@dataclass(frozen=True, slots=True)
class Decoded:
    """The result of decoding a run of records."""

    batch: Batch
    rejected: list[Rejected] = field(default_factory=list)
    tombstones: int = 0
    """Records that say that their key was deleted, and nothing else."""


def join(batches: Sequence[Batch]) -> Batch:
    """One batch of all events of `batches`, in order.

    Raises:
        ValueError: There is no batch, or label kinds differ.
    """
    if len(batches) == 1:
        return batches[0]
    if not batches:
        raise ValueError("cannot join no batches: at least one is needed to know the columns")
    return Batch(
        {name: np.concatenate([b.inputs[name] for b in batches]) for name in batches[0].inputs},
        _join_labels(batches),
        np.concatenate([b.weights for b in batches]),
        np.concatenate([b.times for b in batches]),
        _join_column([b.ids for b in batches], batches),
        _join_column([b.keys for b in batches], batches),
        _join_places([b.places for b in batches]),
        _join_column([b.served for b in batches], batches),
    )


def cut(batches: Iterable[Batch], size: int) -> Iterator[Batch]:
    """The events of all batches in order, in micro-batches of `size` (the last may be smaller).

    A function of the events and `size` alone, not of the batch boundaries; parts of one batch are not copied.
    """
    waiting: list[Batch] = []
    count = 0
    for batch in batches:
        start = 0
        while start < len(batch):
            part = batch[start : start + size - count] if start or len(batch) > size - count else batch
            waiting.append(part)
            start += len(part)
            count += len(part)
            if count == size:
                yield join(waiting)
                waiting, count = [], 0
    if waiting:
        yield join(waiting)


def _join_column(
    columns: Sequence[Sequence[_Entry | None] | None], batches: Sequence[Batch]
) -> list[_Entry | None] | None:
    if all(column is None for column in columns):
        return None
    joined: list[_Entry | None] = []
    for column, batch in zip(columns, batches):
        joined.extend([None] * len(batch) if column is None else column)
    return joined


def _join_places(columns: Sequence[Places | None]) -> Places | None:
    """All of them; none, if some events have none."""
    known = [column for column in columns if column is not None]
    if len(known) < len(columns):
        return None
    if known and all(column.partitions is known[0].partitions for column in known):  # parts of one batch
        which = [column.which for column in known]
        return Places(known[0].partitions, np.concatenate(which), np.concatenate([c.offsets for c in known]))
    table: dict[Partition, int] = {}
    which = []
    for column in known:
        codes = np.array([table.setdefault(partition, len(table)) for partition in column.partitions], dtype=np.int32)
        which.append(codes[column.which])
    return Places(tuple(table), np.concatenate(which), np.concatenate([column.offsets for column in known]))


def _join_labels(batches: Sequence[Batch]) -> Labels | None:
    columns = [b.labels for b in batches]
    kinds = {type(column) for column in columns if column is not None}
    if not kinds:
        return None
    if len(kinds) > 1:
        raise ValueError("cannot join class labels with number labels")
    whole = [c for c in columns if isinstance(c, ClassLabels)]
    if len(whole) == len(columns) and all(c.names is whole[0].names for c in whole):  # parts of one batch
        return ClassLabels(np.concatenate([c.codes for c in whole]), whole[0].names)
    if kinds == {NumberLabels}:
        width = next(c.values.shape[1] for c in columns if isinstance(c, NumberLabels))
        return NumberLabels(
            np.concatenate(
                [
                    c.values if isinstance(c, NumberLabels) else np.full((len(b), width), np.nan)
                    for c, b in zip(columns, batches)
                ]
            )
        )
    table: dict[str, int] = {}
    codes = []
    for column, batch in zip(columns, batches):
        if isinstance(column, ClassLabels):
            for name in column.names:
                table.setdefault(name, len(table))
            codes.append(column.recoded(table))
        else:
            codes.append(np.full(len(batch), -1, dtype=np.int32))
    return ClassLabels(np.concatenate(codes), tuple(table))
