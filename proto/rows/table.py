"""What a decoder of rows wants of records that are read together, and what it finds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from thalweg.proto.rows.extraction import Values
from thalweg.proto.rows.paths import Path

Names = tuple[str, ...]


class Payloads(Protocol):
    """Reads records of a binary form."""

    def columns(self, payloads: Sequence[bytes], wanted: frozenset[Names]) -> Mapping[Names, Values] | None:
        """The values at these paths, one per record; a path that the schema lacks is not there. None if these records
        cannot be read together.
        """

    def json(self, payload: bytes) -> bytes:
        """One record as a JSON text. Raises Refused if it is none."""


def names_of(path: Path) -> Names | None:
    """The names of a path; None if it leads into a list."""
    names: list[str] = []
    step: Path | None = path
    while step is not None:
        if step.indices:
            return None
        names.append(step.name)
        step = step.rest
    return tuple(names)


def table_of(paths: Mapping[str, Names], payloads: Payloads, values: Sequence[bytes]) -> dict[str, Values] | None:
    """The values of each name; None if these records cannot be read together."""
    found = payloads.columns(values, frozenset(paths.values()))
    if found is None:
        return None
    nothing: list[Any] = [None] * len(values)
    return {name: found.get(names, nothing) for name, names in paths.items()}
