"""JSON Schemas of a model's rows and answers: its own columns or inputs, and the outputs of its task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from thalweg.ops.serve.models import ServedModel
from thalweg.ops.serve.rows.answers import shown_by_class
from thalweg.proto.bounds.limits import MAX_ID_BYTES, MAX_LABEL_BYTES
from thalweg.proto.rows.column import Column
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
        return {"type": "object", "properties": {**_others(schema, properties), **properties}}
    inputs = {name: tensor_of(spec) for name, spec in schema.inputs.items()}
    others = _others(schema, inputs)
    if schema.fields is None and "label" not in inputs:
        others["label"] = {"description": "As in an event; changes nothing."}
    described: Described = {"type": "object", "properties": {**others, **inputs}, "required": list(inputs)}
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
    """A record of the model's topic."""
    if schema.fields is not None:
        return row_of(schema)
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
    """A label of the model's events."""
    if schema.label == "class":
        described = {"type": ["string", "number", "boolean", "null"], "description": "The name of a class."}
        return {**described, "minLength": 1, "maxLength": MAX_LABEL_BYTES}
    width = schema.label_width
    numbers: Described = {"type": "array", "items": {"type": "number"}, "minItems": width, "maxItems": width}
    return numbers if width > 1 else {"anyOf": [{"type": ["number", "null"]}, numbers]}


def label_record_of(schema: Schema) -> Described:
    """A record of the labels topic."""
    return {
        "type": "object",
        "properties": {
            "id": {"type": ["string", "integer"], "minLength": 1, "maxLength": MAX_ID_BYTES},
            "label": {**label_of(schema), "not": {"type": "null"}},
        },
        "required": ["id", "label"],
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


def _others(schema: Schema, own: Described) -> Described:
    """Parts of an event that a row may have, where no column or input has their name."""
    fields = schema.fields
    if fields is not None:
        named = {
            fields.id: _ID,
            fields.time: _PARTS["time"],
            fields.key: _PARTS["key"],
            fields.weight: _PARTS["weight"],
        }
        return {path: described for path, described in named.items() if path and path not in own and "." not in path}
    return {name: described for name, described in _PARTS.items() if name not in own}


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


def _place(properties: Described, path: str, described: Described) -> None:
    """Put a schema where a path leads: names lead into objects, indices into lists."""
    name, dot, rest = path.partition(".")
    name, _, index = name.partition("[")
    if index:
        properties.setdefault(name, {"type": ["array", "null"]})
    elif not dot:
        properties[name] = described
    else:
        inner = properties.setdefault(name, {"type": ["object", "null"], "properties": {}})
        _place(inner.setdefault("properties", {}), rest, described)
