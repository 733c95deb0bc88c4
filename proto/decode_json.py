"""JSON events to columns, many in one call: msgspec parses straight into typed lists, NumPy makes arrays of them."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
import numpy as np

from thalweg.proto import columns
from thalweg.proto.event import Array, Batch, Records, Schema, TensorSpec
from thalweg.proto.rejected import Decoded, Reason, Refused, Rejected


@dataclass(frozen=True, slots=True)
class Envelopes:
    """Identity and time from outside each event, where there was an envelope."""

    ids: Sequence[str | None]
    times: Sequence[str | None]


class JsonDecoder:
    """Decodes JSON events of one schema."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        inputs = msgspec.defstruct(
            "inputs",
            [
                (f"i{place}", _type(spec), msgspec.field(name=name))
                for place, (name, spec) in enumerate(schema.inputs.items())
            ],
            forbid_unknown_fields=True,
        )
        event = msgspec.defstruct(
            "event",
            [
                ("inputs", inputs),
                ("id", str | int | None, None),
                ("time", float | str | None, None),
                ("key", str | None, None),
                ("label", Any, None),
                ("weight", float, 1.0),
            ],
            gc=False,
        )
        self._decoder = msgspec.json.Decoder(event)
        self._fields = [(f"i{place}", name, spec) for place, (name, spec) in enumerate(schema.inputs.items())]

    def empty(self) -> Batch:
        """A batch of no events."""
        return columns.empty_batch(self._schema)

    def decode(
        self, records: Records, rows: Sequence[int], values: Sequence[bytes], envelopes: Envelopes | None
    ) -> Decoded:
        """The batch of the events in `values`, which stand at `rows` of `records`."""
        try:
            events = self._decoder.decode_lines(b"\n".join(values))
            if len(events) == len(values) and not any(b"\n" in value for value in values):
                return Decoded(self._columns(records, rows, events, envelopes))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, Refused, OverflowError):
            pass  # at least one cannot be used: find it, one by one
        return self._one_by_one(records, rows, values, envelopes)

    def _one_by_one(
        self, records: Records, rows: Sequence[int], values: Sequence[bytes], envelopes: Envelopes | None
    ) -> Decoded:
        events, good, rejected = [], [], []
        for place, (row, value) in enumerate(zip(rows, values)):
            try:
                event = self._decoder.decode(value)
                alone = None if envelopes is None else Envelopes([envelopes.ids[place]], [envelopes.times[place]])
                self._columns(records, [row], [event], alone)
            except Refused as error:
                rejected.append(Rejected(row, error.reason, str(error)))
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, OverflowError) as error:
                rejected.append(Rejected(row, _reason(error, value), str(error)))
            else:
                events.append(event)
                good.append(place)
        if not events:
            return Decoded(self.empty(), rejected)
        if envelopes is not None:
            envelopes = Envelopes([envelopes.ids[p] for p in good], [envelopes.times[p] for p in good])
        return Decoded(self._columns(records, [rows[place] for place in good], events, envelopes), rejected)

    def _columns(
        self, records: Records, rows: Sequence[int], events: Sequence[Any], envelopes: Envelopes | None
    ) -> Batch:
        """Raises Refused when any event cannot be used."""
        inputs = {
            name: _column([getattr(event.inputs, field) for event in events], spec)
            for field, name, spec in self._fields
        }
        finite = columns.finite_rows(inputs, len(events))
        if not finite.all():
            raise Refused("non_finite", "inputs: expected finite numbers, got NaN, infinity or a number too large")
        ids: list[str | None] | None = [None if event.id is None else str(event.id) for event in events]
        times: Sequence[float | str | None] = [event.time for event in events]
        if envelopes is not None:
            ids = [outer if outer is not None else own for outer, own in zip(envelopes.ids, ids or ())]
            times = [own if own is not None else outer for outer, own in zip(envelopes.times, times)]
        keys = [
            event.key if event.key is not None else columns.key_text(records.keys[row])
            for event, row in zip(events, rows)
        ]
        return Batch(
            inputs,
            columns.label_column(self._schema, [event.label for event in events]),
            columns.weight_column([event.weight for event in events]),
            columns.time_column(times, [records.times[row] for row in rows]),
            ids if ids is not None and any(name is not None for name in ids) else None,
            keys if any(key is not None for key in keys) else None,
        )


def _type(spec: TensorSpec) -> Any:
    kind: Any = {"f": float, "i": int, "u": int, "b": bool}.get(
        "s" if spec.dtype == "bytes" else np.dtype(spec.dtype).kind, str
    )
    if kind is int:
        limits = np.iinfo(spec.dtype)
        if np.dtype(spec.dtype).itemsize < 8:
            kind = Annotated[int, msgspec.Meta(ge=int(limits.min), le=int(limits.max))]
    for size in reversed(spec.shape):
        kind = Annotated[list[kind], msgspec.Meta(min_length=size, max_length=size)]
    return kind


def _column(values: Sequence[Any], spec: TensorSpec) -> Array:
    if spec.dtype == "bytes":
        column = np.empty((len(values), *spec.shape), dtype=object)
        for row, value in enumerate(values):
            column[row] = _encoded(value)
        return column
    if spec.dtype == "float32" and len(spec.shape) == 1:
        pack = struct.Struct(f"<{spec.shape[0]}f").pack  # less than half the time of np.array
        try:
            return np.frombuffer(b"".join([pack(*row) for row in values]), "<f4").reshape(len(values), *spec.shape)
        except OverflowError:
            pass  # one is too large: let it become infinite, to be found and named
    with np.errstate(over="ignore"):  # a number too large for float32 becomes infinite, and is found as such
        return np.array(values, dtype=spec.dtype).reshape(len(values), *spec.shape)


def _encoded(value: Any) -> Any:
    return value.encode() if isinstance(value, str) else [_encoded(part) for part in value]


def _reason(error: Exception, value: bytes) -> Reason:
    """Which reason a parser's complaint comes to; msgspec says where (`$.inputs.x[3]`) and what it wanted."""
    text = str(error)
    if not isinstance(error, msgspec.ValidationError):
        return "non_finite" if b"NaN" in value or b"Infinity" in value else "malformed"
    place = text.rpartition("`$.")[2] if "`$." in text else ""
    if "missing required field" in text:
        return "missing_input"
    if "unknown field" in text:
        return "unknown_input"
    if place.startswith("inputs"):
        shape = "of length" in text or "Expected `array`" in text or "got `array`" in text or "got `object`" in text
        return "wrong_shape" if shape else "wrong_dtype"
    if place.startswith("time"):
        return "bad_time"
    if place.startswith("weight"):
        return "bad_weight"
    return "malformed"
