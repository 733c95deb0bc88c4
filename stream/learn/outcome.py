"""The outcome of an applied entry, for observers and the policy on alarms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from thalweg.proto.event import Batch
from thalweg.stream.comparison.block_losses import BlockLosses
from thalweg.stream.drift.alarm import Alarm
from thalweg.stream.drift.digest import Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The outcome of a block or a control entry; for a control entry only `version` and `learned` are set."""

    version: int
    """The version that the entry led to."""
    learned: int
    """Labelled events in the state."""
    events: int = 0
    """Valid events of the block that are not duplicates."""
    labelled: int = 0
    """How many of `events` have a label."""
    duplicates: int = 0
    """Events dropped as duplicates."""
    repeated: str = ""
    """The id of the newest of those and where it stands, for people; empty without one."""
    rejected: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    """Invalid records sent to the dead-letter topic, by reason."""
    tombstones: int = 0
    """Records without a value, which say that a key was deleted; there is nothing in them to learn."""
    oldest_time: float | None = None
    """Unix seconds of the oldest event; None without events."""
    newest_time: float | None = None
    """Unix seconds of the newest event in the last micro-batch. Not the overall maximum: one event with a time in the
    future would hide that the model lags.
    """
    newest: Batch | None = field(default=None, repr=False, compare=False)
    """The last micro-batch; None without events."""
    learn_seconds: tuple[float, ...] = ()
    """Seconds that learning took, per micro-batch."""
    alarms: tuple[Alarm, ...] = ()
    """Drift alarms raised or ended, in order; an alarm that ended in the same block appears twice."""

    digests: tuple[Digest, ...] = ()
    """Digests of drift that is no news, which ended in the block."""

    losses: BlockLosses | None = None
    """The losses of its labelled events, where models are compared."""

    @property
    def raised(self) -> tuple[Alarm, ...]:
        """The alarms that the block raised."""
        return tuple(alarm for alarm in self.alarms if alarm.end is None)
