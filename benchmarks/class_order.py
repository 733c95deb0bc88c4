"""Ridge on streams whose classes come in an order: what is still known at the end, and what that costs on the way.

Ten normal classes in 16 inputs that overlap (`hard`: much), by 64. Two figures belong together: accuracy on all classes
at the end, asked for equally, and that on the way, where each row is predicted before it is learned. Beside them the
same without absent classes (`keep_absent = false`), and the rows in random order. Three seeds.
"""

from __future__ import annotations

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

from collections.abc import Callable  # noqa: E402 - the environment comes first

import numpy as np  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

from benchmarks.promises import Codes, Floats, named, ridge, teach  # noqa: E402
from benchmarks.report import Result, show  # noqa: E402
from benchmarks.scale import Scale  # noqa: E402

Order = Callable[[int, np.random.Generator], Codes]
"""Classes of so many rows, in order (N,)."""
WIDTH = 16


def once(rows: int, generator: np.random.Generator, classes: int = 10) -> Codes:
    """Each class once, one after the other."""
    return np.repeat(generator.permutation(classes), rows // classes)


def twice(rows: int, generator: np.random.Generator) -> Codes:
    """The same two times over."""
    first = once(rows // 2, generator)
    return np.concatenate([first, first])


def hundred(rows: int, generator: np.random.Generator) -> Codes:
    """A hundred classes, each once."""
    return once(rows, generator, 100)


def tasks(rows: int, generator: np.random.Generator) -> Codes:
    """Two classes at a time."""
    pairs = generator.permutation(10).reshape(5, 2)
    return np.concatenate([generator.choice(pair, rows // 5) for pair in pairs])


def blocks(rows: int, generator: np.random.Generator) -> Codes:
    """Two classes in turn, in blocks of a tenth of the rows."""
    return np.repeat(np.arange(10) % 2, rows // 10)


def geometric(mean: int) -> Order:
    """Runs of geometric length."""

    def order(rows: int, generator: np.random.Generator) -> Codes:
        changes = generator.random(rows) < 1 / mean
        steps = np.where(changes, generator.integers(1, 10, rows), 0)
        return np.asarray((generator.integers(10) + np.cumsum(steps)) % 10)

    return order


def background(rows: int, generator: np.random.Generator) -> Codes:
    """One class in nine of ten rows, each other once, in the tenth."""
    y = once(rows, generator, 9) + 1
    y = np.concatenate([y, np.full(rows - len(y), y[-1])])
    return np.where(generator.random(rows) < 0.9, 0, y)


def rare(rows: int, generator: np.random.Generator) -> Codes:
    """In random order, one class a thousand times as rare as another."""
    return np.asarray(generator.permutation(10)[generator.choice(10, rows, p=_shares())])


def _shares() -> Floats:
    found = np.geomspace(1.0, 1e-3, 10)
    return np.asarray(found / found.sum())


def lapse(rows: int, generator: np.random.Generator) -> Codes:
    """All classes in random order, then one of them alone."""
    return np.concatenate([generator.integers(0, 10, rows // 2), np.full(rows // 2, 3)])


def renamed(rows: int, generator: np.random.Generator) -> Codes:
    """Ten classes that from the middle on come under ten other names."""
    y = generator.integers(0, 10, rows)
    return np.where(np.arange(rows) < rows // 2, y, y + 10)


ORDERS: dict[str, Order] = {
    "class after class": once,
    "class after class, twice": twice,
    "a hundred classes in runs": hundred,
    "two classes at a time": tasks,
    "two classes in turn": blocks,
    "runs of geometric length, mean 10": geometric(10),
    "runs of geometric length, mean 100": geometric(100),
    "runs of geometric length, mean 1,000": geometric(1000),
    "one class in 90 %, each other once": background,
    "one class 1,000 times as rare": rare,
    "all classes, then one alone": lapse,
    "all labels renamed": renamed,
}


def measured(order: Order, seed: int, rows: int, apart: float, **params: object) -> tuple[float, float]:
    """Accuracy on the way (its second half) and, on all classes that are still called so, at the end."""
    generator = np.random.default_rng([7, seed])
    y = order(rows, generator)
    classes = int(y.max()) + 1
    centres = generator.standard_normal((classes, WIDTH)) * apart
    if order is renamed:
        centres[10:] = centres[:10]
    asked = np.unique(y[rows // 2 :] if order is renamed else y)
    test = generator.choice(asked, 2000)
    x, given = ((centres[c] + generator.standard_normal((len(c), WIDTH))).astype(np.float32) for c in (y, test))
    if params.pop("shuffled", False):
        mixed = generator.permutation(len(y))
        x, y = x[mixed], y[mixed]
    learner = ridge(x, seed, **params)
    on_the_way = teach(learner, x, y.astype(np.int64))
    return float(on_the_way[len(y) // 2 :].mean()), float((named(learner, given) == test).mean())


def run(scale: Scale = Scale.FULL) -> list[Result]:
    """Each order, easy and hard."""
    seeds, rows = scale.of(3, quick=1, tiny=1), scale.of(4000, quick=2000, tiny=300)
    results = []
    for name, order in ORDERS.items():
        for title, apart in (("", 1.0), (", hard", 0.5)):
            kept, lost, joint = (
                _mean([measured(order, seed, rows, apart, **params) for seed in range(seeds)])
                for params in ({}, {"keep_absent": False}, {"shuffled": True})
            )
            note = f"on the way {kept[0]:.1f}; keep_absent = false: {lost[1]:.1f}, on the way {lost[0]:.1f}"
            note = f"{note}; in random order {joint[1]:.1f}"
            results.append(Result(name=f"{name}{title}: at the end", value=kept[1], unit="%", note=note))
    return results


def _mean(found: list[tuple[float, float]]) -> NDArray[np.float64]:
    return np.asarray(100 * np.mean(found, axis=0))


if __name__ == "__main__":
    show("Classes in an order", run(Scale.asked()))
