"""Values as tables hold them, of any library and dtype, as the values of a record.

Dates, timestamps and periods are times; durations and decimals are numbers; UUIDs, times of day and UTF-8 bytes are
texts. What has no such meaning (intervals, structs, complex numbers, other objects) is refused by its type.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Sequence
from decimal import Decimal
from typing import Any
from uuid import UUID

import narwhals as nw
import numpy as np
from numpy.typing import NDArray

_PLAIN = {str, int, float, bool, type(None)}
_WHOLE_DIGITS = 15
TAKEN = "numbers, booleans, texts, times or lists of these"


class FrameError(ValueError):
    """A table does not fit; the message names the column, what was expected and what came."""


def raw_values(given: Any) -> list[Any]:
    """The values of a series, an array or a list as they are; rows of an array of several dimensions are lists.

    Raises:
        FrameError: It is none of these.
    """
    if not isinstance(given, nw.Series):
        given = nw.from_native(given, series_only=True, pass_through=True)
    if isinstance(given, nw.Series):
        return given.to_list()
    if isinstance(given, np.ndarray):
        return list(given) if given.dtype.kind in "mM" else given.tolist()
    if isinstance(given, Sequence) and not isinstance(given, str | bytes):
        return list(given)
    raise FrameError(f"expected a column of values, got {type(given).__name__}")


def plain_values(given: Any, name: str = "") -> list[Any]:
    """The values of a series, an array or a list as in a JSON record, None where missing; times are Unix seconds.

    Args:
        given: See `raw_values`.
        name: The column's, for messages.

    Raises:
        FrameError: A value is of a type that has no such meaning.
    """
    values = raw_values(given)
    if set(map(type, values)) <= {str, int, bool, type(None)}:
        return values
    plain = [_plain(value) for value in values]
    for row, value in enumerate(plain):
        if type(value) not in _PLAIN and not (isinstance(value, list) and _known(value)):
            raise _refused(name, given, row, values[row])
    return plain


def record_values(given: Any, name: str = "") -> list[Any]:
    """As `plain_values`, but that times are texts of RFC 3339, as in a JSON record or a Parquet file."""
    values = raw_values(given)
    if not any(_is_time(value) for value in values):
        return plain_values(given, name)
    return [_moment(value) if _is_time(value) else _plain(value) for value in values]


def seconds_of(given: Any) -> NDArray[np.float64] | None:
    """Unix seconds (N,), NaN where missing, of a column of times; None if its values are something else."""
    values = raw_values(given)
    if not all(_is_time(value) or is_missing(value) for value in values) or all(map(is_missing, values)):
        return None
    return np.array([math.nan if (one := _plain(value)) is None else one for value in values], dtype=np.float64)


def kind_of_types(values: Sequence[Any]) -> str:
    """The kind of a column that the types of its values alone determine; empty if they do not."""
    given = [value for value in values if not is_missing(value)]
    if given and all(map(_is_time, given)):
        return "datetime"
    numbers = (Decimal, dt.timedelta, np.timedelta64)
    return "numeric" if given and all(isinstance(value, numbers) for value in given) else ""


def is_missing(value: Any) -> bool:
    """Whether a value is None, NaN, NA or NaT."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    if isinstance(value, np.datetime64 | np.timedelta64):
        return bool(np.isnat(value))
    if isinstance(value, Decimal):
        return value.is_nan()
    return isinstance(value, float | np.floating) and bool(value != value)


def _is_time(value: Any) -> bool:
    is_time = isinstance(value, dt.date | np.datetime64) or type(value).__name__ == "Period"
    return is_time and not is_missing(value)


def _moment(value: Any) -> str:
    seconds: float = _plain(value)
    whole = dt.datetime.fromtimestamp(math.floor(seconds), dt.UTC)
    return (whole + dt.timedelta(microseconds=round((seconds - math.floor(seconds)) * 1e6))).isoformat()


def _plain(value: Any) -> Any:
    if type(value) is float:
        return None if value != value else value
    if type(value) in _PLAIN:
        return value
    if is_missing(value):
        return None
    if isinstance(value, Decimal):
        whole = value.is_finite() and value == value.to_integral_value() and value.adjusted() < _WHOLE_DIGITS
        return int(value) if whole else float(value)
    if isinstance(value, np.datetime64):
        return value.astype("datetime64[us]").astype(np.int64).item() / 1e6
    if isinstance(value, np.timedelta64):
        return value / np.timedelta64(1, "s")
    if isinstance(value, dt.datetime):
        return (value if value.tzinfo else value.replace(tzinfo=dt.UTC)).timestamp()
    if isinstance(value, dt.date):
        return dt.datetime(value.year, value.month, value.day, tzinfo=dt.UTC).timestamp()
    if isinstance(value, dt.timedelta):
        return value.total_seconds()
    if isinstance(value, dt.time):
        return value.isoformat()
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return _text(bytes(value))
    if isinstance(value, np.generic):
        found = value.item()
        return _plain(found) if type(found) is not type(value) else value
    if isinstance(value, np.ndarray | tuple | list) or nw.dependencies.is_into_series(value):
        return [_plain(one) for one in value]
    if type(value).__name__ == "Period":  # of pandas
        return _plain(value.start_time)
    return value


def _text(value: bytes) -> str | bytes:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value


def _known(values: list[Any]) -> bool:
    return all(type(one) in _PLAIN or (isinstance(one, list) and _known(one)) for one in values)


def _refused(name: str, given: Any, row: int, value: Any) -> FrameError:
    dtype = getattr(given, "dtype", None)
    kind = f", {dtype}" if dtype is not None and str(dtype) != "object" else ""
    where = f"column {name!r:.80}{kind}, row {row}" if name else f"row {row}"
    what = _what(value)
    return FrameError(f"{where}: expected {TAKEN}, got {what}")


def _what(value: Any) -> str:
    if isinstance(value, bytes):
        return f"bytes that are no UTF-8: {value!r:.60}"
    if isinstance(value, dict):
        return f"a struct, {value!r:.60}; a column for each of its fields is taken"
    if isinstance(value, list | tuple | np.ndarray):
        odd = next((one for one in value if type(_plain(one)) not in _PLAIN), None)
        return f"a list with {_what(odd)}"
    hint = "; its .left and .right are numbers" if type(value).__name__ == "Interval" else ""
    return f"{type(value).__name__}, {value!r:.60}{hint}"
