"""Values of typed formats (Parquet, Avro, data frames) as the JSON values that mean the same."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

_PLAIN = {type(None), bool, int, float, str}


def plain_values(values: Sequence[Any]) -> Sequence[Any]:
    """The values of a column; NaN is None. A value of an unknown type stays itself, to be refused by its column."""
    kinds = set(map(type, values))
    if kinds <= _PLAIN:
        return [None if _is_nan(value) else value for value in values] if float in kinds else values
    return [plain(value) for value in values]


def plain(value: Any) -> Any:
    """One value: times as RFC 3339 (in UTC if they have no zone), decimals as numbers, bytes as text."""
    if type(value) in _PLAIN:
        return None if _is_nan(value) else value
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if isinstance(value, dict):
        return {str(name): plain(part) for name, part in value.items()}
    for kind, of in _FOREIGN.items():  # a datetime is a date, too, and stands first
        if isinstance(value, kind):
            return of(value)
    return value


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _datetime(value: datetime) -> str:
    return (value if value.tzinfo is not None else value.replace(tzinfo=UTC)).isoformat()


def _decimal(value: Decimal) -> int | float | None:
    if value.is_nan():
        return None
    return int(value) if value.is_finite() and value == value.to_integral_value() else float(value)


def _text(value: bytes) -> str | bytes:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value


_FOREIGN: dict[type, Callable[[Any], Any]] = {
    datetime: _datetime,
    date: date.isoformat,
    time: time.isoformat,
    timedelta: timedelta.total_seconds,
    Decimal: _decimal,
    bytes: _text,
    UUID: str,
}
