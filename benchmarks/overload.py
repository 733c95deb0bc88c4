"""Overload: the p99 of what is answered at 3 and 5 times the capacity, against the p99 at half of it.

The server is one process, the callers another. A prediction waits for 5 ms, as for a device: so callers on the same
machine can ask for several times what the server can answer, and what is measured is the queue, not the processors.
Calls are sent at a fixed rate, whatever becomes of them.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from typing import Any

from benchmarks.report import Result, at_least, at_most, show
from benchmarks.scale import Scale
from tests.services.ports import free_port

SERVER = """
import sys, threading, time
from pathlib import Path
import numpy as np
from threadpoolctl import threadpool_limits
from thalweg.memory.exchange.commands import InMemoryCommandQueue
from thalweg.memory.snapshots.state import State
from thalweg.ops.serve.following.location import ModelLocation
from thalweg.ops.serve.models import Models
from thalweg.ops.serve.server import Server, workers_of
from thalweg.ops.serve.settings import Addresses, ServerLimits
from thalweg.proto.schema import Schema, TensorSpec
from thalweg.proto.task import REGRESSION
from thalweg.stream.log.in_memory import InMemoryLog
from thalweg.stream.publication.file_channel import FilePublisher

SPECS = {"features": TensorSpec("features", "float32", (64,))}

class Slow:
    inputs, classes, properties = SPECS, (), {}
    outputs, task = {"value": TensorSpec("value", "float32", (1,))}, REGRESSION
    def __init__(self, state):
        pass
    def state(self):
        return State({"one": np.ones(1)})
    def predict(self, inputs):
        time.sleep(0.005)
        return {"value": np.zeros((len(inputs["features"]), 1), np.float32)}

folder, grpc_address = Path(sys.argv[1]), sys.argv[2]
location = ModelLocation(name="m", learner="slow", topic="t", live=folder / "m", state=folder / "state",
                         schema=Schema(SPECS, "number"), build=Slow, restore=Slow)
FilePublisher(folder / "m").publish(Slow(None), version=1, learned_events=1, event_time=0.0)
limits = ServerLimits()
with threadpool_limits(1):
    server = Server(Models([location]), InMemoryLog(), InMemoryCommandQueue(), workers=workers_of(limits),
                    addresses=Addresses(grpc=grpc_address, http="127.0.0.1:0"), limits=limits)
    server.start()
    threading.Event().wait()
"""

LOAD = """
import collections, json, sys, threading, time
import grpc
import numpy as np
from thalweg.proto import inference_pb2 as pb

request = pb.ModelInferRequest(model_name="m")
request.inputs.add(name="features", datatype="FP32", shape=[1, 64])
request.raw_input_contents.append(np.zeros(64, np.float32).tobytes())
content = request.SerializeToString()
channels = [grpc.insecure_channel(sys.argv[1], options=[("grpc.use_local_subchannel_pool", 1)]) for _ in range(2)]
calls = [channel.unary_unary("/inference.GRPCInferenceService/ModelInfer") for channel in channels]
seconds = float(sys.argv[2])
for call in calls:
    for _ in range(20):
        call(content, wait_for_ready=True, timeout=30)

def capacity(callers=8):
    count, end = [0] * callers, time.monotonic() + seconds
    def ask(place):
        while time.monotonic() < end:
            calls[place % len(calls)](content)
            count[place] += 1
    threads = [threading.Thread(target=ask, args=(place,)) for place in range(callers)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    return sum(count) / seconds

def at(rate):
    answered, refused, codes, open_ = [], [], collections.Counter(), threading.Semaphore(0)
    def done(future, sent):
        took = time.perf_counter() - sent
        code = future.code().name
        codes[code] += 1
        (answered if code == "OK" else refused).append(took)
        open_.release()
    started, number = time.perf_counter(), 0
    while (now := time.perf_counter()) - started < seconds:
        while number < (now - started) * rate:
            sent = time.perf_counter()
            future = calls[number % len(calls)].future(content, timeout=30)
            future.add_done_callback(lambda future, sent=sent: done(future, sent))
            number += 1
        time.sleep(0.0005)
    for _ in range(number): open_.acquire()
    def quantile(times, share):
        return sorted(times)[int(len(times) * share)] if times else 0.0
    return {"rate": number / seconds, "answered": len(answered) / seconds, "codes": codes,
            "p50": quantile(answered, 0.5), "p99": quantile(answered, 0.99), "refused_p99": quantile(refused, 0.99)}

found = {"capacity": capacity()}
for factor in (0.5, 3.0, 5.0):
    found[str(factor)] = at(factor * found["capacity"])
print(json.dumps(found))
"""


def measure(seconds: float) -> dict[str, Any]:
    """The capacity in requests per second, and what was seen at each multiple of it."""
    with tempfile.TemporaryDirectory() as folder:
        address = f"127.0.0.1:{free_port()}"
        server = subprocess.Popen([sys.executable, "-c", SERVER, folder, address])
        try:
            command = [sys.executable, "-c", LOAD, address, str(seconds)]
            load = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60 + 10 * seconds)
        finally:
            server.kill()
            server.wait()
    found: dict[str, Any] = json.loads(load.stdout)
    return found


def run(scale: Scale = Scale.FULL) -> list[Result]:
    found = measure(scale.of(30.0, quick=6.0, tiny=0.3))
    normal, capacity = found["0.5"], found["capacity"]
    results = []
    for factor in ("3.0", "5.0"):
        seen = found[factor]
        codes = ", ".join(f"{code} {count}" for code, count in sorted(seen["codes"].items()))
        note = (
            f"{seen['p99'] * 1000:.1f} ms against {normal['p99'] * 1000:.1f} ms at half the capacity of "
            f"{capacity:.0f}/s; {seen['rate']:.0f}/s asked: {codes}; refused within {seen['refused_p99'] * 1000:.1f} ms"
        )
        name = f"{float(factor):g} × capacity"
        results.append(
            at_most(f"p99 of what is answered at {name}", seen["p99"] / max(normal["p99"], 1e-9), "×", 2.0, note)
        )
        results.append(
            at_least(f"requests answered at {name}, of the capacity", seen["answered"] / capacity, "×", 0.8, "")
        )
    return results


if __name__ == "__main__":
    show("overload", run(Scale.asked()))
