"""The values that one step has read of some records, by path; and of more records, where the others have none."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from thalweg.proto.bounds.moments import Moments, in_bounds
from thalweg.proto.lockstep.reading import ALL, Integers, NotAlike, Reading, Rows
from thalweg.proto.rows.lazy import spread as spread_values

Names: TypeAlias = tuple[str, ...]
"""A path: names from the record inwards."""
Found: TypeAlias = dict[Names, Sequence[Any]]
Step: TypeAlias = Callable[[Reading, Rows], Found]
"""Reads one value of some rows."""


def moments(micros: Integers) -> Moments:
    """Times of microseconds, of which none is missing. Raises NotAlike for one out of bounds."""
    if not in_bounds(micros):
        raise NotAlike
    return Moments(micros, np.zeros(len(micros), np.bool_))


def spread(found: Mapping[Names, Sequence[Any]], present: NDArray[np.bool_], absent: Any = None) -> Found:
    """The values of all rows, from those of the rows that are present, (R,)."""
    return {names: _spread(values, present, absent) for names, values in found.items()}


def _spread(values: Sequence[Any], present: NDArray[np.bool_], absent: Any) -> Sequence[Any]:
    if isinstance(values, Moments) and absent is None:
        micros = np.zeros(len(present), np.int64)
        missing = np.ones(len(present), np.bool_)
        micros[present], missing[present] = values.micros, values.missing
        return Moments(micros, missing)
    return spread_values(values, present, absent)


def wanted_below(wanted: frozenset[Names], name: str) -> frozenset[Names]:
    """What is wanted of the value of this name; an empty path: the value itself."""
    return frozenset(names[1:] for names in wanted if names[:1] == (name,))


def under(name: str, step: Step) -> Step:
    """The step, with its values beneath this name."""

    def read(reading: Reading, rows: Rows) -> Found:
        return {(name, *names): values for names, values in step(reading, rows).items()}

    return read


def together(step: Step, records: Sequence[bytes], begin: int = 0) -> Found | None:
    """The values of many records, each read from its byte `begin` to its end; None if they cannot be read together."""
    try:
        reading = Reading(records, begin)
        found = step(reading, ALL)
        reading.finish()
    except NotAlike:
        return None
    return found
