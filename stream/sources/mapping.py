"""What the columns of a file are for, as said on the command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from thalweg.proto.rows.fields import FieldMapping, usual_mapping
from thalweg.proto.schema import Schema

IGNORED = ("t", "context")
"""Columns that are not inputs unless they are said to be: those of the bundled streams."""


@dataclass(frozen=True, kw_only=True)
class CsvMapping:
    """The role of each column of a file; and the length of a time unit.

    For a model with columns or a field mapping, a part that is not given here stands where the schema says.
    """

    label: str | None = ""
    """The label's column; empty: `label`, if there is one; None: there are no labels."""
    time: str | None = None
    """A number of Unix seconds (or of a finer unit), or RFC 3339. None: the file has no times."""
    id: str | None = None
    key: str | None = None
    weight: str | None = None
    ignore: Sequence[str] | None = None
    """Columns to skip; None: `IGNORED`."""
    inputs: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Columns of each input, in order; a model's only input takes all columns without another role."""
    time_unit: float = 1.0
    """Seconds per time unit of event sequences; does not affect columns."""
    delimiter: str = ""
    """Between the columns of a CSV file; empty: a comma, in a `.tsv` file a tab."""
    encoding: str = ""
    """Of a text file; empty: UTF-8, or what its byte order mark says."""

    @property
    def given(self) -> dict[str, str]:
        """The parts that are given, by name; an empty name: there is no such part."""
        said = {part: getattr(self, part) for part in ("time", "id", "key", "weight")}
        parts = {part: name for part, name in said.items() if name is not None}
        return parts if self.label == "" else parts | {"label": self.label or ""}

    def within(self, schema: Schema, names: Sequence[str]) -> CsvMapping:
        """With the parts of the schema's field mapping: under their usual names only those that the file has."""
        label = "label" if self.label == "" else self.label
        if schema.fields is None:
            return replace(self, label=label)
        mapping = _replaced(schema.fields, self.given)

        def there(part: str) -> str | None:
            name: str = getattr(mapping, part)
            return name if name and (name != part or name in names) else None

        return replace(
            self, label=there("label"), id=there("id"), time=there("time"), key=there("key"), weight=there("weight")
        )

    def over(self, schema: Schema) -> Schema:
        """The schema with the given parts, for a model that takes rows; else the schema itself."""
        rows = bool(schema.columns) or schema.fields is not None
        return self.named(schema) if rows and self.given else schema

    def named(self, schema: Schema) -> Schema:
        """The schema with the given parts, and a field mapping in any case."""
        usual = schema.fields or usual_mapping(schema.columns.values())
        return replace(schema, fields=_replaced(usual, self.given))


def _replaced(mapping: FieldMapping, given: Mapping[str, str]) -> FieldMapping:
    return FieldMapping(
        label=given.get("label", mapping.label),
        id=given.get("id", mapping.id),
        time=given.get("time", mapping.time),
        time_unit=mapping.time_unit,
        key=given.get("key", mapping.key),
        weight=given.get("weight", mapping.weight),
        unknown=mapping.unknown,
    )
