"""`[model.drift]`: drift detectors, and the action on an alarm."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias, get_args

from pydantic import Field

from thalweg.models.parts.settings import Count, Settings
from thalweg.stream.drift.methods.river import DetectorName
from thalweg.stream.drift.reference import InputTest

Action: TypeAlias = Literal["observe", "snapshot", "raise_forgetting", "reset", "rollback"]
ACTIONS: tuple[Action, ...] = get_args(Action)


class DriftParams(Settings):
    """`[model.drift]`: drift detectors, and the action on an alarm."""

    detectors: list[DetectorName] = ["adwin", "page_hinkley"]  # noqa: RUF012 - pydantic copies it
    """Detectors on the loss, the frozen baseline's loss and the confidence: `adwin`, `page_hinkley`, `kswin`, `ddm`;
    may be empty."""
    inputs: list[InputTest] = ["ks", "psi", "mmd"]  # noqa: RUF012 - pydantic copies it
    """Tests on the inputs and predictions: `ks`, `psi`, `mmd`; may be empty."""
    reference_events: Annotated[int, Field(ge=200)] = 1000
    """Number of events of the reference window of inputs and predictions."""
    settle_events: Annotated[int, Field(ge=64)] = 1000
    """An alarm ends when nothing has been detected for this many events."""
    false_alarms: Annotated[float, Field(gt=0, le=100)] = 0.05
    """Expected false alarms of the inputs in 10,000 independent events without a change."""
    calm_events: Count = 2000
    """Inputs and predictions that moved once are news again only after they have been calm for this many events;
    after each alarm four times as many, up to 64 times."""
    follow_events: Count = 5000
    """For inputs and predictions that keep moving, the reference window is replaced after this many events."""
    digest_events: Count = 100_000
    """Movements that raise no alarm are told in one digest per day of event time, or, where it stands, after this many
    events."""
    max_columns: Count = 1000
    """Of inputs with more numbers, this many columns are monitored, evenly spaced."""
    action: Action = "observe"
    """Action on an alarm: `observe`; `snapshot`, save a snapshot; `raise_forgetting`, adapt faster for a while;
    `reset`, reset the learner; `rollback`, roll back to the newest snapshot from before the change."""
    forgetting_factor: Annotated[float, Field(gt=1, le=1e6)] = 5.0
    """For `raise_forgetting`: divides the weight of old events, or multiplies the learning rate …"""
    forgetting_events: Count = 1000
    """… for this many events."""
