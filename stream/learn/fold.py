"""A model as a fold over its journal: `state(v) = fold(learn, state(0), log[0 … v])`.

The service, `thalweg replay`, `thalweg snapshot verify --replay` and the library all use this fold.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TypeAlias

import numpy as np
import structlog

from thalweg.memory.devices.failures import device_failures
from thalweg.memory.snapshots.manifest import Manifest
from thalweg.memory.snapshots.origin import Origin
from thalweg.memory.snapshots.snapshots import Snapshot, Snapshots
from thalweg.memory.snapshots.state import State
from thalweg.models.contract.capabilities import Averageable, Forgetting, capability, computed_on, predict_batch
from thalweg.models.contract.learner import Learner
from thalweg.models.contract.revisions import learning_software
from thalweg.proto.decode import Decoder
from thalweg.proto.event import Batch, cut
from thalweg.proto.records import Partition, Position
from thalweg.stream.comparison.collector import Collector
from thalweg.stream.drift.alarm import Alarm
from thalweg.stream.evaluation.report import EvaluationReport
from thalweg.stream.journal.entries import (
    AveragingEntry,
    BlockEntry,
    Control,
    ForgettingEntry,
    ResetEntry,
    RollbackEntry,
)
from thalweg.stream.learn.blocks import Block, DecodedBlock
from thalweg.stream.learn.dedup import RecentIds
from thalweg.stream.learn.micro_batches.fresh import Totals, fresh_events
from thalweg.stream.learn.micro_batches.late import LateLabels
from thalweg.stream.learn.outcome import Outcome
from thalweg.stream.learn.ports import DriftEvaluator, Evaluator
from thalweg.stream.learn.settings import ProcessorSettings, check_settings, not_restorable
from thalweg.stream.log.log import Epochs
from thalweg.stream.quarantine.skips import without_events, without_records
from thalweg.stream.registry.schemas import KnownSchemas

log = structlog.get_logger(__name__)

DRIFT = "drift"
"""The cause of a control entry that a drift alarm triggered."""

OnBatch: TypeAlias = Callable[[Batch, float], None]
"""Callback for a micro-batch: its events, and the seconds that learning took."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A copy of a fold in memory, from which it continues bit-identically."""

    snapshot: Snapshot
    parent: int | None
    event_time: float
    unhandled: tuple[Alarm, ...]


class Fold:
    """A learner, its evaluator, the ids it has seen, and the log position that all of them correspond to.

    The state depends only on the applied entries and their order. Not thread-safe: one thread uses it.

    Args:
        learner: A learner that has learned nothing.
        snapshots: The versions to which a rollback can return.
        settings: Settings of the model.
        evaluator: Grades the predictions and may detect drift; None: no evaluation.
        make: Creates another learner that has learned nothing; None: the model cannot be reset.
        schemas: The schemas of records framed for a schema registry; None: there are none.
        losses: Collects the losses that outcomes have; None: they have none.
    """

    def __init__(
        self,
        learner: Learner,
        snapshots: Snapshots,
        settings: ProcessorSettings,
        evaluator: Evaluator | None = None,
        make: Callable[[], Learner] | None = None,
        schemas: KnownSchemas | None = None,
        losses: Collector | None = None,
    ) -> None:
        self._learner = learner
        self._snapshots = snapshots
        self._settings = settings
        self._evaluator = evaluator
        self._grader = evaluator
        self._drift = evaluator if isinstance(evaluator, DriftEvaluator) else None
        self._make = make
        self._decoder = Decoder(
            settings.schema_of(learner.schema),
            max_record_bytes=settings.max_record_bytes,
            max_future_seconds=settings.max_future_seconds,
            schemas=schemas,
        )
        self._schemas = schemas
        self._losses = losses
        self._recent_ids = RecentIds(settings.dedup_events)
        self._version = 0
        self._parent: int | None = None
        self._end: dict[Partition, int] = {}
        self._log_identity: dict[str, str] = {}
        self._log_epochs: dict[str, Epochs] = {}
        self._epochs_at = 0  # the version at which they were noted: of another position they would say what is wrong
        self._origin = Origin()
        self._learned = 0
        self._event_time = self._appended_time = 0.0
        self._unhandled: tuple[Alarm, ...] = ()  # raised by the latest entry; the entry after it has handled them

    @property
    def learner(self) -> Learner:
        """The present learner, for reading on the fold's thread."""
        return self._learner

    @property
    def version(self) -> int:
        """Number of entries applied so far."""
        return self._version

    @property
    def end(self) -> Position:
        """The last offset of each partition that is in the state."""
        return MappingProxyType(self._end)

    @property
    def log_identity(self) -> Mapping[str, str]:
        """Identity by topic of the log that the position belongs to."""
        return MappingProxyType(self._log_identity)

    @property
    def log_epochs(self) -> Mapping[str, Epochs]:
        """Epochs by topic of the log that the position belongs to; empty unless they are noted at this version."""
        return MappingProxyType(self._log_epochs if self._epochs_at == self._version else {})

    @property
    def learned(self) -> int:
        """Number of labelled events in the state."""
        return self._learned

    @property
    def event_time(self) -> float:
        """Unix seconds of the newest event seen since the process started, no later than its record; 0 before the
        first.
        """
        return self._event_time

    @property
    def appended_time(self) -> float:
        """Unix seconds at which the log appended the newest record of the latest block; 0 before the first."""
        return self._appended_time

    @property
    def can_reset(self) -> bool:
        """Whether a new learner can be created; checked before a reset is journalled, because entries must be
        repeatable.
        """
        return self._make is not None

    def report(self, now: float) -> EvaluationReport | None:
        """The evaluation's report as of this time (Unix seconds); None without an evaluator."""
        return None if self._drift is None else self._drift.report(now)

    # -- starting and saving ------------------------------------------------------------------------------------------

    def start_at(self, after: Position) -> None:
        """Start with an empty state at the position `after`; earlier records are ignored."""
        self._end = dict(after)

    def identify(self, log_identity: Mapping[str, str]) -> None:
        """The position in these topics belongs to the log of this identity, by topic."""
        self._log_identity |= log_identity

    def note_epochs(self, log_epochs: Mapping[str, Epochs]) -> None:
        """The log has these epochs, by topic, now that it was read up to the present position."""
        self._log_epochs = {topic: epochs for topic, epochs in log_epochs.items() if epochs}
        self._epochs_at = self._version

    def read_on_at(self, places: Mapping[Partition, int]) -> None:
        """What follows at these offsets is read next, although records there were read: they are others now."""
        self._end = {part: min(last, places.get(part, last + 1) - 1) for part, last in self._end.items()}
        self._end = {part: last for part, last in self._end.items() if last >= 0}

    def read_anew(self, topics: Collection[str]) -> None:
        """Forget the position in these topics: they were created again, and are read from their beginning."""
        self._end = {partition: last for partition, last in self._end.items() if partition.topic not in topics}

    def load(self, kept: Snapshot) -> None:
        """Restore the fold from this snapshot. Raises StateMismatch."""
        manifest, parts = kept.manifest, kept.parts
        check_settings(manifest, self._settings)
        try:
            self._learner.restore(parts["learner"])
        except (ValueError, LookupError, TypeError) as error:
            raise not_restorable(manifest, error) from error
        if "recent_ids" in parts:
            self._recent_ids.restore(parts["recent_ids"])
        if self._evaluator is not None and "evaluator" in parts:
            self._evaluator.restore(parts["evaluator"])
        self._version, self._parent = manifest.version, manifest.version
        self._end, self._learned = dict(manifest.offsets), manifest.events_learned
        self._log_identity = dict(manifest.log_identity)
        self._log_epochs, self._epochs_at = dict(manifest.log_epochs), manifest.version
        self._origin = Origin.of(manifest, computed_on(self._learner), learning_software(self._settings.learner))
        self._unhandled = ()

    def checkpoint(self) -> Checkpoint:
        """A copy of the present state."""
        parent = self._parent
        taken = self.snapshot(0.0)
        self._parent = parent
        return Checkpoint(_copied(taken), parent, self._event_time, self._unhandled)

    def back_to(self, point: Checkpoint) -> None:
        """Continue from this checkpoint, whatever has been left half done since; it can be used again."""
        saved = self._parent
        self.load(_copied(point.snapshot))
        self._parent, self._event_time, self._unhandled = point.parent, point.event_time, point.unhandled
        if saved is not None and (self._parent or 0) < saved <= self._version:  # saved since the checkpoint was made
            self._parent = saved

    def saved(self, version: int) -> None:
        """This version, on the way to the present one, is saved: it is the parent of the next snapshot."""
        self._parent = version

    def stop_evaluating(self) -> None:
        """Learn without evaluation from now on: the evaluator's state stays as it is, and there are no more reports."""
        self._grader = self._drift = None

    @contextmanager
    def not_evaluating(self) -> Iterator[None]:
        """Learn without evaluation within this block."""
        grader, drift = self._grader, self._drift
        self.stop_evaluating()
        try:
            yield
        finally:
            self._grader, self._drift = grader, drift

    def snapshot(self, created: float) -> Snapshot:
        """A snapshot with everything that `load` needs, created at this time (Unix seconds); the parent of the next
        one.

        The arrays belong to the state: copy them before the next `apply`.
        """
        manifest = Manifest(
            model=self._settings.model,
            version=self._version,
            parent=self._parent,
            learner=self._settings.learner,
            config_sha256=self._settings.config_sha256,
            identity=self._settings.identity,
            revisions=self._settings.revisions,
            offsets=dict(self._end),
            events_learned=self._learned,
            created=created,
            log_identity=dict(self._log_identity),
            log_epochs=dict(self.log_epochs),
            software=self._origin.software(computed_on(self._learner), learning_software(self._settings.learner)),
            earlier=self._origin.earlier,
            metrics=dict(self._evaluator.metrics()) if self._evaluator is not None else {},
            recent=dict(self._drift.recent()) if self._drift is not None else {},
        )
        parts = {"learner": self._learner.state(), "recent_ids": self._recent_ids.state()}
        if self._evaluator is not None:
            parts["evaluator"] = self._evaluator.state()
        self._parent = self._version
        return Snapshot(manifest, parts)

    # -- applying -----------------------------------------------------------------------------------------------------

    def prepare(self, block: Block) -> None:
        """Fetch the schemas that a block's records need; decoding waits for nothing. Raises LogError."""
        if self._schemas is not None:
            for run in block.records:
                self._schemas.prepare(run)

    def decode(self, entry: BlockEntry, block: Block) -> DecodedBlock:
        """Decode the block of an entry for `apply`, without what the entry skips; changes no state, so invalid records
        can be saved first. Raises LogError if a schema must be fetched, and the registry is away.
        """
        self.prepare(block)
        if not entry.skipped:
            parts = tuple(self._decoder.decode(run) for run in block.records)
            return DecodedBlock(
                entry.version, entry.batch_events, parts, block.end, block.appended_time, runs=block.records
            )
        runs = tuple(run for run in (without_records(run, entry.skipped) for run in block.records) if len(run))
        parts = tuple(without_events(run, self._decoder.decode(run), entry.skipped) for run in runs)
        return DecodedBlock(entry.version, entry.batch_events, parts, block.end, block.appended_time, runs=runs)

    def apply(
        self, step: DecodedBlock | Control, on_batch: OnBatch | None = None, *, repeated: bool = False
    ) -> Outcome:
        """Apply a block or a control entry, which leads to the next version.

        Args:
            step: The step that follows `version`.
            on_batch: Called after each learned micro-batch of a block that is a whole file; the outcome then has no
                `learn_seconds`.
            repeated: The step comes from the journal and was logged when it was first applied.

        Raises:
            ValueError: The entry is not the next one.
            UnknownVersion: There is no snapshot of the version to roll back to.
            DamagedFile: That snapshot cannot be read.
            StateMismatch: That snapshot was made under other settings.
            DeviceFailed: The learner's GPU has no room left, or has failed.
        """
        if step.version != self._version + 1:
            raise ValueError(
                f"model {self._settings.model!r}: expected the entry of version {self._version + 1}, got {step.version}"
            )
        if isinstance(step, DecodedBlock):
            with device_failures():
                return self._learn(step, on_batch)
        self._change(step, repeated=repeated)
        return Outcome(version=self._version, learned=self._learned)

    def note_done(self, done: str) -> None:
        """Record what was done about the alarms that the latest block raised."""
        for alarm in self._unhandled if self._drift is not None else ():
            assert self._drift is not None
            self._drift.note_done(alarm.number, done)

    def _learn(self, block: DecodedBlock, on_batch: OnBatch | None) -> Outcome:
        """Predict, grade and learn the new events of a block."""
        totals, newest = Totals(), None
        seconds: list[float] = []
        late = LateLabels(block.delay_events)
        if self._losses is not None:
            self._losses.begin()

        def learn(micro_batch: Batch) -> None:
            started = time.perf_counter()
            self._learner.learn(micro_batch)
            took = time.perf_counter() - started
            if on_batch is None:
                seconds.append(took)
            else:
                on_batch(micro_batch, took)

        for micro_batch in cut(fresh_events(block.parts, self._recent_ids, totals), block.batch_events):
            self._predict(micro_batch)
            for known in late.after(micro_batch):
                learn(known)
            newest = micro_batch
        for known in late.rest():
            learn(known)
        if totals.newest_time is not None:
            self._event_time = max(self._event_time, min(totals.newest_time, block.appended_time))
        self._version = block.version
        losses = None
        if self._losses is not None:
            losses = self._losses.take(block.version, self._end, block.end, self._log_identity)
        self._end.update(block.end)
        if math.isfinite(block.appended_time):
            self._appended_time = block.appended_time
        self._learned += totals.labelled
        outcome = Outcome(
            version=self._version,
            learned=self._learned,
            **totals.counted(),
            newest_time=None if newest is None else float(newest.times.max()),
            newest=newest,
            learn_seconds=tuple(seconds),
            alarms=tuple(self._drift.news()) if self._drift is not None else (),
            digests=tuple(self._drift.digest_news()) if self._drift is not None else (),
            losses=losses,
        )
        self._unhandled = outcome.raised
        return outcome

    def _predict(self, micro_batch: Batch) -> None:
        """Predict and grade; holds the predictor no longer, so that a learner need not copy what it predicts with."""
        predictor = self._learner.predictor()
        outputs = None
        if self._grader is not None:
            outputs = predict_batch(predictor, micro_batch)
            self._grader.predicted(_served_by(self._settings.model, micro_batch), predictor, outputs)
        if self._losses is not None:
            self._losses.predicted(micro_batch, predictor, outputs)

    def _change(self, entry: Control, *, repeated: bool) -> None:
        if isinstance(entry, RollbackEntry):
            kept = self._snapshots.load(entry.to)
            check_settings(kept.manifest, self._settings)
            self._learner.restore(kept.parts["learner"])
            self._learned, self._parent = kept.manifest.events_learned, entry.to
            done = f"rolled back to version {entry.to}"
        elif isinstance(entry, ResetEntry):
            if self._make is None:
                raise RuntimeError(f"model {self._settings.model!r}: nothing here makes a new learner to reset it to")
            self._learner.restore(self._make().state())
            self._learned = 0
            done = "begun anew"
        elif isinstance(entry, AveragingEntry):
            self._average(entry)
            return
        else:
            assert isinstance(entry, ForgettingEntry)
            if forgetting := capability(self._learner, Forgetting):
                forgetting.raise_forgetting(entry.factor, entry.events)
            done = f"forgetting raised by a factor of {entry.factor:g}"
        self._version = entry.version
        if self._drift is not None and not isinstance(entry, ForgettingEntry):
            self._drift.state_replaced(done)
        if entry.cause == DRIFT:
            self.note_done(done)
        self._unhandled = ()
        if not repeated:
            log.warning(done, model=self._settings.model, version=entry.version, cause=entry.cause)

    def _average(self, entry: AveragingEntry) -> None:
        averageable = capability(self._learner, Averageable)
        if averageable is None or entry.mixed is None:
            raise RuntimeError(
                f"model {self._settings.model!r}: a {type(self._learner).__name__} has nothing to average"
            )
        averageable.mix(entry.mixed, entry.weight)
        self._version, self._unhandled = entry.version, ()
        log.debug("averaged with other shards", model=self._settings.model, version=entry.version, shards=entry.shards)


def _served_by(model: str, batch: Batch) -> Batch:
    """The batch with only those predictions as served that this model made: of a successor and the model before it,
    each is graded by its own.
    """
    if batch.served is None:
        return batch
    own = model if "@" in model else ""
    return replace(batch, served=[one if one is not None and one.model == own else None for one in batch.served])


def _copied(kept: Snapshot) -> Snapshot:
    """The same with arrays of its own: those of a state may belong to the learner."""
    parts = {
        name: State({key: np.array(tensor) for key, tensor in part.tensors.items()}, deepcopy(part.meta))
        for name, part in kept.parts.items()
    }
    return Snapshot(kept.manifest, parts)
