"""The error memory's entries: what reading, saving and restoring a million of them costs."""

from __future__ import annotations

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import tempfile  # noqa: E402 - the environment comes first
from collections.abc import Callable  # noqa: E402
from pathlib import Path  # noqa: E402
from time import perf_counter  # noqa: E402
from typing import Any  # noqa: E402

import numpy as np  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

from benchmarks.report import Result, at_most, median_seconds  # noqa: E402
from thalweg.memory.snapshots.manifest import Manifest  # noqa: E402
from thalweg.memory.snapshots.snapshots import FolderSnapshots  # noqa: E402
from thalweg.memory.snapshots.state import State  # noqa: E402
from thalweg.memory.vectors.neighbours import learn_cells, nearest, nearest_in_cells  # noqa: E402
from thalweg.memory.vectors.ring import Ring  # noqa: E402


def reading(rounds: int, count: int = 1_000_000, part: int = 50_000) -> list[Result]:
    """One million entries of 64 float32."""
    width, k = 64, 50
    generator = np.random.default_rng(0)
    ring = Ring({"vector": (np.float32, (width,))}, count)
    middles = _unit(generator.standard_normal((2000, width)))
    for _ in range(count // part):  # in clouds, as the keys of a network are: what an approximate search lives by
        cloud = middles[generator.integers(0, len(middles), part)]
        ring.append({"vector": _unit(cloud + 0.12 * generator.standard_normal(cloud.shape))})
    window = ring.window()
    vectors = window.column("vector", slice(0, count))
    one, many = (_unit(middles[:n] + 0.12 * generator.standard_normal((n, width))) for n in (1, 32))

    def product(queries: Any) -> Callable[[], Any]:
        return lambda: [queries @ vectors[at : at + 16_384].T for at in range(0, count, 16_384)]

    passed = median_seconds(lambda: vectors.view(np.int64).max(), rounds)
    single = median_seconds(lambda: nearest(window, "vector", one, k), rounds)
    floor = median_seconds(product(many), rounds)
    batch = median_seconds(lambda: nearest(window, "vector", many, k), rounds)
    flat = median_seconds(lambda: nearest(window, "vector", many, k, "faiss"), rounds)
    results = [
        at_most(
            f"{count:,} entries of 64: one exact search, against one pass over them",
            single / passed,
            "×",
            1.3,
            f"{1000 * single:.1f} against {1000 * passed:.1f} ms",
        ),
        at_most(
            "… 32 at once, against the bare matrix product",
            batch / floor,
            "×",
            3,
            f"{1000 * batch:.0f} against {1000 * floor:.0f} ms; by FAISS flat {1000 * flat:.0f} ms",
        ),
    ]
    return results + _approximate(window, vectors, one, many, k, rounds, part)


def keeping(count: int = 1_000_000, part: int = 50_000) -> list[Result]:
    """Saving and restoring a memory of a million entries with keys of 64, as a learner does beside its network."""
    columns = {"key": (np.int64, ()), "user": (np.int64, ()), "item": (np.int64, ()), "time": (np.float64, ())}
    columns |= {"label": (np.float32, ()), "base": (np.float64, ()), "id": (np.uint8, (40,))}
    columns |= {"vector": (np.float32, (64,))}
    generator = np.random.default_rng(0)

    def entries(count: int) -> dict[str, Any]:
        return {
            name: generator.integers(0, 200, (count, *shape)).astype(dtype) for name, (dtype, shape) in columns.items()
        }

    ring = Ring(columns, count)
    for _ in range(count // part * 5 // 4):
        ring.append(entries(part))
    with tempfile.TemporaryDirectory() as folder:
        snapshots, times = FolderSnapshots(Path(folder) / "m", keep=2), []
        copied = {name: np.zeros_like(array) for name, array in ring.tensors().items()}  # as the saver keeps them
        for version in (1, 2):
            started = perf_counter()
            for name, array in ring.tensors().items():
                np.copyto(copied[name], array)
            paused = perf_counter() - started
            manifest = Manifest(
                model="m",
                version=version,
                parent=None,
                learner="",
                config_sha256="",
                offsets={},
                events_learned=0,
                created=0,
            )
            saved = snapshots.save(manifest, {"learner": State(copied)})
            times.append(perf_counter() - started)
            if version == 1:
                ring.append(entries(part // 5))
        pieces = list((Path(folder) / "m" / "2").iterdir())
        written = sum(path.stat().st_size for path in pieces if path.stat().st_nlink == 1)
        started = perf_counter()
        newest = snapshots.newest()
        assert newest is not None
        Ring(columns, count).restore(newest.parts["learner"].tensors)
        restart = perf_counter() - started
    size = saved.size_bytes / 1e6
    note = f"{written / 1e6:.0f} of {size:.0f} MB; {times[1]:.1f} s, of which learning stands {1000 * paused:.0f} ms"
    return [
        Result(
            name=f"… a snapshot after {part // 5:,} new entries writes",
            value=100 * written / 1e6 / size,
            unit="%",
            note=note,
        ),
        Result(name="… verified and restored after a restart in", value=restart, unit="s", note=f"{size:.0f} MB"),
    ]


def _approximate(window: Any, vectors: Any, one: Any, many: Any, k: int, rounds: int, part: int) -> list[Result]:
    import faiss

    exact, _ = nearest(window, "vector", many, k)
    cell_count = min(1024, len(vectors) // 39)  # so many vectors a cell the search wants to learn them from
    centroids = learn_cells(vectors[:20_000], cell_count, seed=0)
    cells = Ring({"vector": (np.float32, (vectors.shape[1],)), "cell": (np.uint16, ())}, len(vectors))
    for start in range(0, len(vectors), part):
        some = vectors[start : start + part]
        nearest_cell = np.concatenate([(some[i : i + 1000] @ centroids.T).argmax(axis=1) for i in range(0, part, 1000)])
        cells.append({"vector": some, "cell": nearest_cell})
    inside, found = cells.window(), []

    def recall(ids: Any, truth: Any) -> float:
        return 100 * float(np.mean([len(set(a) & set(b)) / k for a, b in zip(ids.tolist(), truth.tolist())]))

    for probes in (8, 32):
        ids, _ = nearest_in_cells(inside, "vector", "cell", centroids, many, k, probes)
        seconds = median_seconds(
            lambda p=probes: nearest_in_cells(inside, "vector", "cell", centroids, one, k, p), rounds
        )
        name = f"… approximate, {probes} of {cell_count:,} cells: recall of {k}"
        found.append(Result(name=name, value=recall(ids, exact), unit="%", note=f"{1000 * seconds:.2f} ms a query"))
    few = vectors[:50_000]  # a graph of a million takes many minutes to build, and forgets nothing
    truth = np.argsort(-(many @ few.T), axis=1)[:, :k]
    graph = faiss.IndexHNSWFlat(few.shape[1], 16, faiss.METRIC_INNER_PRODUCT)
    graph.hnsw.efSearch = 100
    graph.add(few)
    seconds = median_seconds(lambda: graph.search(one, k), rounds)
    note = f"{1000 * seconds:.2f} ms a query; cannot forget, so not offered"
    ids = graph.search(many, k)[1]
    found.append(Result(name=f"… HNSW of {len(few):,}: recall of {k}", value=recall(ids, truth), unit="%", note=note))
    return found


def _unit(vectors: Any) -> NDArray[np.float32]:
    found: NDArray[np.float32] = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return found
