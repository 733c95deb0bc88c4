"""An alarm of drift: one change, from when on, how bad, by what it was found, and what was done about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Alarm:
    """One change. Events are numbered from 1 in the order in which the model met them."""

    number: int
    """Of the model's alarms, from 1."""
    since: int
    """The event from which on things were different, as far as can be told."""
    start: int
    """The event at which the alarm was raised."""
    peak: int
    """The event at which it was worst, so far."""
    end: int | None = None
    """The last event at which a detector spoke, or the peak if that came later; None while the alarm is open."""
    start_time: float
    """Time of `start`, Unix seconds."""
    end_time: float | None = None
    """Time of `end`, Unix seconds."""
    detector: str
    """Which raised it …"""
    signal: str
    """… on which signal."""
    severity: float
    """By how much the signal worsened, or the distance that the farthest column moved; both within [0, 1]."""
    kind: str
    """`concept`: answers became worse while the inputs look the same; `inputs`: the other way round; `both`."""
    signals: tuple[tuple[str, str, int], ...]
    """Signal, detector and event of all that spoke, in order."""
    features: tuple[tuple[str, float], ...] = ()
    """The columns that moved most, with their Kolmogorov-Smirnov distance."""
    action: str = "observe"
    """What was asked to be done about it …"""
    done: str = ""
    """… and what was done, in words."""

    def record(self) -> dict[str, Any]:
        """As JSON has it."""
        table = asdict(self)
        table["signals"] = [{"signal": s, "detector": d, "event": at} for s, d, at in self.signals]
        table["features"] = [{"name": name, "distance": distance} for name, distance in self.features]
        return table

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Alarm:
        """The alarm whose `record()` this is."""
        table = dict(record)
        table["signals"] = tuple((one["signal"], one["detector"], one["event"]) for one in table["signals"])
        table["features"] = tuple((one["name"], one["distance"]) for one in table["features"])
        return cls(**table)
