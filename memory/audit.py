"""The audit log: what operators did, as lines of JSON that are only ever appended.

Any number of processes write the same file: each line is one write, in turn. A file that has grown large is kept under
a number, and the oldest of those is deleted.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import pwd
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

import structlog

from thalweg.memory.files import flush, sync_folder, without_locks

log = structlog.get_logger("audit")

FILE = "audit.jsonl"
"""Name of the file in the state folder."""
FILE_OF_REFUSED = "audit-refused.jsonl"
"""Of the calls that were refused: beside it, so that they cannot push out what was done."""
MOST_BYTES = 16 << 20
MOST_FILES = 5
"""The present one and those under a number."""
_LONGEST_TEXT = 500

Outcome: TypeAlias = Literal["done", "failed", "unanswered", "refused"]
"""`unanswered`: nobody said in time what came of it; it may have been done. `refused`: the caller may not."""
Kind: TypeAlias = Literal["token", "anonymous", "os_user", "service"]


class Actor(NamedTuple):
    """Who did something."""

    name: str
    kind: Kind
    """`token`: also of a certificate or a JWT. `anonymous`: the name is the address. `os_user`: who ran a command.
    `service`: the service itself, because of a file that changed."""


def os_user() -> Actor:
    """Who runs this process; also who ran sudo for it, as far as the environment says so."""
    try:
        name = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container may have no such user
        name = str(os.getuid())
    behind = os.environ.get("SUDO_USER", "")
    return Actor(f"{name} (sudo by {behind[:80]})" if behind and behind != name else name, "os_user")


class AuditLog:
    """Records actions in a file and in the log stream. Thread-safe.

    Args:
        path: The file; created if needed, in a folder that exists.
        clock: Unix seconds.
        told: Whether actions also go to the log stream.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.time, *, told: bool = True) -> None:
        self._path, self._clock, self._told = path, clock, told
        self._watched: list[Callable[[str], None]] = []
        self._missing = 0

    def watch(self, tell: Callable[[str], None]) -> None:
        """From now on tell after each action what keeps it from being recorded; empty: nothing."""
        self._watched.append(tell)

    def record(
        self,
        action: str,
        by: Actor,
        outcome: Outcome,
        *,
        subject: str = "",
        arguments: Mapping[str, Any] | None = None,
        detail: str = "",
    ) -> None:
        """Record an action; durable when it returns. A failure to do so is logged: the action is not undone.

        Args:
            action: The verb, as `rollback`.
            by: Who did it.
            outcome: What came of it.
            subject: The model, the alias or the file that it is about.
            arguments: As they were given.
            detail: What came of it, in words.
        """
        entry = {
            "time": datetime.fromtimestamp(self._clock(), UTC).isoformat(timespec="milliseconds"),
            "action": action,
            "subject": subject,
            "by": by.name[:_LONGEST_TEXT],
            "by_kind": by.kind,
            "outcome": outcome,
            "arguments": dict(arguments or {}),
            "detail": detail[:_LONGEST_TEXT],
            "pid": os.getpid(),
        }
        said = {key: value for key, value in entry.items() if key not in ("time", "pid", "arguments")}
        if self._told:
            (log.info if outcome == "done" else log.warning)("audit", **said, **(arguments or {}))
        problem = ""
        try:
            self._append(json.dumps(entry, default=str).encode() + b"\n")
        except OSError as error:
            log.error("the audit log cannot be written", path=str(self._path), problem=str(error), **said)
            self._missing += 1
            problem = f"{self._path} cannot be written ({error}): {self._missing} actions are in the log stream alone"
        for tell in self._watched:
            tell(problem)

    def _append(self, line: bytes) -> None:
        with self._turn():
            with suppress(FileNotFoundError):
                if self._path.stat().st_size + len(line) > MOST_BYTES:
                    self._rotate()
            handle = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                whole = os.fstat(handle).st_size
                if os.write(handle, line) < len(line):  # the disk is full: the next line must not continue this one
                    os.ftruncate(handle, whole)
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                flush(handle)
            finally:
                os.close(handle)
            sync_folder(self._path.parent)

    def _turn(self) -> Any:
        return _Turn(self._path.with_name(f".{self._path.name}.lock"))

    def _rotate(self) -> None:
        """`audit.jsonl` becomes `audit.1.jsonl`, that one `audit.2.jsonl`; the oldest is deleted."""
        paths = [self._path] + [self._path.with_suffix(f".{number}.jsonl") for number in range(1, MOST_FILES)]
        for older, newer in zip(paths[:0:-1], paths[-2::-1]):
            with suppress(FileNotFoundError):
                newer.replace(older)


class _Turn:
    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        self._handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX)
        except OSError as error:
            if not without_locks(error):
                os.close(self._handle)
                raise  # else a line is one write all the same: only files that are full need a turn

    def __exit__(self, *_: object) -> None:
        os.close(self._handle)


def audit_log(state_dir: str | Path, *, told: bool = True) -> AuditLog:
    """The audit log of a service with this state folder."""
    return AuditLog(Path(state_dir) / FILE, told=told)


def refused_log(state_dir: str | Path) -> AuditLog:
    """The audit log of its refused calls, which the log stream has already."""
    return AuditLog(Path(state_dir) / FILE_OF_REFUSED, told=False)
