"""What ridge promises by default, in the situations that broke it: order, scale, width, offsets, bad input.

One learner as it comes (where a row names other settings, its note says so), three seeds where anything is random, and
beside each figure its cheapest control. Targets are what is known to be reachable, less a point.
"""

from __future__ import annotations

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

from collections.abc import Callable, Sequence  # noqa: E402 - the environment comes first
from typing import Any  # noqa: E402

import numpy as np  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

from benchmarks.bottleneck import random_convolutions  # noqa: E402
from benchmarks.report import Result, at_least, show  # noqa: E402
from benchmarks.scale import Scale  # noqa: E402
from benchmarks.streams import SHARED, no_streams  # noqa: E402
from thalweg.models.contract.learner import LearnerContext  # noqa: E402
from thalweg.models.ridge.learner import Ridge  # noqa: E402
from thalweg.proto.event import Batch, ClassLabels, NumberLabels  # noqa: E402
from thalweg.proto.schema import TensorSpec  # noqa: E402

Floats = NDArray[Any]
Codes = NDArray[np.int64]


def ridge(x: Floats, seed: int = 0, **params: Any) -> Ridge:
    """A learner for rows like these."""
    spec = TensorSpec("x", x.dtype.name, (x.shape[1],))
    return Ridge(LearnerContext(inputs={"x": spec}, params=params, seed=seed))


def teach(learner: Ridge, x: Floats, y: Codes, by: int = 64) -> NDArray[np.bool_]:
    """Learn rows in micro-batches, in order; whether each (N,) was predicted rightly before."""
    names = tuple(str(code) for code in range(int(y.max()) + 1))
    right = np.zeros(len(x), bool)
    for start in range(0, len(x), by):
        part = slice(start, start + by)
        right[part] = named(learner, x[part]) == y[part]
        n = len(y[part])
        labels = ClassLabels(y[part].astype(np.int32), names)
        learner.learn(Batch({"x": x[part]}, labels, np.ones(n), np.zeros(n)))
    return right


def named(learner: Ridge, x: Floats) -> Codes:
    """Predicted classes (N,); -1: none."""
    predictor = learner.predictor()
    classes = np.array([*map(int, predictor.classes), -1])
    return np.asarray(classes[predictor.predict({"x": x})["label"]])


def class_by_class(y: Codes, seed: int) -> Codes:
    """An order (N,) in which classes come one after the other."""
    generator = np.random.default_rng(seed)
    order = generator.permutation(int(y.max()) + 1)
    return np.concatenate([generator.permutation(np.flatnonzero(y == code)) for code in order])


def blobs(rows: int, width: int, seed: int, classes: int = 10, apart: float = 2.0) -> tuple[Floats, Codes]:
    """Normal classes around centres that are `apart` deviations long per root of width; float64."""
    generator = np.random.default_rng(seed)
    centres = generator.standard_normal((classes, width)) * apart / np.sqrt(width) * 2
    y = generator.integers(0, classes, rows)
    return centres[y] + generator.standard_normal((rows, width)), y


def digits(seed: int) -> float:
    """Share right on 500 held-out digits after the others came class after class."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    x = (x / 16).astype(np.float32)
    test, train = np.split(np.random.default_rng(seed).permutation(len(x)), [500])
    train = train[class_by_class(y[train], seed)]
    learner = ridge(x, seed)
    teach(learner, x[train], y[train])
    return float((named(learner, x[test]) == y[test]).mean())


def pictures(name: str, rows: int | None, **params: Any) -> float:
    """Share right on test pictures after the others came class after class, seen through random convolutions."""
    with np.load(SHARED / "data" / "images" / f"{name}.npz") as data:
        raw, traw, y, ty = (data[column][:rows] for column in ("x_train", "x_test", "y_train", "y_test"))
    x, tx = random_convolutions(raw, traw)
    order = class_by_class(y, 0)
    learner = ridge(x, **params)
    teach(learner, x[order], y[order].astype(np.int64), 256)
    return float((named(learner, tx) == ty).mean())


def first_rows_broken(seed: int, rows: int) -> float:
    """Share right when the first 64 rows come in another unit, a million times as large."""
    x, y = blobs(rows, 16, seed)
    x[:64] *= 1e6
    right = teach(ridge(x.astype(np.float32), seed), x.astype(np.float32), y)
    return float(right[rows // 10 :].mean())


def unbroken(seed: int, rows: int) -> float:
    """The same without the broken rows."""
    x, y = blobs(rows, 16, seed)
    return float(teach(ridge(x.astype(np.float32), seed), x.astype(np.float32), y)[rows // 10 :].mean())


def sgd(x: Floats, y: Codes, seed: int) -> float:
    """Share right of scikit-learn's SGD, by 64."""
    from sklearn.linear_model import SGDClassifier

    learner, right = SGDClassifier(loss="log_loss", learning_rate="constant", eta0=1e-3, random_state=seed), []
    for start in range(0, len(x), 64):
        part = slice(start, start + 64)
        if start:
            right.append(learner.predict(x[part]) == y[part])
        learner.partial_fit(x[part], y[part], classes=np.unique(y))
    return float(np.concatenate(right).mean())


def noise(rows: int, width: int, seed: int) -> tuple[Floats, Codes]:
    """Ten classes and columns of which 50 tell anything, little each."""
    generator = np.random.default_rng(seed)
    y, centres = generator.integers(0, 10, rows), np.zeros((10, width))
    centres[:, :50] = generator.standard_normal((10, 50)) * 0.35
    return (generator.standard_normal((rows, width)) + centres[y]).astype(np.float32), y


def wide(seeds: int, scale: Scale) -> list[Result]:
    """2,048 columns of pictures in random order, and 500 columns of noise."""
    results = []
    if SHARED.is_dir() and scale is Scale.FULL:
        with np.load(SHARED / "data" / "images" / "cifar10_small.npz") as data:
            raw, y = data["x_train"], data["y_train"].astype(np.int64)
        x, _ = random_convolutions(raw, raw[:10])
        order = np.random.default_rng(0).permutation(len(x))[:2000]
        x, y = x[order], y[order]
        note = f"cifar10_small, 2,000 rows by 256, the first included; SGD by 64 {100 * sgd(x, y, 0):.1f}; was 39.7"
        results.append(at_least("2,048 columns", 100 * float(teach(ridge(x), x, y, 256).mean()), "%", 45.8, note))
    rows, width = scale.of(1500, quick=600, tiny=130), scale.of(500, quick=200, tiny=60)
    tables = [noise(rows, width, seed) for seed in range(seeds)]
    bar = 100 * float(np.mean([sgd(x, y, seed) for seed, (x, y) in enumerate(tables)]))
    return [
        *results,
        row(
            f"{width} columns, 50 of them telling anything",
            lambda s: float(teach(ridge(tables[s][0], s), *tables[s])[64:].mean()),
            seeds,
            bar,
            f"{rows:,} rows, after the first 64; the bar is scikit-learn's SGD",
        ),
    ]


def far_from_zero(seed: int, rows: int, offset: float) -> float:
    """Share right in two classes, on columns of this mean and deviation 1, in float64."""
    generator = np.random.default_rng(seed)
    x = generator.standard_normal((rows, 8))
    y = (x @ generator.standard_normal(8) > 0).astype(np.int64)
    return float(teach(ridge(x, seed), x + offset, y)[rows // 5 :].mean())


def regression(seed: int, rows: int, offset: float = 0.0, outlier: bool = False) -> float:
    """R² of targets plus an offset; with one target of 3,000 deviations, over the 500 rows after it."""
    generator = np.random.default_rng(seed)
    x = generator.standard_normal((rows, 8))
    y = x @ generator.standard_normal(8) + 0.1 * generator.standard_normal(rows)
    learner, answers, given = ridge(x, seed, task="regression"), np.zeros(rows), y + offset
    at = rows // 2
    if outlier:
        given[at] += 3000 * y.std()
    for start in range(0, rows, 50):
        part = slice(start, start + 50)
        answers[part] = learner.predictor().predict({"x": x[part]})["value"][:, 0] - offset
        n = len(x[part])
        learner.learn(Batch({"x": x[part]}, NumberLabels(given[part, None]), np.ones(n), np.zeros(n)))
    judged = slice(at + 1, at + 501) if outlier else slice(rows // 5, None)
    return float(1 - np.square(answers[judged] - y[judged]).mean() / y[judged].var())


def one_class_first(seed: int, rows: int) -> float:
    """Share right in rows of ten classes after `rows` rows of one class alone; the last half of them."""
    x, y = blobs(rows + 2000, 16, seed)
    first = np.flatnonzero(y == 0)
    x[:rows], y[:rows] = x[np.resize(first, rows)], 0
    return float(teach(ridge(x, seed), x, y)[rows + 1000 :].mean())


def returned(seed: int, rows: int) -> float:
    """Share right in a class of 500 events, asked for again after `rows` events of nine others."""
    x, y = blobs(rows, 16, seed)
    order = np.concatenate([np.flatnonzero(y == 0)[:500], np.flatnonzero(y > 0)])
    learner = ridge(x, seed)
    teach(learner, x[order], y[order], 256)
    asked = np.flatnonzero(y == 0)[500:1000] if rows > 10_000 else np.flatnonzero(y == 0)
    return float((named(learner, x[asked]) == 0).mean())


def constant_at_first(seed: int, rows: int) -> float:
    """Share right in the second half of rows whose columns are all constant in the first half."""
    x, y = blobs(2 * rows, 16, seed)
    x[:rows] = 5.0
    return float(teach(ridge(x, seed), x, y)[rows + rows // 2 :].mean())


def copied(seed: int, rows: int) -> float:
    """Share right in the second half of rows, in which one column has become a copy of another."""
    x, y = blobs(rows, 16, seed)
    x[rows // 2 :, 3] = x[rows // 2 :, 7]
    return float(teach(ridge(x, seed), x, y)[3 * rows // 4 :].mean())


def once_each(seed: int, classes: int) -> float:
    """Share right of noisy copies of as many events, each the only one of its class."""
    generator = np.random.default_rng(seed)
    x, y = generator.standard_normal((classes, 64)), np.arange(classes)
    learner = ridge(x, seed)
    teach(learner, x, y)
    return float((named(learner, x + 0.1 * generator.standard_normal(x.shape)) == y).mean())


def row(name: str, measure: Callable[[int], float], seeds: int, bound: float, note: str = "") -> Result:
    """Mean over seeds in %, its spread in the note."""
    found = [100 * measure(seed) for seed in range(seeds)]
    spread = f"seeds {' '.join(f'{one:.1f}' for one in found)}"
    return at_least(name, float(np.mean(found)), "%", bound, f"{spread}; {note}" if note else spread)


def recorded(scale: Scale) -> Sequence[Result]:
    """Pictures of the data folder."""
    if not SHARED.is_dir():
        return [no_streams("pictures, class after class")]
    if scale is not Scale.FULL:
        return []
    linear: dict[str, Any] = {"expansion": 0, "forgetting": 1}
    found = []
    for name, bound, was, least in (("fashion_mnist", 87.1, 67.5, 84.4), ("cifar10_small", 58.9, 45.5, 53.8)):
        value = 100 * pictures(name, None, **linear)
        note = f"expansion = 0, forgetting = 1; was {was}; unstandardised with gamma = 100: {bound + 1:.1f}"
        found.append(at_least(f"{name}, class after class", value, "%", bound, note))
        value = 100 * pictures(name, None)
        note = "expansion = 0, forgetting = 1, less a point; guessing 10"
        found.append(at_least(f"{name}, class after class, default settings", value, "%", least, note))
    return found


def run(scale: Scale = Scale.FULL) -> list[Result]:
    """All rows; `QUICK`: one seed and no pictures."""
    seeds, n = scale.of(3, quick=1, tiny=1), scale.of(30_000, quick=5_000, tiny=400)
    few, long = scale.of(3_000, quick=2_000, tiny=400), scale.of(100_000, quick=20_000, tiny=700)
    near = 100 * float(np.mean([far_from_zero(seed, few, 0.0) for seed in range(seeds)]))
    plain, last = 100 * unbroken(0, n), "repeating the last label 10"
    return [
        row("digits, class after class, by 64", digits, seeds, 93.6, "was 19.5; the last class alone 10"),
        *recorded(scale),
        row("first 64 rows × 1e6", lambda s: first_rows_broken(s, n), seeds, plain - 1, f"unbroken {plain:.1f}"),
        *wide(seeds, scale),
        row(
            "columns of mean 1e9, deviation 1",
            lambda s: far_from_zero(s, few, 1e9),
            seeds,
            near - 1,
            f"mean 0: {near:.1f}",
        ),
        row("regression, R²", lambda s: regression(s, few), seeds, 97.0, "the mean: 0"),
        row("… targets + 1e8", lambda s: regression(s, few, 1e8), seeds, 97.0),
        row("… targets + 1e9", lambda s: regression(s, few, 1e9), seeds, 97.0),
        row("… the 500 rows after one target of 3,000 deviations", lambda s: regression(s, few, 0, True), seeds, 90.0),
        row("one class for long, then ten", lambda s: one_class_first(s, n // 3), seeds, plain - 5, last),
        row(f"a class that returns after {long:,} events", lambda s: returned(s, long), seeds, 90.0, "guessing 10"),
        row("all columns constant, then not", lambda s: constant_at_first(s, few), seeds, plain - 5, last),
        row("a column becomes a copy of another", lambda s: copied(s, few), seeds, plain - 8, last),
        row(
            "classes with one event each", lambda s: once_each(s, scale.of(1000, 300, 50)), seeds, 50.0, "guessing 0.1"
        ),
    ]


if __name__ == "__main__":
    show("What ridge promises by default", run(Scale.asked()))
