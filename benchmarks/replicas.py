"""Two server processes behind one address, against one: what a request costs, and how callers are spread.

The load generator is a process of its own with 32 connections. On a machine with few cores it takes the cores that the
servers want; so what counts is the processor time that the servers take for a request: with a core each, two servers
answer 2 c₁ / c₂ times as many as one.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from benchmarks.report import Result, at_least, show
from benchmarks.scale import Scale
from tests.ops.running import FEATURES, Service, service, until
from thalweg.ops.telemetry.process_figures import process_figures

CONNECTIONS = 32
LOAD = """
import asyncio, json, sys, time
import grpc
import numpy as np
from thalweg.proto import inference_pb2 as pb
address, connections, count, features = sys.argv[1], *map(int, sys.argv[2:])
request = pb.ModelInferRequest(model_name="m")
request.inputs.add(name="features", datatype="FP32", shape=[1, features])
request.raw_input_contents.append(np.random.default_rng(0).random(features, dtype=np.float32).tobytes())
content = request.SerializeToString()

async def main():
    own = [("grpc.use_local_subchannel_pool", 1)]
    calls = [
        grpc.aio.insecure_channel(address, own).unary_unary("/inference.GRPCInferenceService/ModelInfer")
        for _ in range(connections)
    ]
    async def ask(call):
        for _ in range(count):
            await call(content, wait_for_ready=True)
    began = time.perf_counter()
    await asyncio.gather(*map(ask, calls))
    print(json.dumps(connections * count / (time.perf_counter() - began)))

asyncio.run(main())
"""


def _cpu(running: Service, roles: list[str]) -> list[float]:
    """Processor seconds of these servers so far."""
    found = [process_figures(running.pid(role) or 0) for role in roles]
    return [one.cpu_seconds for one in found if one is not None]


def run(scale: Scale = Scale.FULL) -> list[Result]:
    rounds, count = scale.of((9, 150), quick=(5, 100), tiny=(1, 3))
    roles = {1: ["server"], 2: ["server", "server-2"]}
    rates: dict[int, list[float]] = {1: [], 2: []}
    costs: dict[int, list[float]] = {1: [], 2: []}
    shares: list[float] = []
    with ExitStack() as opened:
        services = {}
        for number in roles:
            folder = Path(opened.enter_context(tempfile.TemporaryDirectory()))
            services[number] = running = opened.enter_context(service(folder))
            running.path.write_text(running.path.read_text().replace("[service]", f"[service]\nservers = {number}"))
            running.send(100)
            running.start()
        for number, running in services.items():
            until("readiness", running.ready)
            until("the servers", lambda running=running, number=number: all(map(running.pid, roles[number])))
        for round_ in range(-1, rounds):  # the first warms up
            for number, running in services.items():
                before = _cpu(running, roles[number])
                command = [sys.executable, "-c", LOAD, f"127.0.0.1:{running.ports['grpc']}"]
                done = subprocess.run(
                    [*command, *map(str, (CONNECTIONS, count, FEATURES))], stdout=subprocess.PIPE, text=True, check=True
                )
                spent = [now - then for now, then in zip(_cpu(running, roles[number]), before)]
                if round_ >= 0:
                    rates[number].append(json.loads(done.stdout))
                    costs[number].append(max(sum(spent), 1e-9) / (CONNECTIONS * count))
                    if number == 2:
                        shares.append(max(spent) / max(sum(spent), 1e-9))
    one, two = (1e6 * statistics.median(costs[number]) for number in (1, 2))
    gained = statistics.median(2 * a / b for a, b in zip(costs[1], costs[2]))
    wall = statistics.median(b / a for a, b in zip(rates[1], rates[2]))
    asked = [f"{statistics.median(rates[number]):,.0f}" for number in (1, 2)]
    return [
        at_least(
            "answers with a core for each of two servers, against one",
            gained,
            "×",
            1.7,
            f"ridge, {FEATURES} inputs, defaults: {one:.0f} and {two:.0f} µs of processor time a request",
        ),
        Result(
            name="answers with the load generator on the same cores, against one",
            value=wall,
            unit="×",
            note=f"{asked[0]} and {asked[1]} requests/s, {CONNECTIONS} connections",
        ),
        Result(
            name="share of the busier of two servers",
            value=100 * statistics.median(shares),
            unit="%",
            note="by the system, by connection",
        ),
    ]


if __name__ == "__main__":
    show("replicas", run(Scale.asked()))
