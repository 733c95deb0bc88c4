"""What learning costs beside the bare BLAS calls that it cannot do without, and how fast plain ridge is.

Bare: `dsyrk` for the Gram and `dgemm` for the cross-moments of the same features. Pairs of (learner, bare) are
interleaved and span whole refresh intervals, so that solving is paid for; the ratio is the median over pairs.
"""

from __future__ import annotations

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import sys  # noqa: E402 - the environment comes first
from statistics import median  # noqa: E402
from time import perf_counter  # noqa: E402
from typing import Any  # noqa: E402

import numpy as np  # noqa: E402
from scipy.linalg.blas import dgemm, dsyrk  # noqa: E402

from benchmarks.report import Result, at_least, at_most, show  # noqa: E402
from thalweg.models.contract.learner import LearnerContext  # noqa: E402
from thalweg.models.ridge.learner import Ridge  # noqa: E402
from thalweg.proto.event import Batch, ClassLabels, TensorSpec  # noqa: E402

WIDTH, CLASSES = 64, 10
INPUTS = {"features": TensorSpec("features", "float32", (WIDTH,))}


def batches(count: int, size: int) -> list[Batch]:
    """Random events; what they say does not matter for cost."""
    generator = np.random.default_rng(0)
    names = tuple(str(c) for c in range(CLASSES))
    made = []
    for _ in range(count):
        x = generator.standard_normal((size, WIDTH)).astype(np.float32)
        codes = generator.integers(0, CLASSES, size).astype(np.int32)
        made.append(Batch({"features": x}, ClassLabels(codes, names), np.ones(size), np.zeros(size)))
    return made


def learn_against_bare(size: int, pairs: int, micro_batch: int = 256) -> tuple[float, float, float]:
    """Ratio (median over pairs) of learning to the bare calls, and seconds an event of each."""
    params = {"expansion": size, "direct": False, "bias": False, "forgetting": 0.9999}
    learner = Ridge(LearnerContext(inputs=INPUTS, params=params, seed=0))
    span = batches(max(8, 4 * size // micro_batch), micro_batch)  # three refresh intervals
    H = np.maximum(0, np.random.default_rng(1).standard_normal((micro_batch, size)))
    Y = np.eye(CLASSES)[np.zeros(micro_batch, dtype=int)]
    G, Q = np.zeros((size, size), order="F"), np.zeros((size, CLASSES), order="F")
    for _ in range(2):
        for batch in span:  # past the frequent refreshes of the start
            learner.learn(batch)
    ours, bare = [], []
    for _ in range(pairs):
        start = perf_counter()
        for batch in span:
            learner.learn(batch)
        ours.append(perf_counter() - start)
        start = perf_counter()
        for _ in span:
            G = dsyrk(1.0, H.T, beta=0.99, c=G, overwrite_c=1)
            Q = dgemm(1.0, H.T, Y.T, beta=0.99, c=Q, trans_b=1, overwrite_c=1)
        bare.append(perf_counter() - start)
    events = len(span) * micro_batch
    return median(a / b for a, b in zip(ours, bare)), median(ours) / events, median(bare) / events


def events_per_second(params: dict[str, Any], micro_batch: int, events: int) -> float:
    """Predict, then learn, over arrays in memory; median of three runs."""
    log = batches(events // micro_batch, micro_batch)
    seconds = []
    for _ in range(3):
        learner = Ridge(LearnerContext(inputs=INPUTS, params=params, seed=0))
        start = perf_counter()
        for batch in log:
            learner.predictor().predict(batch.inputs)
            learner.learn(batch)
        seconds.append(perf_counter() - start)
    return len(log) * micro_batch / median(seconds)


def one_row_microseconds(params: dict[str, Any], calls: int) -> float:
    """Median time of answering one row of 64 float32."""
    learner = Ridge(LearnerContext(inputs=INPUTS, params=params, seed=0))
    for batch in batches(10, 256):
        learner.learn(batch)
    predictor, row = learner.predictor(), {"features": np.zeros((1, WIDTH), np.float32)}
    seconds = []
    for _ in range(calls):
        start = perf_counter()
        predictor.predict(row)
        seconds.append(perf_counter() - start)
    return median(seconds) * 1e6


def run(quick: bool = False) -> list[Result]:
    """All figures; `quick` takes fewer repetitions."""
    results = []
    for size in (1024, 2048):
        ratio, ours, bare = learn_against_bare(size, 2 if quick else 7)
        note = f"micro-batches of 256, solve included; {ours * 1e6:.1f} µs an event, bare {bare * 1e6:.1f}"
        results.append(at_most(f"ridge, D = {size}: learn against bare BLAS", ratio, "×", 1.5, note))
    events = 100_000 if quick else 1_000_000
    plain = {"expansion": 0, "forgetting": 0.999}
    rate = events_per_second(plain, 1024, events)
    results.append(
        at_least("ridge without expansion, predict and learn", rate, "events/s", 1e6, "micro-batches of 1,024")
    )
    rate = events_per_second({}, 1024, events // 10)
    results.append(
        Result(name="ridge as it comes, predict and learn", value=rate, unit="events/s", note="1,024; 4 decays")
    )
    for name, params in (("without expansion", plain), ("as it comes", {})):
        value = one_row_microseconds(params, 1000 if quick else 20_000)
        results.append(Result(name=f"ridge {name}, one row answered", value=value, unit="µs", note="in process"))
    return results


if __name__ == "__main__":
    show("What ridge costs", run(quick="--quick" in sys.argv))
