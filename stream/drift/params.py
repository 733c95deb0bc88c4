"""`[model.drift]`: by what a model is watched, and what is done when it drifts."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias, get_args

from pydantic import Field

from thalweg.models.parts.settings import Count, Settings
from thalweg.stream.drift.detectors import DetectorName
from thalweg.stream.drift.inputs import InputTest

Action: TypeAlias = Literal["observe", "snapshot", "raise_forgetting", "reset", "rollback"]
ACTIONS: tuple[Action, ...] = get_args(Action)


class DriftParams(Settings):
    """`[model.drift]`: what watches a model, and what is done when it drifts."""

    detectors: list[DetectorName] = ["adwin", "page_hinkley"]  # noqa: RUF012 - pydantic copies it
    """On the loss, the frozen twin's loss and the confidence: `adwin`, `page_hinkley`, `kswin`, `ddm`; may be empty."""
    inputs: list[InputTest] = ["ks", "psi", "mmd"]  # noqa: RUF012 - pydantic copies it
    """On the inputs and predictions: `ks`, `psi`, `mmd`; may be empty."""
    reference_events: Annotated[int, Field(ge=200)] = 1000
    """How many events say what inputs and predictions were like before."""
    settle_events: Annotated[int, Field(ge=64)] = 1000
    """An alarm ends when no detector has found a change for so many events."""
    false_alarms: Annotated[float, Field(gt=0, le=100)] = 0.05
    """How many alarms of the inputs to expect in 10,000 independent events without a change."""
    max_columns: Count = 1000
    """Inputs with more numbers are watched in so many of them, evenly spaced."""
    action: Action = "observe"
    """On an alarm: `observe`; `snapshot`, save a version; `raise_forgetting`, follow faster for a while; `reset`, begin
    anew; `rollback`, to the newest version from before the change."""
    forgetting_factor: Annotated[float, Field(gt=1, le=1e6)] = 5.0
    """`raise_forgetting`: what was learned counts so many times less, or learning is so many times faster …"""
    forgetting_events: Count = 1000
    """… for so many events."""
