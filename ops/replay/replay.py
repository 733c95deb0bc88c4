"""Replay: a recorded stream through the service's own fold, as one block, with a curve and a report."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from thalweg.memory.snapshots.snapshots import InMemorySnapshots
from thalweg.models.contract.capabilities import IntensityCurves, capability
from thalweg.models.contract.gauges import flattened
from thalweg.models.contract.learner import Learner
from thalweg.ops.config.model import ModelConfig
from thalweg.ops.init.of_ids import users_and_items
from thalweg.ops.replay.hints import hints
from thalweg.ops.replay.single_columns import SingleColumns
from thalweg.ops.replay.skipped import skipped
from thalweg.ops.replay.unlearnable import unlearnable, without
from thalweg.ops.run.app import event_schema, new_learner, new_monitor, settings_of
from thalweg.ops.run.failed import Failed
from thalweg.proto.event import Batch, Decoded
from thalweg.proto.rejected import Rejected
from thalweg.proto.task import task_of
from thalweg.stream.drift.alarm import Alarm
from thalweg.stream.drift.digest import Digest
from thalweg.stream.evaluation.grading import log_loss_of_known
from thalweg.stream.evaluation.monitor import Monitor
from thalweg.stream.evaluation.prequential import Prequential
from thalweg.stream.exceptions import first_line
from thalweg.stream.learn.blocks import DecodedBlock
from thalweg.stream.learn.fold import Fold
from thalweg.stream.quarantine.skips import LEARNER_ERROR
from thalweg.stream.sources.csv_reading import FileError
from thalweg.stream.sources.files import CsvMapping, read_events
from thalweg.stream.tuning.variants import ANSWERING, LOSS, SHARE

CURVE_POINTS = 200
_PROGRESS_SECONDS = 0.1
_NO_EVENTS_FAULT = (OSError, FileError, Failed)


@dataclass
class Replayed:
    """The result of a replay; `report()` gives the content of `report.json`."""

    model: ModelConfig
    learner: Learner
    events: int = 0
    labelled: int = 0
    learn_seconds: float = 0.0
    seconds: float = 0.0
    frozen_after: int = 0
    batch_events: int = 1
    """Events per micro-batch."""
    delay_events: int = 0
    """How many events late labels became known, besides those of their micro-batch."""
    unanswered: int = 0
    """Labelled events that got no answer because the model had learned too little; they are in no figure."""
    left_out: int = 0
    """Events that figures over all events leave out: of another order of magnitude, or of a very rare class."""
    unknown_class: int = 0
    """Answered events of a class that the model could not know yet: log-loss counts each as the largest there is."""
    evaluation: Prequential = field(default_factory=Prequential)
    frozen: Prequential = field(default_factory=Prequential)
    controls: dict[str, dict[str, float]] = field(default_factory=dict)
    """By naive control, its figures over all events …"""
    controls_recent: dict[str, dict[str, float]] = field(default_factory=dict)
    """… and over the recent window."""
    controls_log_loss_of_known: dict[str, float] = field(default_factory=dict)
    """By naive control, its log-loss without the events of a class that it could not know yet."""
    continual: dict[str, float] = field(default_factory=dict)
    alarms: list[Alarm] = field(default_factory=list)
    digests: list[Digest] = field(default_factory=list)
    """Of drift that is no news; the last may not have ended."""
    curve: list[dict[str, Any]] = field(default_factory=list)
    frozen_curve: list[dict[str, Any]] = field(default_factory=list)
    learn_times: list[tuple[int, float]] = field(default_factory=list)
    """Events so far, and recent microseconds per event."""
    marks: list[tuple[int, float]] = field(default_factory=lambda: [(0, 0.0)])
    """Events so far, and total seconds of learning."""
    latest_keys: Counter[bytes] = field(default_factory=Counter)
    """Number of events per key in the second half, for a model that uses keys."""
    rejected: list[Rejected] = field(default_factory=list)
    """The first hundred invalid lines."""
    reasons: Counter[str] = field(default_factory=Counter)
    tombstones: int = 0
    """Lines that say that a key was deleted."""
    single: SingleColumns = field(default_factory=SingleColumns)
    """What single columns are worth."""

    @property
    def unusable(self) -> int:
        """Lines that could not be used."""
        return sum(self.reasons.values())

    @property
    def log_loss_of_known(self) -> float | None:
        """Log-loss without the events of a class that the model could not know yet; None: there is none."""
        return log_loss_of_known(self.evaluation.metrics(), self.evaluation.graded, self.unknown_class)

    @property
    def hints(self) -> list[str]:
        """What to try where the learner left events out, or a naive control predicted as well as the model."""
        graded = self.labelled - self.unanswered
        predictor, columns = self.learner.predictor(), self.model.columns.items()
        ids = (
            None
            if self.model.learner == "error_memory"
            else users_and_items(one.field or name for name, one in columns)
        )
        task = task_of(predictor)
        classes = predictor.classes if task.label == "class" else ()
        left_out = skipped(self.learner.gauges(), self.labelled, self.model.learner, self.model.encoder)
        metrics = self.evaluation.metrics()
        found = left_out + hints(task, graded, metrics, self.controls, classes, ids, self.model.learner)
        ranked = self.single.hint(metrics.get("auc"), [name for name, one in columns if one.kind == "datetime"])
        return found if ranked is None else [*found, ranked]

    def variants(self) -> dict[str, dict[str, float]]:
        """By variant of `[model.tune]`, its mean loss of late, its share of answered events, and 1 if it answers
        now; {} without.
        """
        gauges = self.learner.gauges()
        shown = {"loss": gauges.get(LOSS.name), "share": gauges.get(SHARE.name), "answers": gauges.get(ANSWERING.name)}
        found: dict[str, dict[str, float]] = {}
        for figure, by_variant in shown.items():
            for (name,), value in by_variant.items() if isinstance(by_variant, Mapping) else ():
                found.setdefault(name, {})[figure] = value
        return found

    def report(self) -> dict[str, Any]:
        """The report as JSON values."""
        state = self.learner.state()
        return {
            "model": self.model.name,
            "learner": self.model.learner,
            "events": self.events,
            "labelled": self.labelled,
            "unusable": self.unusable,
            "unanswered": self.unanswered,
            "left_out": self.left_out,
            "unknown_class": self.unknown_class,
            "log_loss_of_known": self.log_loss_of_known,
            "controls_log_loss_of_known": self.controls_log_loss_of_known,
            "batch_events": self.batch_events,
            "delay_events": self.delay_events,
            "seconds": self.seconds,
            "events_per_second": self.events / self.seconds if self.seconds else 0.0,
            "metrics": self.evaluation.metrics(),
            "recent": self.evaluation.recent(),
            "bounds": {"all": self.evaluation.bounds(), "recent": self.evaluation.recent_bounds()},
            "continual": self.continual,
            "frozen": self.frozen.metrics(),
            "frozen_after_events": self.frozen_after,
            "controls": self.controls,
            "controls_recent": self.controls_recent,
            "curve": self.curve,
            "drift": [alarm.record() for alarm in self.alarms],
            "drift_digests": [digest.record() for digest in self.digests],
            "rejected": dict(self.reasons),
            "state_sha256": state.sha256(),
            "memory_bytes": state.size_bytes,
            "gauges": flattened(self.learner.gauges()),
            "variants": self.variants(),
        }


def replay(
    model: ModelConfig,
    path: Path,
    mapping: CsvMapping | None = None,
    *,
    limit: int | None = None,
    seed: int | None = None,
    frozen_after: int | None = None,
    delay_events: int = 0,
    max_record_bytes: int = 64 << 20,
    progress: Callable[[int, Prequential], None] = lambda events, evaluation: None,
    notice: Callable[[str], None] = lambda text: None,
) -> Replayed:
    """Fold a file as one block; actions on alarms are not taken.

    Under `batch_events = "auto"` each row's label is learned before the next row is predicted; else micro-batches hold
    `batch_events` events. Events that raise are left out and counted under `learner_error`, as in a service, and so is
    the share of them above which it stops.

    Args:
        model: The model.
        path: The file; see `thalweg.stream.sources.files`.
        mapping: The meaning of the columns of a CSV file.
        limit: Maximum number of lines.
        seed: Replaces the model's seed.
        frozen_after: Events after which the frozen baseline stops learning; None: a tenth of the events, which are
            counted by reading the file once before.
        delay_events: How many rows late labels become known. The state at the end is the same for every delay.
        max_record_bytes: Larger events are not learned; `service.max_message_bytes`.
        progress: Called ten times a second.
        notice: Told what is not used of the file, and that the service learns a model per partition where that is so.

    Raises:
        FileError: The file cannot be read.
        Failed: Too many events cannot be learned.
    """
    learner = new_learner(model, seed)
    schema = event_schema(model, learner)
    told: set[str] = set()

    def once(text: str) -> None:  # the file may be read twice
        if text not in told:
            told.add(text)
            notice(text)

    if model.sharded is not None:
        once(_one_model(model.name, by_key=model.sharded.answers == "key"))
    read = partial(read_events, path, schema, mapping, limit=limit, max_record_bytes=max_record_bytes, notice=once)
    return replay_events(
        model,
        learner,
        read,
        seed=seed,
        frozen_after=frozen_after,
        delay_events=delay_events,
        max_record_bytes=max_record_bytes,
        progress=progress,
        notice=once,
    )


def _one_model(name: str, *, by_key: bool) -> str:
    """What a replay of a model with `[model.scale]` is, beside what the service learns."""
    end = (
        "each of which answers for its own keys: what is replayed is another model, and its figures and state are not "
        "those of the service"
        if by_key
        else "and merges them: the merged model has learned the same, but predictions are graded by each model before "
        "it is merged, and the state is another"
    )
    return (
        f"model {name!r} has [model.scale]: all rows are replayed as one model; the service learns one model per "
        f"partition of the topic, {end}"
    )


def replay_events(
    model: ModelConfig,
    learner: Learner,
    read: Callable[[], Iterable[Decoded]],
    *,
    seed: int | None = None,
    frozen_after: int | None = None,
    delay_events: int = 0,
    max_record_bytes: int = 64 << 20,
    progress: Callable[[int, Prequential], None] = lambda events, evaluation: None,
    notice: Callable[[str], None] = lambda text: None,
) -> Replayed:
    """The same for decoded events, which `read` gives each time from the beginning."""
    if frozen_after is None:
        total = sum(len(part.batch) for part in read())
        frozen_after = max(1, total // 10)
    settings = settings_of(model, max_record_bytes)
    frozen = model.model_copy(update={"frozen_after_events": frozen_after})

    def new_fold() -> tuple[Fold, Monitor]:
        monitor = new_monitor(frozen, learner, seed=seed, delay_events=delay_events)
        return Fold(learner, InMemorySnapshots(), settings, monitor), monitor

    def run(fold: Fold, monitor: Monitor, left_out: Mapping[int, str]) -> Replayed:
        done = Replayed(
            model,
            learner,
            frozen_after=frozen_after,
            batch_events=settings.file_batch_events,
            delay_events=delay_events,
            evaluation=monitor.live,
            frozen=monitor.frozen,
        )
        _fold(done, fold, monitor, _noting(read(), left_out, done), progress)
        if done.tombstones:
            notice(f"{done.tombstones:,} of the lines are null, which says that a key was deleted: nothing is learned")
        return done

    def again() -> tuple[Fold, Monitor]:  # of the same learner, so one after the other
        fold, monitor = new_fold()
        fold.back_to(beginning)
        return fold, monitor

    fold, monitor = new_fold()
    beginning = fold.checkpoint()
    try:
        return run(fold, monitor, {})
    except _NO_EVENTS_FAULT:
        raise
    except Exception as error:  # of a learner, an encoder or an estimator of somebody else's
        notice(
            f"an event cannot be learned ({first_line(error)}): all such are looked for, and left out as in a service"
        )
        try:
            left_out = unlearnable(again()[0], read(), settings, _NO_EVENTS_FAULT)
            return run(*again(), left_out)
        except _NO_EVENTS_FAULT:
            raise
        except Exception as other:
            raise Failed(f"{model.learner} cannot learn these events: {first_line(other)}") from error


def _fold(
    done: Replayed,
    fold: Fold,
    monitor: Monitor,
    parts: Iterable[Decoded],
    progress: Callable[[int, Prequential], None],
) -> None:
    """Fold the stream as one block, and note what came of it."""
    started = time.perf_counter()
    fold.apply(
        DecodedBlock(fold.version + 1, done.batch_events, parts, {}, delay_events=done.delay_events),
        _Watch(done, monitor, progress, started),
    )
    done.seconds = time.perf_counter() - started
    done.alarms, done.digests = monitor.drift.alarms, monitor.drift.digests
    done.continual = monitor.continual.metrics()
    done.controls, done.controls_recent = monitor.controls.metrics(), monitor.controls.recent()
    done.controls_log_loss_of_known = monitor.controls.log_loss_of_known()
    done.unanswered, done.left_out = monitor.live.unanswered, monitor.live.left_out
    done.unknown_class = monitor.live.unknown_class
    if done.events:
        _point(done)


class _Watch:
    """Called after every micro-batch: records the curve and reports progress."""

    def __init__(
        self, done: Replayed, monitor: Monitor, progress: Callable[[int, Prequential], None], started: float
    ) -> None:
        self._done = done
        self._monitor = monitor
        self._progress = progress
        self._every = max(1, 10 * done.frozen_after // CURVE_POINTS)
        self._next_point = 0
        self._next_progress = started
        self._has_curves = capability(done.learner.predictor(), IntensityCurves) is not None

    def __call__(self, batch: Batch, seconds: float) -> None:
        done = self._done
        done.events += len(batch)
        if batch.labels is not None:
            done.labelled += int(np.count_nonzero(batch.labels.present))
        done.learn_seconds += seconds
        if self._has_curves and "key" in batch.inputs and done.events > 5 * done.frozen_after:
            done.latest_keys.update(batch.inputs["key"].tolist())
        if done.events >= self._next_point:
            self._monitor.settle()
            _point(done)
            self._next_point += self._every
        if (now := time.perf_counter()) >= self._next_progress:
            self._progress(done.events, done.evaluation)
            self._next_progress = now + _PROGRESS_SECONDS


def _noting(parts: Iterable[Decoded], left_out: Mapping[int, str], done: Replayed) -> Iterator[Decoded]:
    """The parts without the events that are left out; what cannot be used is noted."""
    for part, gone in without(parts, left_out):
        rejected = [*part.rejected, *(Rejected(place, LEARNER_ERROR, why) for place, why in gone.items())]
        rejected.sort(key=lambda one: one.row)
        done.reasons.update(one.reason for one in rejected)
        done.tombstones += part.tombstones
        done.rejected += rejected[: max(0, 100 - len(done.rejected))]
        done.single.add(part.batch)
        yield part


def _point(done: Replayed) -> None:
    events = done.events
    if done.curve and done.curve[-1]["events"] == events:
        return
    before, seconds = done.marks[-1]
    done.learn_times.append((events, 1e6 * (done.learn_seconds - seconds) / max(1, events - before)))
    done.marks.append((events, done.learn_seconds))
    done.curve.append({"events": events, "metrics": done.evaluation.recent()})
    done.frozen_curve.append({"events": events, "metrics": done.frozen.recent()})
