"""The labelled events of a micro-batch, in the columns that a memory's entries have."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from thalweg.memory.vectors.histories import hash_key
from thalweg.models.error_memory.inputs import RecommenderInputs
from thalweg.models.error_memory.reading import ID_BYTES
from thalweg.proto.event import Batch, NumberLabels
from thalweg.proto.schema import Array, InputError

Columns = dict[str, Array]

PLACE = {"topic": np.int16, "partition": np.int32, "offset": np.int64}
"""Columns of an event's position in the log."""
_HEAVIEST = 1000.0  # larger weights are reduced to this
_MOST_TOPICS = 1000


class Intake:
    """Takes labelled events out of batches, and counts those that it skips."""

    def __init__(self, inputs: RecommenderInputs) -> None:
        self._inputs = inputs
        self.topics: list[str] = []
        """Names behind the column `topic`."""
        self.skipped = 0
        """Labelled events with a label out of 0 … 1 or with a number that is not finite."""

    def take(self, batch: Batch) -> Columns:
        """The valid labelled events.

        Raises:
            InputError: The labels are not numbers, or inputs do not fit.
        """
        ids, numbers = self._inputs.gather(batch.inputs)
        if batch.labels is None:
            return self.nothing()
        if not isinstance(batch.labels, NumberLabels):
            raise InputError(f"labels: expected a number from 0 to 1, got {type(batch.labels).__name__}")
        label = batch.labels.values[:, 0]
        labelled = batch.labels.present & (batch.weights > 0)
        usable = labelled & (label >= 0) & (label <= 1) & np.logical_and.reduce(np.isfinite(numbers), axis=1)
        self.skipped += int((labelled & ~usable).sum())
        rows = np.flatnonzero(usable)
        places: list[int] = rows.tolist()
        names: list[str | None] = [None] * len(rows) if batch.ids is None else [batch.ids[row] for row in places]
        keys: list[str | None] = [None] * len(rows) if batch.keys is None else [batch.keys[row] for row in places]
        users = ids[rows, 0]
        return {
            "ids": ids[rows],
            "numbers": numbers[rows],
            "label": label[rows].astype(np.float32),
            "weight": np.minimum(batch.weights[rows], _HEAVIEST),
            "time": batch.times[rows],
            "key": np.array([0 if key is None else hash_key(key) for key in keys], dtype=np.int64)
            if any(keys)
            else users,
            "id": _fixed(names),
            **self._places(batch, rows),
        }

    def _places(self, batch: Batch, rows: Array) -> Columns:
        """Positions of events: topic (-1 for events that are not from a log), partition, offset."""
        if batch.places is None:
            nowhere = np.full(len(rows), -1)
            return {name: nowhere.astype(dtype) for name, dtype in PLACE.items()}
        for partition in batch.places.partitions:
            if partition.topic not in self.topics and len(self.topics) < _MOST_TOPICS:
                self.topics.append(partition.topic)
        topics = [self.topics.index(p.topic) if p.topic in self.topics else -1 for p in batch.places.partitions]
        which = batch.places.which[rows]
        return {
            "topic": np.array(topics, dtype=np.int16)[which],
            "partition": np.array([p.number for p in batch.places.partitions], dtype=np.int32)[which],
            "offset": batch.places.offsets[rows],
        }

    def nothing(self) -> Columns:
        """Without events."""
        return {
            "ids": np.zeros((0, self._inputs.fields), np.int64),
            "numbers": np.zeros((0, self._inputs.numeric), np.float32),
            "label": np.zeros(0, np.float32),
            "weight": np.zeros(0),
            "time": np.zeros(0),
            "key": np.zeros(0, np.int64),
            "id": np.zeros((0, ID_BYTES), np.uint8),
            **{name: np.zeros(0, dtype) for name, dtype in PLACE.items()},
        }


def part_of(events: Columns, part: slice) -> Columns:
    """These rows of all columns."""
    return {name: column[part] for name, column in events.items()}


def _fixed(names: list[str | None]) -> NDArray[np.uint8]:
    """Event ids as (N, 40) bytes; a longer one keeps its prefix and ends in a hash of the whole."""
    encoded = []
    for name in names:
        raw = b"" if name is None else name.encode()
        if len(raw) > ID_BYTES:
            raw = raw[: ID_BYTES - 17] + b"~" + hashlib.blake2b(raw, digest_size=8).hexdigest().encode()
        encoded.append(raw)
    found = np.array(encoded, dtype=f"S{ID_BYTES}") if encoded else np.zeros(0, dtype=f"S{ID_BYTES}")
    return found.view(np.uint8).reshape(len(names), ID_BYTES)
