"""What a model is: a fold over its journal, `state(v) = fold(learn, state(0), log[0 … v])`.

The service, `thalweg replay`, `thalweg snapshot verify --replay` and library use all run this one.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TypeAlias

import numpy as np
import structlog

from thalweg.memory.snapshots.snapshots import Manifest, Snapshot, Snapshots
from thalweg.models.contract.capabilities import Forgetting, capability, predict_batch
from thalweg.models.contract.learner import Learner, Predictor
from thalweg.proto.decode import Decoder
from thalweg.proto.event import Batch, Decoded, cut
from thalweg.proto.records import Partition, Position
from thalweg.stream.drift.alarm import Alarm
from thalweg.stream.evaluation.report import EvaluationReport
from thalweg.stream.learn.blocks import Block, DecodedBlock
from thalweg.stream.learn.dedup import RecentIds
from thalweg.stream.learn.journal import BlockEntry, Control, ForgettingEntry, ResetEntry, RollbackEntry
from thalweg.stream.learn.outcome import Outcome
from thalweg.stream.learn.ports import DriftEvaluator, Evaluator
from thalweg.stream.learn.settings import ProcessorSettings, identity_differences

log = structlog.get_logger(__name__)

_UNLABELLED = "\0"  # before the id of an event without a label
DRIFT = "drift"
"""The cause of a control entry that an alarm asked for."""

OnBatch: TypeAlias = Callable[[Batch, Predictor, float], None]
"""Told of a micro-batch: its events, what had answered before it was learned, and how many seconds learning took."""


class StateMismatch(Exception):
    """The saved state was made under other settings; the message says what to do."""


class Fold:
    """A learner, what grades it, the ids it has seen, and the position in the log that all of it belongs to.

    Its state follows from the entries that were applied, in their order, and from nothing else. One thread uses it.

    Args:
        learner: With nothing learned.
        snapshots: Where the versions are that a rollback goes back to.
        settings: The model's.
        evaluator: Grades the answers, and may watch for drift; None: nobody does.
        make: Makes another learner with nothing learned; None: this model is never reset.
    """

    def __init__(
        self,
        learner: Learner,
        snapshots: Snapshots,
        settings: ProcessorSettings,
        evaluator: Evaluator | None = None,
        make: Callable[[], Learner] | None = None,
    ) -> None:
        self._learner = learner
        self._snapshots = snapshots
        self._settings = settings
        self._evaluator = evaluator
        self._drift = evaluator if isinstance(evaluator, DriftEvaluator) else None
        self._make = make
        self._decoder = Decoder(learner.schema, max_record_bytes=settings.max_record_bytes)
        self._recent_ids = RecentIds(settings.dedup_events)
        self._version = 0
        self._parent: int | None = None
        self._end: dict[Partition, int] = {}
        self._learned = 0
        self._event_time = 0.0
        self._unhandled: tuple[Alarm, ...] = ()  # raised by the latest entry; what follows it has dealt with them

    @property
    def learner(self) -> Learner:
        """As it is now; to be read, on the fold's thread."""
        return self._learner

    @property
    def version(self) -> int:
        """Entries applied so far."""
        return self._version

    @property
    def end(self) -> Position:
        """The last record of each partition that is in the state."""
        return MappingProxyType(self._end)

    @property
    def learned(self) -> int:
        """Labelled events in the state."""
        return self._learned

    @property
    def event_time(self) -> float:
        """Unix seconds of the newest event seen since the start of the process; 0 before the first."""
        return self._event_time

    @property
    def can_reset(self) -> bool:
        """Whether another learner can be made; asked before a reset is journalled, for what is must be repeatable."""
        return self._make is not None

    def report(self, now: float) -> EvaluationReport | None:
        """What the evaluation has to say at this time (Unix seconds); None: nobody grades."""
        return None if self._drift is None else self._drift.report(now)

    # -- beginning and saving -----------------------------------------------------------------------------------------

    def start_at(self, after: Position) -> None:
        """Begin with nothing learned, as if everything up to `after` had been before our time."""
        self._end = dict(after)

    def load(self, kept: Snapshot) -> None:
        """Become that version. Raises StateMismatch."""
        manifest, parts = kept.manifest, kept.parts
        wanted, got = self._settings.config_sha256, manifest.config_sha256
        if wanted != got:
            differences = identity_differences(manifest.identity, self._settings.identity)
            hashes = f"hash {got[:12] or 'none'}, now {wanted[:12] or 'none'}"
            raise StateMismatch(
                f"model {self._settings.model!r}: the saved state (version {manifest.version}) was made under other "
                f"settings ({'; '.join(differences) or hashes}); give the model a new name or another state_dir, or "
                f"restore the settings"
            )
        self._learner.restore(parts["learner"])
        if "recent_ids" in parts:
            self._recent_ids.restore(parts["recent_ids"])
        if self._evaluator is not None and "evaluator" in parts:
            self._evaluator.restore(parts["evaluator"])
        self._version, self._parent = manifest.version, manifest.version
        self._end, self._learned = dict(manifest.offsets), manifest.events_learned

    def snapshot(self, created: float) -> Snapshot:
        """Everything that `load` wants, to be saved at this time (Unix seconds); the next one names it as its parent.

        The arrays are the state's own: copy them before the next `apply`.
        """
        manifest = Manifest(
            model=self._settings.model,
            version=self._version,
            parent=self._parent,
            learner=self._settings.learner,
            config_sha256=self._settings.config_sha256,
            identity=self._settings.identity,
            offsets=dict(self._end),
            events_learned=self._learned,
            created=created,
            metrics=dict(self._evaluator.metrics()) if self._evaluator is not None else {},
        )
        parts = {"learner": self._learner.state(), "recent_ids": self._recent_ids.state()}
        if self._evaluator is not None:
            parts["evaluator"] = self._evaluator.state()
        self._parent = self._version
        return Snapshot(manifest, parts)

    # -- going on -----------------------------------------------------------------------------------------------------

    def decode(self, entry: BlockEntry, block: Block) -> DecodedBlock:
        """What `apply` learns of this entry; changes nothing, so that what cannot be used may be kept first."""
        parts = tuple(self._decoder.decode(run) for run in block.records)
        return DecodedBlock(entry.version, entry.batch_events, parts, block.end)

    def apply(self, step: DecodedBlock | Control, on_batch: OnBatch | None = None) -> Outcome:
        """Go on to the next version: by a block, or as a control entry says.

        Args:
            step: The one that follows `version`.
            on_batch: Told of each micro-batch as it is learned; then the outcome has no `learn_seconds`. For a block
                that is a whole file.

        Raises:
            ValueError: Another entry than the next one.
            UnknownVersion: The version to go back to is not kept.
            DamagedFile: It cannot be read.
        """
        if step.version != self._version + 1:
            raise ValueError(
                f"model {self._settings.model!r}: expected the entry of version {self._version + 1}, got {step.version}"
            )
        if isinstance(step, DecodedBlock):
            return self._learn(step, on_batch)
        self._change(step)
        return Outcome(version=self._version, learned=self._learned)

    def note_done(self, done: str) -> None:
        """Write down what was done about the alarms that the latest block raised."""
        for alarm in self._unhandled if self._drift is not None else ():
            assert self._drift is not None
            self._drift.note_done(alarm.number, done)

    def _learn(self, block: DecodedBlock, on_batch: OnBatch | None) -> Outcome:
        """Predict, grade and learn the events of a block that were not seen before."""
        taken, labelled, newest = _Taken(), 0, None
        seconds: list[float] = []
        for micro_batch in cut(self._fresh(block.parts, taken), block.batch_events):
            predictor = self._learner.predictor()
            if self._evaluator is not None:
                self._evaluator.predicted(micro_batch, predictor, predict_batch(predictor, micro_batch))
            started = time.perf_counter()
            self._learner.learn(micro_batch)
            took = time.perf_counter() - started
            labelled += int(np.count_nonzero(micro_batch.labels.present)) if micro_batch.labels is not None else 0
            newest = float(micro_batch.times.max())
            self._event_time = max(self._event_time, newest)
            if on_batch is None:
                seconds.append(took)
            else:
                on_batch(micro_batch, predictor, took)
        self._version = block.version
        self._end.update(block.end)
        self._learned += labelled
        outcome = Outcome(
            version=self._version,
            learned=self._learned,
            events=taken.events,
            labelled=labelled,
            duplicates=taken.duplicates,
            rejected=taken.rejected,
            oldest_time=taken.oldest_time,
            newest_time=newest,
            learn_seconds=tuple(seconds),
            alarms=tuple(self._drift.news()) if self._drift is not None else (),
        )
        self._unhandled = outcome.raised
        return outcome

    def _fresh(self, parts: Iterable[Decoded], taken: _Taken) -> Iterator[Batch]:
        for part in parts:
            taken.rejected.update(rejected.reason for rejected in part.rejected)
            batch = part.batch
            fresh = None if batch.ids is None else self._recent_ids.fresh(_identities(batch))
            if fresh is not None:
                batch = batch.take(fresh)
                taken.duplicates += len(part.batch) - len(batch)
            if len(batch):
                taken.events += len(batch)
                oldest = float(batch.times.min())
                taken.oldest_time = oldest if taken.oldest_time is None else min(oldest, taken.oldest_time)
                yield batch

    def _change(self, entry: Control) -> None:
        if isinstance(entry, RollbackEntry):
            kept = self._snapshots.load(entry.to)
            self._learner.restore(kept.parts["learner"])
            self._learned, self._parent = kept.manifest.events_learned, entry.to
            done = f"rolled back to version {entry.to}"
        elif isinstance(entry, ResetEntry):
            if self._make is None:
                raise RuntimeError(f"model {self._settings.model!r}: nothing here makes a new learner to reset it to")
            self._learner.restore(self._make().state())
            self._learned = 0
            done = "begun anew"
        else:
            assert isinstance(entry, ForgettingEntry)
            if forgetting := capability(self._learner, Forgetting):
                forgetting.raise_forgetting(entry.factor, entry.events)
            done = f"forgetting raised by a factor of {entry.factor:g}"
        self._version = entry.version
        if entry.cause == DRIFT:
            self.note_done(done)
        self._unhandled = ()
        log.warning(done, model=self._settings.model, version=entry.version, cause=entry.cause)


@dataclass(slots=True)
class _Taken:
    """What came of the parts of a block."""

    events: int = 0
    duplicates: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    oldest_time: float | None = None


def _identities(batch: Batch) -> Sequence[str | None]:
    """By what redeliveries are known: the id, and whether there is a label, which may come after the event."""
    assert batch.ids is not None
    present = None if batch.labels is None else batch.labels.present
    if present is not None and present.all():
        return batch.ids
    rows: list[bool] = [False] * len(batch) if present is None else present.tolist()
    return [id if labelled or id is None else f"{_UNLABELLED}{id}" for id, labelled in zip(batch.ids, rows)]
