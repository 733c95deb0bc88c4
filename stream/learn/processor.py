"""The loop: poll, decode, predict, learn, measure, publish, snapshot."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import TypeVar

import structlog

from thalweg.memory.snapshots.snapshots import Manifest, Snapshots
from thalweg.memory.snapshots.state import State
from thalweg.models.contract.learner import Learner
from thalweg.proto.decode import Decoded, Decoder
from thalweg.proto.records import Position
from thalweg.stream.learn.blocks import Block, HistoryLost, Replay, gather
from thalweg.stream.learn.cadence import PublishCadence
from thalweg.stream.learn.control import Controls
from thalweg.stream.learn.fold import Fold
from thalweg.stream.learn.journal import (
    BlockEntry,
    Control,
    Entry,
    InMemoryJournal,
    Journal,
    JournalError,
    RollbackEntry,
    before_the_first,
)
from thalweg.stream.learn.observer import NoObserver, Observer
from thalweg.stream.learn.ports import AlarmSink, Commands, DeadLetterSink, Evaluator, Publisher
from thalweg.stream.learn.saver import Saver
from thalweg.stream.learn.settings import ProcessorSettings
from thalweg.stream.log.log import Log, LogError, Reader, Start

log = structlog.get_logger(__name__)
Answer = TypeVar("Answer")


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
        dead_letters: DeadLetterSink | None = None,
        alarms: AlarmSink | None = None,
        make: Callable[[], Learner] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._source = source
        self._settings = settings
        self._snapshots = snapshots
        self._journal: Journal = journal if journal is not None else InMemoryJournal()
        self._decoder = decoder if decoder is not None else Decoder(learner.schema)
        self._observer: Observer = observer if observer is not None else NoObserver()
        self._dead_letters = dead_letters
        self._alarms = alarms
        self._clock = clock
        self._fold = Fold(learner, snapshots, settings, evaluator, alarms, make)
        self._controls = Controls(
            self._fold, snapshots, settings, commands, self._save_asked, self._change, self._observer
        )
        self._saver = Saver(snapshots, self._journal, self._observer)
        self._cadence = PublishCadence(publisher, self._observer, settings.publish_share)
        self._stopping = threading.Event()
        self._unsaved_events = 0
        self._saved_at = time.monotonic()
        self._committed_at = 0.0

    @property
    def version(self) -> int:
        """Journal entries applied so far."""
        return self._fold.version

    @property
    def events_learned(self) -> int:
        """Events in the state."""
        return self._fold.learned

    @property
    def position(self) -> Position:
        """The last record of each partition that is in the state."""
        return dict(self._fold.end)

    @property
    def state_sha256(self) -> str:
        """Hash of the learner's state as it is now; the learner's thread only."""
        return self._fold.learner.state().sha256()

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
                self._recover(None, shown=True)
                self._publish(now=True)
                self._tell_alarms()
                self._follow(until_end)
            for _ in range(3):  # a disk that is full for a moment must not cost what was learned since
                self._save(wait=True)
                if self._saver.version == self._fold.version:
                    break
        finally:
            self._saver.close()
            self._journal.close()

    def _follow(self, until_end: bool) -> None:
        reader = self._open(self._fold.end)
        try:
            while not self._stopping.is_set():
                self._controls.handle_commands()
                if not self._step(reader) and until_end and not any(reader.lag().values()) and reader.reached():
                    break
            self._publish(now=True)
        finally:
            reader.close()

    # -- starting -----------------------------------------------------------------------------------------------------

    def recover(self, upto: int | None = None) -> None:
        """Load the newest snapshot and learn again what the journal says came after it, up to version `upto`."""
        self._recover(upto, shown=False)

    def _recover(self, upto: int | None, *, shown: bool) -> None:
        newest = self._snapshots.newest()
        if newest is None:
            self._begin()
        else:
            self.load(newest.manifest, newest.parts)
            self._saver.found(self._fold.version)
            if shown and self._cadence.behind(self.version):
                # before the log is asked for anything: it may be away for long, and this can be served
                self._publish(now=True)
                self._cadence.confirm(newest.manifest.created)
        self.replay(upto)

    def load(self, manifest: Manifest, parts: Mapping[str, State]) -> None:
        """Become that version. Raises StateMismatch."""
        self._fold.load(manifest, parts)
        log.info("restored", model=self._settings.model, version=self.version, events=self.events_learned)

    def start_at(self, after: Position) -> None:
        """Begin with nothing learned, as if everything up to `after` had been before our time."""
        self._fold.end = dict(after)

    def _begin(self) -> None:
        """Fix where a new model starts before anything is learned: at `latest`, what comes while we restart counts."""
        if self._journal.begins_after() == 0:  # all snapshots are damaged: replay from nothing
            self.start_at(before_the_first(self._journal))
            return
        if self._journal.begins_after() is not None:
            log.error("no snapshot verifies and the journal does not reach back to the beginning: starting anew")
            self._journal.truncate(0)
        if self._settings.start == "latest":
            reader = self._open({}, "latest")
            self._fold.end = dict(reader.position())
            reader.close()
        else:
            self._fold.end = {}
        self._save(wait=True, must=True)

    def replay(self, upto: int | None = None) -> None:
        """Apply the journal's entries above the present version, the very same blocks in the same order."""
        first = self.version
        letters = self._dead_letters
        sent = self._persistently("dead letters", letters.last_sent) if letters is not None else {}
        reader = self._open(self._fold.end) if upto is None else self._reader(self._fold.end)
        try:
            replay = Replay(reader)
            for entry in self._journal.entries(self.version):
                if (upto is not None and entry.version > upto) or self._stopping.is_set():
                    break
                if not self._reapply(entry, replay, sent):
                    break
        except (HistoryLost, JournalError) as error:
            log.error(
                "what was learned after the snapshot cannot be repeated exactly: going on from here, with the rest "
                "of the journal dropped and its records learned as new blocks",
                model=self._settings.model,
                version=self.version,
                problem=str(error),
            )
            if upto is not None:
                raise
            self._journal.truncate(self.version)
        finally:
            reader.close()
        if self.version > first:
            log.info("replayed", model=self._settings.model, entries=self.version - first, version=self.version)

    def _reapply(self, entry: Entry, replay: Replay, sent: Position) -> bool:
        if not isinstance(entry, BlockEntry):
            self._fold.apply(entry)
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
            idle_seconds=min(settings.idle_seconds, self._cadence.due_seconds()),
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
                self._cadence.confirm(self._clock())
            self._tell_alarms()
            self._housekeeping(reader)
            return False
        entry = BlockEntry(self.version + 1, block.ranges, settings.batch_events)
        self._persistently("journal", lambda: self._journal.append(entry))
        self._apply(block, entry, self._observer, {})
        self._tell_alarms()
        lag = reader.lag()
        self._observer.block_done(self._fold.learner, self.version, lag)
        self._publish()
        self._cadence.confirm(self._fold.event_time if any(lag.values()) else self._clock())
        self._housekeeping(reader)
        return True

    def _apply(self, block: Block, entry: BlockEntry, observer: Observer, sent: Position) -> None:
        """Learn a block: a function of the state, the block and the entry alone."""
        decoded = [self._decoder.decode(run) for run in block.records]
        self._set_aside(block, decoded, observer, sent)
        batches = [self._fold.fresh(part.batch, observer) for part in decoded if len(part.batch)]
        batches = [batch for batch in batches if len(batch)]
        if batches:
            observer.consumed(sum(map(len, batches)))
            self._cadence.taken(min(float(batch.times.min()) for batch in batches))
        self._unsaved_events += self._fold.learn(batches, entry, block.end, observer)

    def _tell_alarms(self) -> None:
        """Tell of what was raised or ended, and do what the latest block asks for.

        What a replay raised is told again: it may not have been before the process died.
        """
        unreported, self._fold.unreported = self._fold.unreported, []
        for alarm in unreported:
            self._observer.drifted(alarm)
        if self._alarms is not None:
            self._alarms.send(unreported)
        self._controls.act()

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

    def _persistently(self, what: str, action: Callable[[], Answer]) -> Answer:
        """Do it, again and again while disk or broker refuse. Raises _Stopped when told to stop first."""
        wait = 0.1
        while True:
            try:
                return action()
            except (OSError, LogError) as error:
                log.error("refused: trying again", what=what, model=self._settings.model, problem=str(error))
                if self._stopping.wait(wait):
                    raise _Stopped from error
                wait = min(2 * wait, 5.0)

    def _open(self, after: Position, start: Start = "earliest") -> Reader:
        """A reader of our topics; while the log is away it is waited for."""
        return self._persistently("log", lambda: self._reader(after, start))

    def _reader(self, after: Position, start: Start = "earliest") -> Reader:
        return self._source.reader(self._settings.topics, after, start, self._group)

    def _housekeeping(self, reader: Reader) -> None:
        now = time.monotonic()
        if now - self._committed_at > 1.0 and self._fold.end:
            reader.commit(self._fold.end, f"version {self.version}")
            self._committed_at = now
        due = self._unsaved_events >= self._settings.snapshot_events
        due = due or now - self._saved_at >= self._settings.snapshot_seconds
        if due and self.version > self._saver.version and self._saver.ready():
            self._save()

    # -- showing and saving -------------------------------------------------------------------------------------------

    def _publish(self, *, now: bool = False) -> None:
        fold = self._fold
        self._cadence.publish(fold.learner, fold.version, fold.learned, fold.event_time, now=now)

    def _save(self, *, wait: bool = False, must: bool = False) -> None:
        """Save the present version in the background; `wait` for it, and raise what went wrong if it `must`."""
        if self.version > self._saver.version:
            self._saver.save(self._fold.manifest(self._clock()), self._fold.parts())
            self._fold.parent = self.version
            self._unsaved_events, self._saved_at = 0, time.monotonic()
        if wait and (error := self._saver.wait()) is not None and must:
            raise error

    def _save_asked(self, wait: bool) -> None:
        self._save(wait=wait, must=wait)

    def _change(self, entry: Control) -> None:
        """Journal what changes the state, apply it, and show and save what came of it."""
        if isinstance(entry, RollbackEntry):
            self._saver.wait()
            self._snapshots.load(entry.to)  # before it is journalled: an entry must be repeatable
        self._journal.append(entry)
        self._fold.apply(entry)
        if isinstance(entry, RollbackEntry):
            self._observer.rolled_back(self.version, entry.cause)
        self._publish(now=True)
        self._save(wait=True)
