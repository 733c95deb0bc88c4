"""What a detector found, whether it is news, and what kind of drift it makes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from thalweg.stream.drift.detectors import Fired
from thalweg.stream.drift.inputs import Moved
from thalweg.stream.drift.params import DriftParams

Sign: TypeAlias = Fired | Moved
"""A change of one signal."""
_NOT_SAVED = (
    *("action", "settle_events", "forgetting_factor", "forgetting_events"),
    *("calm_events", "follow_events", "digest_events"),
)


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
