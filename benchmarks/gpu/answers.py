"""Answers of an adapting classifier on a GPU: alone, while it adapts, and while new versions come.

`python -m benchmarks.gpu.answers FOLDER` adapts as a learner process does, from when the file `go` is there until
`end` is, and says how many steps a second it made.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import which
from typing import NamedTuple

import numpy as np

from benchmarks.gpu.learners import GPU, cotta_on, pictures, waited
from benchmarks.gpu.sizes import Sizes
from thalweg.memory.devices.device import Device
from thalweg.models.cotta.predictor import CottaPredictor

SHARES = ("100", "60", "30")
"""Percent of the multiprocessors that the learner may use under the driver's multi-process service."""


class Times(NamedTuple):
    """Of answers to one picture."""

    what: str
    p50_ms: float
    p99_ms: float
    beside: str
    """What was done meanwhile, a second."""


def rows(sizes: Sizes) -> Iterator[Times]:
    """In processes as the service has them, unless a row says other; the last ones under the multi-process service."""
    learner, batch, one = cotta_on(GPU, sizes), pictures(sizes, sizes.pictures), pictures(sizes, 1)
    learner.learn(batch)
    eager, device = learner.predictor(), Device.open(GPU)
    state = eager.state()
    predictor, took = CottaPredictor.of(state, device), [0.0]
    assert predictor._recorded is not None, "the network was not recorded"
    few = max(sizes.answers // 3, 2)

    def answer() -> None:
        predictor.predict(one.inputs)

    def adapt() -> None:
        learner.learn(batch)

    def swap() -> None:
        nonlocal predictor
        started = time.perf_counter()
        predictor = CottaPredictor.of(state, device)  # as read from its file
        took.append(1e3 * (time.perf_counter() - started))
        time.sleep(0.1)

    yield _timed("layer by layer, alone", lambda: eager.predict(one.inputs), None, sizes.answers)
    yield _timed("recorded, alone", answer, None, sizes.answers)
    yield _timed("… while new versions are made", answer, swap, sizes.answers)
    made = np.array(took[1:])
    yield Times(f"a version made (n = {len(made)})", float(np.median(made)), float(np.quantile(made, 0.99)), "")
    yield _timed("… while it adapts in the same process", answer, adapt, few)
    yield from _beside_a_learner("… while it adapts in another process", answer, sizes)
    yield from _shared(sizes)


def _timed(what: str, answer: Callable[[], None], beside: Callable[[], None] | None, count: int) -> Times:
    stop, done = threading.Event(), [0]

    def work() -> None:
        while beside is not None and not stop.is_set():
            beside()
            done[0] += 1

    for _ in range(3):
        answer()
    thread, began = threading.Thread(target=work), time.perf_counter()
    thread.start()
    times = _asked(answer, count)
    seconds = time.perf_counter() - began
    stop.set()
    thread.join()
    said = "" if beside is None else f"{done[0] / seconds:.1f}"
    return _row(what, times, said)


def _asked(answer: Callable[[], None], count: int) -> list[float]:
    times = []
    for _ in range(count):
        started = time.perf_counter()
        answer()
        times.append(1e3 * (time.perf_counter() - started))
        time.sleep(0.001)
    return times


def _row(what: str, times: list[float], said: str) -> Times:
    return Times(f"{what} (n = {len(times)})", float(np.median(times)), float(np.quantile(times, 0.99)), said)


def _beside_a_learner(
    what: str, answer: Callable[[], None], sizes: Sizes, variables: dict[str, str] | None = None
) -> Iterator[Times]:
    """The answers of this process while another one adapts."""
    with tempfile.TemporaryDirectory() as folder:
        there = Path(folder)
        command = [sys.executable, "-m", "benchmarks.gpu.answers", folder]
        learner = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **(variables or {})})
        while not (there / "ready").exists():
            if learner.poll() is not None:
                yield Times(f"{what}: the learner ended", float("nan"), float("nan"), "")
                return
            time.sleep(0.05)
        (there / "go").touch()
        while not (there / "begun").exists() and learner.poll() is None:
            time.sleep(0.01)
        for _ in range(3):
            answer()
        times = _asked(answer, sizes.answers)
        (there / "end").touch()
        yield _row(what, times, (learner.communicate()[0] or "").strip())


def _shared(sizes: Sizes) -> Iterator[Times]:
    """Both under the driver's multi-process service, where the machine has its program."""
    if which("nvidia-cuda-mps-control") is None:
        return
    with _multi_process_service() as variables:
        for share in SHARES:
            asked = [sys.executable, "-m", "benchmarks.gpu.answers", "serve", share]
            environment = {**os.environ, **variables}
            done = subprocess.run(asked, env=environment, capture_output=True, text=True, check=False, timeout=40)
            what = f"… in another process, multi-process service, the learner on {share} %"
            found = done.stdout.split()
            if done.returncode or len(found) != 3:
                last = (done.stderr.strip().splitlines() or ["no message"])[-1]
                yield Times(f"{what}: failed, {last[:80]}", float("nan"), float("nan"), "")
            else:
                yield Times(f"{what} (n = {sizes.answers})", float(found[0]), float(found[1]), found[2])


@contextmanager
def _multi_process_service() -> Iterator[dict[str, str]]:
    """The service with folders of its own; the variables of processes that use it."""
    with tempfile.TemporaryDirectory() as folder:
        variables = {"CUDA_MPS_PIPE_DIRECTORY": f"{folder}/pipe", "CUDA_MPS_LOG_DIRECTORY": f"{folder}/log"}
        for each in variables.values():
            Path(each).mkdir()
        control = ["nvidia-cuda-mps-control"]
        service = subprocess.Popen([*control, "-f"], env={**os.environ, **variables}, stdout=subprocess.DEVNULL)
        try:
            time.sleep(1)
            yield variables
        finally:
            subprocess.run(control, input="quit\n", text=True, env={**os.environ, **variables}, check=False, timeout=10)
            service.kill()
            service.wait()


def _serve(share: str, sizes: Sizes) -> None:
    """As `rows` in a process of its own, which the service's variables are for from its beginning."""
    learner, device = cotta_on(GPU, sizes), Device.open(GPU)
    learner.learn(pictures(sizes, sizes.pictures))
    predictor, one = CottaPredictor.of(learner.predictor().state(), device), pictures(sizes, 1)

    def answer() -> None:
        predictor.predict(one.inputs)

    for row in _beside_a_learner("", answer, sizes, {"CUDA_MPS_ACTIVE_THREAD_PERCENTAGE": share}):
        print(row.p50_ms, row.p99_ms, row.beside)


def _adapt(there: Path, sizes: Sizes) -> None:
    learner, batch = cotta_on(GPU, sizes), pictures(sizes, sizes.pictures)
    learner.learn(batch)
    (there / "ready").touch()
    while not (there / "go").exists():
        time.sleep(0.01)
    (there / "begun").touch()
    began, steps = time.perf_counter(), 0
    while not (there / "end").exists():
        learner.learn(batch)
        waited(GPU)
        steps += 1
    print(f"{steps / (time.perf_counter() - began):.1f}")


if __name__ == "__main__":
    from benchmarks.gpu.sizes import sizes
    from benchmarks.gpu.stand_in import STAND_IN, gpu_or_stand_in

    with gpu_or_stand_in():
        size = sizes(tiny=bool(os.environ.get(STAND_IN)))
        if sys.argv[1] == "serve":
            _serve(sys.argv[2], size)
        else:
            _adapt(Path(sys.argv[1]), size)
