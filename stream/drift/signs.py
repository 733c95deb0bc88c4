"""What is observed, what a detector found of it, whether that is news, and what kind of drift it makes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from thalweg.stream.drift.detectors import Fired
from thalweg.stream.drift.params import DriftParams
from thalweg.stream.drift.windows import Moved

SIGNALS = ("loss", "twin", "confidence", "inputs", "predictions")
"""`twin` is the loss of the frozen baseline; states, alarms and metrics keep that older name."""
Floats = NDArray[np.float64]
Sign: TypeAlias = Fired | Moved
"""A change of one signal."""
_FITTED = 256  # graded events for which it must have been good
_OUTDATED = 0.05  # a baseline that was already so much worse than the model before a change tells nothing by its loss
_NOT_SAVED = (
    *("action", "settle_events", "forgetting_factor", "forgetting_events"),
    *("calm_events", "follow_events", "digest_events"),
)


@dataclass(frozen=True, slots=True)
class Observed:
    """The observations of a micro-batch of N events."""

    times: Floats
    """(N,), Unix seconds."""
    loss: Floats
    """(N,), NaN for events that are not graded."""
    baseline: Floats
    """(N,), loss of the frozen baseline; all NaN without one."""
    confidence: Floats
    """(N,), NaN if the model reports none."""
    bounded: bool
    """Whether losses lie within [0, 1]."""
    columns: NDArray[np.float32]
    """(N, F), the watched columns of inputs, then of predictions."""


def is_news(found: Sign) -> bool:
    """Whether it may raise an alarm; else it is told in a digest."""
    return found.news if isinstance(found, Moved) else not found.usual


def name_of(found: Sign) -> str:
    """The detector or test that found it."""
    return found.test if isinstance(found, Moved) else found.detector


def kind_of(signals: Sequence[tuple[str, str, int]]) -> str:
    """The `kind` of an alarm with these detections."""
    named = {signal for signal, _, _ in signals}
    of_inputs, of_answers = "inputs" in named, bool(named - {"inputs"})
    return "both" if of_inputs and of_answers else "inputs" if of_inputs else "concept"


def watching(params: DriftParams) -> dict[str, Any]:
    """The parameters that the saved values depend on."""
    table = params.model_dump()
    for key in _NOT_SAVED:
        del table[key]
    return table


def outdated(of_baseline: Fired) -> bool:
    """Whether the baseline had not fitted before, or not for long: an outdated one fits by chance now and then."""
    return of_baseline.over < _FITTED or of_baseline.before - of_baseline.beside > _OUTDATED
