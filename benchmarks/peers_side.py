"""The peers' side of `benchmarks.peers`: runs in their environment, knows nothing of ours.

    python peers_side.py DATA.npz PEER ROWS [OPTION ...]

PEER is one of the functions below. DATA.npz has `x` (N, F) float32 and `y` (N,) int. Prints {"seconds", "cpu",
"right"}: time of predicting and learning ROWS rows one by one, by the clock and of all its threads, and how many were
predicted rightly. Converting rows into the peer's own form is not timed.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from time import perf_counter, process_time

import numpy as np


class Clock:
    """Seconds by the clock, and of all threads of this process, since it was made."""

    def __init__(self):
        self.wall, self.cpu = perf_counter(), process_time()

    def stop(self):
        return {"seconds": perf_counter() - self.wall, "cpu": process_time() - self.cpu}


def river(x, y, *options):
    """Softmax regression, SGD 0.05; with running standardisation in front if `scaled`."""
    from river import linear_model, optim, preprocessing

    model = linear_model.SoftmaxRegression(optimizer=optim.SGD(0.05))
    if "scaled" in options:
        model = preprocessing.StandardScaler() | model
    return by_rows(model, x, y.tolist())


def river_logistic(x, y, rate):
    """Logistic regression on two classes, standardised, by SGD of this rate."""
    from river import linear_model, optim, preprocessing

    model = preprocessing.StandardScaler() | linear_model.LogisticRegression(optimizer=optim.SGD(float(rate)))
    return by_rows(model, x, y.astype(bool).tolist())


def by_rows(model, x, labels):
    """One row after the other, as River is made to."""
    names = [f"f{i}" for i in range(x.shape[1])]
    rows = [dict(zip(names, row)) for row in x.tolist()]
    right, clock = 0, Clock()
    for row, label in zip(rows, labels):
        right += model.predict_one(row) == label
        model.learn_one(row, label)
    return clock.stop(), right


def lines(x, y):
    """Each row in Vowpal Wabbit's text form; its classes are counted from 1."""
    for row, label in zip(x.tolist(), y.tolist()):
        yield f"{label + 1} | " + " ".join(f"{i}:{v:.5g}" for i, v in enumerate(row))


def vowpal_wabbit(x, y, *options):
    """One against all, as it comes: adaptive, normalised, invariant updates; the answer is that before the update.

    It reads its file and writes its answers itself, parsing in a thread of its own.
    """
    from vowpalwabbit import Workspace

    with tempfile.TemporaryDirectory() as folder:
        data, answers = Path(folder) / "data.txt", Path(folder) / "answers.txt"
        data.write_text("\n".join(lines(x, y)) + "\n")
        clock = Clock()
        model = Workspace(f"--oaa {int(y.max()) + 1} --quiet -d {data} -p {answers}")
        model.run_parser()
        model.finish()
        return clock.stop(), sum(int(float(line)) == label + 1 for line, label in zip(answers.open(), y.tolist()))


def vowpal_wabbit_loop(x, y, *options):
    """The same, one example after the other through its Python binding."""
    from vowpalwabbit import Workspace

    model = Workspace(f"--oaa {int(y.max()) + 1} --quiet")
    texts = list(lines(x, y))
    right, clock = 0, Clock()
    for line, label in zip(texts, y.tolist()):
        example = model.parse(line)
        model.learn(example)
        right += example.get_prediction() == label + 1
        model.finish_example(example)
    return clock.stop(), right


PEERS = (river, river_logistic, vowpal_wabbit, vowpal_wabbit_loop)

if __name__ == "__main__":
    path, peer, rows = sys.argv[1], sys.argv[2], int(sys.argv[3])
    arrays = np.load(path)
    found, right = {one.__name__: one for one in PEERS}[peer](arrays["x"][:rows], arrays["y"][:rows], *sys.argv[4:])
    print(json.dumps({**found, "right": int(right)}))
