"""What two states of an error memory must have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from thalweg.models.error_memory.inputs import RecommenderInputs
from thalweg.models.error_memory.params import Params
from thalweg.models.error_memory.reading import Reading


def identity(params: Params, inputs: RecommenderInputs, reading: Reading, entries: int | None) -> dict[str, Any]:
    """By name; `entries`: how many the memory has room for, None if it holds none."""
    p = params
    found = {name: getattr(p, name) for name in ("network", "dim", "hidden", "cross_layers", "memory")}
    found |= {"fields": inputs.fields, "numeric": inputs.numeric, "views": list(reading.views)}
    found["features"] = reading.features - len(reading.numbers)  # states without their weights are read
    found["cells"] = p.cells if p.search == "cells" else 0
    if p.memory == "sketch":
        found |= {name: getattr(p, name) for name in ("sketch_arrays", "sketch_bits")}
    if entries is not None:
        found["entries"] = entries
    if p.turns:
        found["turn_events"] = p.turn_events
    return found


def differences(wanted: Mapping[str, Any], got: Mapping[str, Any]) -> list[str]:
    """What two identities do not have in common, with both values."""
    names = [name for name in sorted(wanted.keys() | got.keys()) if wanted.get(name) != got.get(name)]
    return [f"{name}: expected {wanted.get(name, 'none')}, got {got.get(name, 'none')}" for name in names]
