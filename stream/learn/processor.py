"""The processing loop: read a block, apply it, notify, act on alarms, publish, snapshot."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial

import structlog

from thalweg.memory.snapshots.snapshots import Snapshots
from thalweg.models.contract.learner import Learner
from thalweg.proto.records import Position
from thalweg.stream.journal.entries import BlockEntry, Control, RollbackEntry
from thalweg.stream.journal.journal import InMemoryJournal, Journal, JournalError, before_the_first
from thalweg.stream.learn.blocks import Block, HistoryLost
from thalweg.stream.learn.cadence import PublishCadence
from thalweg.stream.learn.control import Controls, Policy
from thalweg.stream.learn.fold import Fold, check_settings
from thalweg.stream.learn.intake import Intake, Stopped
from thalweg.stream.learn.outcome import Outcome
from thalweg.stream.learn.ports import Evaluator, Ports
from thalweg.stream.learn.rebuild import apply_again
from thalweg.stream.learn.reporting import Reporter
from thalweg.stream.learn.saver import Saver
from thalweg.stream.learn.settings import ProcessorSettings
from thalweg.stream.log.identity import replaced
from thalweg.stream.log.log import Log, Reader
from thalweg.stream.runtime import REAL, Runtime

log = structlog.get_logger(__name__)

_COMMIT_SECONDS = 1.0
_LAST_SAVES = 3  # a disk that is full for a moment must not cost what was learned since the last snapshot


class Processor:
    """Consumes a model's topics and keeps its learner up to date.

    Each event is predicted before it is learned, so the metrics never grade a learner on events it has learned from.
    State and log position are saved together, and each block is journalled before it has a visible effect: after a
    crash both return to the same event, the same blocks are learned again, and no event is learned twice or lost.

    One thread calls `run`; any thread may call `stop`.

    Args:
        learner: A learner that has learned nothing.
        source: The log that holds the model's topics.
        snapshots: Snapshots of the model.
        settings: How the model consumes its topics.
        journal: The blocks learned since the snapshots; None: in memory, for one run.
        evaluator: Grades the predictions and may detect drift; None: no evaluation.
        make: Creates another learner that has learned nothing; None: the model cannot be reset.
        ports: All other inputs and outputs.
        runtime: Clocks, waits and threads.
    """

    def __init__(
        self,
        learner: Learner,
        source: Log,
        snapshots: Snapshots,
        settings: ProcessorSettings | None = None,
        *,
        journal: Journal | None = None,
        evaluator: Evaluator | None = None,
        make: Callable[[], Learner] | None = None,
        ports: Ports | None = None,
        runtime: Runtime = REAL,
    ) -> None:
        ports = ports if ports is not None else Ports()
        self._settings = settings = settings if settings is not None else ProcessorSettings()
        self._journal: Journal = journal if journal is not None else InMemoryJournal()
        self._snapshots = snapshots
        self._observer = ports.observer
        self._alarms = ports.alarms
        self._health = ports.health
        self._clock, self._ticks = runtime.clock, runtime.ticks
        self._stopping = runtime.signal()
        self._fold = Fold(learner, snapshots, settings, evaluator, make)
        self._intake = Intake(self._fold, source, self._journal, settings, ports, self._stopping, runtime.ticks)
        self._policy = Policy(settings, snapshots, can_reset=self._fold.can_reset)
        self._controls = Controls(self._fold, settings.model, ports, self._save_asked, self._change)
        self._reporter = Reporter(self._fold, self._observer.reported, runtime.clock, runtime.ticks)
        self._saver = Saver(snapshots, self._journal, self._observer, runtime, ports.saving)
        self._cadence = PublishCadence(
            ports.publisher, self._observer, settings.publish_share, runtime.ticks, ports.publishing
        )
        self._unsaved_events = 0
        self._saved_at = self._ticks()
        self._committed_at = 0.0
        self._reader: Reader | None = None

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
        """The last offset of each partition that is in the state."""
        return dict(self._fold.end)

    @property
    def state_sha256(self) -> str:
        """Hash of the learner's present state; for the learner's thread only."""
        return self._fold.learner.state().sha256()

    def stop(self) -> None:
        """Ask `run` to finish the current block, save and return."""
        self._stopping.set()

    # -- the loop -----------------------------------------------------------------------------------------------------

    def run(self, *, until_end: bool = False) -> None:
        """Continue from the newest snapshot until `stop` (or the end of the log), then save unsaved changes.

        Raises:
            StateMismatch: The saved state belongs to other settings.
            OSError: The first snapshot cannot be written: the state folder is not usable.
        """
        try:
            with suppress(Stopped), self.following() as turn:
                while not self._stopping.is_set():
                    if not turn() and until_end and self._at_end():
                        break
                self._publish(now=True)
            self._reporter.offer(must=True)
            for _ in range(_LAST_SAVES):
                self._save(wait=True)
                if self._saver.version == self._fold.version:
                    break
        finally:
            self._saver.close()
            self._journal.close()

    @contextmanager
    def following(self) -> Iterator[Callable[[], bool]]:
        """Recover and open the log; within the block, each call of the result is one turn of the loop: commands, then
        at most one block. It returns whether there was a block. For callers with a loop of their own; raises Stopped.
        """
        self.recover()
        with closing(self._intake.open(self._fold.end)) as reader:
            self._reader = reader
            yield partial(self._turn, reader)

    def _turn(self, reader: Reader) -> bool:
        self._controls.handle_commands()
        return self._step(reader)

    def _at_end(self) -> bool:
        return self._reader is not None and not any(self._reader.lag().values()) and self._reader.reached()

    def _step(self, reader: Reader) -> bool:
        """Read and learn one block; False if there was none."""
        idle_seconds = min(self._settings.idle_seconds, self._cadence.due_seconds())
        block = self._intake.take(reader, idle_seconds)  # journalled when it returns
        if block is not None:
            outcome = self._fold.apply(block)
            self._note(outcome)
            self._observer.block_done(outcome, self._fold.learner, reader.lag())
            self._tell_alarms(outcome)
            self._act(outcome)
        elif self._alarms is not None:
            self._alarms.send(())  # the pending ones
        self._publish(now=block is None)
        self._confirm(reader, idle=block is None)
        self._save_if_due()
        self._commit_if_due(reader)
        self._reporter.offer(reader.lag())
        if reader.reached():
            self._health.running()
        else:
            self._health.waiting("the log is out of reach")
        return block is not None

    def _note(self, outcome: Outcome) -> None:
        self._unsaved_events += outcome.events
        self._reporter.note(outcome)
        if outcome.oldest_time is not None:
            self._cadence.taken(outcome.oldest_time)

    def _tell_alarms(self, outcome: Outcome) -> None:
        for alarm in outcome.alarms:
            self._observer.drifted(alarm)
        if self._alarms is not None:
            self._alarms.send(outcome.alarms)

    def _act(self, outcome: Outcome) -> None:
        if (decision := self._policy.decide(outcome)) is not None:
            self._controls.act(decision)

    # -- starting -----------------------------------------------------------------------------------------------------

    def recover(self) -> None:
        """Load the newest snapshot, learn the journal's later entries again, and publish the result.

        Alarms raised on the way are reported again, and those of the last block are acted on: the process may have
        died before it did so. Raises Stopped.
        """
        newest = self._snapshots.newest()
        if newest is None:
            self._begin()
        else:
            self._fold.load(newest)
            if self._alarms is not None and "alarms" in newest.parts:
                self._alarms.restore(newest.parts["alarms"])
            self._saver.found(self.version)
            log.info("restored", model=self._settings.model, version=self.version, events=self.events_learned)
            if self._cadence.behind(self.version):
                # before reading the log, which may be unavailable for long: this version can already be served
                self._publish(now=True)
                self._cadence.confirm(newest.manifest.created)
        self._follow_identities()
        outcomes = self._replay()
        self._publish(now=True)
        for outcome in outcomes:
            self._tell_alarms(outcome)
        if outcomes:
            self._act(outcomes[-1])

    def _begin(self) -> None:
        """Fix a new model's start position before anything is learned: with `latest`, records that arrive during a
        restart count.
        """
        self._fold.identify(self._intake.identities())
        if self._journal.begins_after() == 0:  # all snapshots are damaged: replay from an empty state
            self._fold.start_at(before_the_first(self._journal))
            return
        if self._journal.begins_after() is not None:
            log.error("all snapshots are damaged and the journal has no beginning: starting with an empty state")
            self._journal.truncate(0)
        if self._settings.start == "latest":
            with closing(self._intake.open({}, "latest")) as reader:
                self._fold.start_at(reader.position())
        self._save(wait=True, must=True)

    def _follow_identities(self) -> None:
        """Read the topics from their beginning that were deleted and created again since the snapshot.

        The journal's entries name records that no longer exist. They are dropped, and an empty block takes their place:
        its version is saved, so that no replay crosses from one log to the other.
        """
        present = self._intake.identities()
        anew = replaced(self._fold.log_identity, present)
        self._fold.identify(present)
        if not anew:
            return
        read = {str(partition): last for partition, last in self._fold.end.items() if partition.topic in anew}
        log.error(
            "topics were deleted and created again since this state was saved: records in them that were not learned "
            "yet are lost; reading the new ones from their beginning",
            model=self._settings.model,
            topics=anew,
            read=read,
        )
        self._journal.restart(self.version)
        self._fold.read_anew(anew)
        empty = BlockEntry(self.version + 1, (), self._settings.batch_events)
        self._journal.append(empty)
        self._fold.apply(self._fold.decode(empty, Block(())))
        self._save(wait=True)
        for topic in anew:
            self._observer.log_replaced(topic)

    def _replay(self) -> list[Outcome]:
        """Outcomes of the journal's entries above the present version: the last one, and those with alarms."""
        first, sent, kept = self.version, self._intake.last_sent(), list[Outcome]()
        try:
            with closing(self._intake.open(self._fold.end)) as reader:
                for outcome in apply_again(
                    self._fold,
                    self._journal,
                    reader,
                    decode=lambda entry, block: self._intake.decode(entry, block, sent),
                    give_up=self._stopping.is_set,
                ):
                    self._health.beat()
                    self._note(outcome)
                    kept = [*(one for one in kept if one.alarms), outcome]
                    self._reporter.offer()
        except (HistoryLost, JournalError) as error:
            log.error(
                "events learned after the snapshot cannot be replayed exactly: continuing from here, with the rest "
                "of the journal dropped and its records learned as new blocks",
                model=self._settings.model,
                version=self.version,
                problem=str(error),
            )
            self._journal.truncate(self.version)
        if self.version > first:
            log.info("replayed", model=self._settings.model, entries=self.version - first, version=self.version)
        return kept

    # -- publishing and saving ----------------------------------------------------------------------------------------

    def _publish(self, *, now: bool = False) -> None:
        self._cadence.publish(self._fold, now=now)

    def _confirm(self, reader: Reader, *, idle: bool) -> None:
        """Confirm how fresh the published version is: as of now if everything was read, else as of its newest record.

        Not as of its newest event, whose time is what its producer says.
        """
        behind = any(reader.lag().values())
        if idle and not behind and reader.reached():
            self._cadence.confirm(self._clock())
        elif not idle:
            now = self._clock()
            self._cadence.confirm(min(self._fold.appended_time, now) if behind else now)

    def _save_if_due(self) -> None:
        due = self._unsaved_events >= self._settings.snapshot_events
        due = due or self._ticks() - self._saved_at >= self._settings.snapshot_seconds
        if due and self.version > self._saver.version and self._saver.ready():
            self._save()

    def _commit_if_due(self, reader: Reader) -> None:
        now = self._ticks()
        if now - self._committed_at > _COMMIT_SECONDS and self._fold.end:
            reader.commit(self._fold.end, f"version {self.version}")
            self._committed_at = now

    def _save(self, *, wait: bool = False, must: bool = False) -> None:
        """Save the present version in the background; `wait` for it, and raise its error if it `must` succeed."""
        if self.version > self._saver.version:
            self._intake.note_identities()
            taken = self._fold.snapshot(self._clock())
            waiting = {} if self._alarms is None else {"alarms": self._alarms.state()}
            self._saver.save(taken.manifest, {**taken.parts, **waiting})
            self._unsaved_events, self._saved_at = 0, self._ticks()
        if wait and (error := self._saver.wait()) is not None and must:
            raise error

    def _save_asked(self, wait: bool) -> None:
        self._save(wait=wait, must=wait)

    def _change(self, entry: Control) -> Outcome:
        """Journal a control entry, apply it, and publish and save the result."""
        if isinstance(entry, RollbackEntry):
            self._saver.wait()
            # before it is journalled: an entry must be repeatable
            check_settings(self._snapshots.load(entry.to).manifest, self._settings)
        self._journal.append(entry)
        outcome = self._fold.apply(entry)
        if isinstance(entry, RollbackEntry):
            self._observer.rolled_back(self.version, entry.cause)
        self._publish(now=True)
        self._save(wait=True)
        return outcome
