"""When a model is saved, and what of it: its state, its pending alarms, and its position for monitoring."""

from __future__ import annotations

import structlog

from thalweg.memory.snapshots.snapshots import Snapshot
from thalweg.stream.exceptions import first_line
from thalweg.stream.learn.context import ModelContext
from thalweg.stream.learn.intake import Intake
from thalweg.stream.learn.saving.saver import Saver
from thalweg.stream.log.log import Reader

log = structlog.get_logger(__name__)

_COMMIT_SECONDS = 1.0
_AGAIN_SECONDS = 0.5  # what a restart may have to learn again, if saving is cheap …
_AGAIN_SAVES = 50.0  # … or this many times what a save takes: 2 % of the time
_LAST_SAVES = 3  # a disk that is full for a moment must not cost what was learned since the last snapshot
_ALARM_SECONDS = 2.0  # for alarms on their way to the log: those that are not there are saved, and sent again


class NotSaved(OSError):
    """A model ended without saving what it has learned; the journal leads to it from the newest snapshot."""


class Saving:
    """Saves one model; used on the learner's thread.

    Args:
        context: The model.
        intake: Knows the identities of its topics.
        saver: Writes the snapshots.
    """

    def __init__(self, context: ModelContext, intake: Intake, saver: Saver) -> None:
        self._fold, self._settings, self._intake, self._saver = context.fold, context.settings, intake, saver
        self._alarms, self._observer = context.ports.alarms, context.ports.observer
        self._losses = context.ports.losses
        self._clock, self._ticks = context.runtime.clock, context.runtime.ticks
        self._unsaved_events = 0
        self._unsaved_seconds = 0.0
        self._saved_at = self._ticks()
        self._committed_at = 0.0
        self._no_state = ""  # why the learner last gave no state to save

    def learned(self, events: int) -> None:
        """This many events were learned."""
        self._unsaved_events += events

    def took(self, seconds: float) -> None:
        """Learning took so long, and as long again after a crash."""
        self._unsaved_seconds += seconds

    def save_if_due(self) -> None:
        """Save in the background after enough events or time, unless the last save is still in progress.

        Between these, also once it would take long to learn again what is not saved: after a crash nothing is published
        before that is done.
        """
        due = self._unsaved_events >= self._settings.snapshot_events
        due = due or self._ticks() - self._saved_at >= self._settings.snapshot_seconds
        long = self._unsaved_seconds >= max(_AGAIN_SECONDS, _AGAIN_SAVES * self._saver.took_seconds)
        if (due or long) and self._fold.version > self._saver.version and self._saver.ready():
            self.save(between=not due)

    def commit_if_due(self, reader: Reader) -> None:
        """Commit the position about once a second."""
        now = self._ticks()
        if now - self._committed_at > _COMMIT_SECONDS and self._fold.end:
            reader.commit(self._fold.end, f"version {self._fold.version}")
            self._committed_at = now

    def save(self, *, wait: bool = False, must: bool = False, spare: int | None = None, between: bool = False) -> None:
        """Save the present version in the background, unless it is saved.

        Args:
            wait: Return when it is saved, or could not be.
            must: Raise OSError if it cannot be saved; with `wait`.
            spare: Do not delete this version.
            between: It gives way to the next one, and the usual events and time are counted on.
        """
        if self._fold.version > self._saver.version:
            self._intake.note_identities()
            taken = self._snapshot(must=must)
            if taken is None:
                return
            if self._losses is not None:
                self._losses.sync()  # what led to a snapshot on disk is not learned again
            waiting = {} if self._alarms is None else {"alarms": self._alarms.state()}
            self._saver.save(taken.manifest, {**taken.parts, **waiting}, spare, between=between)
            self._unsaved_seconds = 0.0
            if not between:
                self._unsaved_events, self._saved_at = 0, self._ticks()
        if wait and (error := self._saver.wait()) is not None and must:
            raise error

    def save_last(self) -> None:
        """Save the last version of this run. Raises NotSaved."""
        if self._alarms is not None:
            self._alarms.settle(_ALARM_SECONDS)
        for _ in range(_LAST_SAVES):
            self.save(wait=True)
            if self._saver.version == self._fold.version:
                return
        error = self._saver.wait()
        raise NotSaved(
            f"model {self._settings.model!r}: version {self._fold.version} could not be saved, the newest snapshot is "
            f"of version {self._saver.version}: {error or self._no_state}; the next start learns again from there"
        ) from error

    def _snapshot(self, *, must: bool) -> Snapshot | None:
        """The present state to save; None, or OSError if there `must` be one, if a part fails to give its state."""
        try:
            return self._fold.snapshot(self._clock())
        except Exception as error:
            if must:
                raise OSError(f"the state cannot be saved: {first_line(error)}") from error
            self._no_state = first_line(error)
            log.error("snapshot failed: learning continues", version=self._fold.version, problem=self._no_state)
            self._observer.snapshot_failed(self._fold.version, self._no_state)
            self._unsaved_events, self._saved_at = 0, self._ticks()
            return None
