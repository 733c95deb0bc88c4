"""A fold that is at work already when its processor begins: of a shard that was followed before it was taken over."""

from __future__ import annotations

from dataclasses import dataclass

from thalweg.memory.snapshots.state import State
from thalweg.stream.learn.fold import Fold
from thalweg.stream.learn.outcome import Outcome


@dataclass(frozen=True, slots=True)
class Warm:
    """What a processor goes on from, in place of the newest snapshot. That and the journal lead to the same state."""

    fold: Fold
    alarms: State | None
    """The alarms that waited at the newest snapshot; None if it says nothing of them."""
    outcomes: tuple[Outcome, ...]
    """Of the entries since that snapshot that raised or ended alarms: these may wait to be sent still."""
