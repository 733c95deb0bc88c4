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
    r"(^|[\W_])(time|timestamp|ts|date|datetime|created|updated|occurred|happened|received|at|when|epoch|zeit|zeitpunkt"
    r"|zeitstempel|datum|fecha|hora|heure|horodatage|ora)($|[\W_])|[_ ]at$|time$|date$|datum$|zeit$",
    re.I,
)
"""Names of times."""
ORDERED = 0.75
"""Share of rows that are no earlier than the one before, from which on a column is in order …"""
_ORDERED_UNNAMED = 0.9
"""… and the same of numbers that are not called times."""
UNITS = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}
_SINCE, _UNTIL = 9e8, 4e9  # Unix seconds of 1998 and 2096: numbers in between are taken for times, under a time's name
_UNTIL_UNNAMED = 2.2e9  # and of 2039, under another
_LONGEST = 30 * 365.25 * 86_400.0  # seconds that such a log lasts
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


def unit_of_times(name: str, numbers: Sequence[float]) -> str:
    """The unit in which numbers are Unix times of this age; empty if they are none.

    Under any name they are, where they come in order: ids and codes of such a size seldom do.
    """
    named = bool(TIMES.search(name))
    if not named and not (len(numbers) > _FEW and _in_order(numbers)):
        return ""
    for unit, factor in UNITS.items():
        low, high = min(numbers) / factor, max(numbers) / factor
        if low >= _SINCE and high < (_UNTIL if named else _UNTIL_UNNAMED) and (named or high - low < _LONGEST):
            return unit
    return ""


def _in_order(numbers: Sequence[float]) -> bool:
    """Whether they rise and hardly ever fall, and are no few codes."""
    steps = np.diff(np.asarray(numbers, np.float64))
    return float(np.mean(steps >= 0)) >= _ORDERED_UNNAMED and len(set(numbers)) > len(numbers) / 4
