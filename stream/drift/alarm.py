"""A drift alarm: one change, its start, severity, detectors and action."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Alarm:
    """One change. Events are numbered from 1 in the order in which the model consumed them."""

    number: int
    """Number among the model's alarms, from 1."""
    since: int
    """The estimated first event after the change."""
    start: int
    """The event at which the alarm was raised."""
    peak: int
    """The event at which it was most severe so far."""
    end: int | None = None
    """The last event with a detection, or the peak if that came later; None while the alarm is active."""
    start_time: float
    """Time of `start`, Unix seconds."""
    end_time: float | None = None
    """Time of `end`, Unix seconds."""
    detector: str
    """The detector that raised it …"""
    signal: str
    """… on which signal."""
    severity: float
    """The deterioration of the signal, or the largest drift of a column; both within [0, 1]."""
    kind: str
    """`concept`: the loss rose while the inputs did not change; `inputs`: the inputs changed; `both`."""
    signals: tuple[tuple[str, str, int], ...]
    """Signal, detector and event of every detection, in order."""
    features: tuple[tuple[str, float], ...] = ()
    """The columns that drifted most, with their Kolmogorov-Smirnov distance."""
    action: str = "observe"
    """The configured action …"""
    done: str = ""
    """… and its result, as text."""

    def record(self) -> dict[str, Any]:
        """Ready for JSON."""
        table = asdict(self)
        table["signals"] = [{"signal": s, "detector": d, "event": at} for s, d, at in self.signals]
        table["features"] = [{"name": name, "distance": distance} for name, distance in self.features]
        return table

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Alarm:
        """The alarm of a `record()`."""
        table = dict(record)
        table["signals"] = tuple((one["signal"], one["detector"], one["event"]) for one in table["signals"])
        table["features"] = tuple((one["name"], one["distance"]) for one in table["features"])
        return cls(**table)
