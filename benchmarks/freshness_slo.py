"""From the acknowledged append of a record to the first answer that has learned it, at half of the load that it learns.

The whole service on one host. A process of its own appends JSON events of 64 numbers at a steady rate, ten
milliseconds' worth at a time, and asks for a prediction every two milliseconds: the first answer whose `learned_events`
counts a record ends that record's time. The rate is half of what the service learns from a backlog of the same
records. Ridge with default settings, which promises 50 ms (`within_seconds`); each log.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

import numpy as np

from benchmarks.ingest import kafka_servers
from benchmarks.report import Result, at_most, left_out, show
from benchmarks.scale import Scale
from tests.ops.running import Service, service, until
from tests.services.processes import Unavailable
from thalweg.stream.log.log import Message

_LOAD = """
import json, sys, threading, time
import grpc
import numpy as np
from pathlib import Path
from thalweg.ops.config.config import load
from thalweg.ops.run.app import open_configured_log
from thalweg.proto import inference_pb2 as pb
from thalweg.stream.log.log import Message

path, topic, target, known, rate, seconds = *sys.argv[1:4], int(sys.argv[4]), float(sys.argv[5]), float(sys.argv[6])
log = open_configured_log(load(Path(path), {}))
random = np.random.default_rng(1)
records = [
    Message(json.dumps({"inputs": {"features": row}, "label": str(row[0] > 0)}).encode())
    for row in random.normal(size=(1000, 64)).round(4).tolist()
]
request = pb.ModelInferRequest(model_name="m")
request.inputs.add(name="features", datatype="FP32", shape=[1, 64])
request.raw_input_contents.append(np.zeros(64, np.float32).tobytes())
channel = grpc.insecure_channel(target)
content, call = request.SerializeToString(), channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
appended, delays, ended = [], [], threading.Event()  # (records so far, when acknowledged)

def ask():
    at = 0
    while not ended.is_set() or at < len(appended):
        time.sleep(0.002)
        answer = pb.ModelInferResponse.FromString(call(content, wait_for_ready=True))
        now, learned = time.perf_counter(), answer.parameters["learned_events"].int64_param
        while at < len(appended) and appended[at][0] <= learned:
            delays.append((now - appended[at][1], appended[at][2]))
            at += 1

asking = threading.Thread(target=ask)
asking.start()
began, sent, took = time.perf_counter(), 0, 0.0
while (passed := time.perf_counter() - began) < seconds:
    due = int(passed * rate) - sent
    if due <= 0:
        time.sleep(0.001)
        continue
    due = min(due, len(records))
    at = time.perf_counter()
    log.append(topic, records[:due])
    done = time.perf_counter()
    took += done - at
    sent += due
    appended.append((known + sent, done, due))
    time.sleep(max(0.0, 0.01 - (done - at)))
ended.set()
asking.join()
log.close()
each = np.repeat([delay for delay, _ in delays], [count for _, count in delays])
print(json.dumps({"p50": np.percentile(each, 50), "p99": np.percentile(each, 99), "rate": sent / passed,
                  "appending": took / passed}))
"""
_TARGETS_MS = {"p50": 15.0, "p99": 50.0}


def _learned(running: Service) -> int:
    return int(running.metric("thalweg_learned_events", model_name="m") or 0)


def _told(running: Service) -> tuple[float, float]:
    """The service's own count: records within 50 ms, and all."""
    within, records = (
        running.metric("thalweg_freshness_seconds_bucket", model_name="m", le=bound) or 0 for bound in ("0.05", "+Inf")
    )
    return within, records


def load(running: Service, rate: float, seconds: float) -> dict[str, float]:
    """Append at this rate for so long, and ask meanwhile."""
    target = f"127.0.0.1:{running.ports['grpc']}"
    arguments = [str(running.path), running.topic, target, str(_learned(running)), str(rate), str(seconds)]
    done = subprocess.run([sys.executable, "-c", _LOAD, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the load generator failed: {done.stderr[-2000:]}")
    found: dict[str, float] = json.loads(done.stdout)
    return found


def _learned_per_second(running: Service, count: int) -> float:
    """Events per second that the service learns from a backlog."""
    rows = np.random.default_rng(0).normal(size=(1000, 64)).round(4).tolist()
    values = [json.dumps({"inputs": {"features": row}, "label": str(row[0] > 0)}).encode() for row in rows]
    before = _learned(running)
    for _ in range(0, count, 1000):
        running.log.append(running.topic, [Message(value) for value in values])
    waiting, began = _learned(running), time.perf_counter()
    until("the backlog is learned", lambda: _learned(running) >= before + count)
    return max(1.0, (before + count - waiting) / (time.perf_counter() - began))


def _measure(log: str | None, name: str, scale: Scale) -> list[Result]:
    backlog, seconds = scale.of((100_000, 30.0), quick=(40_000, 10.0), tiny=(1000, 1.0))
    topic = f"freshness-{uuid.uuid4().hex[:8]}"
    with tempfile.TemporaryDirectory() as folder, service(Path(folder), log, topic) as running:
        head = running.path.read_text().partition("[[model]]")[0]
        running.path.write_text(
            f'{head}[[model]]\nname = "m"\ntopic = "{topic}"\nlearner = "ridge"\nready_after_events = 0\n'
            "inputs.features = { shape = [64] }\n[model.freshness]\nwithin_seconds = 0.05\n"
        )
        running.start()
        until("readiness", running.ready)
        capacity = _learned_per_second(running, backlog)
        before = _told(running)
        found = load(running, capacity / 2, seconds)
        within, records = (after - first for after, first in zip(_told(running), before))
    busy = f"load {os.getloadavg()[0]:.1f}"
    note = (
        f"{found['rate']:,.0f} records/s of {capacity:,.0f} from a backlog; appending took {found['appending']:.0%} of "
        f"the time; by the service's own count {within / max(1, records):.1%} within 50 ms; {busy}"
    )
    return [
        at_most(f"{name}: append to first answer, {share}", 1000 * found[share], "ms", bound, note)
        for share, bound in _TARGETS_MS.items()
    ]


def run(scale: Scale = Scale.FULL) -> list[Result]:
    results = _measure(None, "embedded log", scale)
    try:
        with tempfile.TemporaryDirectory() as folder, kafka_servers(Path(folder)) as servers:
            results += _measure(f"kafka://{servers}", "Kafka", scale)
    except Unavailable as error:
        results.append(left_out("Kafka: append to first answer", str(error)))
    return results


if __name__ == "__main__":
    show("freshness_slo", run(Scale.asked()))
