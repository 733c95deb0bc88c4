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
from thalweg.ops.serve.following.location import ModelLocation
from thalweg.ops.serve.inference import InferenceCore, InferenceRequest, RequestOptions
from thalweg.ops.serve.models import Models, RequestSinks
from thalweg.proto.answer import Answer
from thalweg.proto.decode import Decoder
from thalweg.proto.encode import EVENT_HEADERS, to_events
from thalweg.proto.event import Batch, ClassLabels
from thalweg.proto.records import Partition, Records
from thalweg.proto.schema import TensorSpec
from thalweg.proto.task import task_of
from thalweg.stream.evaluation.monitor import Monitor
from thalweg.stream.labels.request_buffer import RequestBuffer
from thalweg.stream.publication.file_channel import FilePublisher

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
    location = ModelLocation(
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
    models = Models([location], RequestSinks(RequestBuffer({"m": InMemoryPending()})))
    publisher = FilePublisher(folder)
    publisher.publish(learner.predictor(), version=1, learned_events=EVENTS, event_time=0.0)
    models.find("m").versions.subscriber.start()
    core = InferenceCore(models)
    inputs = {"features": np.ones((1, 64), np.float32)}
    plain = RequestOptions("m")

    def asked() -> None:
        for _ in range(100):
            core.infer(InferenceRequest(plain, inputs))

    def asked_and_remembered() -> None:
        for number in range(100):
            core.infer(InferenceRequest(RequestOptions("m", event_id=f"e{number}"), inputs))

    seconds, ratio = paired(asked_and_remembered, asked, min(rounds, 90))  # what queues is bounded
    models.find("m").versions.subscriber.close()
    publisher.close()
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
            task_of(predictor),
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
