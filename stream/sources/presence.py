"""Columns that no row of a file has: missing values are normal, but a column that never comes may be misspelt."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np

from thalweg.proto.event import Decoded
from thalweg.proto.schema import Array, Schema


def noting_absent(parts: Iterable[Decoded], schema: Schema, notice: Callable[[str], None]) -> Iterator[Decoded]:
    """The same parts; after the last one, `notice` is told which columns had no value in any event."""
    absent = set(schema.columns)
    events = 0
    for part in parts:
        events += len(part.batch)
        absent = {name for name in absent if not _some(part.batch.inputs[name])}
        yield part
    if events:
        for name in [name for name in schema.columns if name in absent]:
            notice(f"column {name!r} has no value in any row; it is looked for as {schema.columns[name].path!r}")


def _some(values: Array) -> bool:
    """Whether one is not missing."""
    return bool(any(values) if values.dtype == object else (~np.isnan(values)).any())
