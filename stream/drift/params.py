"""`[model.drift]`: by what a model is watched, and what is done when it drifts."""

from __future__ import annotations

from dataclasses import dataclass, field

from thalweg.stream.drift.detectors import DETECTORS
from thalweg.stream.drift.inputs import TESTS

ACTIONS = ("observe", "snapshot", "raise_forgetting", "reset", "rollback")


@dataclass(frozen=True, kw_only=True)
class DriftParams:
    """`[model.drift]`: what watches a model, and what is done when it drifts."""

    detectors: list[str] = field(default_factory=lambda: ["adwin", "page_hinkley"])
    """On the loss, the frozen twin's loss and the confidence: `adwin`, `page_hinkley`, `kswin`, `ddm`; may be empty."""
    inputs: list[str] = field(default_factory=lambda: ["ks", "psi", "mmd"])
    """On the inputs and predictions: `ks`, `psi`, `mmd`; may be empty."""
    reference_events: int = 1000
    """How many events say what inputs and predictions were like before."""
    settle_events: int = 1000
    """An alarm ends when no detector has found a change for so many events."""
    false_alarms: float = 0.05
    """How many alarms of the inputs to expect in 10,000 independent events without a change."""
    max_columns: int = 1000
    """Inputs with more numbers are watched in so many of them, evenly spaced."""
    action: str = "observe"
    """On an alarm: `observe`; `snapshot`, save a version; `raise_forgetting`, follow faster for a while; `reset`, begin
    anew; `rollback`, to the newest version from before the change."""
    forgetting_factor: float = 5.0
    """`raise_forgetting`: what was learned counts so many times less, or learning is so many times faster …"""
    forgetting_events: int = 1000
    """… for so many events."""

    def mistakes(self) -> dict[str, str]:
        """What cannot be used, by key."""
        found = {}
        for key, given, known in (("detectors", self.detectors, DETECTORS), ("inputs", self.inputs, TESTS)):
            unknown = [name for name in given if name not in known]
            if unknown:
                found[key] = f"expected of {', '.join(known)}, got {', '.join(map(repr, unknown))}"
        if self.action not in ACTIONS:
            found["action"] = f"expected one of {', '.join(ACTIONS)}, got {self.action!r}"
        for key, least in (("reference_events", 200), ("settle_events", 64), ("max_columns", 1)):
            if getattr(self, key) < least:
                found[key] = f"expected at least {least}, got {getattr(self, key)}"
        if not 1 < self.forgetting_factor <= 1e6:
            found["forgetting_factor"] = f"expected above 1 and at most 1e6, got {self.forgetting_factor}"
        if self.forgetting_events < 1:
            found["forgetting_events"] = f"expected at least 1, got {self.forgetting_events}"
        if not 0 < self.false_alarms <= 100:
            found["false_alarms"] = f"expected above 0 and at most 100, got {self.false_alarms}"
        return found
