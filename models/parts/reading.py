"""Hyper-parameters from a configuration table, all mistakes at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from difflib import get_close_matches
from math import isfinite
from typing import Any

from thalweg.models.contract.learner import ParamsError


def read_params(kind: type[Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The values for a dataclass of `int`, `float`, `str` and `bool` fields; a float may be given as an integer.

    Raises:
        ParamsError: Keys are unknown or values of another type; all of them at once.
    """
    mistakes: dict[str, str] = {}
    types = {field.name: str(field.type) for field in fields(kind)}
    values: dict[str, Any] = {}
    for key, value in given.items():
        if key not in types:
            near = get_close_matches(key, types, n=1)
            mistakes[key] = "no such parameter" + (f"; did you mean {near[0]}?" if near else "")
        elif types[key] == "float" and isinstance(value, (int, float)) and not isinstance(value, bool):
            values[key] = float(value)
        elif type(value).__name__ != types[key]:
            mistakes[key] = f"expected {types[key]}, got {value!r}"
        else:
            values[key] = value
    if mistakes:
        raise ParamsError(mistakes)
    return values


def within(found: dict[str, str], key: str, value: float, least: float, most: float = float("inf")) -> None:
    """Note a mistake under `key` unless the value is finite and from `least` to `most`."""
    if isfinite(value) and least <= value <= most:
        return
    bounds = f"{least:g} or more" if most == float("inf") else f"{least:g} to {most:g}"
    found[key] = f"expected {bounds}, got {value}"
