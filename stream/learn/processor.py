"""The processing loop: read a block, apply it, notify, act on alarms, publish, snapshot."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

import structlog

from thalweg.memory.snapshots.snapshots import Snapshots
from thalweg.models.contract.learner import Learner
from thalweg.proto.records import Partition, Position
from thalweg.stream.comparison.collector import Collector
from thalweg.stream.health.reading import report_reading
from thalweg.stream.journal.entries import Control
from thalweg.stream.journal.journal import InMemoryJournal, Journal
from thalweg.stream.learn.beginning import Beginning
from thalweg.stream.learn.cadence import PublishCadence
from thalweg.stream.learn.context import ModelContext
from thalweg.stream.learn.control import Changes, Controls, NotApplied, Policy
from thalweg.stream.learn.fold import DRIFT, Fold
from thalweg.stream.learn.intake import NOT_THE_EVENTS, Intake
from thalweg.stream.learn.outcome import Outcome
from thalweg.stream.learn.ports import Evaluator, Ports
from thalweg.stream.learn.reporting import Reporter
from thalweg.stream.learn.saving.saver import Saver
from thalweg.stream.learn.saving.saving import Saving
from thalweg.stream.learn.saving.warm import Warm
from thalweg.stream.learn.settings import ProcessorSettings
from thalweg.stream.log.dead_letters import dead_letters_of
from thalweg.stream.log.log import Log, LogReplaced, Reader
from thalweg.stream.quarantine.breaker import Breaker
from thalweg.stream.quarantine.recovery import Recovery, Tripped
from thalweg.stream.quarantine.standstill import Standstill
from thalweg.stream.quarantine.stop import Stop
from thalweg.stream.retry import Stopped
from thalweg.stream.runtime import REAL, Runtime

log = structlog.get_logger(__name__)

_QUIET_TURNS = ((20.0, 20.0), (2.0, 4.0))
"""After so many seconds without a record, a turn waits so many times as long for one: a hundred quiet models take
little of a core. A record is noticed as soon, a command later."""
_STANDING_SECONDS = 0.05  # between two looks at the commands while the model stands still


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
        warm: A fold to go on with, of this learner and evaluator and these snapshots; None: from the newest snapshot.
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
        warm: Warm | None = None,
    ) -> None:
        ports = ports if ports is not None else Ports()
        settings = settings if settings is not None else ProcessorSettings()
        journal = journal if journal is not None else InMemoryJournal()
        stopping = runtime.signal()
        losses = None
        if ports.losses is not None:
            losses = Collector(settings.model, ports.losses.name, settings.joined_topic)
        fold = Fold(learner, snapshots, settings, evaluator, make, ports.schemas, losses) if warm is None else warm.fold
        context = ModelContext(
            fold=fold,
            source=source,
            snapshots=snapshots,
            journal=journal,
            settings=settings,
            ports=ports,
            runtime=runtime,
            stopping=stopping,
        )
        self._fold, self._snapshots, self._journal, self._settings = fold, snapshots, journal, settings
        self._observer, self._alarms, self._health = ports.observer, ports.alarms, ports.health
        self._attempts, self._losses, self._tracker = ports.attempts, ports.losses, ports.tracker
        self._siblings = ports.siblings
        self._clock, self._ticks, self._stopping = runtime.clock, runtime.ticks, stopping
        self._intake = Intake(context)
        self._saver = Saver(snapshots, journal, ports.observer, runtime, ports.saving)
        self._saving = Saving(context, self._intake, self._saver)
        self._beginning = Beginning(context, self._intake, self._saving)
        self._breaker = Breaker(settings)
        self._recovery = Recovery(context, self._intake, self._breaker, self._saver.newest)
        self._standstill = Standstill(settings.model, ports.stop_mark, ports.health)
        self._policy = Policy(settings, snapshots, can_reset=fold.can_reset)
        self._changes = Changes(context, self._standstill, self._recovery, self._saving)
        self._controls = Controls(context, self._saving, self._change, self._standstill)
        self._reporter = Reporter(fold, ports.observer.reported, runtime.clock, runtime.ticks, settings.learner)
        self._cadence = PublishCadence(ports, journal.sync, settings.publish_share, runtime)
        self._warm = warm
        self._reader: Reader | None = None
        self._taken_at = runtime.ticks()

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

    @property
    def stopped_by(self) -> Stop | None:
        """Why the circuit breaker has stopped the model; None if it has not."""
        return self._standstill.stop

    def stop(self) -> None:
        """Ask `run` to finish the current block, save and return."""
        self._stopping.set()

    # -- the loop -----------------------------------------------------------------------------------------------------

    def run(self, *, until_end: bool = False) -> None:
        """Continue from the newest snapshot until `stop` (or the end of the log), then save unsaved changes.

        Raises:
            StateMismatch: The saved state belongs to other settings.
            OSError: The first snapshot cannot be written: the state folder is not usable.
            NotSaved: The last snapshot cannot be written.
        """
        try:
            with suppress(Stopped), self.following() as turn:
                while not self._stopping.is_set():
                    if not turn() and until_end and (self._standstill.stop is not None or self._at_end()):
                        break
                self._publish(now=True)
            self._reporter.offer(must=True)
            self._saving.save_last()
        except LogReplaced:
            if self._snapshots.manifests():  # else the state folder is gone as well, and must not come back
                self._saving.save(wait=True)  # its records are gone: only a snapshot leads to what was served
            raise
        finally:
            self._saver.close()
            self._journal.close()
            self._attempts.close()
            if self._losses is not None:
                self._losses.close()
            if self._siblings is not None:
                self._siblings.close()
            self._tracker.close()

    @contextmanager
    def following(self) -> Iterator[Callable[[], bool]]:
        """Recover and open the log; within the block, each call of the result is one turn of the loop: commands, then
        at most one block. It returns whether there was a block. For callers with a loop of their own; raises Stopped.
        """
        self.recover()
        try:
            yield self._turn
        finally:
            self._close_reader()

    def _turn(self) -> bool:
        try:
            self._controls.handle_commands()
            if self._standstill.stop is not None:
                return self._stand_still()
            if self._reader is None:
                self._follow_replaced()
                self._reader = self._intake.open(self._fold.end)
            found = self._step(self._reader)
            self._follow_replaced()
        except Tripped as tripped:
            self._standstill.begin(tripped.stop)
            self._publish(now=True)
        except _Reopen:
            pass
        else:
            return found
        self._close_reader()
        return True

    def _follow_replaced(self) -> None:
        if self._intake.replaced:  # the last block was the last one of a deleted topic
            self._intake.replaced = False
            self._beginning.follow_identities()
        places, self._intake.rewound = self._intake.rewound, {}
        self._beginning.follow_older_copy(places)

    def _close_reader(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def _at_end(self) -> bool:
        return self._reader is not None and not any(self._reader.lag().values()) and self._reader.reached()

    def _step(self, reader: Reader) -> bool:
        """Read and learn one block; False if there was none."""
        quiet = self._ticks() - self._taken_at
        idle_seconds = self._settings.idle_seconds * next((turn for least, turn in _QUIET_TURNS if quiet > least), 1.0)
        idle_seconds = min(idle_seconds, self._cadence.due_seconds())
        taken = self._intake.take(reader, idle_seconds)  # journalled when it returns
        if taken is not None:
            self._taken_at = self._ticks()
            self._tracker.taken(taken[0].version, taken[1].records, self._clock())
            if self._cadence.due():
                self._journal.begin_sync()  # while the block is learned
            if self._losses is not None:
                self._intake.identify(taken[1])
            began = self._ticks()
            self._attempts.begin(taken[0].version)
            try:
                outcome = self._fold.apply(self._intake.decode(*taken, {}))
            except NOT_THE_EVENTS:
                self._attempts.pause()
                raise
            except Exception as error:
                self._attempts.end()
                self._get_past(error, reader.lag())
                raise _Reopen from error
            self._attempts.end()
            took = self._ticks() - began
            self._saving.took(took)
            self._intake.learned(taken[0], outcome, took)
            self._tracker.learned(outcome.version, took, self._clock())
            self._note(outcome)
            self._done(outcome, reader.lag())
            self._average()
        elif self._alarms is not None:
            self._alarms.send(())  # the pending ones
        self._publish(now=taken is None)
        self._confirm(reader, idle=taken is None)
        self._saving.save_if_due()
        self._saving.commit_if_due(reader)
        self._reporter.offer(reader.lag())
        self._tell_health(reader)
        return taken is not None

    def _done(self, outcome: Outcome, lag: Mapping[Partition, int]) -> None:
        self._observer.block_done(outcome, self._fold.learner, lag)
        self._tell_alarms(outcome)
        self._act(outcome)
        self._recovery.after_block(outcome)
        if (undecodable := self._breaker.undecodable(outcome)) is not None:
            what, cause = undecodable
            cause += f"; see the dead letters ({dead_letters_of(self._settings.topic)})"
            raise Tripped(Stop(self.version, what, cause, self._clock()))

    def _tell_health(self, reader: Reader) -> None:
        if not reader.reached() or reader.problem() is not None:
            report_reading(self._health, reader)
        elif degraded := self._recovery.evaluation_stopped or self._reporter.skips:
            self._health.degraded(degraded)
        elif self._reporter.problem:
            self._health.degraded(f"its status cannot be reported: {self._reporter.problem}")
        else:
            self._health.running()

    def _note(self, outcome: Outcome) -> None:
        self._saving.learned(outcome.events)
        self._reporter.note(outcome)
        if self._losses is not None and outcome.losses is not None:
            self._losses.add(outcome.losses)
        if outcome.oldest_time is not None:
            self._cadence.taken(outcome.oldest_time)

    def _tell_alarms(self, outcome: Outcome) -> None:
        if outcome.alarms:
            self._intake.sync()
        for alarm in outcome.alarms:
            self._observer.drifted(alarm)
        if self._alarms is not None:
            self._alarms.send(outcome.alarms, outcome.digests)

    def _average(self) -> None:
        """Average parameters with other shards if it is time for it. What fails is told; the shard learns on alone."""
        if self._siblings is None:
            return
        try:
            entry = self._siblings.entry(self._fold.learner, self.version, self.events_learned)
            if entry is not None:
                self._changes.make(entry)
                self._saving.save()
        except (NotApplied, OSError) as error:
            log.error("parameters are not averaged with other shards", model=self._settings.model, problem=str(error))

    def _act(self, outcome: Outcome) -> None:
        if (decision := self._policy.decide(outcome)) is not None:
            self._controls.act(decision)

    # -- failing ------------------------------------------------------------------------------------------------------

    def _get_past(self, error: Exception, lag: Mapping[Partition, int]) -> None:
        """Learn the newest block without what raises. Raises Tripped or Stopped."""
        for outcome in self._recovery.past(error, self._note):
            self._done(outcome, lag)

    def _stand_still(self) -> bool:
        """Wait a moment for an operator to resume the model, or else try again; whether it goes on."""
        if self._standstill.wait():
            self._saving.save_if_due()
            self._reporter.offer()
            self._stopping.wait(_STANDING_SECONDS)
            return False
        self._breaker.reset()
        stop = self._standstill.end()
        if stop is not None:
            self._recovery.skip_at(stop)
        else:
            self._attempts.forget()
        self._replay()
        self._publish(now=True)
        return True

    # -- starting -----------------------------------------------------------------------------------------------------

    def recover(self) -> None:
        """Load the newest snapshot, learn the journal's later entries again, and publish the result.

        Alarms raised on the way are reported again, and those of the last block are acted on: the process may have
        died before it did so. Raises Stopped.
        """
        warm, self._warm = self._warm, None  # once: whatever fails later begins with the snapshots
        if warm is not None:
            self._go_on(warm)
            return
        newest = self._snapshots.newest()
        if newest is None:
            if self._losses is not None:
                self._losses.begin_anew()
            self._beginning.begin()
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
        self._beginning.follow_identities()
        self._beginning.follow_older_copy(self._intake.diverged())
        self._replay(self._standstill.recall())
        self._publish(now=True)

    def _go_on(self, warm: Warm) -> None:
        """As `recover`, of a fold that has applied most of the journal."""
        kept = self._snapshots.manifests()[-1]
        if self._alarms is not None and warm.alarms is not None:
            self._alarms.restore(warm.alarms)
        self._saver.found(kept.version)
        self._saving.learned(self.events_learned - kept.events_learned)
        log.info("goes on warm", model=self._settings.model, version=self.version, saved=kept.version)
        if self._cadence.behind(self.version):
            self._publish(now=True)
            self._cadence.confirm(kept.created)
        self._beginning.follow_identities()
        self._replay(self._standstill.recall(), warm.outcomes)
        self._publish(now=True)

    def _replay(self, upto: int | None = None, before: Sequence[Outcome] = ()) -> None:
        """Apply the journal's entries above the present version, until the circuit breaker stops the model; `before`:
        the outcomes of those before them that nobody was told of.
        """

        def note(outcome: Outcome) -> None:
            if outcome.events and self._cadence.behind(outcome.version):
                appended = self._fold.appended_time
                self._tracker.learned_again(outcome.version, appended, outcome.events, self._clock())
            self._note(outcome)
            self._reporter.offer()

        began = self._ticks()
        try:
            outcomes = [*before, *self._recovery.replay(note, upto)]
        except Tripped as tripped:
            self._standstill.begin(tripped.stop)
            return
        finally:
            self._saving.took(self._ticks() - began)
        self._publish(now=True)
        for outcome in outcomes:
            self._tell_alarms(outcome)
        if outcomes and self._standstill.stop is None:
            self._act(outcomes[-1])

    # -- publishing and saving ----------------------------------------------------------------------------------------

    def _publish(self, *, now: bool = False) -> None:
        self._cadence.publish(self._fold, now=now)

    def _confirm(self, reader: Reader, *, idle: bool) -> None:
        """Confirm how fresh the published version is: as of now if everything was read, else as of its newest record.

        Not as of its newest event, whose time is what its producer says.
        """
        behind = any(reader.lag().values()) or not reader.reached()
        if not behind:
            self._tracker.caught_up(self._clock())
        if idle and not behind:
            self._cadence.confirm(self._clock())
        elif not idle:
            now = self._clock()
            self._cadence.confirm(min(self._fold.appended_time, now) if behind else now)

    def _change(self, entry: Control) -> Outcome:
        """Change the state, and publish and save the result. Raises as `Changes.make`."""
        outcome = self._changes.make(entry)
        self._publish(now=True)
        self._saving.save(wait=True)
        if entry.cause != DRIFT:
            self._journal.sync()  # who asked for it is told that it is done
        return outcome


class _Reopen(Exception):
    """The log must be read from the fold's position again."""
