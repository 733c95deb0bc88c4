"""What helps against drift: each action of `[model.drift]` on the recorded streams, by prequential accuracy."""

from __future__ import annotations

from typing import Any

from benchmarks.drift import MAPPING, recorded
from benchmarks.report import Result, at_least
from benchmarks.scale import Scale
from benchmarks.streams import SHARED, no_streams
from thalweg.memory.snapshots.snapshots import InMemorySnapshots
from thalweg.models.contract.learner import LearnerContext
from thalweg.models.ridge.learner import Ridge
from thalweg.proto.encode import EVENT_BATCH_HEADERS, to_event_batch
from thalweg.proto.schema import TensorSpec
from thalweg.stream.drift.params import ACTIONS, DriftParams
from thalweg.stream.evaluation.monitor import Monitor
from thalweg.stream.learn.processor import Processor
from thalweg.stream.learn.settings import ProcessorSettings
from thalweg.stream.log.in_memory import InMemoryLog
from thalweg.stream.log.log import Message
from thalweg.stream.sources.files import read_events

_SPECS = {"features": TensorSpec("features", "float32", (6,))}
_STREAMS = ("abrupt", "recurring", "gradual", "incremental", "none")
_LEARNERS: dict[str, dict[str, Any]] = {"ridge": {}, "ridge that never forgets": {"forgetting": [1.0]}}
_SETTINGS = ProcessorSettings(  # a block a record: the same blocks, and so the same alarms, in every run
    model="m",
    topic="t",
    batch_seconds=0,
    idle_seconds=0,
    snapshot_events=500,
    snapshot_seconds=1e9,
    block_bytes=1,
)


def accuracy(stream: str, params: dict[str, Any], action: str, rows: int | None) -> float:
    """Of one stream, each row predicted before it is learned, the action taken on every alarm."""

    def make() -> Ridge:
        return Ridge(LearnerContext(inputs=_SPECS, params=params, seed=0))

    learner, log = make(), InMemoryLog()
    for part in read_events(recorded(stream), learner.schema, MAPPING, limit=rows):
        for batch in part.batch.micro_batches(64):
            log.append("t", [Message(to_event_batch(batch), headers=EVENT_BATCH_HEADERS)])
    monitor = Monitor(learner, make, drift=DriftParams(action=action))
    Processor(learner, log, InMemorySnapshots(), _SETTINGS, evaluator=monitor, make=make).run(until_end=True)
    return monitor.metrics()["accuracy"]


def run(scale: Scale = Scale.FULL) -> list[Result]:
    """A row per learner and stream: the best action against none."""
    if not SHARED.is_dir():
        return [no_streams("drift, what helps")]
    results: list[Result] = []
    rows = scale.of(None, quick=None, tiny=500)
    for learner, params in _LEARNERS.items():
        for stream in scale.of(_STREAMS, quick=_STREAMS[:1], tiny=_STREAMS[:1]):
            found = {action: accuracy(stream, params, action, rows) for action in ACTIONS if action != "snapshot"}
            note = ", ".join(f"{action} {100 * value:.1f}" for action, value in found.items())
            gained = 100 * (found["raise_forgetting"] - found["observe"])
            results.append(at_least(f"drift, {learner}, {stream}: raised forgetting", gained, "points", 0.0, note))
    return results
