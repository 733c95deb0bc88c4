"""The time of an event: Unix seconds, whatever unit it came in, within bounds. One rule for every format.

A number is read by its size, because only one unit makes it a plausible time: below 1e11 it is seconds, below 1e14
milliseconds, below 1e17 microseconds, below 1e20 nanoseconds. A time before 1970, or further ahead of its record than
the model allows, is invalid. The record's own time is what it is compared with, never the clock of the reader: a replay
decides as the first run did.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from thalweg.proto.bounds.limits import EARLIEST_RECORD_SECONDS, MAX_SECONDS
from thalweg.proto.rejected import Refused

_UNITS = (1.0, 1e3, 1e6, 1e9)  # of seconds, milliseconds, microseconds and nanoseconds, in a second

Times = NDArray[np.float64]


def moment(value: float | str | None, default: float) -> float:
    """Unix seconds of a time in any unit or in RFC 3339; `default` if there is none.

    Raises:
        Refused: It is neither (`bad_time`), or before 1970 or beyond every unit (`invalid_time`).
    """
    if value is None:
        return default
    if isinstance(value, str):
        return _in_bounds(_parsed(value), repr(value)[:80])
    number = float(value)
    if not math.isfinite(number):
        raise Refused("bad_time", f"time: expected a finite number of Unix seconds, got {value!r:.80}")
    return _in_bounds(_seconds(number), repr(value)[:80])


def time_column(values: Sequence[float | str | None], defaults: Sequence[float], latest: Times | None = None) -> Times:
    """Times of many events, (N,), as `moment` reads them.

    Args:
        values: As they came; None where an event has none.
        defaults: The times of events that have none: those of their records.
        latest: The latest valid time of each event, (N,), as from `latest_times`; None: no bound.

    Raises:
        Refused: One does not fit.
    """
    column: Times | None = None
    if set(map(type, values)) == {float}:  # the usual case
        column = np.array(values, dtype=np.float64)
        if not (column.min(initial=0.0) >= 0 and column.max(initial=0.0) < MAX_SECONDS):  # NaN as well
            column = None
    if column is None:
        read = [moment(value, default) for value, default in zip(values, record_times(defaults))]
        column = np.array(read, dtype=np.float64)
    if latest is not None and (column > latest).any():
        row = int(np.argmax(column > latest))
        raise Refused("invalid_time", _ahead(column[row], latest[row]))
    return column


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
        times = np.array([_seconds(one) for one in times.tolist()], dtype=np.float64)
    bad = ~((times >= 0) & (times < MAX_SECONDS)) | (times > latest)
    if not bad.any():
        return times, None, ""
    first = float(times[np.argmax(bad)])
    return times, bad, _ahead(first, latest) if latest < first < MAX_SECONDS else _outside(first)


def record_times(times: Sequence[float]) -> list[float]:
    """Times of records in Unix seconds, 0 where unknown: producers may set them, in the wrong unit, or not at all."""
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


def _parsed(text: str) -> float:
    try:
        parsed = datetime.fromisoformat(text.upper())  # RFC 3339 allows `t` and `z`
    except ValueError:
        parsed = None
    if parsed is None or parsed.tzinfo is None:
        raise Refused("bad_time", f"time: expected Unix seconds or RFC 3339 with a zone, got {text!r:.80}")
    return parsed.timestamp()


def _seconds(number: float) -> float:
    """A number of the only plausible unit; itself where there is none."""
    for unit in _UNITS:
        if number < MAX_SECONDS * unit:
            return number / unit
    return number


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
    return f"time: expected at most {latest:.3f}, by the time of the record and max_future_seconds, got {time:.3f}"
