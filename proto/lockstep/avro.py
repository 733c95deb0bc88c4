"""Avro records of one schema, read together, where records of plain values stand within each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from thalweg.proto.lockstep.reading import NotAlike, Reading, Rows, rows_of
from thalweg.proto.lockstep.values import Found, Names, Step, moments, spread, under, wanted_below

_MICROS = {
    "timestamp-millis": 1000,
    "local-timestamp-millis": 1000,
    "timestamp-micros": 1,
    "local-timestamp-micros": 1,
}


def avro_step(schema: Any, named: Mapping[str, Any], wanted: frozenset[Names]) -> Step | None:
    """How the wanted values of a schema are read; None if some cannot be read this way.

    Args:
        schema: As the library parsed it.
        named: The schemas that it names.
        wanted: Paths in it; the others are skipped.
    """
    return _step(schema, named, wanted, frozenset())


def _step(schema: Any, named: Mapping[str, Any], wanted: frozenset[Names], within: frozenset[str]) -> Step | None:
    if isinstance(schema, list):
        return _union(schema, named, wanted, within)
    kind = schema if isinstance(schema, str) else schema.get("type")
    if isinstance(schema, str) and schema in named:
        if schema in within:
            return None
        return _step(named[schema], named, wanted, within | {schema})
    if isinstance(kind, dict | list):
        return _step(kind, named, wanted, within)
    if kind in ("record", "error"):
        return _record(schema, named, wanted, within)
    if any(wanted - {()}):
        return None  # a path that leads into a value
    logical = schema.get("logicalType") if isinstance(schema, dict) else None
    if wanted and logical is not None and logical not in _MICROS:
        return None
    return _leaf(str(kind), schema, logical, bool(wanted))


def _record(
    schema: Mapping[str, Any], named: Mapping[str, Any], wanted: frozenset[Names], within: frozenset[str]
) -> Step | None:
    if () in wanted or schema.get("name") in within:
        return None
    inside = within | {str(schema.get("name"))}
    steps: list[Step] = []
    for field in schema["fields"]:
        step = _step(field["type"], named, wanted_below(wanted, field["name"]), inside)
        if step is None:
            return None
        steps.append(under(field["name"], step))

    def read(reading: Reading, rows: Rows) -> Found:
        found: Found = {}
        for step in steps:
            found |= step(reading, rows)
        return found

    return read


def _union(
    branches: list[Any], named: Mapping[str, Any], wanted: frozenset[Names], within: frozenset[str]
) -> Step | None:
    """Of null and one other; more are read one by one."""
    others = [one for one in branches if one != "null"]
    if len(others) != 1 or len(branches) != 2:
        return None
    step, place = _step(others[0], named, wanted, within), branches.index(others[0])
    if step is None:
        return None

    def read(reading: Reading, rows: Rows) -> Found:
        branch = reading.zigzag(rows)
        if ((branch < 0) | (branch > 1)).any():
            raise NotAlike
        present = branch == place
        return step(reading, rows) if present.all() else spread(step(reading, rows_of(rows, present)), present)

    return read


def _leaf(kind: str, schema: Any, logical: str | None, wanted: bool) -> Step | None:
    def null(reading: Reading, rows: Rows) -> Found:
        return {(): [None] * reading.count(rows)} if wanted else {}

    def boolean(reading: Reading, rows: Rows) -> Found:
        byte = reading.fixed(rows, 1)[:, 0]
        if byte.max(initial=0) > 1:
            raise NotAlike
        return {(): (byte == 1).tolist()} if wanted else {}

    def integer(reading: Reading, rows: Rows) -> Found:
        value = reading.zigzag(rows)
        if kind == "int" and (value != value.astype(np.int32)).any():
            raise NotAlike
        if not wanted:
            return {}
        if logical is None:
            return {(): value.tolist()}
        scale = _MICROS[logical]
        if value.max(initial=0) > 2**53 // scale or value.min(initial=0) < -(2**53) // scale:
            raise NotAlike
        return {(): moments(value * scale)}

    def number(reading: Reading, rows: Rows) -> Found:
        if not wanted:
            reading.skip(rows, 4 if kind == "float" else 8)
            return {}
        return {(): reading.numbers(rows, "<f4" if kind == "float" else "<f8")}

    def text(reading: Reading, rows: Rows) -> Found:
        lengths = reading.zigzag(rows)
        if not wanted:
            reading.skip(rows, lengths)
            return {}
        return {(): reading.texts(rows, lengths)}

    def enum(reading: Reading, rows: Rows) -> Found:
        place, symbols = reading.zigzag(rows), schema["symbols"]
        if place.min(initial=0) < 0 or place.max(initial=0) >= len(symbols):
            raise NotAlike
        return {(): [symbols[one] for one in place.tolist()]} if wanted else {}

    def fixed(reading: Reading, rows: Rows) -> Found:
        size = np.full(reading.count(rows), schema["size"], np.int64)
        if not wanted:
            reading.skip(rows, size)
            return {}
        return {(): reading.texts(rows, size)}

    steps: dict[str, Step] = {
        "null": null,
        "boolean": boolean,
        "int": integer,
        "long": integer,
        "float": number,
        "double": number,
        "string": text,
        "bytes": text,
        "enum": enum,
        "fixed": fixed,
    }
    return steps.get(kind)
