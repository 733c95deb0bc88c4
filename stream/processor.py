"""The loop: poll, decode, predict, learn, measure, publish, snapshot."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import numpy as np
import structlog

from thalweg.memory.snapshots import Manifest, Snapshots, UnknownVersion
from thalweg.memory.state import DamagedFile, State
from thalweg.memory.store import StoreError
from thalweg.models.drift import Alarm
from thalweg.models.learner import Learner, foreseen
from thalweg.proto.decode import Decoded, Decoder
from thalweg.proto.event import Batch, Partition, Position, cut
from thalweg.stream.blocks import Block, HistoryLost, Replay, gather
from thalweg.stream.dedup import RecentIds
from thalweg.stream.journal import (
    BlockEntry,
    Entry,
    Journal,
    JournalError,
    MemoryJournal,
    RollbackEntry,
    before_the_first,
)
from thalweg.stream.log import Log, LogError, Reader
from thalweg.stream.observer import NoObserver, Observer
from thalweg.stream.ports import AlarmBox, Command, Commands, DeadLetterBox, Evaluator, Publisher
from thalweg.stream.publishing import Publishing
from thalweg.stream.saver import Saver
from thalweg.stream.settings import ProcessorSettings

log = structlog.get_logger(__name__)

_UNLABELLED = "\0"  # before the id of an event without a label


class StateMismatch(Exception):
    """The saved state was made under other settings; the message says what to do."""


class _Stopped(Exception):
    """Told to stop while waiting for a disk or a broker; nothing of the block at hand is in the state."""


class Processor:
    """Keeps one learner in step with one topic.

    Each event is predicted before it is learned, so the metrics never grade a learner on what it has seen. State and
    log position are saved as one thing, and what each block was is journalled before its effect can be seen: after a
    crash both go back to the same event, the same blocks are learned again, and no event is learned twice or left out.

    One thread calls `run`; any thread may call `stop`.
    """

    def __init__(
        self,
        learner: Learner,
        source: Log,
        snapshots: Snapshots,
        settings: ProcessorSettings,
        *,
        journal: Journal | None = None,
        decoder: Decoder | None = None,
        publisher: Publisher | None = None,
        evaluator: Evaluator | None = None,
        observer: Observer | None = None,
        commands: Commands | None = None,
        dead_letters: DeadLetterBox | None = None,
        alarms: AlarmBox | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._learner = learner
        self._source = source
        self._settings = settings
        self._snapshots = snapshots
        self._journal: Journal = journal if journal is not None else MemoryJournal()
        self._decoder = decoder if decoder is not None else Decoder(learner.schema)
        self._evaluator = evaluator
        self._observer: Observer = observer if observer is not None else NoObserver()
        self._commands = commands
        self._dead_letters = dead_letters
        self._alarms = alarms
        self._clock = clock
        self._recent_ids = RecentIds(settings.dedup_events)
        self._saver = Saver(snapshots, self._journal, self._observer)
        self._publishing = Publishing(publisher, self._observer, settings.publish_share)
        self._stopping = threading.Event()

        self._version = 0
        self._parent: int | None = None
        self._end: dict[Partition, int] = {}
        self._learned = 0
        self._event_time = 0.0
        self._unsaved_events = 0
        self._block_events = 0
        self._untold: list[Alarm] = []
        self._owed: list[
            Alarm
        ] = []  # raised by the latest block; whatever follows it in the journal has dealt with them
        self._saved_at = time.monotonic()
        self._committed_at = 0.0

    @property
    def version(self) -> int:
        """Journal entries applied so far."""
        return self._version

    @property
    def events_learned(self) -> int:
        """Events in the state."""
        return self._learned

    @property
    def position(self) -> Position:
        """The last record of each partition that is in the state."""
        return dict(self._end)

    @property
    def state_sha256(self) -> str:
        """Hash of the learner's state as it is now; the learner's thread only."""
        return self._learner.state().sha256()

    def stop(self) -> None:
        """Ask `run` to finish its block, save, and return."""
        self._stopping.set()

    def run(self, *, until_end: bool = False) -> None:
        """Go on from the newest snapshot until `stop` (or the log's end), then save what is not saved yet.

        Raises:
            StateMismatch: The saved state belongs to other settings.
            OSError: The first snapshot cannot be written: the state folder is of no use.
        """
        try:
            with suppress(_Stopped):
                self.recover()
                self._publish(now=True)
                self._tell_alarms()
                self._follow(until_end)
            for _ in range(3):  # a disk that is full for a moment must not cost what was learned since
                self._save(wait=True)
                if self._saver.version == self._version:
                    break
        finally:
            self._saver.close()
            self._journal.close()

    def _follow(self, until_end: bool) -> None:
        reader = self._source.reader(self._settings.topics, self._end, "earliest", self._group)
        try:
            while not self._stopping.is_set():
                self._obey()
                if not self._step(reader) and until_end and not any(reader.lag().values()) and reader.reached():
                    break
            self._publish(now=True)
        finally:
            reader.close()

    # -- starting -----------------------------------------------------------------------------------------------------

    def recover(self, upto: int | None = None) -> None:
        """Load the newest snapshot and learn again what the journal says came after it, up to version `upto`."""
        newest = self._snapshots.newest()
        if newest is None:
            self._begin()
        else:
            self.load(newest.manifest, newest.parts)
            self._saver.found(self._version)
        self.replay(upto)

    def load(self, manifest: Manifest, parts: Mapping[str, State]) -> None:
        """Become that version."""
        wanted, got = self._settings.config_sha256, manifest.config_sha256
        if wanted != got:
            raise StateMismatch(
                f"model {self._settings.model!r}: the saved state (version {manifest.version}) was made under other "
                f"settings (hash {got[:12] or 'none'}, now {wanted[:12] or 'none'}); give the model a new name or "
                f"another state_dir, or restore the settings"
            )
        self._learner.restore(parts["learner"])
        if "recent_ids" in parts:
            self._recent_ids.restore(parts["recent_ids"])
        if self._evaluator is not None and "evaluator" in parts:
            self._evaluator.restore(parts["evaluator"])
        if self._alarms is not None and "alarms" in parts:
            self._alarms.restore(parts["alarms"])
        self._version, self._parent = manifest.version, manifest.version
        self._end, self._learned = dict(manifest.offsets), manifest.events_learned
        log.info("restored", model=self._settings.model, version=self._version, events=self._learned)

    def start_at(self, after: Position) -> None:
        """Begin with nothing learned, as if everything up to `after` had been before our time."""
        self._end = dict(after)

    def _begin(self) -> None:
        """Fix where a new model starts before anything is learned: at `latest`, what comes while we restart counts."""
        if self._journal.begins_after() == 0:  # all snapshots are damaged: replay from nothing
            self.start_at(before_the_first(self._journal))
            return
        if self._journal.begins_after() is not None:
            log.error("no snapshot verifies and the journal does not reach back to the beginning: starting anew")
            self._journal.truncate(0)
        reader = self._source.reader(self._settings.topics, {}, self._settings.start, self._group)
        self._end = dict(reader.position()) if self._settings.start == "latest" else {}
        reader.close()
        self._save(wait=True, must=True)

    def replay(self, upto: int | None = None) -> None:
        """Apply the journal's entries above the present version, the very same blocks in the same order."""
        first = self._version
        reader = self._source.reader(self._settings.topics, self._end, "earliest", self._group)
        sent = self._dead_letters.last_sent() if self._dead_letters is not None else {}
        try:
            replay = Replay(reader)
            for entry in self._journal.entries(self._version):
                if (upto is not None and entry.version > upto) or self._stopping.is_set():
                    break
                if not self._reapply(entry, replay, sent):
                    break
        except (HistoryLost, JournalError) as error:
            log.error(
                "what was learned after the snapshot cannot be repeated exactly: going on from here, with the rest "
                "of the journal dropped and its records learned as new blocks",
                model=self._settings.model,
                version=self._version,
                problem=str(error),
            )
            if upto is not None:
                raise
            self._journal.truncate(self._version)
        finally:
            reader.close()
        if self._version > first:
            log.info("replayed", model=self._settings.model, entries=self._version - first, version=self._version)

    def _reapply(self, entry: Entry, replay: Replay, sent: Position) -> bool:
        if isinstance(entry, RollbackEntry):
            self._apply_rollback(entry)
            return True
        block = replay.block(entry, self._stopping.is_set)
        if block is None:
            return False
        self._apply(block, entry, NoObserver(), sent)
        return True

    # -- going on -----------------------------------------------------------------------------------------------------

    @property
    def _group(self) -> str:
        return f"thalweg.{self._settings.model}"

    def _step(self, reader: Reader) -> bool:
        """Take and learn one block; False if nothing came."""
        settings = self._settings
        block = gather(
            reader,
            batch_records=settings.batch_events,
            batch_seconds=settings.batch_seconds,
            idle_seconds=settings.idle_seconds,
            max_bytes=settings.block_bytes,
        )
        for gap in reader.gaps():
            log.error(
                "retention deleted records before they were learned: going on from the earliest that is kept",
                model=settings.model,
                partition=str(gap.partition),
                first=gap.first,
                last=gap.last,
            )
            self._observer.lost(gap)
        if block is None or len(block) == 0:
            self._publish(now=True)
            if not any(reader.lag().values()) and reader.reached():
                self._publishing.confirm(self._clock())
            self._tell_alarms()
            self._housekeeping(reader)
            return False
        entry = BlockEntry(self._version + 1, block.ranges, settings.batch_events)
        self._persistently("journal", lambda: self._journal.append(entry))
        self._apply(block, entry, self._observer, {})
        self._tell_alarms()
        lag = reader.lag()
        self._observer.block_done(self._learner, self._version, lag)
        self._publish()
        self._publishing.confirm(self._event_time if any(lag.values()) else self._clock())
        self._housekeeping(reader)
        return True

    def _apply(self, block: Block, entry: BlockEntry, observer: Observer, sent: Position) -> None:
        """Learn a block: a function of the state, the block and the entry alone."""
        decoded = [self._decoder.decode(run) for run in block.records]
        self._set_aside(block, decoded, observer, sent)
        batches = [self._fresh(part.batch, observer) for part in decoded if len(part.batch)]
        events = sum(map(len, batches))
        if events:
            observer.consumed(events)
            self._event_time = max(self._event_time, *(float(batch.times.max()) for batch in batches if len(batch)))
            self._publishing.taken(min(float(batch.times.min()) for batch in batches if len(batch)))
        for micro_batch in cut(batches, entry.batch_events):
            predictor = self._learner.predictor()
            outputs = foreseen(predictor, micro_batch)
            if self._evaluator is not None:
                self._evaluator.predicted(micro_batch, predictor, outputs)
            observer.predicted(micro_batch, predictor, outputs)
            started = time.perf_counter()
            self._learner.learn(micro_batch)
            observer.learned(micro_batch, time.perf_counter() - started)
            self._learned += int(np.count_nonzero(micro_batch.labels.present)) if micro_batch.labels is not None else 0
        self._version = entry.version
        self._end.update(block.end)
        self._unsaved_events += events
        self._block_events = events
        news = self._evaluator.news() if self._evaluator is not None else ()
        self._untold += news
        self._owed = [alarm for alarm in news if alarm.end is None]

    def _tell_alarms(self) -> None:
        """Tell of what was raised or ended, and do what the latest block asks for.

        What a replay raised is told again: it may not have been before the process died.
        """
        untold, self._untold = self._untold, []
        for alarm in untold:
            self._observer.drifted(alarm)
        if self._alarms is not None:
            self._alarms.send(untold)
        owed, self._owed = self._owed, []
        for alarm in owed:
            self._act(alarm)

    def _act(self, alarm: Alarm) -> None:
        """Do what the configuration asks for on an alarm; what changes the state is journalled."""
        if alarm.action == "snapshot":
            self._save()
        elif alarm.action == "rollback":
            learned_since = alarm.start - alarm.since + self._settings.batch_events + self._block_events
            try:
                kept = [m for m in self._snapshots.manifests() if m.events_learned <= self._learned - learned_since]
                if not kept:
                    log.warning("no version from before the drift is kept: going on", model=self._settings.model)
                    return
                self.roll_back(kept[-1].version, "drift")
            except (UnknownVersion, DamagedFile, OSError) as error:
                log.error("cannot roll back: going on", model=self._settings.model, problem=str(error))

    def _fresh(self, batch: Batch, observer: Observer) -> Batch:
        """The events that were not seen before."""
        fresh = None if batch.ids is None else self._recent_ids.fresh(_identities(batch))
        if fresh is None:
            return batch
        observer.duplicated(int(len(batch) - np.count_nonzero(fresh)))
        return batch.take(fresh)

    def _set_aside(self, block: Block, decoded: list[Decoded], observer: Observer, sent: Position) -> None:
        """Keep what cannot be used; first of all, so that nothing is in the state should this have to be repeated."""
        for run, part in zip(block.records, decoded):
            if not part.rejected:
                continue
            observer.dead_lettered(Counter(rejected.reason for rejected in part.rejected))
            last = sent.get(run.partition, -1)
            unsent = [rejected for rejected in part.rejected if run.offsets[rejected.row] > last]
            if self._dead_letters is None:
                log.warning("records cannot be used", model=self._settings.model, first=str(part.rejected[0]))
            elif unsent:
                self._persistently("dead letters", partial(self._dead_letters.send, run, unsent))

    def _persistently(self, what: str, action: Callable[[], object]) -> None:
        """Do it, again and again while disk or broker refuse. Raises _Stopped when told to stop first."""
        wait = 0.1
        while True:
            try:
                action()
            except (OSError, LogError) as error:
                log.error("cannot write: trying again", what=what, model=self._settings.model, problem=str(error))
                if self._stopping.wait(wait):
                    raise _Stopped from error
                wait = min(2 * wait, 5.0)
            else:
                return

    def _housekeeping(self, reader: Reader) -> None:
        now = time.monotonic()
        if now - self._committed_at > 1.0 and self._end:
            reader.commit(self._end, f"version {self._version}")
            self._committed_at = now
        due = self._unsaved_events >= self._settings.snapshot_events
        due = due or now - self._saved_at >= self._settings.snapshot_seconds
        if due and self._version > self._saver.version and self._saver.ready():
            self._save()

    # -- showing and saving -------------------------------------------------------------------------------------------

    def _publish(self, *, now: bool = False) -> None:
        self._publishing.publish(self._learner, self._version, self._learned, self._event_time, now=now)

    def _save(self, *, wait: bool = False, must: bool = False) -> None:
        """Save the present version in the background; `wait` for it, and raise what went wrong if it `must`."""
        if self._version > self._saver.version:
            manifest = Manifest(
                model=self._settings.model,
                version=self._version,
                parent=self._parent,
                learner=self._settings.learner,
                config_sha256=self._settings.config_sha256,
                offsets=dict(self._end),
                events_learned=self._learned,
                created=self._clock(),
                metrics=dict(self._evaluator.metrics()) if self._evaluator is not None else {},
            )
            parts = {"learner": self._learner.state(), "recent_ids": self._recent_ids.state()}
            if self._evaluator is not None:
                parts["evaluator"] = self._evaluator.state()
            if self._alarms is not None:
                parts["alarms"] = self._alarms.state()
            self._saver.save(manifest, parts)
            self._parent = self._version
            self._unsaved_events, self._saved_at = 0, time.monotonic()
        if wait and (error := self._saver.wait()) is not None and must:
            raise error

    # -- being told ---------------------------------------------------------------------------------------------------

    def _obey(self) -> None:
        if self._commands is None:
            return
        for command in self._commands.asked(self._settings.model):
            try:
                result = self._carry_out(command)
            except (UnknownVersion, DamagedFile) as error:
                result = {"error": "failed_precondition", "message": str(error)}
            except OSError as error:
                result = {"error": "unavailable", "message": str(error)}
            try:
                self._commands.answer(command.id, result)
            except StoreError as error:  # it was done; only whoever asked does not hear of it
                log.warning("cannot answer a command", verb=command.verb, problem=str(error))

    def _carry_out(self, command: Command) -> Mapping[str, Any]:
        if command.verb == "snapshot":
            self._save(wait=True, must=True)
            return {"version": self._version}
        if command.verb == "rollback":
            return {"version": self.roll_back(int(command.arguments["version"]), "operator")}
        return {"error": "unimplemented", "message": f"command {command.verb!r} is not known to this learner"}

    def roll_back(self, to: int, cause: str) -> int:
        """Make the state that of a kept version again, under a new number; what was consumed stays consumed.

        Raises:
            UnknownVersion: That version is not kept.
            DamagedFile: It cannot be read.
        """
        self._saver.wait()
        self._snapshots.load(to)  # before it is journalled: an entry must be repeatable
        entry = RollbackEntry(self._version + 1, to, cause)
        self._journal.append(entry)
        self._apply_rollback(entry)
        self._observer.rolled_back(self._version, cause)
        self._publish(now=True)
        self._save(wait=True)
        return self._version

    def _apply_rollback(self, entry: RollbackEntry) -> None:
        kept = self._snapshots.load(entry.to)
        self._learner.restore(kept.parts["learner"])
        self._learned = kept.manifest.events_learned
        self._version, self._parent = entry.version, entry.to
        self._owed = []
        log.warning("rolled back", model=self._settings.model, to=entry.to, version=entry.version, cause=entry.cause)


def _identities(batch: Batch) -> Sequence[str | None]:
    """By what redeliveries are known: the id, and whether there is a label, which may come after the event."""
    assert batch.ids is not None
    present = None if batch.labels is None else batch.labels.present
    if present is not None and present.all():
        return batch.ids
    rows: list[bool] = [False] * len(batch) if present is None else present.tolist()
    return [id if labelled or id is None else f"{_UNLABELLED}{id}" for id, labelled in zip(batch.ids, rows)]
