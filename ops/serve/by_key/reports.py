"""What the learners of a model's shards report, as the report of one model: for the page and `Watch`.

Counts are added up and averages weighted by their events, so that they are those of all events. What belongs to a
stream of its own (curves, confidence intervals, alarms, recovery) stays with the shards.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from thalweg.stream.shards.names import shard_of

_SUMS = (
    *("consumed_events", "events", "events_per_second", "lag_records", "learned_events", "left_out_events"),
    *("recent_events", "snapshot_failures", "state_bytes", "unanswered_events", "unlabelled_events"),
)
_SUMS_BY_NAME = ("dead_letters", "rollbacks")
_MEANS = {"metrics": "events", "frozen": "events", "recent": "recent_events", "frozen_recent": "recent_events"}
_SAME = ("task", "quality", "quality_floor")
_SQUARED = ("rmse",)  # means of squares, of which the root is shown


def of_shards(model: str, reports: Mapping[str, Mapping[str, Any]]) -> dict[str, Any] | None:
    """The report of a model from those of its shards; None if there is none.

    Args:
        model: Its name.
        reports: The reports of all learners by name.
    """
    found = [one for name, one in reports.items() if (shard := shard_of(name)) is not None and shard[0] == model]
    return together(found) if found else None


def together(reports: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Reports of shards as one; at least one."""
    told: dict[str, Any] = {"time": min(one.get("time", 0.0) for one in reports)}
    for name in _SUMS:
        if values := [one[name] for one in reports if one.get(name) is not None]:
            told[name] = sum(values)
    for name in _SUMS_BY_NAME:
        told[name] = _by_name([one.get(name, {}) for one in reports], sum)
    told["newest_dead_letters"] = _by_name([one.get("newest_dead_letters", {}) for one in reports], max)
    for name, weight in _MEANS.items():
        if any(name in one for one in reports):
            told[name] = _means([(one.get(name, {}), one.get(weight, 0)) for one in reports])
    for name in _SAME:
        if (value := next((one[name] for one in reports if one.get(name) is not None), None)) is not None:
            told[name] = value
    told["floor_breached"] = any(one.get("floor_breached") for one in reports)
    return told


def _by_name(tables: Sequence[Mapping[str, float]], how: Callable[[Iterable[float]], float]) -> dict[str, float]:
    names = dict.fromkeys(name for table in tables for name in table)
    return {name: how([table[name] for table in tables if name in table]) for name in names}


def _means(tables: Sequence[tuple[Mapping[str, float], int]]) -> dict[str, float]:
    """Means weighted by their numbers of events."""
    found = {}
    for name in dict.fromkeys(name for table, _ in tables for name in table):
        known = [(table[name], weight) for table, weight in tables if name in table and weight]
        if (total := sum(weight for _, weight in known)) > 0:
            power = 2 if name in _SQUARED else 1
            found[name] = math.fsum(value**power * weight for value, weight in known) / total
            found[name] **= 1 / power
    return found
