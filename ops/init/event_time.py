"""Which column tells when each event happened."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from thalweg.proto.rejected import Refused
from thalweg.proto.rows.column import Column
from thalweg.proto.rows.values import column_array

TIMES = re.compile(
    r"(^|[._])(time|timestamp|ts|date|datetime|created|updated|occurred|at|when)($|[._])|_at$|time$|date$", re.I
)
"""Names of times."""
ORDERED = 0.75
"""Share of rows that are no earlier than the one before, from which on a column is in order."""
_FEW = 10  # rows
_MISSING = 0.05  # share of rows that may have none
_TOLERANCE_SECONDS = 86_400.0  # clocks and zones differ


class EventTime(NamedTuple):
    """The column of event times."""

    name: str
    """Empty: there is none."""
    note: str
    """Then why none of the columns with times is it, if there are any."""
    doubt: str = ""
    """What is to be told aloud of the order of rows; empty: nothing."""


def time_of_events(
    columns: Mapping[str, tuple[Column, Sequence[Any]]], rows: int, now: float | None = None
) -> EventTime:
    """The column that is the time of the events.

    Events come in order and have happened. A date of birth, a due date, or times of rows that were sorted by something
    else may be a column to learn from, but are not the time.

    Args:
        columns: Those of kind `datetime`, and their values that are not missing.
        rows: Rows of the sample.
        now: Unix seconds; None: of the clock.
    """
    latest = (time.time() if now is None else now) + _TOLERANCE_SECONDS
    found: list[tuple[bool, float, str]] = []
    why = doubt = ""
    for name, (column, given) in columns.items():
        try:
            seconds = column_array(column, given)
        except Refused:
            continue
        ordered = float(np.mean(np.diff(seconds) >= 0)) if len(seconds) > 1 else 1.0
        if seconds.min() < 0:
            why = why or f"{name} is not it: some are before 1970"
        elif seconds.max() > latest:
            why = why or f"{name} is not it: some are in the future"
        elif ordered < ORDERED and len(seconds) > _FEW and float(np.mean(np.diff(seconds) <= 0)) >= ORDERED:
            why = why or f"{name} is not it: it runs backwards"
            doubt = (
                doubt
                or f"{name} runs backwards, the newest first: sort the rows by it, so that the past is learned first"
            )
        elif ordered < ORDERED:
            why = why or f"{name} is not it: it is in no order"
        elif len(given) < (1 - _MISSING) * rows:
            why = why or f"{name} is not it: it is often missing"
        else:
            found.append((bool(TIMES.search(name)), ordered, name))
    named = [one for one in found if one[0]]
    if named or len(found) == 1:
        return EventTime(max(named or found, key=lambda one: one[1])[2], "")
    return EventTime("", why, doubt)


def years_in_no_order(column: Column, given: Sequence[Any]) -> float:
    """Years over which nine tenths of a column's times are spread; 0 if they are in order, as those of a log are."""
    try:
        seconds = column_array(column, given)
    except Refused:
        return 0.0
    if len(seconds) < 2 or float(np.mean(np.diff(seconds) >= 0)) >= ORDERED:
        return 0.0
    low, high = np.quantile(seconds, [0.05, 0.95])
    return float(high - low) / (365.25 * 86_400)
