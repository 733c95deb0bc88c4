"""What changes a model though nothing is learned: what operators ask for, and what is to be done about drift."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import structlog

from thalweg.memory.exchange.commands import StoreError
from thalweg.memory.snapshots.snapshots import Snapshots, UnknownVersion
from thalweg.memory.snapshots.state import DamagedFile
from thalweg.stream.drift.alarm import Alarm
from thalweg.stream.learn.fold import DRIFT, Fold
from thalweg.stream.learn.journal import Control, ForgettingEntry, ResetEntry, RollbackEntry
from thalweg.stream.learn.observer import Observer
from thalweg.stream.learn.ports import Command, Commands
from thalweg.stream.learn.settings import ProcessorSettings

log = structlog.get_logger(__name__)


class Controls:
    """Carries out commands and actions on alarms, on the learner's thread.

    Args:
        fold: The model.
        snapshots: Its kept versions.
        settings: The model's.
        commands: Where commands wait; None: nowhere.
        save: Saves the present version; waits for it, and raises OSError, if asked to.
        change: Journals an entry and applies it.
        observer: Told of what was done about alarms.
    """

    def __init__(
        self,
        fold: Fold,
        snapshots: Snapshots,
        settings: ProcessorSettings,
        commands: Commands | None,
        save: Callable[[bool], None],
        change: Callable[[Control], None],
        observer: Observer,
    ) -> None:
        self._fold = fold
        self._snapshots = snapshots
        self._settings = settings
        self._commands = commands
        self._save = save
        self._change = change
        self._observer = observer

    def handle_commands(self) -> None:
        """Do what was asked for since the last time, and answer."""
        for command in self._commands.poll(self._settings.model) if self._commands is not None else ():
            try:
                result = self._carry_out(command)
            except (UnknownVersion, DamagedFile) as error:
                result = {"error": "failed_precondition", "message": str(error)}
            except OSError as error:
                result = {"error": "unavailable", "message": str(error)}
            try:
                assert self._commands is not None
                self._commands.respond(command.id, result)
            except StoreError as error:  # it was done; only whoever asked does not hear of it
                log.warning("cannot answer a command", verb=command.verb, problem=str(error))

    def _carry_out(self, command: Command) -> Mapping[str, Any]:
        if command.verb == "snapshot":
            self._save(True)
            return {"version": self._fold.version}
        if command.verb == "rollback":
            return {"version": self.roll_back(int(command.arguments["version"]), "operator")}
        return {"error": "unimplemented", "message": f"command {command.verb!r} is not known to this learner"}

    def roll_back(self, to: int, cause: str) -> int:
        """Make the state that of a kept version again, under a new number; what was consumed stays consumed.

        Raises:
            UnknownVersion: That version is not kept.
            DamagedFile: It cannot be read.
        """
        self._change(RollbackEntry(self._fold.version + 1, to, cause))
        return self._fold.version

    def act(self) -> None:
        """Do what the configuration asks for on the alarms that the latest block raised, once for all of them."""
        unhandled = self._fold.unhandled
        if unhandled:
            self._act(unhandled[0])
            self._fold.unhandled = []

    def _act(self, alarm: Alarm) -> None:
        following = self._fold.version + 1
        if alarm.action == "snapshot":
            self._fold.note_done(f"version {self._fold.version} saved")
            self._save(False)
            self._observer.acted(alarm.action)
        elif alarm.action == "raise_forgetting":
            settings = self._settings
            entry = ForgettingEntry(following, settings.forgetting_factor, settings.forgetting_events, DRIFT)
            self._attempt(alarm, entry)
        elif alarm.action == "reset" and not self._fold.can_reset:
            log.warning("nothing here makes a new learner: going on", model=self._settings.model)
            self._fold.note_done("nothing: nothing here makes a new learner")
        elif alarm.action == "reset":
            self._attempt(alarm, ResetEntry(following, DRIFT))
        elif alarm.action == "rollback":
            learned_since = alarm.start - alarm.since + self._settings.batch_events + self._fold.block_events
            kept = [m for m in self._snapshots.manifests() if m.events_learned <= self._fold.learned - learned_since]
            if kept:
                self._attempt(alarm, RollbackEntry(following, kept[-1].version, DRIFT))
            else:
                log.warning("no version from before the drift is kept: going on", model=self._settings.model)
                self._fold.note_done("nothing: no version from before the change is kept")

    def _attempt(self, alarm: Alarm, entry: Control) -> None:
        try:
            self._change(entry)
        except (UnknownVersion, DamagedFile, OSError) as error:
            log.error("cannot do what an alarm asks for: going on", model=self._settings.model, problem=str(error))
            self._fold.note_done("nothing: it failed")
        else:
            self._observer.acted(alarm.action)
