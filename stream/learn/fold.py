"""What a model is: a fold over its journal, `state(v) = fold(learn, state(0), log[0 … v])`."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import structlog

from thalweg.memory.snapshots.snapshots import Manifest, Snapshots
from thalweg.memory.snapshots.state import State
from thalweg.models.contract.capabilities import Forgetting, capability, predict_batch
from thalweg.models.contract.learner import Learner
from thalweg.proto.event import Batch, cut
from thalweg.proto.records import Partition, Position
from thalweg.stream.drift.alarm import Alarm
from thalweg.stream.learn.dedup import RecentIds
from thalweg.stream.learn.journal import BlockEntry, Control, ForgettingEntry, ResetEntry, RollbackEntry
from thalweg.stream.learn.observer import Observer
from thalweg.stream.learn.ports import AlarmSink, Evaluator
from thalweg.stream.learn.settings import ProcessorSettings

log = structlog.get_logger(__name__)

_UNLABELLED = "\0"  # before the id of an event without a label
DRIFT = "drift"
"""The cause of a control entry that an alarm asked for."""


class StateMismatch(Exception):
    """The saved state was made under other settings; the message says what to do."""


class Fold:
    """A learner, what grades it, the ids it has seen, and the position in the log that all of it belongs to.

    Everything here follows from the entries that were applied, in their order. One thread uses it.

    Args:
        learner: With nothing learned.
        snapshots: Where the versions are that a rollback goes back to.
        settings: The model's.
        evaluator: Grades the answers, and watches for drift; None: nobody does.
        alarms: Keeps alarms that wait to be sent; None: nobody does.
        make: Makes another learner with nothing learned; None: this model is never reset.
    """

    def __init__(
        self,
        learner: Learner,
        snapshots: Snapshots,
        settings: ProcessorSettings,
        evaluator: Evaluator | None = None,
        alarms: AlarmSink | None = None,
        make: Callable[[], Learner] | None = None,
    ) -> None:
        self.learner = learner
        self._snapshots = snapshots
        self._settings = settings
        self._evaluator = evaluator
        self._alarms = alarms
        self._make = make
        self._recent_ids = RecentIds(settings.dedup_events)
        self.version = 0
        """Entries applied so far."""
        self.parent: int | None = None
        """The saved version that this came of."""
        self.end: dict[Partition, int] = {}
        """The last record of each partition that is in the state."""
        self.learned = 0
        """Labelled events in the state."""
        self.event_time = 0.0
        """Unix seconds of the newest event met."""
        self.unreported: list[Alarm] = []
        """Alarms raised or ended that nobody was told of."""
        self.unhandled: list[Alarm] = []
        """Those that the latest block raised; whatever follows it in the journal has dealt with them."""
        self.block_events = 0
        """Events of the latest block."""

    def load(self, manifest: Manifest, parts: Mapping[str, State]) -> None:
        """Become that version. Raises StateMismatch."""
        wanted, got = self._settings.config_sha256, manifest.config_sha256
        if wanted != got:
            raise StateMismatch(
                f"model {self._settings.model!r}: the saved state (version {manifest.version}) was made under other "
                f"settings (hash {got[:12] or 'none'}, now {wanted[:12] or 'none'}); give the model a new name or "
                f"another state_dir, or restore the settings"
            )
        self.learner.restore(parts["learner"])
        if "recent_ids" in parts:
            self._recent_ids.restore(parts["recent_ids"])
        if self._evaluator is not None and "evaluator" in parts:
            self._evaluator.restore(parts["evaluator"])
        if self._alarms is not None and "alarms" in parts:
            self._alarms.restore(parts["alarms"])
        self.version, self.parent = manifest.version, manifest.version
        self.end, self.learned = dict(manifest.offsets), manifest.events_learned

    def manifest(self, created: float) -> Manifest:
        """What is to be said of this version when it is saved, at this time (Unix seconds)."""
        return Manifest(
            model=self._settings.model,
            version=self.version,
            parent=self.parent,
            learner=self._settings.learner,
            config_sha256=self._settings.config_sha256,
            offsets=dict(self.end),
            events_learned=self.learned,
            created=created,
            metrics=dict(self._evaluator.metrics()) if self._evaluator is not None else {},
        )

    def parts(self) -> dict[str, State]:
        """Everything that `load` wants."""
        parts = {"learner": self.learner.state(), "recent_ids": self._recent_ids.state()}
        if self._evaluator is not None:
            parts["evaluator"] = self._evaluator.state()
        if self._alarms is not None:
            parts["alarms"] = self._alarms.state()
        return parts

    def fresh(self, batch: Batch, observer: Observer) -> Batch:
        """The events that were not seen before."""
        fresh = None if batch.ids is None else self._recent_ids.fresh(_identities(batch))
        if fresh is None:
            return batch
        observer.duplicated(int(len(batch) - np.count_nonzero(fresh)))
        return batch.take(fresh)

    def learn(self, batches: Sequence[Batch], entry: BlockEntry, end: Position, observer: Observer) -> int:
        """Predict, grade and learn a block's events, which are fresh; how many there were."""
        for micro_batch in cut(batches, entry.batch_events):
            predictor = self.learner.predictor()
            outputs = predict_batch(predictor, micro_batch)
            if self._evaluator is not None:
                self._evaluator.predicted(micro_batch, predictor, outputs)
            observer.predicted(micro_batch, predictor, outputs)
            started = time.perf_counter()
            self.learner.learn(micro_batch)
            observer.learned(micro_batch, time.perf_counter() - started)
            self.learned += int(np.count_nonzero(micro_batch.labels.present)) if micro_batch.labels is not None else 0
            self.event_time = max(self.event_time, float(micro_batch.times.max()))
        self.version = entry.version
        self.end.update(end)
        self.block_events = sum(map(len, batches))
        news = self._evaluator.news() if self._evaluator is not None else ()
        self.unreported += news
        self.unhandled = [alarm for alarm in news if alarm.end is None]
        return self.block_events

    def apply(self, entry: Control) -> None:
        """Change the state as an entry says.

        Raises:
            UnknownVersion: The version to go back to is not kept.
            DamagedFile: It cannot be read.
        """
        if isinstance(entry, RollbackEntry):
            kept = self._snapshots.load(entry.to)
            self.learner.restore(kept.parts["learner"])
            self.learned, self.parent = kept.manifest.events_learned, entry.to
            done = f"rolled back to version {entry.to}"
        elif isinstance(entry, ResetEntry):
            if self._make is None:
                raise RuntimeError(f"model {self._settings.model!r}: nothing here makes a new learner to reset it to")
            self.learner.restore(self._make().state())
            self.learned = 0
            done = "begun anew"
        else:
            assert isinstance(entry, ForgettingEntry)
            if forgetting := capability(self.learner, Forgetting):
                forgetting.raise_forgetting(entry.factor, entry.events)
            done = f"forgetting raised by a factor of {entry.factor:g}"
        self.version = entry.version
        if entry.cause == DRIFT:
            self.note_done(done)
        self.unhandled = []
        log.warning(done, model=self._settings.model, version=entry.version, cause=entry.cause)

    @property
    def can_reset(self) -> bool:
        """Whether another learner can be made; asked before a reset is journalled, for what is must be repeatable."""
        return self._make is not None

    def note_done(self, done: str) -> None:
        """Write down what was done about the alarms that are owed something."""
        if self._evaluator is not None:
            for alarm in self.unhandled:
                self._evaluator.note_done(alarm.number, done)


def _identities(batch: Batch) -> Sequence[str | None]:
    """By what redeliveries are known: the id, and whether there is a label, which may come after the event."""
    assert batch.ids is not None
    present = None if batch.labels is None else batch.labels.present
    if present is not None and present.all():
        return batch.ids
    rows: list[bool] = [False] * len(batch) if present is None else present.tolist()
    return [id if labelled or id is None else f"{_UNLABELLED}{id}" for id, labelled in zip(batch.ids, rows)]
