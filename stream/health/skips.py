"""Whether a learner skips most of what it is given lately: it learns next to nothing then, and no figure shows it."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

import numpy as np

from thalweg.models.contract.gauges import SKIPPED_EVENTS, GaugeValue
from thalweg.models.contract.skipping import learns_from
from thalweg.proto.event import Batch, ClassLabels

WINDOW_EVENTS = 1000
LEAST_EVENTS = 20
MOST_OF = 0.5
"""Told from this share of the newest events on."""
_COUNTED = (SKIPPED_EVENTS.name, "late_events")
_PARTS = 20  # of the window, between which totals are kept


class RecentSkips:
    """How many of the newest events a learner skipped, from totals that only grow, or fall by a rollback.

    Args:
        learner: Its registered name.
    """

    def __init__(self, learner: str) -> None:
        self._learner = learner
        self._totals: deque[tuple[int, float]] = deque([(0, 0.0)], maxlen=3 * _PARTS)

    def told(self, events: int, gauges: Mapping[str, GaugeValue], newest: Batch | None, *, labelled: bool) -> str:
        """What is to be told of it; empty if nothing is.

        Args:
            events: All events that it was given so far.
            gauges: Its gauges.
            newest: The newest events, for an example.
            labelled: Whether `events` are the labelled ones alone.
        """
        skipped = sum(float(value) for name in _COUNTED if isinstance(value := gauges.get(name), int | float))
        self._add(events, skipped)
        first = self._totals[0]
        given, left = events - first[0], skipped - first[1]
        if given < LEAST_EVENTS or left < MOST_OF * given:
            return ""
        share = f"{100 * min(1.0, left / given):.0f} % of the newest {given:,} {'labelled ' * labelled}events"
        example = f"; the newest has {label}" if labelled and (label := example_of(newest)) else ""
        return f"it skips {share}: {self._learner} learns from {learns_from(self._learner)}{example}"

    def _add(self, events: int, skipped: float) -> None:
        last = self._totals[-1]
        before = skipped > events and last == (0, 0.0)  # counted before this process
        if before or events < last[0] or skipped < last[1]:  # the latter: rolled back
            self._totals.clear()
        elif events - last[0] < WINDOW_EVENTS // _PARTS:
            return
        self._totals.append((events, skipped))
        while len(self._totals) > 1 and events - self._totals[1][0] >= WINDOW_EVENTS:
            self._totals.popleft()


def example_of(batch: Batch | None) -> str:
    """The newest label of a batch, and where it stands; empty if there is none."""
    if batch is None or batch.labels is None or not batch.labels.present.any():
        return ""
    row = int(np.flatnonzero(batch.labels.present)[-1])
    labels = batch.labels
    if isinstance(labels, ClassLabels):
        label = f"{labels.names[labels.codes[row]]!r:.80}"
    else:
        label = ", ".join(f"{value:g}" for value in labels.values[row][:3])
    if batch.places is None:
        return f"label {label}"
    return f"label {label} ({batch.places.told(row)})"
