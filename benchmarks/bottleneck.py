"""The key-value bottleneck: classes that come two by two, one pass, and the search for the nearest keys.

Pictures are seen through random convolutions (patches of the unlabelled pictures as filters, ReLU, means over a coarse
grid), without any label and without training. The yardsticks are those of the data folder, on features of that kind;
ridge is our own on the very same features.
"""

from __future__ import annotations

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import sys  # noqa: E402 - the environment comes first
import tempfile  # noqa: E402
import tracemalloc  # noqa: E402
from collections.abc import Callable  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import numpy as np  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

from benchmarks.report import Result, at_least, at_most, median_seconds, show  # noqa: E402
from benchmarks.streams import SHARED  # noqa: E402
from thalweg.memory.vectors.key_tables import HeadSearch  # noqa: E402
from thalweg.models.bottleneck.learner import Bottleneck  # noqa: E402
from thalweg.models.contract.learner import Learner, LearnerContext  # noqa: E402
from thalweg.models.ridge.learner import Ridge  # noqa: E402
from thalweg.proto.event import Batch, ClassLabels, TensorSpec  # noqa: E402

PROTOTYPES = {"fashion_mnist": 77.1, "cifar10_small": 35.9}
"""Percent right at the end of the nearest of 20 centres a class, on 2,048 random convolution features."""
SETTINGS = {"heads": 32, "pairs": 2048, "key_width": 24, "key_steps": 200, "rate": 1.0}
"""For the pictures: ten times the events of the digits pay for more pairs and smaller steps."""
SIDE, FILTERS, GRID = 6, 512, 2
NAMES = tuple(str(name) for name in range(10))

Floats = NDArray[np.float32]
Codes = NDArray[np.int64]


def random_convolutions(train: NDArray[Any], test: NDArray[Any], seed: int = 0) -> tuple[Floats, Floats]:
    """(N, FILTERS · GRID²) features of pictures (N, H, W[, channels]); only unlabelled training pictures are used."""
    generator = np.random.default_rng(seed)
    pictures = [p.reshape(*p.shape[:3], -1).astype(np.float32) / 255 for p in (train, test)]
    sample = _patches(pictures[0][generator.permutation(len(train))[:500]])
    sample = sample.reshape(-1, sample.shape[-1])
    sample = _normal(sample[generator.permutation(len(sample))[:20_000]])
    mean, covariance = sample.mean(axis=0), np.cov(sample.T)
    values, vectors = np.linalg.eigh(covariance)
    whiten = (vectors / np.sqrt(values + 0.1 * values.mean())) @ vectors.T
    filters = (sample[:FILTERS] - mean) @ whiten
    filters /= np.linalg.norm(filters, axis=1, keepdims=True)
    kernel = (whiten @ filters.T).astype(np.float32)
    x, tx = (_convolved(p, mean.astype(np.float32), kernel) for p in pictures)
    shift, factor = x.mean(axis=0), 1 / (x.std(axis=0) + 1e-6)
    return (x - shift) * factor, (tx - shift) * factor


def _convolved(pictures: Floats, mean: Floats, kernel: Floats) -> Floats:
    out = []
    for start in range(0, len(pictures), 100):
        patches = _patches(pictures[start : start + 100])
        n, height, width, size = patches.shape
        seen = (_normal(patches.reshape(-1, size)) - mean) @ kernel
        seen = np.maximum(seen - 0.25, 0).reshape(n, height, width, -1)
        rows, columns = np.array_split(np.arange(height), GRID), np.array_split(np.arange(width), GRID)
        cells = [seen[:, r[0] : r[-1] + 1, c[0] : c[-1] + 1].mean(axis=(1, 2)) for r in rows for c in columns]
        out.append(np.concatenate(cells, axis=1))
    return np.concatenate(out)


def _patches(pictures: Floats) -> Floats:
    windows = np.lib.stride_tricks.sliding_window_view(pictures, (SIDE, SIDE), axis=(1, 2))
    return windows.reshape(*windows.shape[:3], -1)


def _normal(patches: Floats) -> Floats:
    centred = patches - patches.mean(axis=1, keepdims=True)
    return centred / np.sqrt(centred.var(axis=1, keepdims=True) + 0.01)


def in_tasks(y: Codes, generator: np.random.Generator) -> Codes:
    """An order (N,) in which classes come two by two."""
    return np.concatenate([generator.permutation(np.flatnonzero(y // 2 == task)) for task in range(5)])


def one_pass(learner: Learner, train: tuple[Floats, Codes], test: tuple[Floats, Codes]) -> tuple[float, float]:
    """Share right on the test set after one pass, and its mean negative log-likelihood (of probabilities)."""
    (x, y), (tx, ty) = train, test
    learner.learn(Batch({"x": x}, ClassLabels(y.astype(np.int32), NAMES), np.ones(len(y)), np.zeros(len(y))))
    predictor = learner.predictor()
    answer = predictor.predict({"x": tx})
    truth = np.array([predictor.classes.index(NAMES[name]) for name in ty])
    given = answer["scores"][np.arange(len(ty)), truth].astype(np.float64).clip(1e-12)
    return float((answer["label"] == truth).mean()), float(-np.log(given).mean())


def bottleneck(x: Floats, folder: Path, seed: int = 0, **params: Any) -> Bottleneck:
    """A learner whose keys come from these unlabelled inputs."""
    np.save(folder / "keys.npy", x)
    spec = TensorSpec("x", "float32", (x.shape[1],))
    return Bottleneck(
        LearnerContext(inputs={"x": spec}, params={"key_file": str(folder / "keys.npy"), **params}, seed=seed)
    )


def digits(folder: Path, seeds: int) -> list[Result]:
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    x = (x / 16).astype(np.float32)
    found = []
    for seed in range(seeds):
        generator = np.random.default_rng(seed)
        order = generator.permutation(len(x))
        test, train = order[:500], order[500:]
        learner = bottleneck(x[np.sort(train)], folder, seed)
        train = train[in_tasks(y[train], generator)]
        found.append(one_pass(learner, (x[train], y[train]), (x[test], y[test])))
    accuracy, loss = np.mean(found, axis=0)
    note = f"default settings, mean of {seeds} seeds"
    return [
        at_least("digits, five times two classes, one pass: right at the end", 100 * accuracy, "%", 95.5, note),
        at_most("digits: negative log-likelihood on the test set", loss, "", 0.35, note),
    ]


def pictures(name: str, folder: Path) -> list[Result]:
    data = np.load(SHARED / "data" / "images" / f"{name}.npz")
    x, tx = random_convolutions(data["x_train"], data["x_test"])
    order = in_tasks(data["y_train"], np.random.default_rng(0))
    train, test = (x[order], data["y_train"][order].astype(np.int64)), (tx, data["y_test"].astype(np.int64))
    right, loss = one_pass(bottleneck(x, folder, **SETTINGS), train, test)
    spec = {"x": TensorSpec("x", "float32", (x.shape[1],))}
    ridge = Ridge(
        LearnerContext(
            inputs=spec, params={"expansion": 0, "forgetting": 1.0, "standardise": False, "gamma": 100.0}, seed=0
        )
    )
    best, _ = one_pass(ridge, train, test)
    note = f"ridge on the same features {100 * best:.1f} %; likelihood {loss:.2f}"
    return [at_least(f"{name}, five times two classes: right at the end", 100 * right, "%", PROTOTYPES[name], note)]


def search(rounds: int) -> list[Result]:
    """C = 256, M = 4096, d = 14, 32 queries at once."""
    generator = np.random.default_rng(0)
    keys = generator.standard_normal((256, 4096, 14)).astype(np.float32)
    queries = generator.standard_normal((32, 256, 14)).astype(np.float32)
    found, wide = HeadSearch(keys.astype(np.float64)), queries.astype(np.float64)

    def broadcast() -> Any:
        return np.square(queries[:, :, None] - keys).sum(axis=3).argmin(axis=2)

    def ours() -> Any:
        return found.nearest(wide)[:, :, 0]

    counted = HeadSearch(keys.astype(np.float64), "numpy")  # FAISS's own few megabytes would not be counted
    memory = _peak(lambda: counted.nearest(wide)) / _peak(broadcast)
    same = (broadcast() == ours()).mean()
    plain, quick = median_seconds(broadcast, rounds), median_seconds(ours, rounds)
    note = f"{1000 * quick:.0f} ms against {1000 * plain:.0f} ms; same keys in {100 * same:.3f} %"
    return [
        at_least("nearest keys, C = 256, M = 4096, 32 queries: throughput, broadcast", plain / quick, "×", 5, note),
        at_most("… peak memory of a search by matrix products, against the broadcast", memory, "×", 0.05),
    ]


def _peak(action: Callable[[], Any]) -> float:
    tracemalloc.start()
    action()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return float(peak)


def run(quick: bool = False) -> list[Result]:
    """Digits, pictures, search; `quick`: one seed of the digits and one round of the search."""
    with tempfile.TemporaryDirectory() as folder:
        results = digits(Path(folder), 1 if quick else 5)
        if not quick and SHARED.is_dir():
            for name in PROTOTYPES:
                results += pictures(name, Path(folder))
    return results + search(1 if quick else 5)


if __name__ == "__main__":
    show("bottleneck", run("--quick" in sys.argv))
