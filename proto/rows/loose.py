"""The parts of events in a user's own records, read as generously as columns are: a number may be a text."""

from __future__ import annotations

from typing import Any

from thalweg.proto.bounds.moments import Moments
from thalweg.proto.rejected import Refused
from thalweg.proto.rows.assembly import Parts
from thalweg.proto.rows.extraction import Values
from thalweg.proto.rows.fields import PARTS
from thalweg.proto.rows.paths import shown
from thalweg.proto.rows.values import number_of


def part_key(part: str) -> str:
    """The key of a part among a record's values; no input has such a name."""
    return f"\0{part}"


def loose_parts(found: dict[str, Values]) -> Parts:
    """The parts of N events, from the values `part_key("id")` and so on; parts that are not there are None.

    Raises:
        Refused: A weight is no number.
    """
    nothing = [None] * len(next(iter(found.values())))
    ids, times, keys, labels, weights = (found.get(part_key(part), nothing) for part in PARTS)
    if not isinstance(times, Moments) and not set(map(type, times)) <= {int, float, type(None)}:
        times = [_time(value) for value in times]
    if not set(map(type, weights)) <= {float, type(None)}:
        weights = [_weight(value) for value in weights]
    return Parts(ids, times, keys, labels, weights)


def _time(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return number_of(value)
    except ValueError:
        return value


def _weight(value: Any) -> float | None:
    try:
        if value is None or isinstance(value, str):
            return None if value is None else number_of(value)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
    except (ValueError, OverflowError):
        pass
    raise Refused("bad_weight", f"weight: expected a finite number of at least 0, got {shown(value)}")
