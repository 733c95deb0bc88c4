"""Predictions of a small convolutional network for many callers at once: computed together, against one by one.

Two services of the same model run side by side, one with `batch_rows = 1`; a load generator with 32 callers, in a
process of its own, asks them in turn, in short rounds. One caller alone then tells what being ready to compute together
costs where nobody shares. The ratios are medians over the rounds.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from benchmarks.report import Result, at_least, at_most, show
from benchmarks.scale import Scale
from tests.ops.running import Service, service, until

CALLERS = 32
LOAD = """
import asyncio, json, sys, time
import grpc
import numpy as np
from thalweg.proto import inference_pb2 as pb
addresses, callers, rounds, count = sys.argv[1].split(","), *map(int, sys.argv[2:])
request = pb.ModelInferRequest(model_name="m")
request.inputs.add(name="image", datatype="FP32", shape=[1, 1, 28, 28])
request.raw_input_contents.append(np.random.default_rng(0).random(784, dtype=np.float32).tobytes())
content = request.SerializeToString()

async def ask(call, count, times):
    for _ in range(count):
        before = time.perf_counter()
        await call(content, wait_for_ready=True)
        times.append(time.perf_counter() - before)

async def main():
    calls = [
        grpc.aio.insecure_channel(address).unary_unary("/inference.GRPCInferenceService/ModelInfer")
        for address in addresses
    ]
    found = []
    for round in range(-1, rounds):  # the first warms up
        row = []
        for call in calls:
            for some in (callers, 1):
                times, began = [], time.perf_counter()
                await asyncio.gather(*(ask(call, count, times) for _ in range(some)))
                row.append([some * count / (time.perf_counter() - began), sorted(times)[len(times) // 2]])
        found += [row] if round >= 0 else []
    print(json.dumps(found))

asyncio.run(main())
"""


def _start(running: Service, more: str) -> None:
    """A service of a network on 28 x 28 pictures, as it is deployed: nothing has been adapted to."""
    text = running.path.read_text().replace("shape = [1, 8, 8]", "shape = [1, 28, 28]")
    text = text.replace("tests.models.small_networks:convolutional", "benchmarks.small_cnn:classifier")
    text = text.replace('classes = "cat,dog,owl,eel"', f'classes = "{",".join(map(str, range(10)))}"')
    running.path.write_text(text.replace("[service]", f"[service]\n{more}"))
    running.start(cold=True)  # a process that finds `benchmarks`


def run(scale: Scale = Scale.FULL) -> list[Result]:
    rounds, count = scale.of((15, 40), quick=(5, 20), tiny=(1, 2))
    with ExitStack() as opened:
        folders = [Path(opened.enter_context(tempfile.TemporaryDirectory())) for _ in range(2)]
        together, alone = (opened.enter_context(service(folder, learner="cotta")) for folder in folders)
        _start(together, "")
        _start(alone, "batch_rows = 1")
        for running in (together, alone):
            until("readiness", running.ready)
        addresses = ",".join(f"127.0.0.1:{running.ports['grpc']}" for running in (together, alone))
        load = subprocess.run(
            [sys.executable, "-c", LOAD, addresses, *map(str, (CALLERS, rounds, count))],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    found = json.loads(load.stdout)
    rates = [[row[place][0] for row in found] for place in (0, 2)]
    p50 = [[1000 * row[place][1] for row in found] for place in (0, 2)]
    lone = [[1000 * row[place][1] for row in found] for place in (1, 3)]

    def ratio(pair: list[list[float]]) -> float:
        return statistics.median(ours / theirs for ours, theirs in zip(*pair))

    def note(pair: list[list[float]], unit: str) -> str:
        return f"{statistics.median(pair[0]):,.4g} against {statistics.median(pair[1]):,.4g} {unit}; defaults"

    return [
        at_least(
            f"answers, small CNN, {CALLERS} callers, against one by one",
            ratio(rates),
            "×",
            4,
            note(rates, "requests/s"),
        ),
        Result(
            name=f"p50, small CNN, {CALLERS} callers, against one by one",
            value=ratio(p50),
            unit="×",
            note=note(p50, "ms"),
        ),
        at_most("p50, small CNN, one caller, against one by one", ratio(lone), "×", 1.05, note(lone, "ms")),
    ]


if __name__ == "__main__":
    show("micro_batches", run(Scale.asked()))
