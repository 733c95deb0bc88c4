"""What it costs to grade every answer, to ask again what is still known and to keep the curve, beside learning.

All parts of one run are timed on the same micro-batches, from the event 16,384 on where there are so many: before,
points of the curve lie closer. Medians over runs. The frozen baseline's answers are a row of their own: whoever wants
none leaves it out (`frozen_after_events = 0`).
"""

from __future__ import annotations

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

from collections.abc import Callable  # noqa: E402 - the environment comes first
from statistics import median  # noqa: E402
from time import perf_counter  # noqa: E402

import numpy as np  # noqa: E402

from benchmarks.movie_tweetings import INPUTS, movie_tweetings  # noqa: E402
from benchmarks.report import Result, at_most, show  # noqa: E402
from benchmarks.scale import Scale  # noqa: E402
from benchmarks.streams import SHARED, load, no_streams  # noqa: E402
from thalweg.models.bottleneck.learner import Bottleneck  # noqa: E402
from thalweg.models.contract.learner import Learner, LearnerContext  # noqa: E402
from thalweg.models.error_memory.learner import ErrorMemory  # noqa: E402
from thalweg.models.ridge.learner import Ridge  # noqa: E402
from thalweg.proto.event import Batch  # noqa: E402
from thalweg.proto.schema import TensorSpec  # noqa: E402
from thalweg.stream.evaluation.continual import Continual  # noqa: E402
from thalweg.stream.evaluation.curve import Curve, CurvePoint, newest_time  # noqa: E402
from thalweg.stream.evaluation.prequential import Prequential  # noqa: E402

_FROZEN_AFTER = 1000
_FROM, _LEAST = 16_384, 4096
_TARGET = 5.0  # % of learning


def seconds(learner: Learner, log: Batch, size: int) -> dict[str, float]:
    """By part, of one pass in micro-batches of `size`."""
    live, frozen, curve = Prequential(), Prequential(), Curve()
    continual = Continual(learner.predictor())
    spent = dict.fromkeys(("answering", "grading", "continual", "curve", "frozen", "frozen graded", "learning"), 0.0)
    baseline, events = learner.predictor(), 0
    for batch in log.micro_batches(size):
        times = [perf_counter()]
        predictor = learner.predictor()
        outputs = predictor.predict(batch.inputs)
        times.append(perf_counter())
        live.predicted(batch, predictor, outputs)
        times.append(perf_counter())
        continual.predicted(batch, predictor, live)
        times.append(perf_counter())
        events += len(batch)
        if curve.due(events) and (main := live.main()) is not None and main[1] == main[1]:
            curve.add(main[0], CurvePoint(events, newest_time(batch.times), main[1], main[1]))
        times.append(perf_counter())
        if events <= _FROZEN_AFTER:
            baseline = predictor
        else:
            outputs = baseline.predict(batch.inputs)
        times.append(perf_counter())
        frozen.predicted(batch, baseline, outputs)
        times.append(perf_counter())
        learner.learn(batch)
        times.append(perf_counter())
        if events > _FROM or len(log) <= _FROM + _LEAST:
            for part, start, end in zip(spent, times, times[1:]):
                spent[part] += end - start
    return spent


def cost(name: str, make: Callable[[], Learner], log: Batch, size: int, rounds: int) -> list[Result]:
    """Shares of the time that learning takes, in per cent."""
    runs = [seconds(make(), log, size) for _ in range(rounds)]
    per_event = 1e6 / (len(log) - _FROM if len(log) > _FROM + _LEAST else len(log))

    def share(*parts: str) -> float:
        return 100 * median(sum(run[part] for part in parts) / run["learning"] for run in runs)

    def each(part: str) -> float:
        return per_event * median(run[part] for run in runs)

    note = ", ".join(f"{part} {each(part):.2f}" for part in ("grading", "continual", "curve", "learning"))
    ours = share("grading", "continual", "curve")
    baseline = f"the baseline's answers {share('frozen'):.1f}, grading them {share('frozen graded'):.1f}"
    return [
        at_most(f"evaluation, {name}, by {size}: share of learning", ours, "%", _TARGET, f"µs an event: {note}"),
        Result(name="… the frozen baseline beside it", value=share("frozen", "frozen graded"), unit="%", note=baseline),
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
        for size in (64, 256):
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
