"""What stands around the rows of JSON records: CloudEvents, schemas of Kafka Connect, changes of Debezium."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

Row = Mapping[str, Any]
_CHANGE = ("op", "source")


class Unwrapped(NamedTuple):
    """Rows without what says nothing of them."""

    rows: Sequence[Row]
    told: str = ""
    """What was around them, for a comment; empty: nothing."""
    changes: bool = False
    """They are changes of rows: one id comes several times."""


def unwrapped(rows: Sequence[Row]) -> Unwrapped:
    """The rows in the same objects as in their records, so that paths lead to them; of CloudEvents their data alone."""
    if rows and all(_is_cloud_event(row) for row in rows):
        told = "CloudEvents: their data are the rows; id and time are those of the envelope"
        return Unwrapped([row["data"] for row in rows], told)
    if rows and all(row.keys() == {"schema", "payload"} and _is_row(row["payload"]) for row in rows):
        inner = unwrapped_changes([row["payload"] or {} for row in rows])
        return inner._replace(
            rows=[{"payload": row} for row in inner.rows], told=inner.told or "Kafka Connect: the rows are in payload"
        )
    return unwrapped_changes(rows)


def unwrapped_changes(rows: Sequence[Row]) -> Unwrapped:
    """Of changes that Debezium writes, the row after each and when it was made."""
    some = [row for row in rows if row]
    if not some or not all({*_CHANGE, "after"} <= row.keys() and _is_row(row["after"]) for row in some):
        return Unwrapped(rows)
    kept: list[Row] = []
    for row in rows:
        made = {"source": {"ts_ms": (row.get("source") or {}).get("ts_ms")}} if row else {}
        kept.append(made | {"after": row["after"]} if row and row["after"] else made)
    told = "Debezium: each row as it is after a change, learned at each; a deletion has no label, and is not learned"
    return Unwrapped(kept, told, changes=True)


def _is_cloud_event(row: Row) -> bool:
    version = row.get("specversion")
    return isinstance(version, str) and version.startswith("1.") and isinstance(row.get("data"), dict)


def _is_row(value: Any) -> bool:
    return value is None or isinstance(value, dict)
