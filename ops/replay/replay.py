"""Replay: a recorded stream through a learner, each event predicted before it is learned, as the service would."""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from thalweg.models.contract.capabilities import IntensityCurves, capability, predict_batch
from thalweg.models.contract.learner import Learner
from thalweg.ops.config.config import ModelConfig
from thalweg.ops.run.app import new_learner, new_monitor
from thalweg.proto.event import Batch, Decoded, cut
from thalweg.proto.rejected import Rejected
from thalweg.stream.drift.alarm import Alarm
from thalweg.stream.evaluation.prequential import Prequential
from thalweg.stream.learn.dedup import RecentIds
from thalweg.stream.sources.files import CsvMapping, read_events

CURVE_POINTS = 200
_PROGRESS_SECONDS = 0.1


@dataclass
class Replayed:
    """What came of a replay; `report()` is what `report.json` holds."""

    model: ModelConfig
    learner: Learner
    events: int = 0
    learn_seconds: float = 0.0
    seconds: float = 0.0
    frozen_after: int = 0
    evaluation: Prequential = field(default_factory=Prequential)
    frozen: Prequential = field(default_factory=Prequential)
    continual: dict[str, float] = field(default_factory=dict)
    alarms: list[Alarm] = field(default_factory=list)
    curve: list[dict[str, Any]] = field(default_factory=list)
    frozen_curve: list[dict[str, Any]] = field(default_factory=list)
    learn_times: list[tuple[int, float]] = field(default_factory=list)
    """Events so far, and microseconds per event of late."""
    marks: list[tuple[int, float]] = field(default_factory=lambda: [(0, 0.0)])
    """Events so far, and the seconds that learning had taken."""
    latest_keys: Counter[bytes] = field(default_factory=Counter)
    """How often each key came in the second half, of a model that knows keys."""
    rejected: list[Rejected] = field(default_factory=list)
    """The first hundred lines that could not be used."""
    reasons: Counter[str] = field(default_factory=Counter)

    def report(self) -> dict[str, Any]:
        """The report as JSON has it."""
        state = self.learner.state()
        return {
            "model": self.model.name,
            "learner": self.model.learner,
            "events": self.events,
            "seconds": self.seconds,
            "events_per_second": self.events / self.seconds if self.seconds else 0.0,
            "metrics": self.evaluation.metrics(),
            "recent": self.evaluation.recent(),
            "bounds": {"all": self.evaluation.bounds(), "recent": self.evaluation.recent_bounds()},
            "continual": self.continual,
            "frozen": self.frozen.metrics(),
            "frozen_after_events": self.frozen_after,
            "curve": self.curve,
            "drift": [alarm.record() for alarm in self.alarms],
            "rejected": dict(self.reasons),
            "state_sha256": state.sha256(),
            "memory_bytes": state.size_bytes,
        }


def replay(
    model: ModelConfig,
    path: Path,
    mapping: CsvMapping | None = None,
    *,
    limit: int | None = None,
    seed: int | None = None,
    frozen_after: int | None = None,
    progress: Callable[[int, Prequential], None] = lambda events, evaluation: None,
) -> Replayed:
    """Run a file through a model's learner.

    Args:
        model: The model; its `batch_events` is the size of the micro-batches.
        path: The file; see `thalweg.stream.sources.files`.
        mapping: Which column of a CSV file is what.
        limit: At most so many lines.
        seed: Instead of the model's.
        frozen_after: When the frozen twin stopped learning, in events; None: after a tenth of what comes, which is
            found by reading the file once before.
        progress: Told ten times a second.

    Raises:
        FileError: The file cannot be read.
    """
    learner = new_learner(model, seed)
    if frozen_after is None:
        total = sum(len(part.batch) for part in read_events(path, learner.schema, mapping, limit=limit))
        frozen_after = max(1, total // 10)
    done = Replayed(model, learner, frozen_after=frozen_after)
    monitor = new_monitor(dataclasses.replace(model, frozen_after_events=frozen_after), learner, seed=seed)
    done.evaluation, done.frozen = monitor.live, monitor.frozen
    has_curves = "key" in learner.schema.inputs and capability(learner.predictor(), IntensityCurves) is not None
    started = time.perf_counter()
    next_point, every, next_progress = 0, max(1, 10 * frozen_after // CURVE_POINTS), started
    read = read_events(path, learner.schema, mapping, limit=limit)
    for micro_batch in cut(_fresh(read, done, model.dedup_events), model.batch_events):
        predictor = learner.predictor()
        monitor.predicted(micro_batch, predictor, predict_batch(predictor, micro_batch))
        before = time.perf_counter()
        learner.learn(micro_batch)
        done.learn_seconds += time.perf_counter() - before
        done.events += len(micro_batch)
        if has_curves and done.events > 5 * frozen_after:
            done.latest_keys.update(micro_batch.inputs["key"].tolist())
        if done.events >= next_point:
            _point(done)
            next_point += every
        if (now := time.perf_counter()) >= next_progress:
            progress(done.events, done.evaluation)
            next_progress = now + _PROGRESS_SECONDS
    done.seconds = time.perf_counter() - started
    done.alarms = monitor.drift.alarms
    done.continual = monitor.continual.metrics()
    if done.events:
        _point(done)
    return done


def _fresh(parts: Iterable[Decoded], done: Replayed, dedup_events: int) -> Iterator[Batch]:
    """What can be used, each event once; what cannot is noted."""
    recent_ids = RecentIds(dedup_events)
    for part in parts:
        done.reasons.update(rejected.reason for rejected in part.rejected)
        done.rejected += part.rejected[: max(0, 100 - len(done.rejected))]
        fresh = None if part.batch.ids is None else recent_ids.fresh(part.batch.ids)
        yield part.batch if fresh is None else part.batch.take(fresh)


def _point(done: Replayed) -> None:
    events = done.events
    if done.curve and done.curve[-1]["events"] == events:
        return
    before, seconds = done.marks[-1]
    done.learn_times.append((events, 1e6 * (done.learn_seconds - seconds) / max(1, events - before)))
    done.marks.append((events, done.learn_seconds))
    done.curve.append({"events": events, "metrics": done.evaluation.recent()})
    done.frozen_curve.append({"events": events, "metrics": done.frozen.recent()})
