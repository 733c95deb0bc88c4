"""Names in records that nobody reads, and that look like one which all of these records lack."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from thalweg.ops.serve.known_names import nearest
from thalweg.proto.rows.fields import PARTS, usual_mapping
from thalweg.proto.rows.paths import Path
from thalweg.proto.schema import Schema

_ALIKE = 0.8
"""How much: records may have fields that nobody reads."""
_LOOKED_AT = 100  # records of one request: they are alike


def misspelt(
    schema: Schema, values: Sequence[bytes], *, label: bool, later: bool = False
) -> dict[int, tuple[str, str]]:
    """By row of these JSON records the reason and the words for a name that may be a misspelt one.

    It is of another letter case, or written almost alike, as that of a column which none of the records has, or of the
    label; `label`: none of the records has one. Both are normally missing, so a misspelt one would go unnoticed.
    `later`: labels may come later, so that a name without a value that could be one is something else: `labels` of a
    workload, or tags.
    """
    fields = schema.fields or usual_mapping(schema.columns.values())
    records = dict(enumerate(map(_record, values[:_LOOKED_AT])))
    own = schema.fields is None and any("inputs" in record for record in records.values())  # decoding checks its names
    wanted = {} if own else {column.path: "column" for column in schema.columns.values()}
    if label and fields.label:
        wanted[fields.label] = "label"
    known = _known(schema, fields)
    found: dict[int, tuple[str, str]] = {}
    for where, what in wanted.items():
        path = Path.of(where)
        if any(_stands(one, path) for one in records.values()):
            continue
        for row, record in records.items():
            for name, value in _alike(record, path, known):
                if later and what == "label" and not _may_be_label(value, schema):
                    continue
                text = (
                    f"no {what} at {where!r:.80}, and no such field is known: {name!r:.80}; did you mean {where!r:.80}?"
                )
                found.setdefault(row, ("unknown_input", text))
                break
    return found


def _record(value: bytes) -> Mapping[str, Any]:
    """The fields of a record; of a CloudEvent, those of its data. None of one that only Python's parser takes."""
    try:
        found = msgspec.json.decode(value)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return {}
    if not isinstance(found, Mapping):
        return {}
    data = found.get("data")
    return data if "specversion" in found and isinstance(data, Mapping) else found


def _stands(record: Any, path: Path) -> bool:
    """Whether the names on a path are there, whatever is at its end."""
    steps: Path | None = path
    while steps is not None:
        if not isinstance(record, Mapping) or path.text in record:
            return True  # what stands there is no object: decoding says so
        if steps.name not in record:
            return False
        record, steps = record[steps.name], None if steps.indices else steps.rest
    return True


def _alike(record: Any, path: Path, known: frozenset[str]) -> Iterator[tuple[str, Any]]:
    """Unknown names with what stands there, where the first missing one on a path should stand, that look like it."""
    steps: Path | None = path
    while steps is not None and isinstance(record, Mapping) and steps.name in record:
        record, steps = record[steps.name], steps.rest
    if steps is None or not isinstance(record, Mapping):
        return
    for name, value in record.items():
        if name not in known and (name.lower() == steps.name.lower() or nearest(name, (steps.name,), _ALIKE)):
            yield name, value


def _may_be_label(value: Any, schema: Schema) -> bool:
    if isinstance(value, list):
        return schema.label == "number"
    return value is not None and not isinstance(value, Mapping)


def _known(schema: Schema, fields: Any) -> frozenset[str]:
    """Names that something is looked for under."""
    paths = [str(getattr(fields, part)) for part in PARTS] + [column.path for column in schema.columns.values()]
    paths += [name for name in schema.inputs if name not in schema.columns]
    found = {"inputs", *(path for path in paths if path)}
    for path in paths:
        steps: Path | None = Path.of(path) if path else None
        while steps is not None:
            found.add(steps.name)
            steps = steps.rest
    return frozenset(found)
