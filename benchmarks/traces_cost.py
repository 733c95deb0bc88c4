"""What traces cost that are on and not sampled, in CPU time, in pairs within one process.

A request: the calls of the wrapper around a gRPC method with a caller's unsampled context, against the CPU time of a
whole unary `ModelInfer` (64 floats, ridge with default settings) in a server of this process. A record: the whole loop
over records with an unsampled `traceparent`, with a tracker of traces and without.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import process_time
from types import SimpleNamespace
from typing import Any

import numpy as np

from benchmarks.report import Result, at_most, show
from benchmarks.scale import Scale
from tests.ops.serve.serving import Taught, served
from thalweg.memory.snapshots.snapshots import InMemorySnapshots
from thalweg.models.contract.learner import LearnerContext
from thalweg.models.contract.registry import find
from thalweg.ops.traces.exporting import ExportedSpans
from thalweg.ops.traces.requests import RequestTraces
from thalweg.proto.event import Batch, ClassLabels
from thalweg.proto.schema import TensorSpec
from thalweg.stream.freshness.tracker import NoTracker, Tracker
from thalweg.stream.learn.ports import Ports
from thalweg.stream.learn.processor import Processor
from thalweg.stream.learn.settings import ProcessorSettings
from thalweg.stream.log.in_memory import InMemoryLog
from thalweg.stream.log.log import Message
from thalweg.stream.traces.tracker import TraceTracker

_UNSAMPLED = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
_SPECS = {"features": TensorSpec("features", "float32", (64,))}
_LOAD = """
import sys
import grpc
import numpy as np
from thalweg.proto import inference_pb2 as pb
request = pb.ModelInferRequest(model_name="m")
request.inputs.add(name="features", datatype="FP32", shape=[1, 64])
request.raw_input_contents.append(np.zeros(64, np.float32).tobytes())
content = request.SerializeToString()
with grpc.insecure_channel(sys.argv[1]) as channel:
    call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
    for _ in range(int(sys.argv[2])):
        call(content, wait_for_ready=True)
"""


def _learner() -> Any:
    return find("ridge")(LearnerContext(inputs=_SPECS, params={}, seed=0))


def _events(count: int, first: int = 0) -> Batch:
    random = np.random.default_rng(first)
    codes = random.integers(0, 10, count).astype(np.int32)
    features = random.normal(0, 1, (count, 64)).astype(np.float32)
    return Batch(
        {"features": features}, ClassLabels(codes, tuple(map(str, range(10)))), np.ones(count), np.zeros(count)
    )


def _of_request(count: int) -> float:
    """CPU seconds of a whole unary call, in the server."""
    taught = Taught(_learner, find("ridge").predictor_from, _events)
    with tempfile.TemporaryDirectory() as folder, served(Path(folder), model=taught) as parts:
        arguments = [sys.executable, "-c", _LOAD, f"127.0.0.1:{parts.server.grpc_port}"]
        subprocess.run([*arguments, "20"], check=True)
        before = process_time()
        subprocess.run([*arguments, str(count)], check=True)
        return (process_time() - before) / count


def _of_wrapper(spans: ExportedSpans, count: int, rounds: int) -> float:
    """CPU seconds that the wrapper adds to a call; the median of pairs."""
    metadata = (("user-agent", "grpc-python"), ("x-request-id", "1"), ("traceparent", _UNSAMPLED))
    context: Any = SimpleNamespace(invocation_metadata=lambda: metadata)

    def bare(requests: Any, context: Any) -> None: ...

    wrapped = RequestTraces(spans).unary("/inference.GRPCInferenceService/ModelInfer", bare)
    return statistics.median(_timed(wrapped, context, count) - _timed(bare, context, count) for _ in range(rounds))


def _timed(call: Callable[[Any, Any], Any], context: Any, count: int) -> float:
    before = process_time()
    for _ in range(count):
        call(None, context)
    return (process_time() - before) / count


def _of_loop(log: InMemoryLog, tracker: Tracker) -> float:
    """CPU seconds of the loop over all of a log."""
    settings = ProcessorSettings(model="m", topic="t", batch_seconds=0, idle_seconds=0, snapshot_seconds=1e9)
    processor = Processor(_learner(), log, InMemorySnapshots(), settings, ports=Ports(tracker=tracker))
    before = process_time()
    processor.run(until_end=True)
    return process_time() - before


def run(scale: Scale = Scale.FULL) -> list[Result]:
    calls, rounds, events = scale.of((4000, 15, 20_000), quick=(1000, 7, 4000), tiny=(5, 1, 100))
    spans = ExportedSpans("server", {"OTEL_TRACES_SAMPLER": "parentbased_always_off"})
    whole, added = _of_request(calls), _of_wrapper(spans, 20 * calls, rounds)
    log = InMemoryLog()
    rows = _events(events)
    assert isinstance(rows.labels, ClassLabels)
    log.append(
        "t",
        [
            Message(
                json.dumps({"inputs": {"features": row}, "label": rows.labels.names[code]}).encode(),
                headers=(("content-type", b"application/json"), ("traceparent", _UNSAMPLED.encode())),
            )
            for row, code in zip(rows.inputs["features"].tolist(), rows.labels.codes.tolist())
        ],
    )
    ratios = []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(rounds):
            without = _of_loop(log, NoTracker())
            ratios.append(100 * (_of_loop(log, TraceTracker("m", "thalweg", Path(folder), spans)) / without - 1))
    spans.close()
    spread = f"{rounds} pairs of {events:,} JSON events by themselves, {min(ratios):.1f} to {max(ratios):.1f} %"
    note = f"{1e6 * added:.2f} µs of {1e6 * whole:.0f} µs"
    return [
        at_most("a request, traces on and not sampled", 100 * added / whole, "%", 1, note),
        at_most("a record, traces on and not sampled", statistics.median(ratios), "%", 1, spread),
    ]


if __name__ == "__main__":
    show("traces_cost", run(Scale.asked()))
