"""Protobuf events to columns: many `Event` records at once, `EventBatch` as views of its raw columns."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import TypeVar

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from thalweg.proto import columns, thalweg_pb2
from thalweg.proto.answer import Answer
from thalweg.proto.bounds.counted import counted
from thalweg.proto.bounds.number_range import refused
from thalweg.proto.bounds.texts import check_ids, check_input_texts, check_keys
from thalweg.proto.bounds.times import Times, invalid_times, latest_times, moment, record_times, time_column
from thalweg.proto.cloudevents import Envelopes
from thalweg.proto.event import Batch, ClassLabels, Decoded, Labels, NumberLabels, Places, join
from thalweg.proto.lockstep.events import EventColumns, event_columns
from thalweg.proto.records import Records
from thalweg.proto.rejected import Reason, Refused, Rejected
from thalweg.proto.rows.tensors import fitting
from thalweg.proto.salvage import salvage
from thalweg.proto.schema import Array, InputError, Schema
from thalweg.proto.tensors import check_inputs, datatype, from_raw, read_tensors

_Message = TypeVar("_Message", thalweg_pb2.Event, thalweg_pb2.EventBatch)


class ProtobufDecoder:
    """Decodes protobuf records of one schema; `max_future_seconds` as in `decode.Decoder`."""

    def __init__(self, schema: Schema, max_future_seconds: float | None = None) -> None:
        self._schema = schema
        self._fit = fitting(schema)
        self._max_future_seconds = max_future_seconds

    def events(
        self, records: Records, rows: Sequence[int], values: Sequence[bytes], envelopes: Envelopes | None
    ) -> Decoded:
        """One `Event` per record."""

        def decode(places: range) -> Batch:
            part = slice(places.start, places.stop)
            times = [records.times[row] for row in rows[part]]
            latest = latest_times(times, self._max_future_seconds)
            ids: Sequence[str | None] | None = None
            if envelopes is not None:
                times = [moment(time, default) for time, default in zip(envelopes.times[part], record_times(times))]
                ids = envelopes.ids[part]
            keys = [columns.key_text(records.keys[row]) for row in rows[part]]
            found = event_columns(values[part]) if len(places) > 1 else None
            if found is not None:
                batch = self._columns(found, times, ids, keys, latest)
            else:
                messages = [_parsed(thalweg_pb2.Event, value) for value in values[part]]
                batch = self._events(messages, times, ids, keys, latest)
            return replace(batch, places=Places.of(records.partition, [records.offsets[row] for row in rows[part]]))

        return salvage(self._schema, rows, decode)

    def event(self, event: thalweg_pb2.Event, record_time: float) -> Batch:
        """A batch of one event, as of a record of this time. Raises Refused when it does not fit."""
        return self._events([event], [record_time], None, [None], latest_times([record_time], self._max_future_seconds))

    def _columns(
        self,
        events: EventColumns,
        default_times: Sequence[float],
        outer_ids: Sequence[str | None] | None,
        default_keys: Sequence[str | None],
        latest: Times | None,
    ) -> Batch:
        """As `_events`, of events that were read together."""
        return self._assembled(
            self._inputs(events.inputs, len(events.ids)),
            events.ids,
            events.keys,
            columns.label_column(self._schema, events.labels),
            events.weights,
            time_column(events.times, default_times, latest),
            outer_ids,
            default_keys,
        )

    def _events(
        self,
        events: Sequence[thalweg_pb2.Event],
        default_times: Sequence[float],
        outer_ids: Sequence[str | None] | None,
        default_keys: Sequence[str | None],
        latest: Times | None,
    ) -> Batch:
        """Raises Refused when any event is invalid."""
        inputs = self._raw_columns(events)
        if inputs is None:
            arrays = [self._inputs({name: one[None] for name, one in _arrays(event).items()}, 1) for event in events]
            inputs = {name: np.concatenate([one[name] for one in arrays]) for name in self._schema.inputs}
        batch = self._assembled(
            inputs,
            [event.id for event in events],
            [event.key for event in events],
            columns.label_column(self._schema, [_label(event) for event in events]),
            [event.weight if event.HasField("weight") else 1.0 for event in events],
            time_column(
                [event.time if event.HasField("time") else None for event in events],
                default_times,
                latest,
            ),
            outer_ids,
            default_keys,
        )
        return replace(batch, served=self._served(events))

    def _assembled(
        self,
        inputs: Mapping[str, Array],
        own_ids: Sequence[str],
        own_keys: Sequence[str],
        labels: Labels | None,
        weights: Sequence[float],
        times: Times,
        outer_ids: Sequence[str | None] | None,
        default_keys: Sequence[str | None],
    ) -> Batch:
        """Raises Refused when a part does not fit; empty ids and keys are none."""
        if not columns.finite_rows(inputs, len(own_ids), self._schema.inputs).all():
            plain = {name: one for name, one in inputs.items() if not self._schema.inputs[name].optional}
            raise refused(plain, plain)
        _check_texts(inputs)
        ids: list[str | None] = [own or None for own in own_ids]
        if outer_ids is not None:
            ids = [own if outer is None else outer for outer, own in zip(outer_ids, ids)]
        keys = [own or default for own, default in zip(own_keys, default_keys)]
        named, keyed = any(ids), any(keys)
        if named:
            check_ids(ids)
        if keyed:
            check_keys(keys)
        return Batch(
            inputs,
            labels,
            columns.weight_column(weights, self._schema.max_weight),
            times,
            ids if named else None,
            keys if keyed else None,
        )

    def _served(self, events: Sequence[thalweg_pb2.Event]) -> list[Answer | None] | None:
        if not any(event.HasField("served") for event in events):
            return None
        return [Answer.read(event.served, self._schema) for event in events]

    def _raw_columns(self, events: Sequence[thalweg_pb2.Event]) -> dict[str, Array] | None:
        """The inputs of events that all have the same inputs, raw and in the same order; None where one differs."""
        raw = [event.raw_input_contents for event in events]
        inputs: dict[str, Array] = {}
        for place, first in enumerate(events[0].inputs):
            spec = self._schema.inputs.get(first.name)
            if spec is None or spec.dtype == "bytes" or spec.optional or first.name in inputs:
                return None
            name, kind, shape = first.name, datatype(spec.dtype), list(spec.shape)
            for event in events:
                tensors = event.inputs
                if len(tensors) <= place or tensors[place].name != name or tensors[place].datatype != kind:
                    return None
                if tensors[place].shape != shape or tensors[place].HasField("contents"):
                    return None
            size = np.dtype(spec.dtype).itemsize * prod(shape)
            if any(len(contents) <= place or len(contents[place]) != size for contents in raw):
                return None
            joined = b"".join([contents[place] for contents in raw])
            inputs[name] = from_raw(name, kind, (len(events), *shape), joined)
        count = len(self._schema.inputs)
        whole = len(inputs) == count and all(
            len(event.inputs) == len(event.raw_input_contents) == count for event in events
        )
        return inputs if whole else None

    def event_batches(self, records: Records, rows: Sequence[int], values: Sequence[bytes]) -> Decoded:
        """One `EventBatch` per record. Events with numbers that are not finite, or times out of bounds, are rejected,
        the others decoded.
        """
        batches: list[Batch] = []
        rejected: list[Rejected] = []
        for row, value in zip(rows, values):
            try:
                batch, bad_times, fault = self._event_batch(records, row, value)
            except Refused as error:
                rejected.append(Rejected(row, error.reason, str(error)))
                continue
            good = finite = columns.finite_rows(batch.inputs, len(batch), self._schema.inputs)
            if not finite.all():
                bad = tuple(np.flatnonzero(~finite).tolist())
                rejected.append(
                    Rejected(row, "non_finite", f"inputs: NaN or infinity in {counted(len(bad), 'event')}", bad)
                )
            if bad_times is not None and (finite & bad_times).any():
                bad = tuple(np.flatnonzero(finite & bad_times).tolist())
                rejected.append(Rejected(row, "invalid_time", f"{counted(len(bad), 'event')}, the first: {fault}", bad))
                good = finite & ~bad_times
            if not good.all():
                batch = batch.take(good)
            batches.append(batch)
        return Decoded(join(batches) if batches else columns.empty_batch(self._schema), rejected)

    def _event_batch(self, records: Records, row: int, value: bytes) -> tuple[Batch, NDArray[np.bool_] | None, str]:
        """The batch, which of its events (N,) have times out of bounds, None if none has, and the fault of the first
        of these.
        """
        message = _parsed(thalweg_pb2.EventBatch, value)
        count = message.events
        if count > len(value):  # events of no content would take memory for nothing; not even a truth value is so small
            raise Refused(
                "malformed",
                f"events: expected at most one for each of the record's {counted(len(value), 'byte')}, got {count}",
            )
        inputs = self._inputs(_arrays(message), count)
        for name, array in inputs.items():
            if len(array) != count:
                raise Refused(
                    "wrong_shape",
                    f"input {name!r}: expected {counted(count, 'row')} as `events` says, got {len(array)}",
                )
        _check_texts(inputs)
        given = _numbers(message.times, count, "times")
        latest = latest_times([records.times[row]], self._max_future_seconds)
        if given is None:
            given = np.full(count, record_times([records.times[row]])[0])
        times, bad_times, fault = invalid_times(given, math.inf if latest is None else float(latest[0]))
        weights = _numbers(message.weights, count, "weights")
        if weights is not None:
            weights = columns.weight_column(weights, self._schema.max_weight)
        key = columns.key_text(records.keys[row])
        keys, ids = _texts(message.keys, count, "keys"), _texts(message.ids, count, "ids")
        check_ids(ids or ())
        check_keys([*(keys or ()), key])
        batch = Batch(
            inputs,
            self._labels(message, count),
            np.ones(count) if weights is None else weights,
            times,
            ids,
            [own or key for own in keys] if keys is not None else None if key is None else [key] * count,
            Places((records.partition,), np.zeros(count, np.int32), np.full(count, records.offsets[row], np.int64)),
            self._answers(message, count),
        )
        return batch, bad_times, fault

    def _answers(self, message: thalweg_pb2.EventBatch, count: int) -> list[Answer | None] | None:
        if not message.served:
            return None
        if len(message.served) != count:
            raise Refused("malformed", f"served: expected {count}, got {len(message.served)}")
        return [Answer.read(answer, self._schema) for answer in message.served]

    def _inputs(self, arrays: Mapping[str, Array], count: int) -> Mapping[str, Array]:
        specs = self._schema.inputs
        if self._fit is not None:
            arrays = self._fit(arrays, count)
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
            found = columns.label_column(schema, names)
            assert isinstance(found, ClassLabels)
            if found.names == names:
                return ClassLabels(codes, names)
            return ClassLabels(np.append(found.codes, np.int32(-1))[codes], found.names)  # -1 is the last, none
        if message.class_codes:
            raise Refused("bad_label", "class_codes: expected number labels (label_numbers)")
        values = _numbers(message.label_numbers, count * schema.label_width, "label_numbers")
        if values is None:
            return NumberLabels(np.full((count, schema.label_width), np.nan))
        if (np.abs(values) > columns.LARGEST_LABEL).any():
            expected = f"finite numbers of at most {columns.LARGEST_LABEL:g}, or NaN where there is none"
            raise Refused("bad_label", f"label_numbers: expected {expected}")
        return NumberLabels(values.reshape(count, schema.label_width))


def _parsed(kind: type[_Message], value: bytes) -> _Message:
    try:
        return kind.FromString(value)
    except DecodeError as error:
        raise Refused("malformed", f"no {kind.DESCRIPTOR.full_name}: {error}") from error


def _arrays(message: thalweg_pb2.Event | thalweg_pb2.EventBatch) -> dict[str, Array]:
    try:
        return read_tensors(message.inputs, message.raw_input_contents)
    except InputError as error:
        raise Refused("wrong_shape" if "shape" in str(error) else "malformed", str(error)) from error


def _check_texts(inputs: Mapping[str, Array]) -> None:
    for name, column in inputs.items():
        if column.dtype == object:
            check_input_texts(name, column.reshape(-1))


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
