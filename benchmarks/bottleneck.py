"""The key-value bottleneck: classes that come two by two, one pass, and the search for the nearest keys.

Pictures are seen through random convolutions (patches of the unlabelled pictures as filters, ReLU, means over a coarse
grid), without any label and without training. The yardsticks are those of the data folder, on features of that kind;
ridge is our own on the very same features.
"""

from __future__ import annotations

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import tempfile  # noqa: E402 - the environment comes first
import tracemalloc  # noqa: E402
from collections.abc import Callable  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import numpy as np  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

from benchmarks.report import Result, at_least, at_most, median_seconds, show  # noqa: E402
from benchmarks.scale import Scale  # noqa: E402
from benchmarks.streams import SHARED, no_streams  # noqa: E402
from thalweg.memory.vectors.key_tables import HeadSearch  # noqa: E402
from thalweg.models.bottleneck.learner import Bottleneck  # noqa: E402
from thalweg.models.contract.learner import Learner, LearnerContext  # noqa: E402
from thalweg.models.ridge.learner import Ridge  # noqa: E402
from thalweg.proto.event import Batch, ClassLabels  # noqa: E402
from thalweg.proto.schema import TensorSpec  # noqa: E402

PICTURES = {"fashion_mnist": (79.9, 0.57), "cifar10_small": (45.4, 1.6)}
"""Percent right at the end and negative log-likelihood to reach, on 2,048 random convolution features."""
PUBLISHED = {"values": "gradient", "pairs": 256, "key_width": 12, "components": 0, "key_steps": 600, "key_batch": 256}
"""Values as logits that are learned by gradient, keys of the inputs themselves."""
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


def digits(folder: Path, seeds: int, rows: int | None, **params: Any) -> list[Result]:
    from sklearn.datasets import load_digits

    x, y = (column[:rows] for column in load_digits(return_X_y=True))
    x = (x / 16).astype(np.float32)
    found = []
    for seed in range(seeds):
        generator = np.random.default_rng(seed)
        order = generator.permutation(len(x))
        test, train = np.split(order, [min(500, len(order) // 2)])
        learner = bottleneck(x[np.sort(train)], folder, seed, **params)
        train = train[in_tasks(y[train], generator)]
        found.append(one_pass(learner, (x[train], y[train]), (x[test], y[test])))
    (accuracy, loss), spread = np.mean(found, axis=0), np.std(found, axis=0)
    note = f"{params or 'default settings'}, mean of {seeds} seeds ± {100 * spread[0]:.1f} % and ± {spread[1]:.3f}"
    return [
        at_least("digits, five times two classes, one pass: right at the end", 100 * accuracy, "%", 95.5, note),
        at_most("digits: negative log-likelihood on the test set", loss, "", 0.15, note),
    ]


def pictures(name: str, folder: Path, count: int | None, seeds: int, **params: Any) -> list[Result]:
    with np.load(SHARED / "data" / "images" / f"{name}.npz") as data:
        raw, traw, y, ty = (data[column][:count] for column in ("x_train", "x_test", "y_train", "y_test"))
    x, tx = random_convolutions(raw, traw)
    y, ty = y.astype(np.int64), ty.astype(np.int64)
    found = []
    for seed in range(seeds):
        order = in_tasks(y, np.random.default_rng(seed))
        found.append(one_pass(bottleneck(x, folder, seed, **params), (x[order], y[order]), (tx, ty)))
    order = in_tasks(y, np.random.default_rng(0))
    before, _ = one_pass(bottleneck(x, folder, **{**PUBLISHED, **params}), (x[order], y[order]), (tx, ty))
    spec = {"x": TensorSpec("x", "float32", (x.shape[1],))}
    tuned = {"expansion": 0, "forgetting": 1.0, "standardise": False, "gamma": 100.0}
    best, _ = one_pass(Ridge(LearnerContext(inputs=spec, params=tuned, seed=0)), (x[order], y[order]), (tx, ty))
    means = np.stack([x[y == label].mean(axis=0) for label in np.unique(y)])
    nearest = np.unique(y)[np.square(tx[:, None] - means).sum(axis=2).argmin(axis=1)]
    (right, loss), spread = np.mean(found, axis=0), np.std(found, axis=0)
    note = (
        f"default settings, {seeds} seeds ± {100 * spread[0]:.1f}; controls: nearest class mean "
        f"{100 * (nearest == ty).mean():.1f} %, values by gradient {100 * before:.1f} %, "
        f"ridge tuned for these features {100 * best:.1f} %"
    )
    least, most = PICTURES[name]
    return [
        at_least(f"{name}, five times two classes: right at the end", 100 * right, "%", least, note),
        at_most(f"{name}: negative log-likelihood on the test set", loss, "", most, f"± {spread[1]:.3f}"),
    ]


def search(rounds: int, heads: int = 256, pairs: int = 4096) -> list[Result]:
    """C = 256, M = 4096, d = 14, 32 queries at once."""
    generator = np.random.default_rng(0)
    keys = generator.standard_normal((heads, pairs, 14)).astype(np.float32)
    queries = generator.standard_normal((32, heads, 14)).astype(np.float32)
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
        at_least(
            f"nearest keys, C = {heads}, M = {pairs}, 32 queries: throughput, broadcast", plain / quick, "×", 5, note
        ),
        at_most("… peak memory of a search by matrix products, against the broadcast", memory, "×", 0.05),
    ]


def _peak(action: Callable[[], Any]) -> float:
    tracemalloc.start()
    action()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return float(peak)


_TINY = {"heads": 4, "pairs": 16, "key_width": 4, "key_steps": 5}


def run(scale: Scale = Scale.FULL) -> list[Result]:
    """Digits, pictures, search; `QUICK`: one seed of the digits and one round of the search."""
    tiny = scale is Scale.TINY
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        results = digits(folder, 1, 200, **_TINY) if tiny else digits(folder, scale.of(5, quick=1, tiny=1), None)
        if not SHARED.is_dir():
            results.append(no_streams("pictures"))
        elif tiny:
            results += pictures("fashion_mnist", folder, 100, 1, **_TINY)
        elif scale is Scale.FULL:
            for name in PICTURES:
                results += pictures(name, folder, None, 3)
    return results + (search(1, 4, 64) if tiny else search(scale.of(5, quick=1, tiny=1)))


if __name__ == "__main__":
    show("bottleneck", run(Scale.asked()))
