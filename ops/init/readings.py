"""Values of a sample: what they are as numbers and texts, and which are missing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from thalweg.ops.init.written.markers import USUAL
from thalweg.proto.columns import MISSING_LABELS


def is_number(value: Any) -> bool:
    """Whether a value is a number."""
    return numbers_of([value]) is not None


def numbers_of(given: Sequence[Any]) -> list[float] | None:
    """The values as numbers; None if one of them is none."""
    if not all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in given):
        return None
    try:
        return [float(value) for value in given]
    except OverflowError:
        return None


def whole(numbers: Iterable[float]) -> bool:
    """Whether all numbers are whole."""
    return all(number.is_integer() for number in numbers)


def text_of(value: Any) -> str:
    """A value as the text of a category."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def missing(value: Any) -> bool:
    """Whether a value of a column is missing."""
    if isinstance(value, str):
        return value.strip().lower() in USUAL
    return value is None or value != value


def missing_label(value: Any) -> bool:
    """Whether a label is missing."""
    return value in MISSING_LABELS if isinstance(value, str) else value is None or value != value


def joined(*notes: str) -> str:
    """Notes, without empty ones."""
    return "; ".join(note for note in notes if note)
