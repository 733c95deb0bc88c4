"""Figures that a learner gives the operator: declared once, in its class, and exported as they are declared."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

GaugeValue: TypeAlias = "float | Mapping[tuple[str, ...], float]"
"""A number; of a gauge with labels, one number for each combination of their values."""

_NAME = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True, kw_only=True)
class GaugeSpec:
    """What one figure is. Raises ValueError when made with what Prometheus cannot take."""

    name: str
    """Under which `gauges()` gives it and the status shows it: `memory_entries`."""
    help: str
    """One line for the operator."""
    kind: Literal["gauge", "counter"] = "gauge"
    """A counter never falls while the learner learns."""
    labels: tuple[str, ...] = ()
    """Names of labels beside `model_name`: few values each, never ids or keys."""
    metric: str = ""
    """The metric's name after `thalweg_`; empty: the name, of a counter with `_total`. A counter named as one of the
    service's own, with its labels, is counted there too (`rollbacks_total`)."""

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
                raise ValueError(f"gauge {self.name!r}: {label!r} cannot be a label")

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
    """A gauge's numbers by the values of its labels; of one without labels, under ()."""
    if isinstance(value, Mapping):
        return {labels: float(number) for labels, number in value.items()}
    return {(): float(value)}


def flattened(gauges: Mapping[str, GaugeValue]) -> dict[str, float]:
    """All numbers by name, labels behind it: `rollbacks.update`."""
    return {
        ".".join((name, *labels)): number for name, value in gauges.items() for labels, number in samples(value).items()
    }
