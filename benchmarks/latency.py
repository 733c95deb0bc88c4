"""Unary `ModelInfer` while the learner works at full speed, against a bare gRPC echo of the same payload.

The server, the learner, the echo and the load generator are a process each. The echo is the same kind of server (a
thread pool) and returns the request's bytes untouched. Both are asked in turn, in short rounds, while the learner's log
is never empty; the ratios are medians over the rounds.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.report import Result, at_most, show
from benchmarks.scale import Scale
from tests.ops.running import service, until
from tests.services.ports import free_port
from thalweg.ops.cli.produce import messages
from thalweg.proto.event import Batch, ClassLabels

ECHO = """
import sys, threading
from concurrent.futures import ThreadPoolExecutor
import grpc
server = grpc.server(ThreadPoolExecutor(16))
handler = grpc.unary_unary_rpc_method_handler(lambda request, context: request)
server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("bench.Echo", {"Echo": handler})])
server.add_insecure_port(f"127.0.0.1:{sys.argv[1]}")
server.start()
threading.Event().wait()
"""

LOAD = """
import json, sys, time
import grpc
import numpy as np
from thalweg.proto import inference_pb2 as pb
ours, echo, rounds, count, warm_up = *sys.argv[1:3], *map(int, sys.argv[3:])
request = pb.ModelInferRequest(model_name="m")
request.inputs.add(name="features", datatype="FP32", shape=[1, 64])
request.raw_input_contents.append(np.random.default_rng(0).normal(size=64).astype(np.float32).tobytes())
content = request.SerializeToString()
calls = {
    "ours": grpc.insecure_channel(ours).unary_unary("/inference.GRPCInferenceService/ModelInfer"),
    "echo": grpc.insecure_channel(echo).unary_unary("/bench.Echo/Echo"),
}
found = {name: [] for name in calls}
for name, call in calls.items():
    for _ in range(warm_up):
        call(content, wait_for_ready=True)
for round in range(rounds):
    for name, call in calls.items():
        times = []
        for _ in range(count):
            before = time.perf_counter()
            call(content)
            times.append(time.perf_counter() - before)
        times.sort()
        found[name].append([times[count // 2], times[int(count * 0.99)]])
print(json.dumps(found))
"""


def _backlog(count: int) -> Batch:
    random = np.random.default_rng(0)
    return Batch(
        {"features": random.normal(0, 1, (count, 64)).astype(np.float32)},
        ClassLabels(random.integers(0, 10, count).astype(np.int32), tuple(map(str, range(10)))),
        np.ones(count),
        np.zeros(count),
    )


def run(scale: Scale = Scale.FULL) -> list[Result]:
    rounds, count = scale.of((20, 500), quick=(6, 400), tiny=(1, 10))
    backlog, warm_up = scale.of((2_000_000, 200), quick=(600_000, 200), tiny=(2_000, 5))
    processes: list[subprocess.Popen[bytes]] = []
    with tempfile.TemporaryDirectory() as name, service(Path(name)) as running:
        text = running.path.read_text().replace("shape = [4]", "shape = [64]").replace("expansion = 8", "expansion = 0")
        running.path.write_text(text.replace("snapshot_events = 60", "snapshot_events = 10000"))
        try:
            for part in _backlog(backlog).micro_batches(50_000):
                running.log.append(running.topic, messages(part, 500))
            running.start()
            port = free_port()
            processes.append(subprocess.Popen([sys.executable, "-c", ECHO, str(port)]))
            until("readiness", running.ready)
            load = subprocess.run(
                [
                    *(sys.executable, "-c", LOAD),
                    *(f"127.0.0.1:{running.ports['grpc']}", f"127.0.0.1:{port}", str(rounds), str(count), str(warm_up)),
                ],
                capture_output=True,
                text=True,
                check=True,
            )
            behind = running.metric("kafka_consumergroup_lag_sum") or 0
        finally:
            for process in processes:
                process.kill()
                process.wait()
    found = json.loads(load.stdout)
    results = []
    for place, percentile, bound in ((0, "p50", 1.4), (1, "p99", 2.0)):
        ours = [one[place] for one in found["ours"]]
        echo = [one[place] for one in found["echo"]]
        ratio = statistics.median(a / b for a, b in zip(ours, echo))
        note = f"{statistics.median(ours) * 1000:.2f} ms against {statistics.median(echo) * 1000:.2f} ms; " + (
            "the learner was at work throughout" if behind else "the learner had nothing left to do at the end"
        )
        results.append(
            at_most(f"unary ModelInfer beside a busy learner, {percentile} against echo", ratio, "×", bound, note)
        )
    return results


if __name__ == "__main__":
    show("latency", run(Scale.asked()))
