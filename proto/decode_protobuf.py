"""Protobuf events to columns: `Event` one by one, `EventBatch` as views of its raw columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from google.protobuf.message import DecodeError

from thalweg.proto import columns, thalweg_pb2
from thalweg.proto.event import Array, Batch, ClassLabels, InputError, Labels, NumberLabels, Records, Schema, join
from thalweg.proto.rejected import Decoded, Reason, Refused, Rejected
from thalweg.proto.tensors import check_inputs, read_tensors


class ProtobufDecoder:
    """Decodes protobuf records of one schema."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema

    def events(
        self,
        records: Records,
        rows: Sequence[int],
        values: Sequence[bytes],
        ids: Sequence[str | None],
        times: Sequence[str | None],
    ) -> Decoded:
        """One `Event` a record; `ids` and `times` are those of envelopes, if any."""
        batches, rejected = [], []
        for row, value, outer_id, outer_time in zip(rows, values, ids, times):
            try:
                batches.append(self._event(records, row, value, outer_id, outer_time))
            except Refused as error:
                rejected.append(Rejected(row, error.reason, str(error)))
        return Decoded(join(batches) if batches else columns.empty_batch(self._schema), rejected)

    def event(self, event: thalweg_pb2.Event, default_time: float) -> Batch:
        """A batch of one. Raises Refused when it does not fit."""
        inputs = self._inputs({name: array[None] for name, array in _arrays(event).items()})
        if not columns.finite_rows(inputs, 1).all():
            raise Refused("non_finite", "inputs: expected finite numbers, got NaN or infinity")
        label = _label(event)
        return Batch(
            inputs,
            columns.label_column(self._schema, [label]),
            columns.weight_column([event.weight if event.HasField("weight") else 1.0]),
            np.array([columns.moment(event.time if event.HasField("time") else None, default_time)]),
            [event.id] if event.id else None,
            [event.key] if event.HasField("key") else None,
        )

    def _event(self, records: Records, row: int, value: bytes, outer_id: str | None, outer_time: str | None) -> Batch:
        message = thalweg_pb2.Event()
        try:
            message.ParseFromString(value)
        except DecodeError as error:
            raise Refused("malformed", f"no thalweg.v1.Event: {error}") from error
        batch = self.event(message, columns.moment(outer_time, records.times[row]))
        ids = [outer_id] if outer_id is not None else batch.ids
        key = columns.key_text(records.keys[row])
        keys = batch.keys if batch.keys is not None or key is None else [key]
        return Batch(batch.inputs, batch.labels, batch.weights, batch.times, ids, keys)

    def event_batches(self, records: Records, rows: Sequence[int], values: Sequence[bytes]) -> Decoded:
        """One `EventBatch` a record. Events with numbers that are not finite are left out, the others taken."""
        batches, rejected = [], []
        for row, value in zip(rows, values):
            try:
                batch = self._event_batch(records, row, value)
            except Refused as error:
                rejected.append(Rejected(row, error.reason, str(error)))
                continue
            good = columns.finite_rows(batch.inputs, len(batch))
            if not good.all():
                bad = tuple(np.flatnonzero(~good).tolist())
                rejected.append(Rejected(row, "non_finite", f"inputs: NaN or infinity in {len(bad)} events", bad))
                batch = batch.take(good)
            batches.append(batch)
        return Decoded(join(batches) if batches else columns.empty_batch(self._schema), rejected)

    def _event_batch(self, records: Records, row: int, value: bytes) -> Batch:
        message = thalweg_pb2.EventBatch()
        try:
            message.ParseFromString(value)
        except DecodeError as error:
            raise Refused("malformed", f"no thalweg.v1.EventBatch: {error}") from error
        count = message.events
        inputs = self._inputs(_arrays(message))
        for name, array in inputs.items():
            if len(array) != count:
                raise Refused(
                    "wrong_shape", f"input {name!r}: expected {count} rows as `events` says, got {len(array)}"
                )
        times = _numbers(message.times, count, "times")
        if times is not None and not np.isfinite(times).all():
            raise Refused("bad_time", "times: expected finite Unix seconds")
        weights = _numbers(message.weights, count, "weights")
        if weights is not None and not (np.isfinite(weights) & (weights >= 0)).all():
            raise Refused("bad_weight", "weights: expected finite numbers of at least 0")
        key = columns.key_text(records.keys[row])
        keys = _texts(message.keys, count, "keys")
        return Batch(
            inputs,
            self._labels(message, count),
            np.ones(count) if weights is None else weights,
            np.full(count, records.times[row]) if times is None else times,
            _texts(message.ids, count, "ids"),
            [own or key for own in keys] if keys is not None else None if key is None else [key] * count,
        )

    def _inputs(self, arrays: Mapping[str, Array]) -> Mapping[str, Array]:
        specs = self._schema.inputs
        for name in specs:
            if name not in arrays:
                raise Refused("missing_input", f"input {name!r}: missing")
        try:
            check_inputs(specs, arrays)
        except InputError as error:
            text = str(error)
            reason: Reason = "wrong_shape" if "shape" in text or "rows" in text else "wrong_dtype"
            raise Refused("unknown_input" if "no such input" in text else reason, text) from error
        return arrays

    def _labels(self, message: thalweg_pb2.EventBatch, count: int) -> Labels | None:
        schema = self._schema
        if schema.label == "none":
            return None
        if schema.label == "class":
            if message.label_numbers:
                raise Refused("bad_label", "label_numbers: expected class labels (class_names, class_codes)")
            if not message.class_codes:
                return ClassLabels(np.full(count, -1, dtype=np.int32), ())
            if len(message.class_codes) != 4 * count:
                raise Refused("bad_label", f"class_codes: expected {4 * count} bytes, got {len(message.class_codes)}")
            codes = np.frombuffer(message.class_codes, "<i4")
            names = tuple(message.class_names)
            if count and (codes.min() < -1 or codes.max() >= len(names)):
                raise Refused(
                    "bad_label", f"class_codes: expected -1 to {len(names) - 1}, got {codes.min()} to {codes.max()}"
                )
            if len(set(names)) != len(names):
                raise Refused("bad_label", "class_names: one stands twice")
            return ClassLabels(codes, names)
        if message.class_codes:
            raise Refused("bad_label", "class_codes: expected number labels (label_numbers)")
        values = _numbers(message.label_numbers, count * schema.label_width, "label_numbers")
        if values is None:
            return NumberLabels(np.full((count, schema.label_width), np.nan))
        if np.isinf(values).any():
            raise Refused("bad_label", "label_numbers: expected finite numbers, or NaN where there is none")
        return NumberLabels(values.reshape(count, schema.label_width))


def _arrays(message: thalweg_pb2.Event | thalweg_pb2.EventBatch) -> dict[str, Array]:
    try:
        return read_tensors(message.inputs, message.raw_input_contents)
    except InputError as error:
        raise Refused(
            "wrong_shape" if "bytes for" in str(error) or "values in" in str(error) else "malformed", str(error)
        ) from error


def _label(event: thalweg_pb2.Event) -> str | float | list[float] | None:
    kind = event.WhichOneof("label")
    if kind is None:
        return None
    if kind == "label_numbers":
        return list(event.label_numbers.values)
    return event.label_text if kind == "label_text" else event.label_number


def _numbers(content: bytes, count: int, name: str) -> np.ndarray[tuple[int], np.dtype[np.float64]] | None:
    if not content:
        return None
    if len(content) != 8 * count:
        raise Refused("malformed", f"{name}: expected {8 * count} bytes, got {len(content)}")
    return np.frombuffer(content, "<f8")


def _texts(column: Sequence[str], count: int, name: str) -> list[str | None] | None:
    if not column:
        return None
    if len(column) != count:
        raise Refused("malformed", f"{name}: expected {count}, got {len(column)}")
    return [text or None for text in column]
