"""Where the parts of an event stand in a record of the user's own making."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from thalweg.proto.rows.column import TimeUnit


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldMapping:
    """Names or paths of an event's parts in a record; empty: the records have no such part.

    A path is made of names and indices: `order.total`, `items[0].sku`. A name that holds `.` or `[` itself is found
    first, as it is. Inputs and columns stand under their own path (`Column.path`).
    """

    label: str = "label"
    id: str = "id"
    time: str = "time"
    time_unit: TimeUnit = "auto"
    key: str = "key"
    weight: str = "weight"
    unknown: Literal["ignore", "reject"] = "ignore"
    """What to do with other fields of a record."""
