"""What the parts of one model's processor work on."""

from __future__ import annotations

from dataclasses import dataclass

from thalweg.memory.snapshots.snapshots import Snapshots
from thalweg.stream.journal.journal import Journal
from thalweg.stream.learn.fold import Fold
from thalweg.stream.learn.ports import Ports
from thalweg.stream.learn.settings import ProcessorSettings
from thalweg.stream.log.log import Log
from thalweg.stream.runtime import Runtime, Signal


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelContext:
    """One model with what is around it; the learner's thread uses all of it."""

    fold: Fold
    """The model's state and position."""
    source: Log
    """The log that holds its topics."""
    snapshots: Snapshots
    """Its snapshots."""
    journal: Journal
    """The entries that led to its state."""
    settings: ProcessorSettings
    """How it consumes its topics."""
    ports: Ports
    """All other inputs and outputs."""
    runtime: Runtime
    """Clocks, waits and threads."""
    stopping: Signal
    """Ends every wait when set."""
