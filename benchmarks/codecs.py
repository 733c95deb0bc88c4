"""What decoding costs an event, in every form, beside `json.loads` of one event after the other."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from statistics import median
from typing import Any

import numpy as np

from benchmarks.report import Result, at_most
from benchmarks.scale import Scale
from thalweg.proto import inference_pb2
from thalweg.proto.decode import Decoder
from thalweg.proto.encode import EVENT_BATCH_HEADERS, EVENT_HEADERS, to_event_batch, to_events, to_json
from thalweg.proto.event import Batch, ClassLabels
from thalweg.proto.records import Headers, Partition, Records
from thalweg.proto.rows.column import Column
from thalweg.proto.rows.fields import FieldMapping
from thalweg.proto.schema import Schema, TensorSpec, column_specs
from thalweg.proto.tensors import read_tensors, to_raw

FEATURES = 64
EVENTS = 1000
SCHEMA = Schema({"features": TensorSpec("features", "float32", (FEATURES,))})
COLUMNS = {
    column.name: column
    for column in (
        *(Column(name=f"amount_{place}", kind="numeric") for place in range(5)),
        *(Column(name=f"country_{place}", kind="categorical") for place in range(3)),
        Column(name="known", kind="boolean"),
        Column(name="created", kind="datetime", unit="ms"),
    )
}
MAPPED = Schema(
    column_specs(COLUMNS),
    columns=COLUMNS,
    fields=FieldMapping(label="is_fraud", id="payment", time="created", time_unit="ms"),
)
NESTED = Schema(
    MAPPED.inputs,
    columns={name: replace(column, field=f"order.{name}") for name, column in COLUMNS.items()},
    fields=FieldMapping(label="is_fraud", id="payment", time="order.created", time_unit="ms"),
)


def run(scale: Scale = Scale.FULL) -> list[Result]:
    """Microseconds an event, medians of runs that take turns, so that a slow moment of the machine meets all.

    Each turn is the middle one of three calls: the first finds the caches as the other forms left them.
    """
    batch = _events(np.random.default_rng(0))
    rounds = scale.of(31, quick=5, tiny=1)
    decoder = Decoder(SCHEMA)
    texts = to_json(batch)
    rows = _rows(np.random.default_rng(1))
    flat, nested = [json.dumps(row).encode() for row in rows], [json.dumps(_nested(row)).encode() for row in rows]
    damaged = [*texts[:-1], b"{"]
    times = _medians(
        {
            "json.loads": partial(_loads, texts),
            "JSON": partial(decoder.decode, _records(texts)),
            "rows by json.loads": partial(_loads, flat),
            "rows": partial(Decoder(MAPPED).decode, _records(flat)),
            "nested rows": partial(Decoder(NESTED).decode, _records(nested)),
            "damaged": partial(decoder.decode, _records(damaged)),
            "Event": partial(decoder.decode, _records(to_events(batch), EVENT_HEADERS)),
            "EventBatch": partial(decoder.decode, _records([to_event_batch(batch)], EVENT_BATCH_HEADERS)),
            "request": partial(_requests, _request(), EVENTS),
        },
        rounds,
    )
    micro = {name: seconds / EVENTS * 1e6 for name, seconds in times.items()}
    base = micro["json.loads"]
    return [
        Result(name="one event by json.loads, 64 floats", value=base, unit="µs", note="no check, no array"),
        at_most("one JSON event", micro["JSON"], "µs", 4.0, f"{base / micro['JSON']:.1f} × json.loads"),
        Result(
            name="one row of ten named columns by json.loads",
            value=micro["rows by json.loads"],
            unit="µs",
            note="no check, no array",
        ),
        at_most(
            "one JSON row of ten named columns",
            micro["rows"],
            "µs",
            2.5,
            f"{micro['rows by json.loads'] / micro['rows']:.1f} × json.loads",
        ),
        Result(
            name="the same, within an object",
            value=micro["nested rows"],
            unit="µs",
            note=f"{micro['nested rows'] / micro['rows']:.2f} × side by side",
        ),
        Result(
            name="one JSON event, one of 1,000 broken",
            value=micro["damaged"],
            unit="µs",
            note=f"{micro['damaged'] / micro['JSON']:.2f} × a run without",
        ),
        Result(
            name="one protobuf Event",
            value=micro["Event"],
            unit="µs",
            note=f"{base / micro['Event']:.1f} × json.loads",
        ),
        at_most(
            "one event of an EventBatch of 1,000",
            micro["EventBatch"],
            "µs",
            0.1,
            f"{base / micro['EventBatch']:.0f} × json.loads",
        ),
        Result(name="reading the tensors of one request", value=micro["request"], unit="µs", note="one raw input"),
    ]


def _events(generator: np.random.Generator) -> Batch:
    codes = generator.integers(0, 10, EVENTS).astype(np.int32)
    return Batch(
        {"features": generator.standard_normal((EVENTS, FEATURES)).astype(np.float32)},
        ClassLabels(codes, tuple(map(str, range(10)))),
        np.ones(EVENTS),
        np.arange(EVENTS) + 1.7e9,
    )


def _rows(generator: np.random.Generator) -> list[dict[str, Any]]:
    """Rows as a shop writes them: some values are missing, and one field is nobody's."""
    amounts = generator.standard_normal((EVENTS, 5)).round(3).tolist()
    countries = generator.choice(["DE", "FR", "US", "JP"], (EVENTS, 3)).tolist()
    missing = generator.random((EVENTS, 8)) < 0.05
    rows = []
    for place in range(EVENTS):
        values = [None if gone else value for value, gone in zip([*amounts[place], *countries[place]], missing[place])]
        row: dict[str, Any] = dict(zip(COLUMNS, values))
        row |= {"known": place % 3 == 0, "created": 1_700_000_000_000 + place, "comment": "none"}
        rows.append(row | {"is_fraud": place % 7 == 0, "payment": f"p-{place}"})
    return rows


def _nested(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in COLUMNS} | {
        "order": {name: value for name, value in row.items() if name in COLUMNS}
    }


def _records(values: Sequence[bytes], headers: Headers = ()) -> Records:
    count = len(values)
    return Records(Partition("t", 0), range(count), [0.0] * count, [None] * count, values, [headers] * count)


def _request() -> inference_pb2.ModelInferRequest:
    array = np.ones((1, FEATURES), np.float32)
    request = inference_pb2.ModelInferRequest(raw_input_contents=[to_raw(array)])
    request.inputs.add(name="features", datatype="FP32", shape=array.shape)
    return request


def _requests(request: inference_pb2.ModelInferRequest, times: int) -> None:
    for _ in range(times):
        read_tensors(request.inputs, request.raw_input_contents)


def _loads(texts: Sequence[bytes]) -> None:
    for text in texts:
        json.loads(text)


def _medians(actions: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    taken: dict[str, list[float]] = {name: [] for name in actions}
    for _ in range(rounds):
        for name, action in actions.items():
            turns = []
            for _ in range(3):
                start = time.perf_counter()
                action()
                turns.append(time.perf_counter() - start)
            taken[name].append(median(turns))
    return {name: median(seconds) for name, seconds in taken.items()}
