"""The error memory: what it wins beyond honest controls, how soon it follows a flip, and what reading it costs.

Events of MovieTweetings in order: the first 60 % warm everything up, the rest is graded, each answer before its
label is learned. Labels are learned one by one as they come; networks train every 64 events in all rows.
"""

from __future__ import annotations

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import gzip  # noqa: E402 - the environment comes first
import json  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402
from collections.abc import Callable  # noqa: E402
from dataclasses import dataclass, replace  # noqa: E402
from pathlib import Path  # noqa: E402
from time import perf_counter  # noqa: E402
from typing import Any  # noqa: E402

import numpy as np  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

from benchmarks.report import Result, at_least, at_most, median_seconds, show  # noqa: E402
from benchmarks.streams import SHARED  # noqa: E402
from thalweg.memory.snapshots.snapshots import FolderSnapshots, Manifest  # noqa: E402
from thalweg.memory.snapshots.state import State  # noqa: E402
from thalweg.memory.vectors.neighbours import learn_cells, nearest, nearest_in_cells  # noqa: E402
from thalweg.memory.vectors.ring import Ring  # noqa: E402
from thalweg.models.contract.learner import LearnerContext  # noqa: E402
from thalweg.models.error_memory.learner import ErrorMemory  # noqa: E402
from thalweg.proto.event import Batch, NumberLabels, TensorSpec  # noqa: E402

Floats = NDArray[np.float64]
GRADED_FROM = 48_000
FLIP_AT, FLIPPED_SHARE, FLIP_SEEDS = 60_000, 0.2, 4
AFTER = ((0, 500), (500, 1000), (1000, 2000), (2000, 4000), (4000, 8000), (8000, 20_000))
"""Labels after the flip between which AUC is taken."""
INPUTS = {
    "user": TensorSpec("user", "int64", ()),
    "item": TensorSpec("item", "int64", ()),
    "fields": TensorSpec("fields", "int64", (5,)),
}


@dataclass(frozen=True)
class Stream:
    """Ids (N, 7) int64: user, item, three genres, years in threes, hour; labels (N,), times (N,)."""

    ids: NDArray[np.int64]
    labels: Floats
    times: Floats

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, part: slice) -> Batch:
        ids = self.ids[part]
        inputs = {"user": ids[:, 0], "item": ids[:, 1], "fields": ids[:, 2:]}
        return Batch(inputs, NumberLabels(self.labels[part, None]), np.ones(len(ids)), self.times[part])


def movie_tweetings() -> Stream:
    """Who rated what, liked (8 of 10 or more) or not."""
    path = SHARED / "data" / "recsys" / "movietweetings_first80k.jsonl.gz"
    genres: dict[str, int] = {}
    rows, labels, times = [], [], []
    with gzip.open(path, "rt") as lines:
        for line in lines:
            event = json.loads(line)
            three = [1 + genres.setdefault(name, len(genres)) for name in event["genres"][:3]]
            year = ((event["year"] or 2000) - 1920) // 3
            user, item = int(event["user_id"][1:]), int(event["item_id"][2:])
            rows.append([user, item, *three, *[0] * (3 - len(three)), year, event["hour"]])
            labels.append(event["label"])
            times.append(event["ts"])
    return Stream(np.array(rows, np.int64), np.array(labels, float), np.array(times, float))


def followed(stream: Stream, seed: int = 0, step: int = 1, **params: Any) -> tuple[Floats, Floats]:
    """Scores and base scores (N,), each from before its `step` events were learned."""
    learner = ErrorMemory(LearnerContext(inputs=INPUTS, params=params, seed=seed))
    scores, bases = np.empty(len(stream)), np.empty(len(stream))
    for start in range(0, len(stream), step):
        part = slice(start, start + step)
        batch = stream.batch(part)
        answers = learner.predictor().predict(batch.inputs)
        scores[part], bases[part] = answers["score"], answers["base_score"]
        learner.learn(batch)
    return scores, bases


def auc(scores: Floats, labels: Floats) -> float:
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    rank = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    yes = int(labels.sum())
    return float((rank[labels == 1].sum() - yes * (yes + 1) / 2) / (yes * (len(labels) - yes)))


def log_loss(scores: Floats, labels: Floats) -> float:
    held = scores.clip(1e-6, 1 - 1e-6)
    return float(-np.mean(labels * np.log(held) + (1 - labels) * np.log(1 - held)))


def grouped_auc(scores: Floats, labels: Floats, users: NDArray[np.int64]) -> float:
    """AUC per user, weighted by events, users of one class left out."""
    total = weight = 0.0
    order = np.argsort(users, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(users[order])) + 1):
        if 0 < labels[rows].sum() < len(rows):
            total += len(rows) * auc(scores[rows], labels[rows])
            weight += len(rows)
    return total / weight


def shrunk(bases: Floats, labels: Floats, share: float) -> Floats:
    """Base scores drawn towards the running mean label: the control that explains most gains of a memory."""
    running = np.concatenate([[0.5], np.cumsum(labels)[:-1] / np.arange(1, len(labels))])
    return (1 - share) * bases + share * running


def quality(stream: Stream, quick: bool) -> list[Result]:
    step, graded = (64 if quick else 1), slice(GRADED_FROM, None)
    labels, users = stream.labels, stream.ids[:, 0]
    frozen, fixed = {"freeze_after": GRADED_FROM}, {"combine": "fixed", "memory_bytes": 40_000_000}
    both, incremental = followed(stream, step=step)
    rows = {
        "base, frozen when grading begins": followed(stream, step=64, memory="none", **frozen)[0],
        "… with the memory as published (γ = 1, λ = 0.3, by key)": followed(stream, step=64, **frozen, **fixed)[0],
        "… with the memory, learned combination": followed(stream, step=step, **frozen)[0],
        "incremental": incremental,
        "incremental, shrunk to the running rate by 0.05": shrunk(incremental, labels, 0.05),
        "incremental, shrunk by 0.3": shrunk(incremental, labels, 0.3),
        "incremental, memory as published": followed(stream, step=64, **fixed)[0],
        "incremental, sketch (γ = 0, λ = 0.5)": followed(
            stream, step=64, combine="fixed", memory="sketch", gamma=0.0, strength=0.5
        )[0],
        "incremental, memory by user, item and key, 64 labels late": followed(
            stream, step=64, views="user+item+key", memory_bytes=40_000_000
        )[0],
        "incremental, memory, 64 labels late": followed(stream, step=64)[0],
        "both: incremental and memory": both,
    }
    results = []
    for name, scores in rows.items():
        figures = auc(scores[graded], labels[graded]), log_loss(scores[graded], labels[graded])
        grouped = grouped_auc(scores[graded], labels[graded], users[graded])
        note = f"log-loss {figures[1]:.4f}, gAUC {grouped:.4f}"
        results.append(Result(name=name, value=figures[0], unit="AUC", note=note))
    gain = auc(both[graded], labels[graded]) - auc(incremental[graded], labels[graded])
    control = min(log_loss(shrunk(incremental, labels, share)[graded], labels[graded]) for share in (0.0, 0.05, 0.1))
    loss = log_loss(both[graded], labels[graded])
    results.append(at_least("AUC of both over incremental", gain, "", 0.006))
    results.append(at_most("log-loss of both, against the best shrunk control", loss - control, "", 0.0))
    return results


def flip(stream: Stream, quick: bool) -> list[Result]:
    """Labels of a fifth of the items turn into their opposite; AUC against the same windows without the flip."""
    both, alone, unflipped = [], [], []
    items = np.unique(stream.ids[:, 1])
    for seed in range(1 if quick else FLIP_SEEDS):
        generator = np.random.default_rng(seed)
        turned = np.isin(stream.ids[:, 1], items[generator.random(len(items)) < FLIPPED_SHARE])
        turned &= np.arange(len(stream)) >= FLIP_AT
        other = replace(stream, labels=np.where(turned, 1 - stream.labels, stream.labels))
        scores, bases = followed(other, seed=seed, step=64 if quick else 1)
        usual, usual_bases = followed(stream, seed=seed, step=64 if quick else 1)
        parts = [slice(FLIP_AT + start, FLIP_AT + end) for start, end in AFTER]
        both.append([auc(scores[part], other.labels[part]) for part in parts])
        alone.append([auc(bases[part], other.labels[part]) for part in parts])
        unflipped.append([[auc(each[part], stream.labels[part]) for part in parts] for each in (usual, usual_bases)])
    normal = np.mean(unflipped, axis=0)
    lost = normal - np.array([np.mean(both, axis=0), np.mean(alone, axis=0)])
    regained = 1 - lost / lost[:, :1]
    results = []
    for column, (start, end) in list(enumerate(AFTER))[1:]:
        note = f"incremental alone {100 * regained[1, column]:.0f} %; AUC still lost {lost[0, column]:.3f}"
        name = f"flip: of the AUC lost, back between {start:,} and {end:,} labels after"
        value = 100 * regained[0, column]
        results.append(
            at_least(name, value, "%", 50, note)
            if start == 500
            else Result(name=name, value=value, unit="%", note=note)
        )
    return results


def reading(rounds: int) -> list[Result]:
    """One million entries of 64 float32."""
    count, width, k = 1_000_000, 64, 50
    generator = np.random.default_rng(0)
    ring = Ring({"vector": (np.float32, (width,))}, count)
    middles = _unit(generator.standard_normal((2000, width)))
    for _ in range(count // 50_000):  # in clouds, as the keys of a network are: what an approximate search lives by
        cloud = middles[generator.integers(0, len(middles), 50_000)]
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
            "1 million entries of 64: one exact search, against one pass over them",
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
    return results + _approximate(window, vectors, one, many, k, rounds)


def keeping() -> list[Result]:
    """Saving and restoring a memory of a million entries with keys of 64, as a learner does beside its network."""
    columns = {"key": (np.int64, ()), "user": (np.int64, ()), "item": (np.int64, ()), "time": (np.float64, ())}
    columns |= {"label": (np.float32, ()), "base": (np.float64, ()), "id": (np.uint8, (40,))}
    columns |= {"vector": (np.float32, (64,))}
    generator = np.random.default_rng(0)

    def entries(count: int) -> dict[str, Any]:
        return {
            name: generator.integers(0, 200, (count, *shape)).astype(dtype) for name, (dtype, shape) in columns.items()
        }

    ring = Ring(columns, 1_000_000)
    for _ in range(25):
        ring.append(entries(50_000))
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
                ring.append(entries(10_000))
        pieces = list((Path(folder) / "m" / "2").iterdir())
        written = sum(path.stat().st_size for path in pieces if path.stat().st_nlink == 1)
        started = perf_counter()
        newest = snapshots.newest()
        assert newest is not None
        Ring(columns, 1_000_000).restore(newest.parts["learner"].tensors)
        restart = perf_counter() - started
    size = saved.size_bytes / 1e6
    note = f"{written / 1e6:.0f} of {size:.0f} MB; {times[1]:.1f} s, of which learning stands {1000 * paused:.0f} ms"
    return [
        Result(
            name="… a snapshot after 10,000 new entries writes", value=100 * written / 1e6 / size, unit="%", note=note
        ),
        Result(name="… verified and restored after a restart in", value=restart, unit="s", note=f"{size:.0f} MB"),
    ]


def _approximate(window: Any, vectors: Any, one: Any, many: Any, k: int, rounds: int) -> list[Result]:
    import faiss

    exact, _ = nearest(window, "vector", many, k)
    centroids = learn_cells(vectors[:20_000], 1024, seed=0)
    cells = Ring({"vector": (np.float32, (vectors.shape[1],)), "cell": (np.uint16, ())}, len(vectors))
    for start in range(0, len(vectors), 50_000):
        part = vectors[start : start + 50_000]
        nearest_cell = np.concatenate(
            [(part[i : i + 1000] @ centroids.T).argmax(axis=1) for i in range(0, 50_000, 1000)]
        )
        cells.append({"vector": part, "cell": nearest_cell})
    inside, found = cells.window(), []

    def recall(ids: Any, truth: Any) -> float:
        return 100 * float(np.mean([len(set(a) & set(b)) / k for a, b in zip(ids.tolist(), truth.tolist())]))

    for probes in (8, 32):
        ids, _ = nearest_in_cells(inside, "vector", "cell", centroids, many, k, probes)
        seconds = median_seconds(
            lambda p=probes: nearest_in_cells(inside, "vector", "cell", centroids, one, k, p), rounds
        )
        name = f"… approximate, {probes} of 1,024 cells: recall of {k}"
        found.append(Result(name=name, value=recall(ids, exact), unit="%", note=f"{1000 * seconds:.2f} ms a query"))
    few = vectors[:50_000]  # a graph of a million takes many minutes to build, and forgets nothing
    truth = np.argsort(-(many @ few.T), axis=1)[:, :k]
    graph = faiss.IndexHNSWFlat(few.shape[1], 16, faiss.METRIC_INNER_PRODUCT)
    graph.hnsw.efSearch = 100
    graph.add(few)
    seconds = median_seconds(lambda: graph.search(one, k), rounds)
    note = f"{1000 * seconds:.2f} ms a query; cannot forget, so not offered"
    ids = graph.search(many, k)[1]
    found.append(Result(name=f"… HNSW of 50,000: recall of {k}", value=recall(ids, truth), unit="%", note=note))
    return found


def _unit(vectors: Any) -> NDArray[np.float32]:
    found: NDArray[np.float32] = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return found


def run(quick: bool = False) -> list[Result]:
    """Quality and flip on the real stream, reading on a made-up memory; `quick`: 64 labels late, one seed."""
    results = reading(3 if quick else 9) + keeping()
    if SHARED.is_dir():
        stream = movie_tweetings()
        results += quality(stream, quick) + flip(stream, quick)
    return results


if __name__ == "__main__":
    show("error_memory", run("--quick" in sys.argv))
