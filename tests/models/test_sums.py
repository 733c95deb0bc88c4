"""Sums of floats that decide a state are rounded alike by every version of Python."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import pytest

from thalweg.models.cotta import adaptation
from thalweg.models.error_memory.sharing import averaging
from thalweg.models.parts.torch_setup import torch


def as_since_3_12(numbers: Iterable[Any]) -> Any:
    """The built-in `sum`, which loses nothing of floats any more."""
    found = list(numbers)
    return math.fsum(found) if all(isinstance(one, float) for one in found) else sum(found)


def test_the_weight_of_shards_is_added_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(averaging, "sum", as_since_3_12, raising=False)

    assert averaging._total([0.1] * 10) == 0.9999999999999999


def test_the_distance_from_the_source_is_added_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adaptation, "sum", as_since_3_12, raising=False)
    names = [f"w{i}" for i in range(9)]
    source = {name: torch.ones(1, dtype=torch.float64) for name in names}
    made = adaptation.Adaptation(torch.nn.Identity(), Any, source, Any)
    made.teacher = {name: each + (1e8 if name == "w0" else 1.0) for name, each in source.items()}

    assert made.distance() == (1e16 / 9.0) ** 0.5
