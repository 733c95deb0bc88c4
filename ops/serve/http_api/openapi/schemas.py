"""JSON Schemas of a model's rows and answers: its own columns or inputs, and the outputs of its task."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import zip_longest
from typing import Any

import numpy as np

from thalweg.ops.serve.models import ServedModel
from thalweg.ops.serve.rows.answers import shown_by_class
from thalweg.proto.bounds.limits import MAX_ID_BYTES, MAX_LABEL_BYTES
from thalweg.proto.columns import MISSING_LABELS
from thalweg.proto.rows.column import Column
from thalweg.proto.rows.paths import Path
from thalweg.proto.schema import Schema, TensorSpec
from thalweg.proto.task import task_of

Described = dict[str, Any]

_ID = {
    "type": ["string", "integer", "null"],
    "maxLength": MAX_ID_BYTES,
    "description": "Joins a late label, and drops redeliveries.",
}
_PARTS: Mapping[str, Described] = {
    "id": _ID,
    "time": {"type": ["number", "string", "null"], "description": "Seconds, ms, µs or ns since 1970, or RFC 3339."},
    "key": {"type": ["string", "integer", "null"]},
    "weight": {"type": ["number", "null"], "minimum": 0},
}


def row_of(schema: Schema) -> Described:
    """A row to be predicted."""
    if schema.columns:
        properties: Described = {}
        for column in schema.columns.values():
            _place(properties, column.path, _column(column))
        return {"type": "object", "properties": _with_others(schema, properties)}
    inputs = {name: tensor_of(spec) for name, spec in schema.inputs.items()}
    properties = _with_others(schema, inputs)
    if schema.fields is None:
        properties.setdefault("label", {"description": "As in an event; changes nothing."})
    described: Described = {"type": "object", "properties": properties, "required": list(inputs)}
    return described if schema.fields is not None else {**described, "additionalProperties": False}


def request_row_of(model: ServedModel) -> Described:
    """A row that the served version answers: one of the model's inputs, or of those that it takes instead."""
    row, served = row_of(model.schema), model.versions.newest
    if served is None or served.alternative_inputs is None:
        return row
    others = {name: tensor_of(spec) for name, spec in served.alternative_inputs.items()}
    instead: Described = {"type": "object", "properties": {"id": _ID, **others}, "required": list(others)}
    return {"anyOf": [row, instead]}


def event_of(schema: Schema) -> Described:
    """A record of the model's topic: a row with its label, or our own form."""
    fields = schema.fields
    if fields is not None:
        row = row_of(schema)
        if fields.label:
            _place(row["properties"], fields.label, label_of(schema))
        return _closed(row) if fields.unknown == "reject" else row
    if schema.columns:
        named = {name: _column(column) for name, column in schema.columns.items()}
    else:
        named = {name: tensor_of(spec) for name, spec in schema.inputs.items()}
    required = [name for name, spec in schema.inputs.items() if not spec.optional]
    own: Described = {"type": "object", "properties": named, "required": required, "additionalProperties": False}
    return {
        "type": "object",
        "properties": {"inputs": own, **_PARTS, "label": label_of(schema)},
        "required": ["inputs"],
    }


def label_of(schema: Schema) -> Described:
    """A label of the model's events; null: none."""
    if schema.classes and schema.label == "class":
        return {"enum": [*schema.classes, None], "description": "The name of a class."}
    if schema.label == "class":
        described = {"type": ["string", "number", "boolean", "null"], "description": "The name of a class."}
        return {**described, "maxLength": MAX_LABEL_BYTES}
    width = schema.label_width
    numbers: Described = {"type": "array", "items": {"type": "number"}, "minItems": width, "maxItems": width}
    if width > 1:
        return numbers
    named: list[Described] = [{"enum": list(schema.classes)}] if schema.classes else []
    return {"anyOf": [*named, {"type": ["number", "null"]}, numbers]}


def label_record_of(schema: Schema) -> Described:
    """A record of the labels topic, with the names of the model's own records; or with ours."""
    id: Described = {"type": ["string", "integer"], "minLength": 1, "maxLength": MAX_ID_BYTES}
    missing = [None, *(text for text in sorted(MISSING_LABELS) if text not in schema.classes)]
    label = {**label_of(schema), "not": {"enum": missing}}
    ours: Described = {"type": "object", "properties": {"id": id, "label": label}, "required": ["id", "label"]}
    fields = schema.fields
    if fields is None or (fields.id, fields.label) == ("id", "label") or not (fields.id and fields.label):
        return ours
    return {
        "anyOf": [{"type": "object", "allOf": [_at(Path.of(fields.id), id), _at(Path.of(fields.label), label)]}, ours]
    }


def answer_of(model: ServedModel) -> Described:
    """A row of an answer; before the first version only what all have."""
    properties: Described = {
        "id": {"type": "string"},
        "reason": {"type": "string", "description": "Why there is no prediction."},
        "explanation": {},
        "version": {"type": "integer"},
        "staleness_seconds": {"type": "number", "minimum": 0},
    }
    served = model.versions.newest
    if served is not None:
        predictor = served.predictor
        task = task_of(predictor)
        by_class = {"type": "object", "additionalProperties": {"type": ["number", "null"]}}
        for name, spec in predictor.outputs.items():
            if name == task.answer and task.label == "class":
                properties[name] = {"type": "string"}
            elif shown := shown_by_class(name, task):
                properties[shown] = by_class
            else:
                properties[name] = {}
                if spec.shape in ((), (1,)) and spec.dtype != "bytes":
                    properties[name] = {"type": ["number", "boolean", "null"]}
    return {"type": "object", "properties": properties, "required": ["version", "staleness_seconds"]}


def tensor_of(spec: TensorSpec) -> Described:
    """The values of one row of a tensor."""
    kind = "s" if spec.dtype == "bytes" else np.dtype(spec.dtype).kind
    described: Described = {"type": {"s": "string", "f": "number", "b": "boolean"}.get(kind, "integer")}
    if kind in "iu":
        limits = np.iinfo(spec.dtype)
        described |= {"minimum": int(limits.min), "maximum": int(limits.max)}
    for size in reversed(spec.shape):
        described = {"type": "array", "items": described}
        if size >= 0:
            described |= {"minItems": size, "maxItems": size}
    return described


def _with_others(schema: Schema, own: Described) -> Described:
    """With the parts of an event that a row may have, where no column or input has their name."""
    fields = schema.fields
    taken = {column.path for column in schema.columns.values()} | set(own)
    properties = dict(own)
    for part, described in _PARTS.items():
        path: str = part if fields is None else getattr(fields, part)
        if path and path not in taken:
            _place(properties, path, described)
    return properties


def _column(column: Column) -> Described:
    if column.kind == "list":
        if column.length:
            items = {"type": ["number", "null"]}
            return {"type": ["array", "null"], "items": items, "minItems": column.length, "maxItems": column.length}
        return {"type": ["array", "null"], "items": {"type": "string"}}
    kinds = {
        "numeric": ["number", "null"],
        "boolean": ["boolean", "null"],
        "datetime": ["number", "string", "null"],
        "text": ["string", "null"],
    }
    return {"type": kinds.get(column.kind, ["string", "number", "boolean", "null"]), "description": column.kind}


def _at(path: Path, described: Described) -> Described:
    """A record that has something at a path."""
    inner = described if path.rest is None else _at(path.rest, described)
    for index in reversed(path.indices):
        inner = {"type": "array", "prefixItems": [*([{}] * index), inner], "minItems": index + 1}
    return {"type": "object", "properties": {path.name: inner}, "required": [path.name]}


def _place(properties: Described, path: str, described: Described) -> None:
    """Put a schema where a path leads: names lead into objects, indices into lists, each of which may be missing."""
    found = Path.of(path)
    properties[found.name] = _merged(properties.get(found.name, {}), _below(found, described))


def _below(path: Path, described: Described) -> Described:
    """What stands under the first name of a path."""
    if path.rest is not None:
        described = {"type": ["object", "null"], "properties": {path.rest.name: _below(path.rest, described)}}
    for index in reversed(path.indices):
        described = {"type": ["array", "null"], "prefixItems": [*([{}] * index), described]}
    return described


def _merged(one: Described, other: Described) -> Described:
    """A schema with the properties and the items of both."""
    found = {**one, **other}
    if "properties" in one and "properties" in other:
        names = {**one["properties"], **other["properties"]}
        found["properties"] = {
            name: _merged(one["properties"].get(name, {}), other["properties"].get(name, {})) for name in names
        }
    if "prefixItems" in one and "prefixItems" in other:
        nothing: Described = {}
        pairs = zip_longest(one["prefixItems"], other["prefixItems"], fillvalue=nothing)
        found["prefixItems"] = [_merged(*pair) for pair in pairs]
    return found


def _closed(described: Described) -> Described:
    """A schema whose objects have no other properties."""
    found = dict(described)
    if "properties" in found:
        found["properties"] = {name: _closed(one) for name, one in found["properties"].items()}
        found["additionalProperties"] = False
    if "prefixItems" in found:
        found["prefixItems"] = [_closed(one) for one in found["prefixItems"]]
    return found
