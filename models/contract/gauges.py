"""Gauges of a learner for the operator: declared once, in its class, and exported as declared."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal, TypeAlias

GaugeValue: TypeAlias = "float | Mapping[tuple[str, ...], float]"
"""A number; for a gauge with labels, one number per combination of label values."""

_NAME = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True, kw_only=True)
class GaugeSpec:
    """The declaration of a gauge. Raises ValueError if it is not valid for Prometheus."""

    name: str
    """The name in `gauges()` and in the status: `memory_entries`."""
    help: str
    """One line for the operator."""
    kind: Literal["gauge", "counter"] = "gauge"
    """A counter never decreases while the learner learns."""
    labels: tuple[str, ...] = ()
    """Label names besides `model_name`: with few values each, never ids or keys."""
    metric: str = ""
    """The metric's name after `thalweg_`; by default the name, for a counter with `_total`. A counter with the name and
    labels of one of the service's own is added to it (`rollbacks_total`).
    """

    def __post_init__(self) -> None:
        for what, text in (("name", self.name), ("metric", self.metric or self.name)):
            if not _NAME.fullmatch(text):
                raise ValueError(f"gauge {what}: expected lower-case letters, digits and '_', got {text!r}")
        if self.kind not in ("gauge", "counter"):
            raise ValueError(f"gauge {self.name!r}: expected kind gauge or counter, got {self.kind!r}")
        if not self.help:
            raise ValueError(f"gauge {self.name!r}: expected a line of help, got none")
        if self.kind == "counter" and self.metric and not self.metric.endswith("_total"):
            raise ValueError(f"gauge {self.name!r}: a counter's metric ends in _total, got {self.metric!r}")
        for label in self.labels:
            if not _NAME.fullmatch(label) or label == "model_name":
                raise ValueError(f"gauge {self.name!r}: {label!r} is not a valid label")

    @property
    def full_name(self) -> str:
        """The metric's name."""
        return f"thalweg_{self.metric or self.name + ('_total' if self.kind == 'counter' else '')}"


CLASSES = GaugeSpec(name="classes", help="Classes that the learner knows")
SKIPPED_EVENTS = GaugeSpec(
    name="skipped_events",
    help="Labelled events that the learner skipped",
    kind="counter",
    metric="events_skipped_total",
)
MEMORY_ENTRIES = GaugeSpec(name="memory_entries", help="Entries in the learner's memory")
MEMORY_EVICTIONS = GaugeSpec(name="memory_evictions", help="Entries evicted from the learner's memory", kind="counter")
MEMORY_BYTES = GaugeSpec(name="memory_bytes", help="Bytes allocated for the learner's memory")
LEFT_OUT_STEPS = GaugeSpec(
    name="left_out_steps",
    help="Update steps skipped because they were not finite",
    kind="counter",
    metric="steps_left_out_total",
)


def samples(value: GaugeValue) -> dict[tuple[str, ...], float]:
    """A gauge's numbers by label values; without labels, under ()."""
    if isinstance(value, Mapping):
        return {labels: float(number) for labels, number in value.items()}
    return {(): float(value)}


def flattened(gauges: Mapping[str, GaugeValue]) -> dict[str, float]:
    """All numbers by name, with label values appended: `rollbacks.update`; without what is no number."""
    found: dict[str, float] = {}
    for name, value in gauges.items():
        with suppress(TypeError, ValueError, OverflowError):  # of a plug-in; it is told where metrics are made
            found |= {".".join((name, *labels)): number for labels, number in samples(value).items()}
    return found
