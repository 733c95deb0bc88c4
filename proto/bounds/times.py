"""The time of an event: Unix seconds, whatever unit it came in, within bounds. One rule for every format.

A number is read by its size, because only one unit makes it a plausible time: below 1e11 it is seconds, below 1e14
milliseconds, below 1e17 microseconds, below 1e20 nanoseconds. A time before 1970, or further ahead of its record than
the model allows, is invalid. The record's own time is what it is compared with, never the clock of the reader: a replay
decides as the first run did.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thalweg.proto.bounds.limits import EARLIEST_RECORD_SECONDS, MAX_SECONDS
from thalweg.proto.bounds.moments import Moments
from thalweg.proto.rejected import Refused
from thalweg.proto.rows.column import TimeUnit

_UNITS = (1.0, 1e3, 1e6, 1e9)  # of seconds, milliseconds, microseconds and nanoseconds, in a second

_PER_SECOND: dict[TimeUnit, float] = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}
_FIRST_CERTAIN = 1e8
"""From here on (1973) only one unit makes a number a plausible time."""

Times = NDArray[np.float64]


def moment(value: Any, default: float, unit: TimeUnit = "auto", *, zone_needed: bool = True) -> float:
    """Unix seconds of a time; `default` if there is none.

    Args:
        value: A number, a text in RFC 3339, or None.
        default: The time of an event that has none.
        unit: Of a number; `auto`: the only plausible one. `rfc3339`: there are no numbers.
        zone_needed: As of `parsed`.

    Raises:
        Refused: It is neither (`bad_time`), or before 1970, beyond every unit, or in another unit than said
            (`invalid_time`).
    """
    if value is None:
        return default
    if isinstance(value, str):
        return _in_bounds(parsed(value, zone_needed=zone_needed), repr(value)[:80])
    if isinstance(value, bool) or not isinstance(value, int | float) or unit == "rfc3339":
        wanted = "RFC 3339" if unit == "rfc3339" else "a number or RFC 3339"
        raise Refused("bad_time", f"time: expected {wanted}, got {_said(value)}")
    number = _float(value)
    if not math.isfinite(number):
        raise Refused("bad_time", f"time: expected a finite number of Unix seconds, got {_said(value)}")
    if unit == "auto":
        return _in_bounds(_seconds(number), _said(value))
    seconds = number / _PER_SECOND[unit]
    hint = suggested_unit(number, unit)
    if hint or not 0 <= seconds < MAX_SECONDS:
        raise Refused("invalid_time", f"time: expected {unit} from 0 (1970), got {_said(value)}{hint}")
    return seconds


def suggested_unit(number: float, unit: TimeUnit) -> str:
    """What else a number of this unit may be, as the end of a message; empty if the unit is plausible."""
    seconds, likely = number / _PER_SECOND[unit], _seconds(number)
    if abs(seconds) < MAX_SECONDS and not (0 <= seconds < _FIRST_CERTAIN <= likely < MAX_SECONDS):
        return ""
    of = f", in the year {1970 + seconds / 31_556_952:.0f}"
    if not _FIRST_CERTAIN <= likely < MAX_SECONDS:
        return of
    other = next(name for name, per in _PER_SECOND.items() if number / per == likely)
    return f"{of}; as {other} it is in {1970 + likely / 31_556_952:.0f}: is the unit {other!r}?"


def in_seconds(numbers: Times) -> Times:
    """Numbers in any unit as Unix seconds, each of the only plausible unit; itself where there is none."""
    scale = np.digitize(numbers, [MAX_SECONDS * unit for unit in _UNITS])
    return np.asarray(numbers / np.array([*_UNITS, 1.0])[scale])


def time_column(
    values: Sequence[Any],
    defaults: Sequence[float],
    latest: Times | None = None,
    unit: TimeUnit = "auto",
    *,
    zone_needed: bool = True,
) -> Times:
    """Times of many events, (N,), as `moment` reads them.

    Args:
        values: As they came; None where an event has none.
        defaults: The times of events that have none: those of their records.
        latest: The latest valid time of each event, (N,), as from `latest_times`; None: no bound.
        unit: As of `moment`.
        zone_needed: As of `parsed`.

    Raises:
        Refused: One does not fit.
    """
    column = _moments(values, defaults) if isinstance(values, Moments) else _usual_column(values, unit)
    if column is None and set(map(type, values)) == {type(None)}:
        column = np.array(record_times(defaults), dtype=np.float64)
    if column is None:
        read = [
            moment(value, default, unit, zone_needed=zone_needed)
            for value, default in zip(values, record_times(defaults))
        ]
        column = np.array(read, dtype=np.float64)
    if latest is not None and (column > latest).any():
        row = int(np.argmax(column > latest))
        raise Refused("invalid_time", _ahead(column[row], latest[row]))
    return column


def _moments(values: Moments, defaults: Sequence[float]) -> Times | None:
    """The times where none is before 1970; else None."""
    column = np.where(values.missing, np.array(record_times(defaults), dtype=np.float64), values.seconds())
    return column if column.min(initial=0.0) >= 0 else None


def _usual_column(values: Sequence[Any], unit: TimeUnit) -> Times | None:
    """The times where all are plausible numbers, which is the usual case; else None."""
    if unit == "rfc3339" or not set(map(type, values)) <= {float, int}:
        return None
    try:
        column = np.array(values, dtype=np.float64)
    except OverflowError:
        return None
    column = in_seconds(column) if unit == "auto" else column / _PER_SECOND[unit]
    certain = 0.0 if unit == "auto" else _FIRST_CERTAIN
    usual = column.min(initial=MAX_SECONDS) >= certain and column.max(initial=0.0) < MAX_SECONDS  # not so with a NaN
    return column if usual else None


def invalid_times(times: Times, latest: float) -> tuple[Times, NDArray[np.bool_] | None, str]:
    """The times (N,) of one record in Unix seconds; which of them are out of bounds, (N,), None if none is; and the
    first one's fault.

    Args:
        times: As they came, in any unit.
        latest: The latest valid time, as from `latest_times`; infinite: no bound.

    Raises:
        Refused: One is not finite.
    """
    lowest, highest = times.min(initial=0.0), times.max(initial=0.0)
    if lowest >= 0 and highest < MAX_SECONDS and highest <= latest:  # the usual case; not so with a NaN
        return times, None, ""
    if not np.isfinite(times).all():
        raise Refused("bad_time", "times: expected finite numbers of Unix seconds")
    if times.max(initial=0.0) >= MAX_SECONDS:
        times = in_seconds(times)
    bad = ~((times >= 0) & (times < MAX_SECONDS)) | (times > latest)
    if not bad.any():
        return times, None, ""
    first = float(times[np.argmax(bad)])
    return times, bad, _ahead(first, latest) if latest < first < MAX_SECONDS else _outside(first)


def record_times(times: Sequence[float]) -> list[float]:
    """Times of records in Unix seconds, 0 where unknown: producers may set them, in the wrong unit, or not at all."""
    column = np.array(times, dtype=np.float64)
    if column.min(initial=0.0) >= 0 and column.max(initial=0.0) < MAX_SECONDS:  # the usual case; not so with a NaN
        return list(column.tolist())
    return [_record_time(one) for one in times]


def latest_times(times: Sequence[float], max_future_seconds: float | None) -> Times | None:
    """The latest valid time of the events of each record, (N,); infinite where that is unknown. None: no bound.

    Args:
        times: Of the records, Unix seconds.
        max_future_seconds: How far an event may be dated ahead; None: there is nothing to compare with.
    """
    if max_future_seconds is None:
        return None
    known = np.array(record_times(times), dtype=np.float64)
    return np.where(known >= EARLIEST_RECORD_SECONDS, known + max_future_seconds, np.inf)


def parsed(text: str, *, zone_needed: bool = True) -> float:
    """Unix seconds of a time in RFC 3339. Raises Refused if it is none, or has no zone.

    `zone_needed`: whether a time without a zone is refused; else it is in UTC, and a date is its midnight.
    """
    try:
        found = datetime.fromisoformat(text.strip().upper())  # RFC 3339 allows `t` and `z`
    except ValueError:
        found = None
    if found is not None and found.tzinfo is None and not zone_needed:
        found = found.replace(tzinfo=UTC)
    if found is None or found.tzinfo is None:
        zone = " with a zone" if zone_needed else ""
        raise Refused("bad_time", f"time: expected Unix seconds or RFC 3339{zone}, got {text!r:.80}")
    return found.timestamp()


def _seconds(number: float) -> float:
    """A number of the only plausible unit; itself where there is none."""
    for unit in _UNITS:
        if number < MAX_SECONDS * unit:
            return number / unit
    return number


def _float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _said(value: Any) -> str:
    long = isinstance(value, int) and abs(value) >= 10**80  # Python refuses to write integers of thousands of digits
    return f"{math.inf if long else value!r:.80}"


def _record_time(time: float) -> float:
    if 0 <= time < MAX_SECONDS:  # the usual case
        return time
    seconds = _seconds(time)
    return seconds if 0 <= seconds < MAX_SECONDS else 0.0


def _in_bounds(seconds: float, given: str) -> float:
    if not 0 <= seconds < MAX_SECONDS:
        raise Refused("invalid_time", _outside(given))
    return seconds


def _outside(given: object) -> str:
    return f"time: expected Unix seconds from 0 (1970), also in milli-, micro- or nanoseconds, got {given}"


def _ahead(time: float, latest: float) -> str:
    most = f"{written(latest)}, by the time of the record and max_future_seconds"
    return f"time: expected at most {most}, got {written(time)}"


def written(seconds: float) -> str:
    """Unix seconds as a date and a time, for a message; the number itself where there is no such date."""
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):
        return f"{seconds:.6g}"
