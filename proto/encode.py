"""Events to records, for producers: the inverse of `decode`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from thalweg.proto import thalweg_pb2
from thalweg.proto.decode import CONTENT_TYPE_EVENT, CONTENT_TYPE_EVENT_BATCH
from thalweg.proto.event import Batch, ClassLabels, NumberLabels
from thalweg.proto.records import Headers
from thalweg.proto.schema import Array
from thalweg.proto.tensors import datatype, to_raw

EVENT_HEADERS: Headers = (("content-type", CONTENT_TYPE_EVENT),)
EVENT_BATCH_HEADERS: Headers = (("content-type", CONTENT_TYPE_EVENT_BATCH),)

_json = msgspec.json.Encoder()


def to_event_batch(batch: Batch) -> bytes:
    """One `EventBatch` record of all events; send it with `EVENT_BATCH_HEADERS`."""
    message = thalweg_pb2.EventBatch(events=len(batch))
    for name, column in batch.inputs.items():
        _add_input(message, name, column)
    if batch.ids is not None:
        message.ids.extend([name or "" for name in batch.ids])
    if batch.keys is not None:
        message.keys.extend([key or "" for key in batch.keys])
    message.times = batch.times.astype("<f8").tobytes()
    if (batch.weights != 1).any():
        message.weights = batch.weights.astype("<f8").tobytes()
    if isinstance(batch.labels, ClassLabels):
        message.class_names.extend(batch.labels.names)
        message.class_codes = batch.labels.codes.astype("<i4").tobytes()
    elif isinstance(batch.labels, NumberLabels):
        message.label_numbers = batch.labels.values.astype("<f8").tobytes()
    for answer in batch.served or ():
        entry = message.served.add()
        if answer is not None:
            answer.write(entry)
    return message.SerializeToString()


def to_events(batch: Batch) -> list[bytes]:
    """One protobuf `Event` record per event; send them with `EVENT_HEADERS`."""
    records = []
    for row, label in enumerate(_labels(batch)):
        event = thalweg_pb2.Event(time=float(batch.times[row]), weight=float(batch.weights[row]))
        for name, column in batch.inputs.items():
            _add_input(event, name, column[row, ...])  # also of arrays of scalars: a plain string has no dtype
        if batch.ids is not None and (own := batch.ids[row]) is not None:
            event.id = own
        if batch.keys is not None and (key := batch.keys[row]) is not None:
            event.key = key
        if isinstance(label, str):
            event.label_text = label
        elif isinstance(label, list):
            event.label_numbers.values.extend(label)
        if batch.served is not None and (answer := batch.served[row]) is not None:
            answer.write(event.served)
        records.append(event.SerializeToString())
    return records


def to_json(batch: Batch) -> list[bytes]:
    """One JSON record per event; served predictions are omitted."""
    columns = {name: _plain(column) for name, column in batch.inputs.items()}
    records = []
    for row, label in enumerate(_labels(batch)):
        event: dict[str, Any] = {"time": float(batch.times[row])}
        if batch.ids is not None and batch.ids[row] is not None:
            event["id"] = batch.ids[row]
        if batch.keys is not None and batch.keys[row] is not None:
            event["key"] = batch.keys[row]
        event["inputs"] = {name: column[row] for name, column in columns.items()}
        if label is not None:
            event["label"] = label[0] if isinstance(label, list) and len(label) == 1 else label
        if batch.weights[row] != 1:
            event["weight"] = float(batch.weights[row])
        records.append(_json.encode(event))
    return records


def _add_input(message: thalweg_pb2.Event | thalweg_pb2.EventBatch, name: str, array: Array) -> None:
    kind = "BYTES" if array.dtype == object else datatype(array.dtype.name)
    message.inputs.add(name=name, datatype=kind, shape=array.shape)
    message.raw_input_contents.append(to_raw(array))


def _labels(batch: Batch) -> Sequence[str | list[float] | None]:
    """The label of each event: a class name, numbers, or None."""
    if isinstance(batch.labels, ClassLabels):
        names = [*batch.labels.names, None]
        return [names[code] for code in batch.labels.codes]
    if isinstance(batch.labels, NumberLabels):
        rows = batch.labels.values
        return [row if good else None for row, good in zip(rows.tolist(), batch.labels.present)]
    return [None] * len(batch)


def _plain(column: Array) -> Any:
    return _decoded(column.tolist()) if column.dtype == object else column.tolist()


def _decoded(value: Any) -> Any:
    return [_decoded(part) for part in value] if isinstance(value, list) else value.decode()
