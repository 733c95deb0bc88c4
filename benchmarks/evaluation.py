"""What it costs to grade every answer and the controls, to ask again what is still known and to keep the curve, beside
learning.

The monitor of a service evaluates the micro-batches of blocks, each predicted before it is learned: blocks of 512
events, as they are read from a backlog. CPU time of this thread, from the event 16,384 on where there are so many:
before, points of the curve lie closer. Medians over runs. The frozen baseline's answers are a row of their own, of a
second monitor in turn with the first: whoever wants none leaves it out (`frozen_after_events = 0`). Drift is watched by
neither (`drift` measures that).
"""

from __future__ import annotations

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

from collections.abc import Callable  # noqa: E402 - the environment comes first
from statistics import median  # noqa: E402
from time import process_time  # noqa: E402

import numpy as np  # noqa: E402

from benchmarks.movie_tweetings import INPUTS, movie_tweetings  # noqa: E402
from benchmarks.report import Result, at_most, show  # noqa: E402
from benchmarks.scale import Scale  # noqa: E402
from benchmarks.streams import SHARED, load, no_streams  # noqa: E402
from thalweg.models.bottleneck.learner import Bottleneck  # noqa: E402
from thalweg.models.contract.capabilities import predict_batch  # noqa: E402
from thalweg.models.contract.learner import Learner, LearnerContext  # noqa: E402
from thalweg.models.error_memory.learner import ErrorMemory  # noqa: E402
from thalweg.models.ridge.learner import Ridge  # noqa: E402
from thalweg.proto.event import Batch  # noqa: E402
from thalweg.proto.schema import TensorSpec  # noqa: E402
from thalweg.stream.drift.params import DriftParams  # noqa: E402
from thalweg.stream.evaluation.monitor import Monitor  # noqa: E402

_FROZEN_AFTER, _BLOCK = 1000, 512
_FROM, _LEAST = 16_384, 4096
_TARGET = 5.0  # % of learning


def seconds(make: Callable[[], Learner], log: Batch, size: int) -> dict[str, float]:
    """By part, of one pass in micro-batches of `size`."""
    learner = make()
    unwatched = DriftParams(detectors=[], inputs=[])
    alone, beside = (Monitor(learner, make, frozen_after=after, drift=unwatched) for after in (0, _FROZEN_AFTER))
    spent = dict.fromkeys(("predicting", "evaluation", "with a baseline", "learning"), 0.0)
    events = 0
    for block in log.micro_batches(max(size, _BLOCK)):
        for batch in block.micro_batches(size):
            times = [process_time()]
            predictor = learner.predictor()
            outputs = predict_batch(predictor, batch)
            times.append(process_time())
            alone.predicted(batch, predictor, outputs)
            times.append(process_time())
            beside.predicted(batch, predictor, outputs)
            times.append(process_time())
            learner.learn(batch)
            times.append(process_time())
            events += len(batch)
            if events > _FROM or len(log) <= _FROM + _LEAST:
                for part, start, end in zip(spent, times, times[1:]):
                    spent[part] += end - start
        for part, monitor in (("evaluation", alone), ("with a baseline", beside)):
            start = process_time()
            monitor.settle()
            if events > _FROM or len(log) <= _FROM + _LEAST:
                spent[part] += process_time() - start
    return spent


def cost(name: str, make: Callable[[], Learner], log: Batch, size: int, rounds: int) -> list[Result]:
    """Shares of the time that learning takes, in per cent."""
    runs = [seconds(make, log, size) for _ in range(rounds)]
    per_event = 1e6 / (len(log) - _FROM if len(log) > _FROM + _LEAST else len(log))
    ours = 100 * median(run["evaluation"] / run["learning"] for run in runs)
    more = 100 * median((run["with a baseline"] - run["evaluation"]) / run["learning"] for run in runs)
    note = ", ".join(f"{part} {per_event * median(run[part] for run in runs):.2f}" for part in runs[0])
    return [
        at_most(f"evaluation, {name}, by {size}: share of learning", ours, "%", _TARGET, f"µs an event: {note}"),
        Result(name="… the frozen baseline beside it", value=more, unit="%", note="its answers, and grading them"),
    ]


def run(scale: Scale = Scale.FULL) -> list[Result]:
    """All learners; `QUICK`: one pass over fewer events."""
    if not SHARED.is_dir():
        return [no_streams("evaluation")]
    results, rounds = [], scale.of(3, quick=1, tiny=1)
    most = scale.of(1 << 20, quick=6400, tiny=640)
    for stream in ("electricity", "insects_gradual"):
        features, labels = load(stream, most)
        log = Batch({"features": features}, labels, np.ones(len(features)), np.arange(len(features), dtype=float))
        spec = {"features": TensorSpec("features", "float32", (features.shape[1],))}
        for size in (1, 64, 256):
            made: Callable[[], Learner] = lambda spec=spec: Ridge(LearnerContext(inputs=spec, params={}, seed=0))  # noqa: E731
            results += cost(f"ridge, {stream}", made, log, size, rounds)
    slow = log[: scale.of(6400, quick=640, tiny=128)]
    results += cost(
        "bottleneck, insects_gradual",
        lambda: Bottleneck(LearnerContext(inputs=spec, params={}, seed=0)),
        slow,
        64,
        min(2, rounds),
    )
    clicks = movie_tweetings(scale.of(40_000, quick=3200, tiny=640)).batch(slice(None))
    results += cost(
        "error_memory, clicks",
        lambda: ErrorMemory(LearnerContext(inputs=INPUTS, params={}, seed=0)),
        clicks,
        64,
        rounds,
    )
    return results


if __name__ == "__main__":
    show("Evaluation", run(Scale.asked()))
