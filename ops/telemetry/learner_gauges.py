"""Gauges declared by learners, as metrics."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import structlog
from prometheus_client import Counter
from prometheus_client.metrics_core import Metric

from thalweg.models.contract.gauges import GaugeSpec, GaugeValue, samples
from thalweg.ops.telemetry.metrics import COLLECTED, LEARNER_METRICS, SERVER_METRICS, family

log = structlog.get_logger(__name__)

Shown: TypeAlias = Mapping[GaugeSpec, Mapping[tuple[str, ...], float]]
"""The values of each gauge, by labels."""
_MOST_LABELLED = 20  # maximum number of label combinations per gauge: each is a lasting series


class ModelGauges:
    """The gauges of one model's learner.

    Args:
        model: The model's name.
        metrics: The service's own metrics, by name; a declared counter with the same name is added to it.
    """

    def __init__(self, model: str, metrics: Mapping[str, Any]) -> None:
        self.model = model
        self._metrics = metrics
        self._counted: dict[tuple[str, tuple[str, ...]], float] = {}
        self._before: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
        self._warned: set[str] = set()

    def read(self, specs: Sequence[GaugeSpec], gauges: Mapping[str, GaugeValue]) -> Shown:
        """The valid gauges of a learner; also updates the service's counters of the same name. Not thread-safe."""
        declared = {spec.name: spec for spec in specs}
        shown = {}
        for name, value in gauges.items():
            spec = declared.get(name)
            try:
                numbers = samples(value)
            except Exception as error:  # what a plug-in says of itself stops no learning
                self.leave_out(name, f"expected a number, or numbers by label values, got {value!r:.80}: {error}")
                continue
            problem = "it is not declared" if spec is None else _problem(spec, numbers)
            if spec is None or problem:
                self.leave_out(name, problem)
            elif spec.full_name in LEARNER_METRICS:
                self._count(spec, numbers)
            else:
                shown[spec] = numbers
        return shown

    def leave_out(self, name: str, problem: str) -> None:
        """Log once why a gauge is not exported."""
        if name not in self._warned:
            self._warned.add(name)
            log.warning("a learner's gauge is not exported", model=self.model, gauge=name, problem=problem)

    def counted_before(self, name: str, labels: Mapping[str, str], count: float) -> None:
        """The service's counter stood at this after the process before: it has what the learner had counted until
        then, whose own count is part of its state.
        """
        self._before[name, tuple(sorted(labels.items()))] = count

    def _count(self, spec: GaugeSpec, numbers: Mapping[tuple[str, ...], float]) -> None:
        for labels, count in numbers.items():
            before = self._counted.get((spec.name, labels))
            if before is None:
                before = self._before.get((spec.full_name, tuple(sorted(zip(spec.labels, labels)))), 0.0)
            self._metrics[spec.full_name].labels(self.model, *labels).inc(max(0.0, count - before))
            self._counted[spec.name, labels] = max(count, before)


def _problem(spec: GaugeSpec, numbers: Mapping[tuple[str, ...], float]) -> str:
    """Why these values cannot be exported; empty if they can."""
    if any(len(labels) != len(spec.labels) for labels in numbers):
        return f"expected labels {spec.labels}, got {next(iter(numbers))}"
    if len(numbers) > _MOST_LABELLED:
        return f"expected at most {_MOST_LABELLED} combinations of labels, got {len(numbers)}"
    if spec.full_name in {**SERVER_METRICS, **COLLECTED}:
        return f"the service has a metric {spec.full_name} of its own"
    if spec.full_name in LEARNER_METRICS:
        kind, _, labels, _ = LEARNER_METRICS[spec.full_name]
        if kind is not Counter or spec.kind != "counter" or tuple(labels) != spec.labels:
            return f"the service has a metric {spec.full_name} of its own, of another kind or with other labels"
    return ""


def families(models: Iterable[tuple[ModelGauges, Shown]]) -> Iterable[Metric]:
    """The metric families of all models."""
    made: dict[str, tuple[GaugeSpec, Any]] = {}
    for model, shown in models:
        for spec, numbers in shown.items():
            empty = family(spec.kind, spec.full_name, spec.help, ("model_name", *spec.labels))
            first, exported = made.setdefault(spec.full_name, (spec, empty))
            if (first.kind, first.labels) != (spec.kind, spec.labels):
                model.leave_out(spec.name, f"another learner declares {spec.full_name} of another kind or labels")
                continue
            for labels, number in numbers.items():
                exported.add_metric((model.model, *labels), number)
    return [exported for _, exported in made.values()]
