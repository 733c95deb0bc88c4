"""The joiner's position on disk: with a checksum, flushed, and beside the position before it.

A position that is too old costs only time: what is joined again is a duplicate by its id.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog
from crc32c import crc32c

from thalweg.memory.files import sync_folder, write_durably
from thalweg.proto.records import Partition, Position, Records
from thalweg.stream.labels.waiting import WaitingLabels

log = structlog.get_logger(__name__)

_SAVE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Place:
    """A position in the log."""

    offsets: Position = field(default_factory=dict)
    """The last record of each partition that is done."""
    log_identity: Mapping[str, str] = field(default_factory=dict)
    """Identity by topic of the log that the offsets belong to; empty in files of older versions."""


def read_place(path: Path) -> Place:
    """The position of the last run, or the one before where its file is damaged; the beginning if there is neither."""
    for file in (path, _previous(path)):
        try:
            return _parsed(file.read_bytes())
        except FileNotFoundError:
            continue
        except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            log.error("the position of the join is damaged: using an older one", file=str(file), problem=str(error))
    return Place()


def write_place(path: Path, place: Place) -> None:
    """Save a position; it survives a power cut. Raises OSError, and then the one before is still there."""
    record = {
        "offsets": [[*partition, offset] for partition, offset in sorted(place.offsets.items())],
        "log_identity": dict(place.log_identity),
    }
    beside = path.with_name(f".{path.name}.next")
    write_durably(beside, json.dumps({**record, "crc32c": _checksum(record)}).encode())
    if path.exists():
        path.replace(_previous(path))
    beside.replace(path)
    sync_folder(path.parent)


def _parsed(content: bytes) -> Place:
    record: Any = json.loads(content)
    if isinstance(record, list):  # of a version without checksums
        record = {"offsets": record, "log_identity": {}}
    elif (expected := record.pop("crc32c")) != (got := _checksum(record)):
        raise ValueError(f"CRC-32C expected {expected}, got {got}")
    offsets = {Partition(str(topic), int(number)): int(offset) for topic, number, offset in record["offsets"]}
    return Place(offsets, {str(topic): str(identity) for topic, identity in record["log_identity"].items()})


def _checksum(record: Mapping[str, Any]) -> int:
    return crc32c(json.dumps(record, sort_keys=True).encode())


def _previous(path: Path) -> Path:
    return path.with_name(f"{path.name}.previous")


class PlaceKeeper:
    """A joiner's position while it runs: how far it has read, and up to where all of that is done.

    Args:
        path: Its file; the folder exists.
        ticks: Monotonic seconds.
    """

    def __init__(self, path: Path, ticks: Callable[[], float]) -> None:
        self._path, self._ticks = path, ticks
        begun = read_place(path)
        self.end: dict[Partition, int] = dict(begun.offsets)
        """The last record of each partition that was read."""
        self.log_identity: dict[str, str] = dict(begun.log_identity)
        """Identity by topic of the log that `end` belongs to."""
        self._saved: Position = dict(self.end)
        self._saved_at = ticks()

    def took(self, run: Records) -> None:
        """These records were read."""
        self.end[run.partition] = run.offsets[-1]

    def forget(self, topic: str) -> dict[str, int]:
        """A topic was created again: it is read from its beginning. Returns how far it was read."""
        read = {str(at): end for at, end in self.end.items() if at.topic == topic}
        self.end = {at: end for at, end in self.end.items() if at.topic != topic}
        self._saved = {}
        return read

    def identify(self, present: Mapping[str, str]) -> bool:
        """Note the identities of topics; whether any of them is news."""
        news = not present.items() <= self.log_identity.items()
        self.log_identity.update(present)
        return news

    def save_if_due(self, waiting: WaitingLabels) -> None:
        """As `save`, about once a second."""
        if self._ticks() - self._saved_at >= _SAVE_SECONDS:
            self.save(waiting)

    def save(self, waiting: WaitingLabels) -> None:
        """Save the position up to the oldest label that waits. A failure is logged; it costs time at the next start."""
        self._saved_at = self._ticks()
        done = waiting.before(self.end)
        if done == self._saved:
            return
        try:
            write_place(self._path, Place(done, self.log_identity))
            self._saved = done
        except OSError as error:
            log.warning("cannot save the position of the join", place=str(self._path), problem=str(error))
