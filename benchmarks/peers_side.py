"""The peers' side of `benchmarks.peers`: runs in their environment, knows nothing of ours.

    python peers_side.py DATA.npz river|vowpal_wabbit ROWS [scaled]

DATA.npz has `x` (N, F) float32 and `y` (N,) int. Prints {"seconds", "right"}: time of predicting and learning ROWS rows
one by one, and how many were predicted rightly. Converting rows into the peer's own form is not timed.
"""

from __future__ import annotations

import json
import sys
from time import perf_counter

import numpy as np


def river(x, y, scaled):
    """Softmax regression, SGD 0.05; with running standardisation in front if `scaled`."""
    from river import linear_model, optim, preprocessing

    model = linear_model.SoftmaxRegression(optimizer=optim.SGD(0.05))
    if scaled:
        model = preprocessing.StandardScaler() | model
    names = [f"f{i}" for i in range(x.shape[1])]
    rows = [dict(zip(names, row)) for row in x.tolist()]
    right = 0
    start = perf_counter()
    for row, label in zip(rows, y.tolist()):
        right += model.predict_one(row) == label
        model.learn_one(row, label)
    return perf_counter() - start, right


def vowpal_wabbit(x, y, scaled):
    """One against all, as it comes: adaptive, normalised, invariant updates; the answer is that before the update."""
    from vowpalwabbit import Workspace

    classes = int(y.max()) + 1
    model = Workspace(f"--oaa {classes} --quiet")
    lines = [
        f"{label + 1} | " + " ".join(f"{i}:{v:.5g}" for i, v in enumerate(row))
        for row, label in zip(x.tolist(), y.tolist())
    ]
    right = 0
    start = perf_counter()
    for line, label in zip(lines, y.tolist()):
        example = model.parse(line)
        model.learn(example)
        right += example.get_prediction() == label + 1
        model.finish_example(example)
    return perf_counter() - start, right


if __name__ == "__main__":
    data, peer, rows = sys.argv[1], sys.argv[2], int(sys.argv[3])
    arrays = np.load(data)
    seconds, right = {"river": river, "vowpal_wabbit": vowpal_wabbit}[peer](
        arrays["x"][:rows], arrays["y"][:rows], "scaled" in sys.argv[4:]
    )
    print(json.dumps({"seconds": seconds, "right": int(right)}))
