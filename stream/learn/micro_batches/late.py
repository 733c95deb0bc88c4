"""Micro-batches that were predicted, and whose labels come some events late."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import replace

from thalweg.proto.event import Batch


class LateLabels:
    """Gives each micro-batch to be learned once `delay_events` later events were predicted; 0: at once.

    A prediction then knows the labels of all events before those, if micro-batches hold one event; of a larger
    micro-batch, all labels or none.
    """

    def __init__(self, delay_events: int) -> None:
        self._delay = delay_events
        self._events = 0
        self._waiting: deque[tuple[int, Batch]] = deque()

    def after(self, predicted: Batch) -> Iterator[Batch]:
        """The micro-batches to learn after this one was predicted, in order."""
        if not self._delay:
            yield predicted
            return
        self._events += len(predicted)
        self._waiting.append((self._events, predicted))
        while self._waiting and self._waiting[0][0] <= self._events - self._delay:
            yield _told_late(self._waiting.popleft()[1])

    def rest(self) -> Iterator[Batch]:
        """All others, at the end of the stream."""
        while self._waiting:
            yield _told_late(self._waiting.popleft()[1])


def _told_late(batch: Batch) -> Batch:
    """As a service's events whose labels came late: such have what was served, here not known for any row."""
    return batch if batch.served is not None else replace(batch, served=(None,) * len(batch))
