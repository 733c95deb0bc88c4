"""What a learner's host tells of a model besides its versions, for page, health and aliases of servers elsewhere.

It is put over what was told before, about once a second, and is never an input of learning or of an answer. Times are
ages, so that clocks need not agree.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import structlog

from thalweg.memory.files import make_folder, write_durably
from thalweg.memory.relay.announced import Order
from thalweg.memory.relay.board import MOST_NOTE_BYTES, BoardUnavailable, VersionBoard
from thalweg.ops.config.config import Config
from thalweg.ops.run.relay.shared_aliases import adopted, files_of, newest_lines, recorded_here, shared_aliases
from thalweg.ops.run.successors import aliases_folder, generations_path, promotions_path
from thalweg.stream.health.registry import ComponentHealth, Condition, Health, joined
from thalweg.stream.relay.receiver import COMPONENT as RELAY
from thalweg.stream.relay.receiver import SILENT_SECONDS
from thalweg.stream.shards.names import shard_of

log = structlog.get_logger(__name__)

_MOST_FILE_BYTES = 256 << 10
_MOST_COMPONENTS = 200
_LOOK_SECONDS = 0.5


def alias_files(config: Config, model: str) -> list[str]:
    """The names of the files of a model's aliases and successors, in the folder of aliases."""
    name = model.partition("@")[0]
    shared = shared_aliases(config)
    aliases = [
        alias.name
        for alias in config.alias
        if (model in alias.members or alias.name == name) and alias.name not in shared
    ]
    known = {promotions_path(config, alias).name for alias in (*aliases, name)}
    return sorted(known | {generations_path(config, name).name})


class LocalNotes:
    """The learner host's side: composes notes from what its processes tell in the live folder. Thread-safe.

    Args:
        config: The configuration, with successors.
        live: The live folder.
        clock: Unix seconds.
        ticks: Monotonic seconds.
        health: Says what is too large to be told.
    """

    def __init__(
        self,
        config: Config,
        live: Path,
        clock: Callable[[], float] = time.time,
        ticks: Callable[[], float] = time.monotonic,
        health: Health | None = None,
    ) -> None:
        self._config, self._live, self._clock, self._ticks = config, live, clock, ticks
        self._health = health or Health("relayed_status")
        self._untold: dict[str, tuple[str, float]] = {}
        """What of a model was too large when it was told last, and when, in monotonic seconds."""
        self._lock = threading.Lock()
        self._looked = -_LOOK_SECONDS
        self._components: list[dict[str, Any]] = []
        self._tables: dict[str, dict[str, Any]] = {}

    def of(self, model: str, order: Order) -> bytes:
        """The note of a model, as JSON of at most MOST_NOTE_BYTES."""
        self._look()
        now = self._clock()
        components = [one for one in self._components if one.get("model") in (model, "")]
        files, large = self._files(model)
        note: dict[str, Any] = {
            "order": order,
            "components": [{**one, "since": now - float(one.get("since", now))} for one in components],
            "files": files,
        }
        status = self._tables.get(model)
        if status is not None:
            note["status"] = {**status, "time": max(0.0, now - float(status.get("time", now)))}
        less: list[dict[str, Any]] = [{}, {"status": None}, {"status": None, "files": {}, "components": []}]
        for left_out in less:
            content = json.dumps({**note, **left_out}, separators=(",", ":")).encode()
            if len(content) <= MOST_NOTE_BYTES:
                break
        what = [*large, *(f"{name} of model {model!r}" for name in left_out)]
        self._tell_untold(model, f"too large to be told to other hosts: {', '.join(what)}" if what else "")
        return content

    def _tell_untold(self, model: str, problem: str) -> None:
        with self._lock:
            if problem and problem != self._untold.get(model, ("", 0.0))[0]:
                log.error("not everything is told to other hosts", model=model, problem=problem)
            self._untold[model] = problem, self._ticks()
        self._show_untold()

    def _show_untold(self) -> None:
        """In health, of the models that are told of: one that has moved away is not any more."""
        now = self._ticks()
        with self._lock:
            problems = [one for one, told in self._untold.values() if one and now - told <= SILENT_SECONDS]
        if problems:
            self._health.degraded("; ".join(dict.fromkeys(problems)))
        else:
            self._health.running()

    def tell(self, board: VersionBoard, host: str) -> None:
        """Note the parts of every model's shards on this host, and of a model whose learner has failed: there may be no
        version of it with which a note would go. Raises BoardUnavailable.
        """
        self._look()
        self._show_untold()
        now = self._clock()
        for model in self._config.model:
            mine = [one for one in self._components if of_model(str(one.get("model")), model.name)]
            mine.sort(key=lambda one: one.get("state") != Condition.FAILED.value)
            told = [{**one, "since": now - float(one.get("since", now))} for one in mine[:_MOST_COMPONENTS]]
            note: dict[str, Any] = {"time": now, "components": told}
            if files := recorded_here(self._config, model.name):
                note["files"] = files
            board.note_host(model.name, host, json.dumps(note, separators=(",", ":")).encode())

    def _look(self) -> None:
        with self._lock:
            if self._ticks() - self._looked < _LOOK_SECONDS:
                return
            self._looked = self._ticks()
            self._components = [
                one
                for table in _tables(self._live, "health-learner*.json")
                for one in table.get("components", [])
                if isinstance(one, dict)
            ]
            newest: dict[str, dict[str, Any]] = {}
            for table in _tables(self._live, "status-learner*.json"):
                for name, status in table.items():
                    if isinstance(status, dict) and status.get("time", 0) >= newest.get(name, {}).get("time", 0):
                        newest[name] = status
            self._tables = newest

    def _files(self, model: str) -> tuple[dict[str, str], list[str]]:
        """The files of aliases and successors, and those that are too large."""
        found, large = {}, []
        for name in alias_files(self._config, model):
            with suppress(OSError, UnicodeDecodeError):
                path = aliases_folder(self._config) / name
                text = newest_lines(path) if path.suffix == ".jsonl" else path.read_text(encoding="utf-8")
                if len(text) > _MOST_FILE_BYTES:
                    large.append(f"{path} ({len(text):,} characters, at most {_MOST_FILE_BYTES:,})")
                else:
                    found[name] = text
        return found, large


def _tables(live: Path, pattern: str) -> Iterator[dict[str, Any]]:
    for path in sorted(live.glob(pattern)):
        with suppress(OSError, ValueError):
            table = json.loads(path.read_bytes())
            if isinstance(table, dict):
                yield table


def of_model(name: str, model: str) -> bool:
    """Whether a part of this name belongs to a model or to a shard of it."""
    shard = shard_of(name)
    return model == (name if shard is None else shard[0])


@dataclass(frozen=True, slots=True)
class Note:
    """What is known of a model's learner elsewhere."""

    order: tuple[int, ...]
    components: tuple[ComponentHealth, ...]
    status: dict[str, Any] | None
    files: dict[str, str]


def read_note(content: bytes, model: str, now: float) -> Note | None:
    """A note, with times of this host's clock (`now`: Unix seconds); None if it is none."""
    try:
        table = json.loads(content)
        components = tuple(
            replace(found, since=now - max(0.0, found.since))
            for found in map(ComponentHealth.of, table["components"][:_MOST_COMPONENTS])
            if found.model in (model, "")
        )
        status = table.get("status")
        if status is not None:
            status = {**status, "time": now - max(0.0, float(status["time"]))}
        files = {str(name): str(text) for name, text in table["files"].items()}
        return Note(tuple(int(one) for one in table["order"]), components, status, files)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None


def read_host(content: bytes, model: str, now: float) -> tuple[ComponentHealth, ...] | None:
    """The parts that a host tells of, with times of this host's clock (`now`: Unix seconds); None if it is none."""
    try:
        return tuple(
            replace(found, since=now - max(0.0, found.since))
            for found in map(ComponentHealth.of, json.loads(content)["components"][:_MOST_COMPONENTS])
            if of_model(found.model, model)
        )
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None


class RemoteNotes:
    """The serving host's side: what the learners of other hosts tell. One thread looks, any may read.

    Args:
        config: The configuration.
        board: Where notes are.
        clock: Unix seconds.
        ticks: Monotonic seconds.
    """

    def __init__(
        self,
        config: Config,
        board: VersionBoard,
        clock: Callable[[], float] = time.time,
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config, self._board, self._clock, self._ticks = config, board, clock, ticks
        self._known: dict[str, tuple[float, bytes, Note]] = {}
        self._hosts: dict[tuple[str, str], tuple[float, bytes, tuple[ComponentHealth, ...]]] = {}
        self._recorded: dict[tuple[str, str], dict[str, str]] = {}
        self._sharded = {model.name for model in config.model if model.sharded is not None}

    def look(self, model: str) -> bool:
        """Read what is told of a model; whether there is anything new. Raises BoardUnavailable."""
        content = self._board.noted(model)
        known = self._known.get(model)
        if content is None or (known is not None and known[1] == content):
            return False
        note = read_note(content, model, self._clock())
        if note is None or (known is not None and note.order[:2] < known[2].order[:2]):
            return False  # of an owner that was superseded
        self._known = {**self._known, model: (self._ticks(), content, note)}
        return True

    def look_at_hosts(self, model: str) -> None:
        """Read what each host tells of the parts of a model. Raises BoardUnavailable."""
        told = self._board.hosts_noted(model)
        self._hosts = {place: one for place, one in self._hosts.items() if place[0] != model or place[1] in told}
        self._recorded = {place: one for place, one in self._recorded.items() if place in self._hosts}
        for host, content in told.items():
            known = self._hosts.get((model, host))
            if known is not None and known[1] == content:
                continue
            if (parts := read_host(content, model, self._clock())) is not None:
                self._hosts = {**self._hosts, (model, host): (self._ticks(), content, parts)}
                self._recorded[model, host] = files_of(content)

    def look_at_aliases(self) -> None:
        """Read what each host tells of the aliases whose models move between hosts. Raises BoardUnavailable."""
        for model in sorted(set(shared_aliases(self._config).values())):
            self.look_at_hosts(model)

    def _of_hosts(self) -> Iterator[ComponentHealth]:
        """Of hosts that are heard of. Of a model that is not learned in shards, while no learner's versions are."""
        now = self._ticks()
        for (model, _), (heard, _, parts) in self._hosts.items():
            note = self._known.get(model)
            sends = model not in self._sharded and note is not None and now - note[0] <= SILENT_SECONDS
            if now - heard <= SILENT_SECONDS and not sends:
                yield from (one for one in parts if one.component != RELAY)

    def components(self) -> list[ComponentHealth]:
        """The parts of learners on all hosts, of several the worst, with those failed of which nothing is heard."""
        found = list(self._of_hosts())
        for model, (heard, _, note) in self._known.items():
            silent = self._ticks() - heard
            if silent > SILENT_SECONDS:
                reason = f"its learner's host has not been heard of for {silent:.0f} s"
                since = self._clock() - silent
                found.append(
                    ComponentHealth(
                        component="learner",
                        model=model,
                        state=Condition.FAILED,
                        reason=reason,
                        since=since,
                        restarts=0,
                    )
                )
            else:
                found += note.components
        return list(joined(found))

    def statuses(self) -> dict[str, dict[str, Any]]:
        """What the page shows of each model."""
        return {model: note.status for model, (_, _, note) in self._known.items() if note.status is not None}

    def keep_files(self) -> list[str]:
        """Write the files of aliases and successors that are new here; their names. Raises OSError."""
        folder, changed = aliases_folder(self._config), []
        texts: dict[str, str] = {}
        for model, (_, _, note) in sorted(self._known.items(), key=lambda one: one[1][0]):
            # of several members of an alias, the one heard of last: a note of one that has ended is old
            texts |= {name: note.files[name] for name in alias_files(self._config, model) if name in note.files}
        for name, text in texts.items():
            path = folder / name
            if len(text) > _MOST_FILE_BYTES or _same(path, text):
                continue
            make_folder(folder)
            beside = path.with_name(f".{name}.relayed")
            write_durably(beside, text.encode())
            beside.rename(path)
            changed.append(name)
        return changed + adopted(self._config, self._recorded)


def keep_aliases(config: Config, board: VersionBoard) -> None:
    """Before a process starts: fetch which successors there are and who was promoted, as far as that can be had now."""
    notes = RemoteNotes(config, board)
    try:
        for model in config.model:
            notes.look(model.name)
        notes.look_at_aliases()
        notes.keep_files()
    except (BoardUnavailable, OSError) as error:
        log.warning(
            "the aliases of learners on other hosts cannot be fetched: those known here hold", problem=str(error)
        )


def _same(path: Path, text: str) -> bool:
    try:
        return path.read_text(encoding="utf-8") == text
    except (OSError, UnicodeDecodeError):
        return False
