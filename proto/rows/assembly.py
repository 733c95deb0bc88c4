"""The parts of many JSON events to one batch: what records of our own form and rows of a user's own have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from thalweg.proto import columns
from thalweg.proto.bounds.texts import check_ids, check_keys
from thalweg.proto.bounds.times import latest_times, time_column
from thalweg.proto.cloudevents import Envelopes
from thalweg.proto.event import Batch, Places
from thalweg.proto.records import Records
from thalweg.proto.rejected import Reason, Refused
from thalweg.proto.rows.column import TimeUnit
from thalweg.proto.rows.paths import shown
from thalweg.proto.schema import Array, Schema


@dataclass(frozen=True, slots=True)
class Parts:
    """What N events hold besides their inputs, one value per event as it came; None where an event has none."""

    ids: Sequence[Any]
    times: Sequence[Any]
    keys: Sequence[Any]
    labels: Sequence[Any]
    weights: Sequence[Any]


def assemble(
    schema: Schema,
    records: Records,
    rows: Sequence[int],
    inputs: Mapping[str, Array],
    parts: Parts,
    envelopes: Envelopes | None,
    max_future_seconds: float | None,
    time_unit: TimeUnit = "auto",
    *,
    zone_needed: bool = True,
) -> Batch:
    """The batch of the events at rows `rows` of `records`.

    Args:
        schema: The schema of events.
        records: Their keys and times are the defaults of events that have none.
        rows: One per event.
        inputs: The inputs, each (N, ...).
        parts: The rest.
        envelopes: CloudEvents around the events; their identity comes first.
        max_future_seconds: As of `decode.Decoder`.
        time_unit: Of a time that is a number.
        zone_needed: Whether a time in RFC 3339 must have a zone; else it is in UTC without one.

    Raises:
        Refused: A part does not fit.
    """
    ids, keys = names("id", "bad_id", parts.ids), names("key", "bad_key", parts.keys)
    times = parts.times
    outer_keys = [columns.key_text(records.keys[row]) for row in rows] if any(records.keys) else None
    if keys is None or outer_keys is None:
        keys = keys or outer_keys
    else:
        keys = [outer if own is None else own for own, outer in zip(keys, outer_keys)]
    if envelopes is not None:
        ids = [own if outer is None else outer for outer, own in zip(envelopes.ids, ids or [None] * len(rows))]
        times = [outer if own is None else own for outer, own in zip(envelopes.times, times)]
    if ids is not None:
        check_ids(ids)
    if keys is not None:
        check_keys(keys)
    record_times = [records.times[row] for row in rows]
    return Batch(
        inputs,
        columns.label_column(schema, parts.labels),
        columns.weight_column([1.0 if weight is None else weight for weight in parts.weights], schema.max_weight),
        time_column(
            times, record_times, latest_times(record_times, max_future_seconds), time_unit, zone_needed=zone_needed
        ),
        ids,
        keys if keys is not None and any(key is not None for key in keys) else None,
        Places.of(records.partition, [records.offsets[row] for row in rows]),
    )


def names(what: str, reason: Reason, values: Sequence[Any]) -> list[str | None] | None:
    """Ids or keys as texts, an empty one as None; None when all are empty. Raises Refused for a list or an object."""
    kinds = set(map(type, values))
    if kinds == {type(None)}:
        return None
    if kinds == {str}:
        found: list[str | None] = [value or None for value in values]
    else:
        found = [name_of(what, reason, value) for value in values]
    return found if any(one is not None for one in found) else None


def name_of(what: str, reason: Reason, value: Any) -> str | None:
    """An id or a key as text, None for an empty one. Raises Refused for a list or an object."""
    if value is None or value == "":
        return None
    if isinstance(value, str | int | float):
        try:
            return columns.class_name(value)
        except Refused:
            pass
    raise Refused(reason, f"{what}: expected a text or a number, got {shown(value)}")
