"""What it costs to grade what was served: keeping an answer with its request, reading it back, putting it in place.

Each is taken in turn with the same thing without the answer, in one process; medians of the pairs' ratios.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np

from benchmarks.report import Result, at_most, show
from benchmarks.scale import Scale
from thalweg.memory.exchange.pending import InMemoryPending
from thalweg.models.contract.learner import LearnerContext, Predictor
from thalweg.models.ridge.learner import Ridge
from thalweg.ops.serve.serving import ModelLocation, ServedModel
from thalweg.proto.answer import Answer
from thalweg.proto.decode import Decoder
from thalweg.proto.encode import EVENT_HEADERS, to_events
from thalweg.proto.event import Batch, ClassLabels
from thalweg.proto.records import Partition, Records
from thalweg.proto.schema import TensorSpec
from thalweg.stream.evaluation.monitor import Monitor
from thalweg.stream.labels.request_buffer import RequestBuffer
from thalweg.stream.publication.file_channel import ServedVersion, VersionInfo

SPECS = {"features": TensorSpec("features", "float32", (64,))}
NAMES = tuple(map(str, range(10)))
EVENTS = 500


def new() -> Ridge:
    return Ridge(LearnerContext(inputs=SPECS, params={"expansion": 0}, seed=0))


def events(count: int) -> Batch:
    random = np.random.default_rng(0)
    features = random.normal(size=(count, 64)).astype(np.float32)
    codes = random.integers(0, len(NAMES), count).astype(np.int32)
    ids = [f"e{row}" for row in range(count)]
    return Batch({"features": features}, ClassLabels(codes, NAMES), np.ones(count), np.zeros(count), ids)


def paired(one: Callable[[], Any], other: Callable[[], Any], rounds: int) -> tuple[float, float]:
    """Seconds of the first, and the median ratio of the first to the second."""
    times = []
    for _ in range(rounds):
        moments = [perf_counter()]
        for action in (one, other):
            action()
            moments.append(perf_counter())
        times.append((moments[1] - moments[0], moments[2] - moments[1]))
    return median(first for first, _ in times), median(first / second for first, second in times)


def answering(learner: Ridge, folder: Path, rounds: int) -> Result:
    """A request that is answered and remembered, against one that is answered only."""
    request_buffer = RequestBuffer({"m": InMemoryPending()})
    place = ModelLocation(
        name="m",
        learner="ridge",
        topic="t",
        labels_topic="l",
        live=folder,
        state=folder,
        schema=learner.schema,
        build=Ridge.predictor_from,
        restore=Ridge.predictor_from,
    )
    model, served = (
        ServedModel(place, request_buffer=request_buffer),
        ServedVersion(learner.predictor(), VersionInfo(1, 0, 0, 0, 0, 0)),
    )
    inputs = {"features": np.ones((1, 64), np.float32)}

    def asked() -> None:
        for _ in range(100):
            model.predict(served, inputs)

    def asked_and_remembered() -> None:
        for number in range(100):
            model.remember(f"e{number}", inputs, served, model.predict(served, inputs))

    seconds, ratio = paired(asked_and_remembered, asked, min(rounds, 90))  # what queues is bounded
    note = f"{seconds * 1e4:.0f} µs, without the wire; 10 classes"
    return at_most("late labels: predict and remember, against predict", ratio, "×", 1.5, note)


def reading(served: Batch, plain: Batch, rounds: int) -> Result:
    decoder = Decoder(new().schema)
    with_answers, without = (
        Records(Partition("t", 0), range(EVENTS), [0.0] * EVENTS, [None] * EVENTS, values, [EVENT_HEADERS] * EVENTS)
        for values in (to_events(served), to_events(plain))
    )
    seconds, ratio = paired(lambda: decoder.decode(with_answers), lambda: decoder.decode(without), rounds)
    note = f"{ratio:.1f} × an event without"
    return Result(name="late labels: one event with its answer", value=seconds / EVENTS * 1e6, unit="µs", note=note)


def grading(learner: Ridge, predictor: Predictor, served: Batch, plain: Batch, rounds: int) -> Result:
    late, at_once = (Monitor(learner, new) for _ in range(2))
    outputs = predictor.predict(plain.inputs)
    seconds, ratio = paired(
        lambda: late.predicted(served, predictor, outputs), lambda: at_once.predicted(plain, predictor, outputs), rounds
    )
    note = f"{ratio:.1f} × of events graded by what is answered now"
    name = "late labels: grading and watching one event"
    return Result(name=name, value=seconds / EVENTS * 1e6, unit="µs", note=note)


def run(scale: Scale = Scale.FULL) -> list[Result]:
    """All figures."""
    rounds, learner, plain = scale.of(61, quick=15, tiny=1), new(), events(EVENTS)
    learner.learn(plain)
    predictor = learner.predictor()
    outputs = predictor.predict(plain.inputs)
    answers = [
        Answer.of(
            1,
            {name: column[row : row + 1] for name, column in outputs.items()},
            predictor.classes,
            learner.schema,
            probabilities=False,
        )
        for row in range(EVENTS)
    ]
    served = replace(plain, served=answers)
    with tempfile.TemporaryDirectory() as folder:
        results = [answering(learner, Path(folder), rounds)]
    results += [reading(served, plain, rounds), grading(learner, predictor, served, plain, rounds)]
    return results


if __name__ == "__main__":
    show("late labels", run(Scale.asked()))
