"""What decoding costs an event, in every form, beside `json.loads` of one event after the other."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from functools import partial
from statistics import median

import numpy as np

from benchmarks.report import Result, at_most
from benchmarks.scale import Scale
from thalweg.proto import inference_pb2
from thalweg.proto.decode import Decoder
from thalweg.proto.encode import EVENT_BATCH_HEADERS, EVENT_HEADERS, to_event_batch, to_events, to_json
from thalweg.proto.event import Batch, ClassLabels
from thalweg.proto.records import Headers, Partition, Records
from thalweg.proto.schema import Schema, TensorSpec
from thalweg.proto.tensors import read_tensors, to_raw

FEATURES = 64
EVENTS = 1000
SCHEMA = Schema({"features": TensorSpec("features", "float32", (FEATURES,))})


def run(scale: Scale = Scale.FULL) -> list[Result]:
    """Microseconds an event, medians of runs that take turns, so that a slow moment of the machine meets all.

    Each turn is the middle one of three calls: the first finds the caches as the other forms left them.
    """
    batch = _events(np.random.default_rng(0))
    rounds = scale.of(31, quick=5, tiny=1)
    decoder = Decoder(SCHEMA)
    texts = to_json(batch)
    damaged = [*texts[:-1], b"{"]
    times = _medians(
        {
            "json.loads": partial(_loads, texts),
            "JSON": partial(decoder.decode, _records(texts)),
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
