"""How much faster each learner learns on a GPU than with one thread of the processor, by our own learners."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch

from benchmarks.gpu.sizes import Sizes
from thalweg.memory.devices.device import COPIES, Device
from thalweg.memory.vectors.key_tables import HeadSearch
from thalweg.models.contract.learner import LearnerContext
from thalweg.models.cotta.learner import Cotta
from thalweg.models.error_memory.ctr_network import Network, Shape
from thalweg.models.prompt_tpp.learner import PromptTpp
from thalweg.models.prompt_tpp.predictor import KEY
from thalweg.models.ridge.learner import Ridge
from thalweg.proto.event import Batch, ClassLabels
from thalweg.proto.schema import TensorSpec

GPU, CPU = "cuda:0", "cpu"


class Row(NamedTuple):
    """One measurement."""

    what: str
    gpu_ms: float
    processor_ms: float
    copies: str = ""
    """Copies to the device and back of one micro-batch."""


def waited(device: str) -> None:
    """Wait for what the GPU was given to do."""
    if device != CPU and torch.cuda.is_available():
        torch.cuda.synchronize()


def milliseconds(call: Callable[[], Any], device: str, repeats: int, warm: int = 1) -> float:
    """The median of a call's times."""
    times = []
    for number in range(warm + repeats):
        waited(device)
        started = time.perf_counter()
        call()
        waited(device)
        if number >= warm:
            times.append(1e3 * (time.perf_counter() - started))
    return float(np.median(times))


def measured(what: str, make: Callable[[str], Callable[[], Any]], repeats: int) -> Row:
    """The same on both; the processor is measured once and not warmed up where that takes seconds."""
    call = make(GPU)
    gpu = milliseconds(call, GPU, repeats, warm=2)
    to, back = COPIES.to, COPIES.back
    call()
    copies = f"{COPIES.to - to} + {COPIES.back - back}"
    call = make(CPU)
    processor = milliseconds(call, CPU, 1, warm=0)
    if processor < 1000:
        processor = milliseconds(call, CPU, repeats)
    return Row(what, gpu, processor, copies)


def rows(sizes: Sizes) -> Iterator[Row]:
    """All measurements."""
    yield measured(
        f"ridge, D = {sizes.ridge}, a micro-batch of 256 and a solve, one decay", ridge(sizes), sizes.repeats
    )
    yield measured(
        f"cotta, network of {sum(sizes.blocks)} blocks, {sizes.side} × {sizes.side}, a step of {sizes.pictures}",
        cotta(sizes),
        sizes.repeats,
    )
    yield measured(
        f"click-through network, 26 tables of {sizes.table_rows:,} rows together, a step of {sizes.clicks}",
        clicks(sizes),
        sizes.repeats,
    )
    yield measured("point process (both networks), a step of 64", process(sizes), sizes.repeats)
    yield measured("bottleneck, 64 × 512 keys of 24, 256 queries", keys(sizes), sizes.repeats)


def ridge(sizes: Sizes) -> Callable[[str], Callable[[], Any]]:
    """Features and scores are computed by the processor in both."""
    inputs = {"x": TensorSpec("x", "float32", (63,))}
    params = {"expansion": sizes.ridge - 64, "forgetting": 1, "standardise": False, "refresh_events": 256}
    x = np.random.default_rng(0).standard_normal((256, 63)).astype(np.float32)
    labels = ClassLabels((np.arange(256) % 10).astype(np.int32), tuple("0123456789"))
    batch = Batch({"x": x}, labels, np.ones(256), np.zeros(256))

    def make(device: str) -> Callable[[], Any]:
        learner = Ridge(LearnerContext(inputs=inputs, params={**params, "solver": "cholesky"}, device=device))
        return lambda: learner.learn(batch)

    return make


def cotta_on(device: str, sizes: Sizes, **more: Any) -> Cotta:
    """With a network that is made here."""
    os.environ["THALWEG_GPU_BLOCKS"] = ",".join(map(str, sizes.blocks))
    inputs = {"image": TensorSpec("image", "float32", (3, sizes.side, sizes.side))}
    params = {"model": "benchmarks.gpu.network:residual", "adapt_batch": sizes.pictures, "follow_batch": sizes.pictures}
    return Cotta(LearnerContext(inputs=inputs, params={**params, "class_prior": False, **more}, device=device))


def pictures(sizes: Sizes, count: int) -> Batch:
    """Noise."""
    x = np.random.default_rng(1).random((count, 3, sizes.side, sizes.side), dtype=np.float32)
    return Batch({"image": x}, None, np.ones(count), np.zeros(count))


def cotta(sizes: Sizes) -> Callable[[str], Callable[[], Any]]:
    """A step with its guard and the statistics, as the service takes it."""
    batch = pictures(sizes, sizes.pictures)

    def make(device: str) -> Callable[[], Any]:
        learner = cotta_on(device, sizes)
        return lambda: learner.learn(batch)

    return make


def clicks(sizes: Sizes) -> Callable[[str], Callable[[], Any]]:
    """The network alone, whose tables are full."""
    fields, width = 26, 16
    shape = Shape("dcnv2", fields, 13, width, (256, 128), 3)
    each, generator = sizes.table_rows // fields, np.random.default_rng(2)
    ids = generator.integers(0, each, (sizes.clicks, fields))
    numbers = generator.standard_normal((sizes.clicks, 13)).astype(np.float32)
    labels, weights = generator.integers(0, 2, sizes.clicks).astype(float), np.ones(sizes.clicks)

    def make(device: str) -> Callable[[], Any]:
        network = Network(shape, each, 1e-3, 0.05, 0, Device.open(device))
        rows = np.zeros((each, 2, width), dtype=np.float32)
        for table in network._tables:
            table.restore({"ids": np.arange(each), "rows": rows, "counts": np.array([each, 0])})
        return lambda: network.learn(ids, numbers, labels, weights)

    return make


def process(sizes: Sizes) -> Callable[[str], Callable[[], Any]]:
    """What `auto` leaves to the processor."""
    count = 256 if sizes.repeats > 2 else 128
    generator = np.random.default_rng(3)
    who = generator.integers(0, 32, count)

    def make(device: str) -> Callable[[], Any]:
        learner = PromptTpp(LearnerContext(inputs=KEY, params={"unit_gaps": 10, "train_batch": 64}, device=device))
        clock = [1e9]

        def learn() -> None:
            times = clock[0] + generator.exponential(1.0, count).cumsum()
            clock[0] = float(times[-1])
            keys_ = np.array([str(one).encode() for one in who], dtype=object)
            labels = ClassLabels((who % 5).astype(np.int32), tuple("abcde"))
            learner.learn(Batch({"key": keys_}, labels, np.ones(count), times))

        return learn

    return make


def keys(sizes: Sizes) -> Callable[[str], Callable[[], Any]]:
    """The search alone."""
    generator = np.random.default_rng(4)
    heads, pairs = (64, 512) if sizes.repeats > 2 else (4, 16)
    table, queries = generator.standard_normal((heads, pairs, 24)), generator.standard_normal((256, heads, 24))

    def make(device: str) -> Callable[[], Any]:
        search = HeadSearch(table, "numpy" if device == CPU else "auto", Device.open(device))
        return lambda: search.nearest(queries)

    return make
