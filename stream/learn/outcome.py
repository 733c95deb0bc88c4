"""What came of one entry that a fold applied: all that observers and the policy on alarms go by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from thalweg.stream.drift.alarm import Alarm


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A block learned, or a control entry carried out; of the latter only `version` and `learned` say anything."""

    version: int
    """Of the state that the entry led to."""
    learned: int
    """Labelled events in the state now."""
    events: int = 0
    """Events of the block that could be used and were not seen before."""
    labelled: int = 0
    """Those of them that have a label."""
    duplicates: int = 0
    """Events that were dropped because their id had been seen."""
    rejected: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    """Invalid records sent to the dead-letter topic, by reason."""
    oldest_time: float | None = None
    """Unix seconds of the oldest event; None: there was none."""
    newest_time: float | None = None
    """Unix seconds of the newest event in the last micro-batch, not of the newest ever: one event from the future must
    not hide that a model is behind."""
    learn_seconds: tuple[float, ...] = ()
    """How long learning took, for each micro-batch."""
    alarms: tuple[Alarm, ...] = ()
    """Alarms of drift raised or ended, in order; one that ended soon stands twice."""

    @property
    def raised(self) -> tuple[Alarm, ...]:
        """The alarms that the block raised."""
        return tuple(alarm for alarm in self.alarms if alarm.end is None)
