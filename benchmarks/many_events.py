"""Ten million events: rounding errors of ridge's decayed sums, against their definition in extended precision.

One of the inputs is silent for most of the stream. Control: the recursion on the inverse that the published method
uses, with the same decay, in the same float64: it divides by the decay where the sums multiply by it.
"""

from __future__ import annotations

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

from collections.abc import Iterator  # noqa: E402 - the environment comes first
from typing import Any  # noqa: E402

import numpy as np  # noqa: E402
from numpy.typing import NDArray  # noqa: E402
from scipy.linalg import LinAlgError, solve  # noqa: E402

from benchmarks.report import Result, at_most, show  # noqa: E402
from benchmarks.scale import Scale  # noqa: E402
from thalweg.models.contract.learner import LearnerContext  # noqa: E402
from thalweg.models.ridge.learner import Ridge  # noqa: E402
from thalweg.proto.event import Batch, NumberLabels  # noqa: E402
from thalweg.proto.schema import TensorSpec  # noqa: E402

Floats = NDArray[np.float64]
WIDTH, BY, DECAY = 16, 1000, 0.9995
TRUTH = np.random.default_rng(1).standard_normal(WIDTH)


def stream(count: int) -> Iterator[tuple[Floats, Floats]]:
    """Inputs (BY, WIDTH) and targets (BY,); input 3 is silent between a tenth and eight tenths of the events."""
    random = np.random.default_rng(0)
    for start in range(0, count, BY):
        x = random.standard_normal((BY, WIDTH))
        if 0.1 * count <= start < 0.8 * count:
            x[:, 3] = 0.0
        yield x, x @ TRUTH + 0.1 * random.standard_normal(BY)


def ridge(**params: Any) -> Ridge:
    """Linear, on the inputs as they are."""
    inputs = {"x": TensorSpec("x", "float64", (WIDTH,))}
    given = {"task": "regression", "expansion": 0, "standardise": False, "gamma": 1.0}
    return Ridge(LearnerContext(inputs=inputs, params={**given, **params}, seed=0))


def learned(learner: Ridge, count: int) -> Ridge:
    """After so many events."""
    for x, y in stream(count):
        learner.learn(Batch({"x": x}, NumberLabels(y[:, None]), np.ones(BY), np.zeros(BY)))
    learner.refresh()
    return learner


def gram(learner: Ridge, number: int) -> Floats:
    """G (D, D) of one of the decays; a triangle of it is stored."""
    half = np.tril(learner.state().tensors[f"gram.{number}"])
    return half + np.tril(half, -1).T


def defined(count: int) -> tuple[Any, Any]:
    """G (D, D) and Q (D, 1) as sums over all events in extended precision; an intercept is the last feature."""
    size = WIDTH + 1
    G, Q = np.zeros((size, size), np.longdouble), np.zeros((size, 1), np.longdouble)
    decay = np.longdouble(DECAY) ** np.arange(BY - 1, -1, -1)
    last = count - 300_000  # what is before weighs less than 1e-65
    for number, (x, y) in enumerate(stream(count)):
        if number * BY >= last:
            H = np.column_stack([x, np.ones(BY)]).astype(np.longdouble)
            G = G * np.longdouble(DECAY) ** BY + (H * decay[:, None]).T @ H
            Q = Q * np.longdouble(DECAY) ** BY + (H * decay[:, None]).T @ y[:, None].astype(np.longdouble)
    return G, Q


def by_inverse(count: int) -> int:
    """Events until the recursion on the inverse is no longer positive definite or finite; `count`: never."""
    R = np.eye(WIDTH + 1)
    powers = DECAY ** -(np.arange(BY - 1, -1, -1))
    for number, (x, _) in enumerate(stream(count)):
        H = np.column_stack([x, np.ones(BY)])
        with np.errstate(all="ignore"):
            R = R / DECAY**BY
            try:
                R = R - R @ H.T @ solve(np.diag(powers) + H @ R @ H.T, H @ R)
            except (LinAlgError, ValueError):
                return number * BY
            if not np.isfinite(R).all() or np.diag(R).min() <= 0:
                return number * BY
    return count


def run(scale: Scale = Scale.FULL) -> list[Result]:
    """One decay against the definition, then those of the default settings."""
    count = scale.of(10_000_000, quick=1_000_000, tiny=20_000)
    exact, moments = defined(count)
    one, usual = learned(ridge(forgetting=DECAY), count), learned(ridge(), count)
    decays = [name for name in usual.state().tensors if name.startswith("gram.")]
    worst = float(np.abs(gram(one, 0) - exact).max() / np.abs(exact).max())
    penalty = np.diag([1.0] * WIDTH + [0.0])
    head = np.linalg.solve((exact + penalty).astype(np.float64), moments.astype(np.float64))
    x = np.random.default_rng(2).standard_normal((1000, WIDTH))
    wanted = np.column_stack([x, np.ones(len(x))]) @ head
    off = float(np.abs(one.predictor().predict({"x": x})["value"] - wanted).max() / np.abs(wanted).max())
    conditions = [float(np.linalg.cond(gram(usual, number) + np.eye(WIDTH + 1))) for number in range(len(decays))]
    few = min(count, 1_000_000)
    return [
        at_most(f"{count:,} events: error of the Gram, as a share of its largest element", worst, "", 1e-12),
        at_most("… of predictions, as a share of the largest", off, "", 1e-9),
        at_most(
            "… with the default decays: largest condition number",
            max(conditions),
            "",
            1e8,
            " ".join(f"{one:.0e}" for one in conditions),
        ),
        Result(
            name="… control: a recursion on the inverse breaks after",
            value=by_inverse(few),
            unit="events",
            note=f"of {few:,}; the input is silent from {few // 10:,} on",
        ),
    ]


if __name__ == "__main__":
    show("Many events", run(Scale.asked()))
