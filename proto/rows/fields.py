"""Where the parts of an event stand in a record of the user's own making."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from thalweg.proto.rows.column import Column, TimeUnit

_ESCAPED = re.compile(r'["\\\x00-\x1f]')
NAMES = "a name without '\"', '\\' and control characters, which JSON escapes"
"""What the decoder of JSON finds by name."""
PARTS = ("id", "time", "key", "label", "weight")
"""The parts of an event besides its inputs."""


def can_be_found(name: str) -> bool:
    """Whether a field, or a path, is of NAMES."""
    return _ESCAPED.search(name) is None


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


def usual_mapping(columns: Iterable[Column]) -> FieldMapping:
    """The usual names of the parts, but for those that a column has: a column `weight` says nothing about learning."""
    paths = {column.path for column in columns}

    def usual(part: str) -> str:
        return "" if part in paths else part

    return FieldMapping(label=usual("label"), id=usual("id"), key=usual("key"), weight=usual("weight"))
