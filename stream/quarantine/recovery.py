"""Brings a fold to the end of its journal: at the start, and past a block that cannot be learned.

An exception leaves a fold half changed. It is then restored (from a copy in memory or the newest snapshot, and the
journal from there), the events that raise are found by halving the block, journalled as skipped, and sent to the dead
letters. Every other replay of the journal leaves out the same events.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from functools import partial

import structlog

from thalweg.proto.records import Position
from thalweg.stream.exceptions import first_line
from thalweg.stream.journal.entries import BlockEntry, Control, Skip
from thalweg.stream.journal.journal import JournalError
from thalweg.stream.learn.blocks import Block, DecodedBlock, HistoryLost
from thalweg.stream.learn.context import ModelContext
from thalweg.stream.learn.fold import Checkpoint
from thalweg.stream.learn.intake import NOT_THE_EVENTS, Intake
from thalweg.stream.learn.outcome import Outcome
from thalweg.stream.learn.rebuild import apply_again
from thalweg.stream.log.log import Reader
from thalweg.stream.quarantine.attempts import HOPELESS_DEATHS, SUSPECT_DEATHS, fatal
from thalweg.stream.quarantine.breaker import Breaker
from thalweg.stream.quarantine.lost import tell_lost
from thalweg.stream.quarantine.skips import LEARNER_ERROR
from thalweg.stream.quarantine.stop import Stop
from thalweg.stream.quarantine.trials import Trials
from thalweg.stream.retry import Stopped

log = structlog.get_logger(__name__)

_ATTEMPTS = 3  # of a block that raised once and then did not
_COPY_SHARE = 0.5  # of the time may go into copies of the state while events fail


class Tripped(Exception):
    """The circuit breaker stops the model; the fold is whole, at the version before what it cannot apply."""

    def __init__(self, stop: Stop) -> None:
        self.stop = stop
        super().__init__(stop.what)


class _Enough(Exception):
    """The next block is the one at which the model stands still."""


class _Again(Exception):
    """An entry raised; the fold is half changed."""


@dataclass(slots=True)
class _Doubt:
    """An entry that has raised."""

    version: int
    reason: str
    pass_all: bool = False
    """An operator asked to leave out whatever fails, however much it is."""


class Recovery:
    """Replays a model's journal on the learner's thread.

    Args:
        context: The model; its health hears of every trial, because a search may take long.
        intake: Reads and decodes blocks, and sends dead letters.
        breaker: Stops the model when too many events fail.
        saved: Waits for the save in progress; the newest version that is saved.
    """

    def __init__(self, context: ModelContext, intake: Intake, breaker: Breaker, saved: Callable[[], int]) -> None:
        self._fold, self._snapshots, self._journal = context.fold, context.snapshots, context.journal
        self._model, self._observer, self._health = context.settings.model, context.ports.observer, context.ports.health
        self._clock, self._ticks, self._stopping = context.runtime.clock, context.runtime.ticks, context.stopping
        self._attempts = context.ports.attempts
        self._intake, self._breaker, self._saved = intake, breaker, saved
        self._doubt: _Doubt | None = None
        self._noted = 0
        self._base: Checkpoint | None = None
        self._base_seconds = 0.0
        self._base_at = 0.0
        self.evaluation_stopped = ""
        """Why there is no evaluation any more; empty if there is."""

    # -- replaying ----------------------------------------------------------------------------------------------------

    def replay(self, note: Callable[[Outcome], None], upto: int | None = None) -> list[Outcome]:
        """Apply the journal's entries above the present version; those that are seen for the first time are noted.

        Args:
            note: Called with the outcome of each entry.
            upto: Apply no block above this version.

        Returns:
            The outcomes with alarms, and the last one.

        Raises:
            Stopped: A stop was requested; the fold is whole.
            Tripped: The circuit breaker stops the model; the fold is whole.
        """
        fold, kept = self._fold, list[Outcome]()
        first = fold.version
        self._noted = max(self._noted, first)
        if self._base is None and first == 0:
            self._copy()  # an empty state is not always saved
        while True:
            try:
                for outcome in self._outcomes(upto):
                    self._health.running()
                    if outcome.version > self._noted:
                        self._noted = outcome.version
                        note(outcome)
                        kept = [*(one for one in kept if one.alarms), outcome]
                break
            except _Enough:
                break
            except _Again:
                self._restore()
            except (HistoryLost, JournalError) as error:
                tell_lost(error, self._model, fold, self._journal, self._observer)
                self._journal.truncate(fold.version)
                self._doubt = None
                break
        if self._breaker.learning.bad == 0:
            self._base = None
        if fold.version > first:
            log.info("replayed", model=self._model, entries=fold.version - first, version=fold.version)
        return kept

    def _outcomes(self, upto: int | None) -> Iterator[Outcome]:
        """Apply the journal's entries. Raises _Again, _Enough, or as `replay` and `apply_again`."""
        sent = self._intake.last_sent()
        with closing(self._intake.open(self._fold.end)) as reader:
            yield from apply_again(
                self._fold,
                self._journal,
                reader,
                apply_block=lambda entry, block: self._apply(entry, block, sent, upto),
                apply_control=self._apply_control,
                give_up=partial(self._waits, reader),
            )

    def _waits(self, reader: Reader) -> bool:
        """Called while a replay waits for records; whether it has to stop."""
        if not reader.reached():
            problem = reader.problem()
            why = "the log is out of reach" if problem is None else problem.reason
            self._health.waiting(f"replaying the journal: {why}")
        return self._stopping.is_set()

    def past(self, error: Exception, note: Callable[[Outcome], None]) -> list[Outcome]:
        """Bring the fold past the newest block of the journal, which raised when it was applied. Raises as `replay`."""
        version = self._fold.version + 1
        self._say(version, error)
        self._doubt, self._noted = _Doubt(version, first_line(error)), version - 1
        self._restore()
        return self.replay(note)

    def undo(self, version: int) -> None:
        """Restore the fold as of `version` after a control entry raised, and drop that entry. Raises as `replay`."""
        self._restore()
        self._journal.truncate(version)
        self.replay(lambda outcome: None)

    def skip_at(self, stop: Stop) -> None:
        """Leave out whatever fails where the model stopped in the next replay, as an operator asked for."""
        version = self._fold.version + 1
        pending = next(self._journal.entries(version - 1), None)
        if pending is None and stop.entry is not None:  # a rollback has dropped it
            pending = replace(stop.entry, version=version)
            self._intake.journal(pending)
        if pending is not None and isinstance(pending, BlockEntry) == (stop.entry is not None):
            self._doubt = _Doubt(version, "skipped by an operator", pass_all=True)

    def after_block(self, outcome: Outcome) -> None:
        """A block was applied; while events fail, the state is copied: the next failure then costs no long replay."""
        self._breaker.learning.note(outcome.events, 0)
        if self._base is None or self._breaker.learning.bad == 0:
            self._base = None
        elif self._ticks() - self._base_at > self._base_seconds / _COPY_SHARE:
            self._copy()

    def _copy(self) -> None:
        started = self._ticks()
        self._base = None  # its memory first
        with suppress(Exception):  # the next failure then costs a longer replay
            self._base = self._fold.checkpoint()
        self._base_at = self._ticks()
        self._base_seconds = self._base_at - started

    def _restore(self) -> None:
        """Go back to the newest whole state: the copy in memory, or the newest snapshot."""
        saved = self._saved()
        if self._base is not None and self._base.snapshot.manifest.version >= saved:
            self._fold.back_to(self._base)
            return
        newest = self._snapshots.newest()
        if newest is None:
            raise RuntimeError(f"model {self._model!r}: there is no whole state to go back to")
        self._fold.load(newest)

    # -- applying -----------------------------------------------------------------------------------------------------

    def _apply(self, entry: BlockEntry, block: Block, sent: Position, upto: int | None) -> Outcome:
        if upto is not None and entry.version > upto:
            raise _Enough
        doubt = self._doubt
        if doubt is not None and doubt.version == entry.version:
            self._doubt = None
            return self._settle(entry, block, sent, doubt)
        if self._attempts.deaths(entry.version) >= SUSPECT_DEATHS:
            return self._settle(entry, block, sent, _Doubt(entry.version, self._told_deaths(entry.version)))
        self._attempts.begin(entry.version)
        try:
            outcome = self._fold.apply(self._intake.decode(entry, block, sent))
            self._attempts.end()
            return outcome
        except NOT_THE_EVENTS:
            self._attempts.pause()
            raise
        except Exception as error:
            self._attempts.end()
            self._doubt = _Doubt(entry.version, first_line(error))
            self._say(entry.version, error)
            raise _Again from error

    def _apply_control(self, entry: Control) -> Outcome:
        doubt = self._doubt
        if doubt is not None and doubt.version == entry.version:
            self._doubt = None
            if doubt.pass_all:
                raise JournalError(f"the entry of version {entry.version} is skipped by an operator")
            raise Tripped(
                self._stop(f"the {type(entry).__name__} of version {entry.version} fails", doubt.reason, None)
            )
        if self._attempts.deaths(entry.version) >= SUSPECT_DEATHS:
            reason = self._told_deaths(entry.version)
            raise Tripped(self._stop(f"the {type(entry).__name__} of version {entry.version} fails", reason, None))
        self._attempts.begin(entry.version)
        try:
            outcome = self._fold.apply(entry, repeated=True)
            self._attempts.end()
            return outcome
        except Exception as error:
            self._attempts.end()
            self._doubt = _Doubt(entry.version, first_line(error))
            self._say(entry.version, error)
            raise _Again from error

    def _say(self, version: int, error: Exception) -> None:
        frames = traceback.extract_tb(error.__traceback__)
        where = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else ""
        log.error(
            "an entry of the journal cannot be applied: looking for what fails in it",
            model=self._model,
            version=version,
            problem=first_line(error),
            where=where,
        )
        self._health.degraded(f"looking for what cannot be learned in version {version}: {first_line(error)}")

    def _stop(self, what: str, cause: str, entry: BlockEntry | None) -> Stop:
        return Stop(self._fold.version, what, cause, self._clock(), entry)

    def _settle(self, entry: BlockEntry, block: Block, sent: Position, doubt: _Doubt) -> Outcome:
        """Apply a block without the events that raise; the fold is whole, at the version before it, and so it is again
        after an exception.
        """
        try:
            trials = Trials(self._fold, entry, block, self._alive)
        except Exception as error:  # no memory for a copy, or no state
            what = f"the state cannot be copied to look for what fails ({doubt.reason})"
            raise Tripped(self._stop(what, first_line(error), entry)) from error
        self._base = trials.point
        self._attempts.begin(entry.version)
        try:
            skips = self._verdict(trials, entry, doubt)
            if skips:
                entry = replace(entry, skipped=(*entry.skipped, *skips))
                self._intake.journal(entry)
                self._observer.quarantined({LEARNER_ERROR: len(skips)})
            decoded = self._intake.decode(entry, block, sent, fresh=skips)
            outcome = self._apply_whole(trials, entry, decoded)
        except BaseException as error:
            if isinstance(error, Exception):  # else the process is about to end by one of these events
                self._attempts.pause()
            trials.restore()
            if isinstance(error, Exception) and not isinstance(error, (*NOT_THE_EVENTS, Tripped)):
                raise Tripped(self._stop("the search for what fails has failed", first_line(error), entry)) from error
            raise
        self._attempts.end()
        self._breaker.learning.note(0, len(skips))
        self._copy()
        return outcome

    def _verdict(self, trials: Trials, entry: BlockEntry, doubt: _Doubt) -> tuple[Skip, ...]:
        """What to leave out of the block. Raises Tripped if it is too much."""
        window, pass_all = self._breaker.learning, doubt.pass_all
        if self._attempts.deaths(entry.version) >= SUSPECT_DEATHS:
            return self._verdict_of_deaths(trials, entry, pass_all=pass_all)
        verdict = trials.examine(lambda items: items if pass_all else window.room(items))
        skips, reason = verdict.skips, verdict.reason or doubt.reason
        if pass_all:
            skips = (*skips, *verdict.untried)
        elif verdict.untried or (skips and window.ahead(verdict.events - len(skips), len(skips)).tripped):
            if not trials.works_without_evaluation():
                ahead = window.ahead(verdict.events - len(skips), len(skips))
                what = ahead.told("events could not be learned", len(verdict.untried))
                raise Tripped(self._stop(what, reason, entry))
            self.evaluation_stopped = f"evaluation stopped: {reason}"
            log.error("the evaluation fails: learning goes on without it", model=self._model, problem=reason)
            self._fold.stop_evaluating()
            window.reset()
            return ()
        self._tell(entry, skips, verdict.events, reason)
        return skips

    def _verdict_of_deaths(self, trials: Trials, entry: BlockEntry, *, pass_all: bool) -> tuple[Skip, ...]:
        """What to leave out of a block in which processes have ended. Raises Tripped if that cannot be found out."""
        version = entry.version
        ended = self._attempts.trials(version)
        told = self._told_deaths(version)
        if self._attempts.deaths(version) - SUSPECT_DEATHS - len(ended) < HOPELESS_DEATHS:
            self._health.degraded(f"looking for what ends the process in version {version}")
            log.error("a block has ended several processes: trying its events one by one", model=self._model, what=told)
            causes = dict.fromkeys(fatal(ended), "processes ended while it was tried")
            verdict = trials.one_by_one(self._attempts, causes)
            ahead = self._breaker.learning.ahead(verdict.events - len(verdict.skips), len(verdict.skips))
            if verdict.skips and ahead.tripped and not pass_all:
                raise Tripped(self._stop(ahead.told("events could not be learned"), verdict.reason, entry))
        elif pass_all:
            verdict = trials.none(told)
        else:
            raise Tripped(self._stop("a block ends the process, and none of its events does so alone", told, entry))
        self._tell(entry, verdict.skips, verdict.events, told)
        return verdict.skips

    def _told_deaths(self, version: int) -> str:
        return f"{self._attempts.deaths(version)} processes in a row ended while they applied version {version}"

    def _tell(self, entry: BlockEntry, skips: tuple[Skip, ...], events: int, reason: str) -> None:
        if skips:
            log.error(
                "events that cannot be learned are left out and kept as dead letters",
                model=self._model,
                version=entry.version,
                events=len(skips),
                of=events,
                first=f"{skips[0].partition} offset {skips[0].offset}",
                problem=skips[0].cause,
            )
        else:
            log.warning("the block can be learned now", model=self._model, version=entry.version, was=reason)

    def _apply_whole(self, trials: Trials, entry: BlockEntry, decoded: DecodedBlock) -> Outcome:
        reason = ""
        for _ in range(_ATTEMPTS):
            trials.restore()
            try:
                return self._fold.apply(decoded)
            except Exception as error:  # it worked a moment ago
                reason = first_line(error)
        raise Tripped(self._stop("a block fails now and then", reason, entry))

    def _alive(self) -> None:
        self._health.beat()
        if self._stopping.is_set():
            raise Stopped
