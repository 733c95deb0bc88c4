"""What an adapting classifier must survive: traffic in which classes come in runs, and inputs that say nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.small_cnn import as_input, pictures
from thalweg.models.cotta.learner import Cotta
from thalweg.proto.event import Batch

BLOCK = 5
"""Predictions change every five inputs (`follow_batch`), so a block answered at once is answered as one by one."""
WINDOW, EXCESS = 500, 2.0
"""Over so many answers the error is at most so many points above the source's."""
CORRELATED = ("class after class", "corrupted, class after class")
SHUFFLED = "corrupted, shuffled"

Stream = tuple[NDArray[np.float32], NDArray[np.int64]]
"""Pictures (N, 1, 28, 28) and labels (N,); those labelled -1 are not graded."""


def streams(shown: int | None = None, order: int = 0) -> Mapping[str, Stream]:
    """By name, in one of several random orders, at most so many pictures of each (None: all)."""
    random = np.random.default_rng(order)
    clean, corrupted = pictures("fashion_mnist"), pictures("fashion_mnist_c_dev")
    order = random.permutation(len(clean["x_test"]))
    x, y = as_input(clean["x_test"][order]), clean["y_test"][order].astype(np.int64)
    short, long = _runs(y, 15, 1500, random), _runs(y, 100, 2000, random)
    by_class = np.argsort(y, kind="stable")[::2]
    shuffled = random.permutation(len(corrupted["x"]))
    labels = corrupted["y"].astype(np.int64)
    ordered = shuffled[np.argsort(labels[shuffled], kind="stable")][::3]

    def after(first: NDArray[np.float32], rows: NDArray[np.float32], known: NDArray[np.int64]) -> Stream:
        return np.concatenate([first, rows]), np.concatenate([np.full(len(first), -1), known])

    def corrupt(rows: NDArray[np.int64]) -> Stream:
        return as_input(corrupted["x"][rows]), labels[rows]

    found = {
        "class after class": (x[by_class], y[by_class]),
        "runs of 15": (x[short], y[short]),
        "runs of 100": (x[long], y[long]),
        "300 black pictures first": after(np.zeros((300, *x.shape[1:]), np.float32), x[:700], y[:700]),
        "1,000 equal pictures first": after(np.repeat(x[:1], 1000, axis=0), x[1:701], y[1:701]),
        "two alike classes": (x[(y == 0) | (y == 6)], y[(y == 0) | (y == 6)]),
        "shuffled": (x[:1500], y[:1500]),
        "corrupted, class after class": corrupt(ordered),
        SHUFFLED: corrupt(shuffled[:2500]),
    }
    return {name: (rows[:shown], known[:shown]) for name, (rows, known) in found.items()}


def _runs(y: NDArray[np.int64], length: int, count: int, random: np.random.Generator) -> NDArray[np.int64]:
    """Rows in runs of one class, never two of the same in a row."""
    left = {kind: list(np.flatnonzero(y == kind)) for kind in range(10)}
    found: list[int] = []
    last = -1
    while len(found) < count:
        kinds = [kind for kind, rows in left.items() if len(rows) >= length and kind != last]
        if not kinds:
            break
        last = int(random.choice(kinds))
        found += left[last][:length]
        del left[last][:length]
    return np.array(found)


def served(
    made: Cotta, x: NDArray[np.float32], callers: NDArray[np.int64] | None = None
) -> Iterator[NDArray[np.float32]]:
    """Probabilities (5, K) of each block as served, before it is learned; `callers` (N,) where it knows them."""
    for start in range(0, len(x), BLOCK):
        part = slice(start, start + BLOCK)
        block: dict[str, NDArray[Any]] = {"image": x[part]}
        if callers is not None:
            block["caller"] = callers[part]
        yield made.predictor().predict(block)["scores"]
        rows = len(block["image"])
        made.learn(Batch(block, None, np.ones(rows), np.zeros(rows)))


def wrong(scores: NDArray[Any], y: NDArray[np.int64]) -> NDArray[np.float64]:
    """Of the graded rows, whether each is wrong."""
    found: NDArray[np.float64] = (scores.argmax(axis=1) != y)[y >= 0].astype(np.float64)
    return found


def worst(ours: NDArray[np.float64], source: NDArray[np.float64]) -> float:
    """By how many points the error is above the source's over the worst `WINDOW` answers."""
    excess = np.cumsum(np.concatenate([[0.0], ours - source]))
    window = min(WINDOW, len(ours))
    return float(100 * (excess[window:] - excess[:-window]).max() / window)
