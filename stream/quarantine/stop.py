"""The mark of a model that its circuit breaker has stopped: it survives a restart, and an operator removes it."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import structlog

from thalweg.memory.files import sync_folder, write_durably
from thalweg.stream.journal.entries import BlockEntry, from_line, to_line

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Stop:
    """Where and why a model stands still."""

    version: int
    """The version at which it stands."""
    what: str
    """What did not work, and for how many of how many."""
    cause: str
    """The first line of the exception, or the commonest reason of invalid records."""
    since: float
    """Unix seconds."""
    entry: BlockEntry | None = None
    """The block that follows, whose events it could not learn; None: the next records of the log."""

    def reason(self, model: str) -> str:
        """For health and logs."""
        return (
            f"stopped by the circuit breaker at version {self.version}: {self.what}: {self.cause}; "
            f"`thalweg resume CONFIG --model {model}` tries again, with `--skip` it leaves out what fails"
        )


class StopMark(Protocol):
    """Keeps the mark of one model. No method raises: a lost mark costs another attempt, nothing else."""

    def read(self) -> Stop | None:
        """The mark; None if the model is not stopped."""

    def write(self, stop: Stop) -> None:
        """Set the mark."""

    def clear(self) -> None:
        """Remove the mark."""


class InMemoryStopMark:
    """For tests and notebooks."""

    def __init__(self) -> None:
        self._stop: Stop | None = None

    def read(self) -> Stop | None:
        return self._stop

    def write(self, stop: Stop) -> None:
        self._stop = stop

    def clear(self) -> None:
        self._stop = None


class FileStopMark:
    """In a file beside the journal."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> Stop | None:
        try:
            record = json.loads(self._path.read_bytes())
            entry = None if record["block"] is None else from_line(record["block"].encode())
            if not (entry is None or isinstance(entry, BlockEntry)):
                raise ValueError(f"expected a block, got {type(entry).__name__}")
            texts = str(record["what"]), str(record["cause"])
            return Stop(int(record["version"]), *texts, float(record["since"]), entry)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            log.warning("the mark of a stopped model cannot be read: the model tries again", problem=str(error))
            return None

    def write(self, stop: Stop) -> None:
        block = None if stop.entry is None else to_line(stop.entry).decode()
        record = {
            "version": stop.version,
            "what": stop.what,
            "cause": stop.cause,
            "since": stop.since,
            "block": block,
        }
        beside = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        try:
            write_durably(beside, json.dumps(record, indent=1).encode())
            beside.replace(self._path)
            sync_folder(self._path.parent)
        except OSError as error:
            log.warning("the model stands still, but a restart will try again: no mark", problem=str(error))
            beside.unlink(missing_ok=True)

    def clear(self) -> None:
        try:
            self._path.unlink(missing_ok=True)
            sync_folder(self._path.parent)
        except OSError as error:
            log.warning("the mark of a stopped model cannot be removed", problem=str(error))
