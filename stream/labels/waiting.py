"""Labels that wait for their event: bounded in number, bytes and time."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from thalweg.proto.records import Partition, Position, Records

MOST_WAITING = 100_000
"""Labels that wait for their event; beyond this the oldest expire early …"""
MOST_WAITING_BYTES = 256 << 20
"""… and beyond these bytes of their records."""
_LABEL_BYTES = 500  # what a waiting label takes beside its record


@dataclass(frozen=True, slots=True)
class Label:
    """A label and the record that brought it."""

    records: Records
    """Its record alone: the others of a run must not stay in memory with it."""
    id: str
    """The id of its event."""
    label: Any
    """As the record has it."""
    deadline: float
    """Unix seconds until which it waits."""

    @property
    def place(self) -> tuple[Partition, int]:
        """Partition and offset of its record."""
        return self.records.partition, self.records.offsets[0]

    @property
    def where(self) -> str:
        """The same as text."""
        partition, offset = self.place
        return f"{partition.topic}/{partition.number}/{offset}"

    @property
    def size_bytes(self) -> int:
        """What it takes in memory, about."""
        return self.records.size_bytes + _LABEL_BYTES


class WaitingLabels:
    """Labels in the order of their arrival."""

    def __init__(self) -> None:
        self._labels: OrderedDict[tuple[Partition, int], Label] = OrderedDict()
        self._bytes = 0

    def add(self, label: Label) -> None:
        """Let a label wait."""
        self._labels[label.place] = label
        self._bytes += label.size_bytes

    def remove(self, label: Label) -> None:
        """A label waits no longer."""
        del self._labels[label.place]
        self._bytes -= label.size_bytes

    def all(self) -> list[Label]:
        """All that wait."""
        return list(self._labels.values())

    def of(self, runs: Iterable[Records]) -> list[Label]:
        """Those that wait among the labels of these records."""
        places = [(run.partition, offset) for run in runs for offset in run.offsets]
        return [self._labels[place] for place in places if place in self._labels]

    def expired(self, now: float) -> list[Label]:
        """Those whose deadline is before `now`, and the oldest of those that are too many or too large."""
        over = [label for label in self._labels.values() if label.deadline < now]
        left = len(self._labels) - len(over)
        size = self._bytes - sum(label.size_bytes for label in over)
        if left > MOST_WAITING or size > MOST_WAITING_BYTES:
            for label in self._labels.values():
                if left <= MOST_WAITING and size <= MOST_WAITING_BYTES:
                    break
                if label.deadline >= now:
                    over.append(label)
                    left, size = left - 1, size - label.size_bytes
        return over

    def before(self, end: Position) -> dict[Partition, int]:
        """`end`, or in each partition the last offset before its oldest label."""
        done = dict(end)
        for partition, offset in self._labels:
            done[partition] = min(done.get(partition, offset), offset - 1)
        return done
