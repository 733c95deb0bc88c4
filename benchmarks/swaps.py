"""What a new version costs those who ask: a million versions published under load.

The server, the publisher (this process) and the caller are a process each. Versions are published in stretches; in
between the publisher does the same work for a model that nobody serves, so that both stretches have the same load and
differ in the swaps alone. First at the rate of a busy learner, then as fast as they can be published and read.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.report import Result, at_most, show
from benchmarks.scale import Scale
from tests.ops.running import until
from tests.ops.serve.serving import events, new_learner
from thalweg.models.contract.learner import Predictor
from thalweg.ops.telemetry.process_figures import process_figures
from thalweg.stream.publication.file_channel import FilePublisher

SERVER = """
import sys, threading, time
from pathlib import Path
from tests.ops.serve.serving import served
with served(Path(sys.argv[1])) as parts:
    subscriber = parts.server.models.find("m").versions.subscriber
    swapped, look = 0, subscriber.look
    def counting():
        global swapped
        new = look()
        swapped += new
        return new
    subscriber.look = counting
    print(parts.server.grpc_port, flush=True)
    quickly = threading.Event()
    def hurry():
        while True:
            quickly.wait()
            subscriber._changed.set()  # it looks at once, not every two milliseconds
            time.sleep(0.0002)
    threading.Thread(target=hurry, daemon=True).start()
    for line in sys.stdin:
        (quickly.set if line == "quick\\n" else quickly.clear)()
        print(swapped, flush=True)
"""

LOAD = """
import json, sys, time
import grpc
import numpy as np
from thalweg.proto import inference_pb2 as pb
request = pb.ModelInferRequest(model_name="m")
request.inputs.add(name="features", datatype="FP32", shape=[1, 4])
request.raw_input_contents.append(np.ones(4, np.float32).tobytes())
content = request.SerializeToString()
call = grpc.insecure_channel(sys.argv[1]).unary_unary("/inference.GRPCInferenceService/ModelInfer")
for _ in range(100):
    call(content, wait_for_ready=True)
print("ready", flush=True)
failed = 0
for line in sys.stdin:
    times, end = [], time.monotonic() + float(line)
    while (before := time.monotonic()) < end:
        try:
            call(content)
        except grpc.RpcError:
            failed += 1
        times.append(time.monotonic() - before)
    times.sort()
    count = len(times)
    print(json.dumps([count, failed, times[count // 2], times[int(count * 0.99)]]), flush=True)
"""


class _Talk:
    """A process that answers lines."""

    def __init__(self, code: str, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", code, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.pid = self._process.pid

    def say(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()

    def heard(self) -> Any:
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())

    def heard_text(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def end(self) -> None:
        with self._process:  # closes its pipes, too
            self._process.kill()


class _Publishing:
    """Publishes versions of a model, or the same versions where nobody looks."""

    def __init__(self, folder: Path) -> None:
        learner, self._predictors = new_learner(), list[Predictor]()
        for number in range(8):
            learner.learn(events(50, number))
            self._predictors.append(learner.predictor())
        self._shown = FilePublisher(folder / "live" / "m")
        self._unseen = FilePublisher(folder / "live" / "unseen")
        self._version = 1

    def publish(self, seconds: float, every: float, *, shown: bool) -> int:
        """Publish for so long, one version each `every` seconds (0: at once); how many."""
        publisher, began, count = self._shown if shown else self._unseen, time.monotonic(), 0
        while (now := time.monotonic()) < began + seconds:
            if now < began + count * every:
                time.sleep(began + count * every - now)
            self._version, count = self._version + 1, count + 1
            predictor = self._predictors[self._version % len(self._predictors)]
            publisher.publish(predictor, version=self._version, learned_events=self._version, event_time=0.0)
        return count


@contextmanager
def _parts(folder: Path) -> Iterator[tuple[_Talk, _Talk, _Publishing]]:
    server = _Talk(SERVER, str(folder))
    try:
        load = _Talk(LOAD, f"127.0.0.1:{server.heard()}")
        try:
            until("the first answers", lambda: load.heard_text() == "ready")
            yield server, load, _Publishing(folder)
        finally:
            load.end()
    finally:
        server.end()


def _resident(pid: int) -> float:
    figures = process_figures(pid)
    assert figures is not None
    return float(figures.resident_memory_bytes)


def run(scale: Scale = Scale.FULL) -> list[Result]:
    pairs, seconds = scale.of((40, 2.0), quick=(10, 2.0), tiny=(1, 0.2))
    most = scale.of(1_000_000, quick=30_000, tiny=200)
    failed = 0
    memory_folder = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with (
        tempfile.TemporaryDirectory(dir=memory_folder) as name,
        _parts(Path(name)) as (server, load, publishing),
    ):
        found: dict[bool, list[tuple[float, float]]] = {True: [], False: []}
        published = 0
        for _ in range(pairs):
            for shown in (True, False):
                load.say(str(seconds))
                count = publishing.publish(seconds, 0.0025, shown=shown)
                published += count * shown
                _, failed, middle, slow = load.heard()
                found[shown].append((middle, slow))
        server.say("slow")
        swaps = server.heard()
        server.say("quick")
        start = began = server.heard()
        marks: list[tuple[int, float, float, float]] = []
        while began - start < most:
            load.say(str(seconds))
            publishing.publish(seconds, 0.0, shown=True)
            _, failed, middle, _ = load.heard()
            server.say("quick")
            began = server.heard()
            marks.append((began - start, _resident(server.pid), middle, time.monotonic()))
    p50, p99 = (statistics.median(a[at] / b[at] for a, b in zip(found[True], found[False])) for at in (0, 1))
    rate = swaps / (pairs * seconds)
    third = max(1, len(marks) // 3)
    memory = statistics.median(mark[1] for mark in marks[-third:]) / statistics.median(
        mark[1] for mark in marks[third : 2 * third] or marks
    )
    middles = np.array([mark[2] for mark in marks])
    slope = float(np.median(middles[-third:]) / np.median(middles[third : 2 * third] if len(marks) > 2 else middles))
    note = f"{rate:,.0f} swaps/s of {published / (pairs * seconds):,.0f} versions/s; ridge of 4 inputs, one caller"
    many = f"{marks[-1][0]:,} swaps, {marks[-1][0] / (len(marks) * seconds):,.0f}/s beside one caller"
    return [
        at_most("requests that failed while versions were swapped", failed, "", 0, many),
        at_most("p99 with swaps, against without", p99, "×", 1.05, note),
        Result(name="p50 with swaps, against without", value=p50, unit="×", note=note),
        at_most("memory of the server, last third of the swaps against the second", memory, "×", 1.01, many),
        at_most("p50, last third of the swaps against the second", slope, "×", 1.01, many),
    ]


if __name__ == "__main__":
    show("swaps", run(Scale.asked()))
