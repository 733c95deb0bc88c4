"""What holds for every built-in learner, asked of the registry."""

from __future__ import annotations

from typing import Any

from thalweg.models.contract.gauges import GaugeSpec
from thalweg.models.contract.registry import BUILT_IN, find


def gauges_of_learners() -> set[GaugeSpec]:
    """All that the built-in learners declare."""
    factories: list[Any] = [find(name) for name in BUILT_IN]
    return {spec for factory in factories for spec in factory.gauges_declared}
