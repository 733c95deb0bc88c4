"""State changes other than learning: commands from operators, and actions on drift alarms."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import structlog

from thalweg.memory.exchange.commands import StoreError
from thalweg.memory.snapshots.snapshots import Snapshots, UnknownVersion
from thalweg.memory.snapshots.state import DamagedFile
from thalweg.stream.drift.alarm import Alarm
from thalweg.stream.exceptions import first_line
from thalweg.stream.journal.entries import Control, ForgettingEntry, ResetEntry, RollbackEntry
from thalweg.stream.learn.context import ModelContext
from thalweg.stream.learn.fold import DRIFT
from thalweg.stream.learn.outcome import Outcome
from thalweg.stream.learn.ports import Command, Commands
from thalweg.stream.learn.saving.saving import Saving
from thalweg.stream.learn.settings import ProcessorSettings, StateMismatch, check_settings
from thalweg.stream.quarantine.recovery import Recovery
from thalweg.stream.quarantine.standstill import Standstill

log = structlog.get_logger(__name__)


class NotApplied(Exception):
    """A change of the state failed and was undone; the message says why."""


@dataclass(frozen=True, slots=True)
class Decision:
    """The action to take on an alarm."""

    action: str = ""
    """The action's name in the configuration; empty if no action is possible, and the note says why."""
    note: str = ""
    """The note to record with the alarm; if there is an entry, it describes itself."""
    entry: Control | None = None
    """A control entry to journal and apply."""
    save: bool = False
    """Whether to save the present version."""


class Policy:
    """The configured actions on drift alarms.

    Args:
        settings: Settings of the model.
        snapshots: Snapshots of the model, among which a rollback chooses.
        can_reset: Whether a new learner can be created.
    """

    def __init__(self, settings: ProcessorSettings, snapshots: Snapshots, *, can_reset: bool) -> None:
        self._settings = settings
        self._snapshots = snapshots
        self._can_reset = can_reset

    def decide(self, outcome: Outcome) -> Decision | None:
        """One decision for all alarms that a block raised; None if no action is configured."""
        if not outcome.raised:
            return None
        alarm, following, model = outcome.raised[0], outcome.version + 1, self._settings.model
        if alarm.action == "snapshot":
            return Decision(alarm.action, f"version {outcome.version} saved", save=True)
        if alarm.action == "raise_forgetting":
            factor, events = self._settings.forgetting_factor, self._settings.forgetting_events
            return Decision(alarm.action, entry=ForgettingEntry(following, factor, events, DRIFT))
        if alarm.action == "reset" and not self._can_reset:
            log.warning("cannot reset the model, no new learner can be created: learning continues", model=model)
            return Decision(note="nothing: no new learner can be created")
        if alarm.action == "reset":
            return Decision(alarm.action, entry=ResetEntry(following, DRIFT))
        if alarm.action == "rollback":
            version = self._before(alarm, outcome)
            if version is not None:
                return Decision(alarm.action, entry=RollbackEntry(following, version, DRIFT))
            log.warning("no snapshot from before the drift: learning continues", model=model)
            return Decision(note="nothing: no snapshot from before the change")
        return None

    def _before(self, alarm: Alarm, outcome: Outcome) -> int | None:
        """The newest snapshot that contains no event from after the change began."""
        learned_since = alarm.start - alarm.since + self._settings.most_batch_events + outcome.events
        kept = [m for m in self._snapshots.manifests() if m.events_learned <= outcome.learned - learned_since]
        return kept[-1].version if kept else None


class Controls:
    """Executes commands and decisions on the learner's thread.

    Args:
        context: The model.
        saving: Saves the present version.
        change: Journals an entry and applies it.
        standstill: Whether the model stands still.
    """

    def __init__(
        self,
        context: ModelContext,
        saving: Saving,
        change: Callable[[Control], Outcome],
        standstill: Standstill,
    ) -> None:
        self._fold, self._model = context.fold, context.settings.model
        self._commands, self._observer = context.ports.commands, context.ports.observer
        self._saving, self._change, self._standstill = saving, change, standstill

    def handle_commands(self) -> None:
        """Execute the commands submitted since the last call, and respond to each."""
        if self._commands is None:
            return
        for command in self._commands.poll(self._model):
            self._answer(self._commands, command)

    def _answer(self, commands: Commands, command: Command) -> None:
        try:
            result = self._carry_out(command)
        except (UnknownVersion, DamagedFile, StateMismatch, NotApplied) as error:
            result = {"error": "failed_precondition", "message": str(error)}
        except OSError as error:
            result = {"error": "unavailable", "message": str(error)}
        try:
            commands.respond(command.id, result)
        except StoreError as error:  # the command was executed; only its sender does not get the response
            log.warning("cannot respond to a command", verb=command.verb, problem=str(error))

    def _carry_out(self, command: Command) -> Mapping[str, Any]:
        if command.verb == "snapshot":
            self._saving.save(wait=True, must=True)
            return {"version": self._fold.version}
        if command.verb == "rollback":  # consumed events are not consumed again
            to = int(command.arguments["version"])
            return {"version": self._change(RollbackEntry(self._fold.version + 1, to, "operator")).version}
        if command.verb == "resume":
            if self._standstill.resume(bool(command.arguments.get("skip", False))):
                return {"version": self._fold.version}
            return {"error": "failed_precondition", "message": f"model {self._model!r} is not stopped"}
        if command.verb == "standstill":
            return {"version": self._fold.version, "reason": self._standstill.told}
        return {"error": "unimplemented", "message": f"command {command.verb!r} is unknown"}

    def act(self, decision: Decision) -> None:
        """Execute a decision about an alarm; a failure is recorded with the alarm."""
        try:
            if decision.entry is not None:
                self._change(decision.entry)
            else:
                self._fold.note_done(decision.note)
            if decision.save:
                self._saving.save()
        except (UnknownVersion, DamagedFile, StateMismatch, NotApplied, OSError) as error:
            log.error("cannot act on a drift alarm: learning continues", model=self._model, problem=str(error))
            self._fold.note_done("nothing: it failed")
        else:
            if decision.action:
                self._observer.acted(decision.action)


class Changes:
    """Changes a model's state other than by learning: journalled, applied, and undone if it fails.

    Args:
        context: The model.
        standstill: Whether the model stands still.
        recovery: Restores the fold after a failure.
        saving: Saves what a change discards.
    """

    def __init__(self, context: ModelContext, standstill: Standstill, recovery: Recovery, saving: Saving) -> None:
        self._fold, self._snapshots, self._journal = context.fold, context.snapshots, context.journal
        self._settings, self._observer = context.settings, context.ports.observer
        self._standstill, self._recovery, self._saving = standstill, recovery, saving

    def make(self, entry: Control) -> Outcome:
        """Journal an entry and apply it; what it discards is saved.

        Raises:
            UnknownVersion, DamagedFile, StateMismatch: There is no usable snapshot of the version to roll back to.
            NotApplied: It failed and was undone.
            OSError: The disk refuses; nothing has changed.
        """
        if isinstance(entry, RollbackEntry):
            # before it is journalled: an entry must be repeatable
            check_settings(self._snapshots.load(entry.to).manifest, self._settings)
        if self._standstill.stop is not None:
            self._journal.truncate(self._fold.version)  # the block at which it stands: its records are read again
        self._journal.append(entry)
        if isinstance(entry, RollbackEntry | ResetEntry):
            self._save_discarded(entry)
        try:
            outcome = self._fold.apply(entry)
        except Exception as error:
            log.exception("a change of the state failed: undoing it", model=self._settings.model)
            self._recovery.undo(self._fold.version)
            raise NotApplied(f"{first_line(error)}; the model stays at version {self._fold.version}") from error
        self._standstill.moved(outcome.version)
        if isinstance(entry, RollbackEntry):
            self._observer.rolled_back(outcome.version, entry.cause)
        return outcome

    def _save_discarded(self, entry: RollbackEntry | ResetEntry) -> None:
        """Save the state that the entry discards.

        After it is journalled: a process that dies in between still knows what to do about the alarm behind it.
        """
        try:
            spare = entry.to if isinstance(entry, RollbackEntry) else None
            self._saving.save(wait=True, must=True, spare=spare)
        except OSError as error:
            if error.errno is not None:
                self._journal.truncate(self._fold.version)
                raise
            # the state cannot be written, whatever the disk: what leads away from it must be possible
            log.warning("the state before the change cannot be saved", model=self._settings.model, problem=str(error))
