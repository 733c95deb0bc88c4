"""A memory of vectors on a GPU: the neighbours of the processor, and the time of a search."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from benchmarks.gpu.learners import CPU, GPU, Row, milliseconds
from benchmarks.gpu.sizes import Sizes
from thalweg.memory.devices.device import Device
from thalweg.memory.vectors.neighbours import nearest
from thalweg.memory.vectors.resident import ResidentVectors
from thalweg.memory.vectors.ring import Ring

K = 10


def rows(sizes: Sizes) -> Iterator[Row]:
    """Times by number of queries; raises AssertionError if one neighbour differs from the processor's."""
    generator = np.random.default_rng(0)
    ring = Ring({"key": (np.int64, ()), "vector": (np.float32, (sizes.width,))}, sizes.entries)
    step = max(1, min(sizes.entries // 10, 500_000))
    for start in range(0, sizes.entries, step):
        count = min(step, sizes.entries - start)
        ring.append({"key": np.zeros(count, np.int64), "vector": _unit(generator, count, sizes.width)})
    there, window = ResidentVectors(Device.open(GPU), "vector"), ring.window()
    for count in (1, 32, 256):
        queries = _unit(generator, count, sizes.width)

        def on_gpu(queries: np.ndarray = queries) -> None:
            nearest(window, "vector", queries, K, resident=there)

        gpu = milliseconds(on_gpu, GPU, sizes.repeats)
        some = queries[: 4 if sizes.entries > 1_000_000 else 32]
        found, wanted = nearest(window, "vector", some, K, resident=there), nearest(window, "vector", some, K, "numpy")
        assert (found[0] == wanted[0]).all(), f"neighbours of {count} queries differ from the processor's"
        assert (found[1] == wanted[1]).all(), f"products of {count} queries differ from the processor's"
        processor = float("nan")
        if count == 1 or sizes.entries <= 1_000_000:

            def on_processor(queries: np.ndarray = queries) -> None:
                nearest(window, "vector", queries, K, "numpy")

            processor = milliseconds(on_processor, CPU, 1, warm=0)
        yield Row(f"memory of {sizes.entries:,} × {sizes.width}, exact top {K}, {count} queries", gpu, processor)
    more = {"key": np.zeros(1000, np.int64), "vector": _unit(generator, 1000, sizes.width)}

    def overwritten() -> None:
        ring.append(more)
        there.follow(ring.window())

    yield Row("… 1,000 entries overwritten in place", milliseconds(overwritten, GPU, sizes.repeats), float("nan"))


def _unit(generator: np.random.Generator, count: int, width: int) -> np.ndarray:
    found = generator.random((count, width), dtype=np.float32) - np.float32(0.5)
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    return found
