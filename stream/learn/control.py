"""What changes a model though nothing is learned: what operators ask for, and what is to be done about drift."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import structlog

from thalweg.memory.exchange.commands import StoreError
from thalweg.memory.snapshots.snapshots import Snapshots, UnknownVersion
from thalweg.memory.snapshots.state import DamagedFile
from thalweg.stream.drift.alarm import Alarm
from thalweg.stream.learn.fold import DRIFT, Fold
from thalweg.stream.learn.journal import Control, ForgettingEntry, ResetEntry, RollbackEntry
from thalweg.stream.learn.outcome import Outcome
from thalweg.stream.learn.ports import Command, Commands, Ports
from thalweg.stream.learn.settings import ProcessorSettings

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to be done about an alarm."""

    action: str = ""
    """As the configuration names it; empty: nothing can be done, and the note says why."""
    note: str = ""
    """What to write down with the alarm; an entry says itself what it did."""
    entry: Control | None = None
    """To be journalled and applied."""
    save: bool = False
    """Whether the present version is to be saved."""


class Policy:
    """What the configuration asks for on alarms.

    Args:
        settings: The model's.
        snapshots: Its kept versions, of which a rollback takes one.
        can_reset: Whether a new learner can be made.
    """

    def __init__(self, settings: ProcessorSettings, snapshots: Snapshots, *, can_reset: bool) -> None:
        self._settings = settings
        self._snapshots = snapshots
        self._can_reset = can_reset

    def decide(self, outcome: Outcome) -> Decision | None:
        """Once for all alarms that a block raised; None: nothing is asked for."""
        if not outcome.raised:
            return None
        alarm, following, model = outcome.raised[0], outcome.version + 1, self._settings.model
        if alarm.action == "snapshot":
            return Decision(alarm.action, f"version {outcome.version} saved", save=True)
        if alarm.action == "raise_forgetting":
            factor, events = self._settings.forgetting_factor, self._settings.forgetting_events
            return Decision(alarm.action, entry=ForgettingEntry(following, factor, events, DRIFT))
        if alarm.action == "reset" and not self._can_reset:
            log.warning("nothing here makes a new learner: going on", model=model)
            return Decision(note="nothing: nothing here makes a new learner")
        if alarm.action == "reset":
            return Decision(alarm.action, entry=ResetEntry(following, DRIFT))
        if alarm.action == "rollback":
            version = self._before(alarm, outcome)
            if version is not None:
                return Decision(alarm.action, entry=RollbackEntry(following, version, DRIFT))
            log.warning("no version from before the drift is kept: going on", model=model)
            return Decision(note="nothing: no version from before the change is kept")
        return None

    def _before(self, alarm: Alarm, outcome: Outcome) -> int | None:
        """The newest kept version that has learned nothing since the change began."""
        learned_since = alarm.start - alarm.since + self._settings.batch_events + outcome.events
        kept = [m for m in self._snapshots.manifests() if m.events_learned <= outcome.learned - learned_since]
        return kept[-1].version if kept else None


class Controls:
    """Carries out commands and decisions, on the learner's thread.

    Args:
        fold: The model.
        model: Its name.
        ports: Those for commands and observers are used.
        save: Saves the present version; waits for it, and raises OSError, if asked to.
        change: Journals an entry and applies it.
    """

    def __init__(
        self,
        fold: Fold,
        model: str,
        ports: Ports,
        save: Callable[[bool], None],
        change: Callable[[Control], Outcome],
    ) -> None:
        self._fold = fold
        self._model = model
        self._commands = ports.commands
        self._observer = ports.observer
        self._save = save
        self._change = change

    def handle_commands(self) -> None:
        """Do what was asked for since the last time, and answer."""
        if self._commands is None:
            return
        for command in self._commands.poll(self._model):
            self._answer(self._commands, command)

    def _answer(self, commands: Commands, command: Command) -> None:
        try:
            result = self._carry_out(command)
        except (UnknownVersion, DamagedFile) as error:
            result = {"error": "failed_precondition", "message": str(error)}
        except OSError as error:
            result = {"error": "unavailable", "message": str(error)}
        try:
            commands.respond(command.id, result)
        except StoreError as error:  # it was done; only whoever asked does not hear of it
            log.warning("cannot answer a command", verb=command.verb, problem=str(error))

    def _carry_out(self, command: Command) -> Mapping[str, Any]:
        if command.verb == "snapshot":
            self._save(True)
            return {"version": self._fold.version}
        if command.verb == "rollback":  # what was consumed stays consumed
            to = int(command.arguments["version"])
            return {"version": self._change(RollbackEntry(self._fold.version + 1, to, "operator")).version}
        return {"error": "unimplemented", "message": f"command {command.verb!r} is not known to this learner"}

    def act(self, decision: Decision) -> None:
        """Do what was decided about an alarm; should it fail, that is written down with the alarm."""
        try:
            if decision.entry is not None:
                self._change(decision.entry)
            else:
                self._fold.note_done(decision.note)
            if decision.save:
                self._save(False)
        except (UnknownVersion, DamagedFile, OSError) as error:
            log.error("cannot do what an alarm asks for: going on", model=self._model, problem=str(error))
            self._fold.note_done("nothing: it failed")
        else:
            if decision.action:
                self._observer.acted(decision.action)
