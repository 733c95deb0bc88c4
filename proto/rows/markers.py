"""Markers of missing values that a column has beside the usual ones, such as `?`, `unknown` or -999."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from thalweg.proto.rows.column import Column
from thalweg.proto.rows.extraction import Values
from thalweg.proto.rows.lazy import Numbers, Texts
from thalweg.proto.schema import Array


class _Markers(NamedTuple):
    texts: frozenset[str]
    numbers: tuple[float, ...]
    """Those of the texts that are numbers: a number that equals one is a marker, however it is written."""


@lru_cache(maxsize=1024)
def _markers(given: tuple[str, ...]) -> _Markers:
    numbers = []
    for text in given:
        try:
            numbers.append(float(text))
        except ValueError:
            continue
    return _Markers(frozenset(given), tuple(number for number in numbers if number == number))


def unmarked(column: Column, values: Values) -> Values:
    """The values, None where one is a marker of the column; within lists, too. Spaces around a text do not count."""
    markers = _markers(column.missing_values)
    if isinstance(values, Numbers):
        return Numbers(unmarked_numbers(column, values.array)) if markers.numbers else values
    if isinstance(values, Texts):
        gone = {piece for piece, text in values.known.items() if _is_marker(markers, text.strip())}
        return Texts([None if piece in gone else piece for piece in values.pieces], values.known) if gone else values
    kept: dict[Any, Any] = {}
    return [_unmarked(markers, value, kept) for value in values]


def unmarked_numbers(column: Column, array: Array) -> Array:
    """Numbers of any shape, NaN where one is a marker of the column."""
    numbers = _markers(column.missing_values).numbers
    if not numbers:
        return array
    found: Array = np.where(np.isin(array, numbers), np.nan, array)
    return found


def _is_marker(markers: _Markers, text: str) -> bool:
    if text in markers.texts:
        return True
    try:
        return bool(markers.numbers) and float(text) in markers.numbers
    except ValueError:
        return False


def _unmarked(markers: _Markers, value: Any, kept: dict[Any, Any]) -> Any:
    kind = type(value)
    if kind is str:  # often few differ
        if value not in kept:
            kept[value] = None if _is_marker(markers, value.strip()) else value
        return kept[value]
    if kind is list:
        return [_unmarked(markers, one, {}) for one in value]
    return None if kind in (int, float) and value in markers.numbers else value
