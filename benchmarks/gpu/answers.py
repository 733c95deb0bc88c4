"""Answers of an adapting classifier on a GPU: alone, while it adapts, and while new versions come."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from benchmarks.gpu.learners import GPU, cotta_on, pictures
from benchmarks.gpu.sizes import Sizes
from thalweg.memory.devices.device import Device
from thalweg.models.cotta.predictor import CottaPredictor


class Times(NamedTuple):
    """Of answers to one picture."""

    what: str
    p50_ms: float
    p99_ms: float
    beside: str
    """What was done meanwhile, a second."""


def rows(sizes: Sizes) -> Iterator[Times]:
    """In one process, eagerly, on the default stream: as servers compute, which have no learner beside them."""
    learner, batch, one = cotta_on(GPU, sizes), pictures(sizes, sizes.pictures), pictures(sizes, 1)
    learner.learn(batch)
    state, device = learner.predictor().state(), Device.open(GPU)
    predictor, took = CottaPredictor.of(state, device), [0.0]

    def answer() -> None:
        predictor.predict(one.inputs)

    def adapt() -> None:
        learner.learn(batch)

    def swap() -> None:
        module = CottaPredictor.of(state)._model  # as read from its file
        started = time.perf_counter()
        device.upload(module)
        took.append(1e3 * (time.perf_counter() - started))
        time.sleep(0.03)

    yield _timed("one picture, alone", answer, None, sizes.answers)
    yield _timed("… while the model adapts", answer, adapt, max(sizes.answers // 3, 2))
    yield _timed("… while new versions are sent", answer, swap, sizes.answers)
    uploads = np.array(took[1:])
    yield Times(
        f"a version sent (n = {len(uploads)})", float(np.median(uploads)), float(np.quantile(uploads, 0.99)), ""
    )


def _timed(what: str, answer: Callable[[], None], beside: Callable[[], None] | None, count: int) -> Times:
    for _ in range(3):
        answer()
    stop, done = threading.Event(), [0]

    def work() -> None:
        while beside is not None and not stop.is_set():
            beside()
            done[0] += 1

    thread, began, times = threading.Thread(target=work), time.perf_counter(), []
    thread.start()
    for _ in range(count):
        started = time.perf_counter()
        answer()
        times.append(1e3 * (time.perf_counter() - started))
        time.sleep(0.001)
    seconds = time.perf_counter() - began
    stop.set()
    thread.join()
    said = "" if beside is None else f"{done[0] / seconds:.1f}"
    return Times(f"{what} (n = {count})", float(np.median(times)), float(np.quantile(times, 0.99)), said)
