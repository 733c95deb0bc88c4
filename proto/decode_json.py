"""JSON events to columns, many per call: msgspec parses into typed lists, NumPy makes arrays of them."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from contextlib import suppress
from typing import Annotated, Any

import msgspec
import numpy as np

from thalweg.proto import columns
from thalweg.proto.bounds.json_depth import too_deep
from thalweg.proto.bounds.json_numbers import has_such_numbers, strict_json
from thalweg.proto.bounds.limits import MAX_JSON_DEPTH
from thalweg.proto.bounds.number_range import refused
from thalweg.proto.bounds.texts import check_input_texts
from thalweg.proto.cloudevents import Envelopes
from thalweg.proto.event import Batch, Decoded
from thalweg.proto.json_text import BYTE_ORDER_MARK, fault_of
from thalweg.proto.records import Records
from thalweg.proto.rejected import Reason, Refused
from thalweg.proto.rows.assembly import Parts, assemble
from thalweg.proto.rows.ids import id_values
from thalweg.proto.salvage import salvage
from thalweg.proto.schema import Array, Schema, TensorSpec

_UNKNOWN = "unknown field"
_LONGEST_DETAIL = 1000  # characters; a parser error may quote a whole record
_FEW = 16  # values whose brackets are counted one by one
_OF_FIELD: dict[str, Reason] = {"label": "bad_label", "time": "bad_time", "weight": "bad_weight"}


class JsonDecoder:
    """Decodes JSON events of one schema; `max_future_seconds` as in `decode.Decoder`."""

    def __init__(self, schema: Schema, max_future_seconds: float | None = None) -> None:
        self._schema = schema
        self._max_future_seconds = max_future_seconds
        inputs = msgspec.defstruct(
            "inputs",
            [
                (f"i{place}", input_type(spec), msgspec.field(name=name))
                for place, (name, spec) in enumerate(schema.inputs.items())
            ],
            forbid_unknown_fields=True,
        )
        fields: list[str | tuple[str, Any] | tuple[str, Any, Any]] = [
            ("inputs", inputs),
            ("id", str | int | float | None, None),
            ("time", float | str | None, None),
            ("key", str | int | float | bool | None, None),
            ("label", Any, None),
            ("weight", float | None, None),
        ]
        self._decoder = msgspec.json.Decoder(msgspec.defstruct("event", fields, gc=False))
        # without unknown fields nothing deep can be valid, so that no text has to be searched for its depth
        self._known = msgspec.json.Decoder(msgspec.defstruct("event", fields, gc=False, forbid_unknown_fields=True))
        self._fields = [(f"i{place}", name, spec) for place, (name, spec) in enumerate(schema.inputs.items())]

    def decode(
        self, records: Records, rows: Sequence[int], values: Sequence[bytes], envelopes: Envelopes | None
    ) -> Decoded:
        """The batch of the events in `values`, at rows `rows` of `records`."""

        def decode(places: range) -> Batch:
            part = slice(places.start, places.stop)
            try:
                return self._columns(records, rows[part], self._parse(values[part]), envelopes and envelopes[part])
            except Refused:
                if len(places) == 1:
                    check_depth(values[part])  # how deep a label is read depends on who calls; the reason must not
                raise

        return salvage(self._schema, rows, decode)

    def _parse(self, values: Sequence[bytes]) -> Sequence[Any]:
        """One event per value. Raises Refused when any is invalid.

        Each value is parsed by itself: values joined to one text could be events together that are none alone.
        """
        decode = self._known.decode
        try:
            return [decode(value) for value in values]
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            if len(values) > 1 and _UNKNOWN not in str(error):
                raise Refused("malformed", "") from error  # one of them is; `salvage` finds which
        decode = self._decoder.decode
        try:
            check_depth(values)
            return [decode(value) for value in values]
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            if len(values) == 1 and values[0].startswith(BYTE_ORDER_MARK):
                return self._parse([values[0].removeprefix(BYTE_ORDER_MARK)])
            if has_such_numbers(values[0]):  # beside the inputs, NaN is a missing label, id or key
                with suppress(msgspec.MsgspecError, ValueError):
                    return [decode(strict_json(values[0]))]
            said = str(error) if isinstance(error, msgspec.ValidationError) else fault_of(values[0], error)
            raise Refused(_reason(error, values[0]), said[:_LONGEST_DETAIL]) from error

    def _columns(
        self, records: Records, rows: Sequence[int], events: Sequence[Any], envelopes: Envelopes | None
    ) -> Batch:
        """Raises Refused when any event is invalid."""
        inputs = {
            name: input_column(name, [getattr(event.inputs, field) for event in events], spec)
            for field, name, spec in self._fields
        }
        finite = columns.finite_rows(inputs, len(events))
        if not finite.all():
            raise refused(inputs, {name: getattr(events[0].inputs, field) for field, name, _ in self._fields})
        parts = Parts(
            [event.id for event in events],
            [event.time for event in events],
            [event.key for event in events],
            [event.label for event in events],
            [event.weight for event in events],
        )
        return assemble(self._schema, records, rows, inputs, parts, envelopes, self._max_future_seconds)


def check_depth(values: Sequence[bytes]) -> None:
    """Raises Refused if one is nested too deeply."""
    if len(values) < _FEW:
        most = max([value.count(b"{") + value.count(b"[") for value in values], default=0)
    else:  # in arrays: a call for each value would take as long as parsing it
        text = np.frombuffer(b"".join(values), dtype=np.uint8)
        opened = np.flatnonzero((text == ord("{")) | (text == ord("[")))
        ends = np.fromiter(map(len, values), dtype=np.int64, count=len(values)).cumsum()
        most = int(np.bincount(np.searchsorted(ends, opened, side="right")).max(initial=0))
    if most > MAX_JSON_DEPTH and any(map(too_deep, values)):  # usually not: then no function is called for each value
        raise Refused("malformed", f"expected JSON nested at most {MAX_JSON_DEPTH} deep, got deeper")


def input_type(spec: TensorSpec) -> Any:
    """The type of an input in a JSON event, for msgspec."""
    kind: Any = {"f": float, "i": int, "u": int, "b": bool}.get(
        "s" if spec.dtype == "bytes" else np.dtype(spec.dtype).kind, str
    )
    if spec.ids:
        kind = int | float | str
    elif kind is int:
        kind = int | float  # 3.0 is 3; invalid values are found by the column
    for size in reversed(spec.shape):
        kind = Annotated[list[kind], msgspec.Meta(min_length=size, max_length=size)]
    return kind


def input_column(name: str, values: Sequence[Any], spec: TensorSpec) -> Array:
    """The array of an input, (N, ...), from values of `input_type`. Raises Refused when one does not fit."""
    if spec.ids:
        values = id_values(spec, values)
    if spec.dtype == "bytes":
        column = np.empty((len(values), *spec.shape), dtype=object)
        for row, value in enumerate(values):
            column[row] = _encoded(value)
        check_input_texts(name, column.reshape(-1))
        return column
    if np.dtype(spec.dtype).kind in "iu":
        return columns.whole_column(name, values, spec)
    if spec.dtype == "float32" and len(spec.shape) == 1:
        pack = struct.Struct(f"<{spec.shape[0]}f").pack  # less than half the time of np.array
        try:
            return np.frombuffer(b"".join([pack(*row) for row in values]), "<f4").reshape(len(values), *spec.shape)
        except OverflowError:
            pass  # one is too large: let it become infinite, so that it is found and named
    with np.errstate(over="ignore"):  # a number too large for float32 becomes infinite, and is found as such
        return np.array(values, dtype=spec.dtype).reshape(len(values), *spec.shape)


def _encoded(value: Any) -> Any:
    return value.encode() if isinstance(value, str) else [_encoded(part) for part in value]


def _reason(error: Exception, value: bytes) -> Reason:
    """The reason for a parser error; msgspec reports where (`$.inputs.x[3]`) and what it expected."""
    text = str(error)
    if not isinstance(error, msgspec.ValidationError):
        return "non_finite" if b"NaN" in value or b"Infinity" in value else "malformed"
    place = text.rpartition("`$.")[2] if "`$." in text else ""
    if "missing required field" in text:
        return "missing_input"
    if _UNKNOWN in text:
        return "unknown_input"
    if place.startswith("inputs"):
        if text.startswith("Number out of range"):
            return "non_finite"
        shape = "of length" in text or "Expected `array`" in text or "got `array`" in text or "got `object`" in text
        return "wrong_shape" if shape else "wrong_dtype"
    return _OF_FIELD.get(place.rstrip("`").partition("[")[0].partition(".")[0], "malformed")
