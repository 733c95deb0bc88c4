"""Made-up records of a model's topic: its inputs or columns by their kinds, random, labelled, each with id and time."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np

from thalweg.proto.rows.column import Column, TimeUnit
from thalweg.proto.rows.fields import FieldMapping, usual_mapping
from thalweg.proto.schema import Schema, TensorSpec

_CLASSES = 10
_IDS = 10_000
"""Different users, items and keys."""
_WORDS = tuple(f"word{number}" for number in range(500))
_DAY = 86_400.0
APART = 0.01
"""Seconds between two events."""
_PER_SECOND = {"ms": 1e3, "us": 1e6, "ns": 1e9}

Values = Callable[[np.random.Generator, int], list[Any]]


def made_up(schema: Schema, count: int, *, seed: int, now: float) -> list[bytes]:
    """So many records as JSON, in the form that a model with this schema reads.

    Args:
        schema: Of the model's events.
        count: Records.
        seed: Determines them.
        now: Unix seconds of the last event; the times in `datetime` columns lie in the day before.
    """
    random = np.random.default_rng(seed)
    columns = {name: _values(schema, spec, now)(random, count) for name, spec in schema.inputs.items()}
    labels = _labels(schema, random, count)
    ids = [f"made-up-{seed}-{row}" for row in range(count)]
    times = [now - APART * (count - 1 - row) for row in range(count)]
    if schema.columns or schema.fields is not None:
        fields = schema.fields or usual_mapping(schema.columns.values())
        return _flat(schema, fields, columns, labels, ids, times)
    rows = [dict(zip(columns, values)) for values in zip(*columns.values())] or [{} for _ in ids]
    return [
        json.dumps({"id": id, "time": at, "inputs": row} | ({} if label is None else {"label": label})).encode()
        for id, at, row, label in zip(ids, times, rows, labels)
    ]


def _flat(
    schema: Schema,
    fields: FieldMapping,
    columns: Mapping[str, list[Any]],
    labels: list[Any],
    ids: list[str],
    times: list[float],
) -> list[bytes]:
    """Records whose parts stand under their paths, as names: a name is looked for before its parts are."""
    places = {name: schema.columns[name].path if name in schema.columns else name for name in columns}
    records: list[dict[str, Any]] = [{} for _ in ids]
    for name, values in columns.items():
        for record, value in zip(records, values):
            record[places[name]] = value
    for record, label, id, at in zip(records, labels, ids, times):
        if fields.label and label is not None:
            record[fields.label] = label
        if fields.id:
            record[fields.id] = id
        if fields.time:
            record[fields.time] = _moment(at, fields.time_unit)
    return [json.dumps(record).encode() for record in records]


def _labels(schema: Schema, random: np.random.Generator, count: int) -> list[Any]:
    if schema.label == "none":
        return [None] * count
    if schema.label == "number" and not schema.classes:
        if schema.label_width == 1:
            return [float(value) for value in random.integers(0, 2, count)]
        return list(random.normal(0, 1, (count, schema.label_width)).round(4).tolist())
    names = schema.classes or tuple(map(str, range(_CLASSES)))
    return [names[code] for code in random.integers(0, len(names), count)]


def _values(schema: Schema, spec: TensorSpec, now: float) -> Values:
    """What makes the values of one input."""
    if (column := schema.columns.get(spec.name)) is not None:
        return _column_values(column, now)
    shape, dtype = spec.shape, spec.dtype
    if spec.ids:
        return lambda random, count: _texts_or_numbers(spec, random.integers(0, _IDS, (count, *shape)))
    if dtype == "bytes":
        return lambda random, count: np.array(_WORDS)[random.integers(0, len(_WORDS), (count, *shape))].tolist()
    if dtype == "bool":
        return lambda random, count: random.integers(0, 2, (count, *shape)).astype(bool).tolist()
    if dtype == "uint8":
        return lambda random, count: random.integers(0, 256, (count, *shape)).tolist()
    if np.dtype(dtype).kind in "iu":
        return lambda random, count: random.integers(0, 2, (count, *shape)).tolist()
    return lambda random, count: random.normal(0, 1, (count, *shape)).round(4).tolist()


def _texts_or_numbers(spec: TensorSpec, numbers: Any) -> list[Any]:
    return list(numbers.astype(str).tolist() if spec.dtype == "bytes" else numbers.tolist())


def _column_values(column: Column, now: float) -> Values:
    if column.kind == "list" and column.length:
        return lambda random, count: random.normal(0, 1, (count, column.length)).round(4).tolist()
    if column.kind == "list":
        return lambda random, count: np.array(_WORDS)[random.integers(0, len(_WORDS), (count, 3))].tolist()
    if column.kind == "boolean":
        return lambda random, count: random.integers(0, 2, count).astype(bool).tolist()
    if column.kind == "datetime":
        return lambda random, count: [_written(column, now - second) for second in random.uniform(0, _DAY, count)]
    if column.kind == "text":
        return lambda random, count: [" ".join(random.choice(_WORDS, 8)) for _ in range(count)]
    if column.kind == "categorical":
        names = column.categories or tuple(f"category{number}" for number in range(20))
        return lambda random, count: [names[place] for place in random.integers(0, len(names), count)]
    if column.kind == "hashed":
        return lambda random, count: [f"value{place}" for place in random.integers(0, _IDS, count)]
    return lambda random, count: random.normal(0, 1, count).round(4).tolist()


def _written(column: Column, seconds: float) -> Any:
    """A time as the column has it."""
    if column.format:
        return datetime.fromtimestamp(seconds, UTC).strftime(column.format)
    return _moment(seconds, column.unit)


def _moment(seconds: float, unit: TimeUnit) -> Any:
    if unit == "rfc3339":
        return datetime.fromtimestamp(seconds, UTC).isoformat()
    return round(seconds * _PER_SECOND[unit]) if unit in _PER_SECOND else seconds
