"""The joiner's position on disk: with a checksum, flushed, and beside the position before it. Where joiners of several
hosts follow each other, in the store, too.

A position that is too old costs only time: what is joined again is a duplicate by its id.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import structlog
from crc32c import crc32c

from thalweg.memory.exchange.commands import StoreError
from thalweg.memory.files import sync_folder, write_durably
from thalweg.proto.records import Partition, Position, Records
from thalweg.stream.labels.waiting import WaitingLabels
from thalweg.stream.log.log import Epochs

log = structlog.get_logger(__name__)

_SAVE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Place:
    """A position in the log."""

    offsets: Position = field(default_factory=dict)
    """The last record of each partition that is done."""
    log_identity: Mapping[str, str] = field(default_factory=dict)
    """Identity by topic of the log that the offsets belong to; empty in files of older versions."""
    log_epochs: Mapping[str, Epochs] = field(default_factory=dict)
    """Its epochs by topic, likewise."""


class SharedPlace(Protocol):
    """Where the joiners of a model on several hosts keep their position. Every method raises StoreError."""

    def load(self) -> bytes | None:
        """What was saved last; None: nothing."""

    def save(self, content: bytes) -> None:
        """Keep it."""


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
    beside = path.with_name(f".{path.name}.next")
    write_durably(beside, _content(place))
    if path.exists():
        path.replace(_previous(path))
    beside.replace(path)
    sync_folder(path.parent)


def _content(place: Place) -> bytes:
    record = {
        "offsets": [[*partition, offset] for partition, offset in sorted(place.offsets.items())],
        "log_identity": dict(place.log_identity),
        **({"log_epochs": dict(place.log_epochs)} if place.log_epochs else {}),
    }
    return json.dumps({**record, "crc32c": _checksum(record)}).encode()


def _further(first: Place, second: Place) -> Place:
    """What both have done together; of a topic that was created again in between, what `first` has of it."""
    other = {
        topic for topic, identity in second.log_identity.items() if first.log_identity.get(topic, identity) != identity
    }
    offsets = dict(first.offsets)
    for at, end in second.offsets.items():
        if at.topic not in other:
            offsets[at] = max(end, offsets.get(at, end))
    return Place(offsets, {**second.log_identity, **first.log_identity})


def _parsed(content: bytes) -> Place:
    record: Any = json.loads(content)
    if isinstance(record, list):  # of a version without checksums
        record = {"offsets": record, "log_identity": {}}
    elif (expected := record.pop("crc32c")) != (got := _checksum(record)):
        raise ValueError(f"CRC-32C expected {expected}, got {got}")
    offsets = {Partition(str(topic), int(number)): int(offset) for topic, number, offset in record["offsets"]}
    epochs = {
        str(topic): [(int(number), str(name), int(first)) for number, name, first in found]
        for topic, found in record.get("log_epochs", {}).items()
    }
    return Place(offsets, {str(topic): str(identity) for topic, identity in record["log_identity"].items()}, epochs)


def _checksum(record: Mapping[str, Any]) -> int:
    return crc32c(json.dumps(record, sort_keys=True).encode())


def _previous(path: Path) -> Path:
    return path.with_name(f"{path.name}.previous")


class PlaceKeeper:
    """A joiner's position while it runs: how far it has read, and up to where all of that is done.

    Args:
        path: Its file; the folder exists.
        ticks: Monotonic seconds.
        shared: Where joiners of other hosts find it; None: there are none.
    """

    def __init__(self, path: Path, ticks: Callable[[], float], shared: SharedPlace | None = None) -> None:
        self._path, self._ticks, self._shared = path, ticks, shared
        begun = read_place(path)
        self.end: dict[Partition, int] = dict(begun.offsets)
        """The last record of each partition that was read."""
        self.log_identity: dict[str, str] = dict(begun.log_identity)
        """Identity by topic of the log that `end` belongs to."""
        self.log_epochs: Mapping[str, Epochs] = dict(begun.log_epochs)
        """Its epochs by topic, as of the last position that was saved."""
        self._saved: Position = dict(self.end)
        self._saved_at = ticks()
        self._problem = ""

    def fetch(self) -> None:
        """Begin after what joiners of other hosts have done: with the events that wait in the store that all share, and
        the joined ones in the log, it is done whoever says so. Raises StoreError.
        """
        if (theirs := self._kept_in_store()) is not None:
            begun = _further(theirs, Place(self.end, self.log_identity))
            self.end, self.log_identity = dict(begun.offsets), dict(begun.log_identity)

    def _kept_in_store(self) -> Place | None:
        content = None if self._shared is None else self._shared.load()
        try:
            return None if content is None else _parsed(content)
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            log.error("the position of the join in the store is damaged: using this host's", problem=str(error))
            return None

    def took(self, run: Records) -> None:
        """These records were read."""
        self.end[run.partition] = run.offsets[-1]

    def forget(self, topic: str) -> dict[str, int]:
        """A topic was created again: it is read from its beginning. Returns how far it was read."""
        read = {str(at): end for at, end in self.end.items() if at.topic == topic}
        self.end = {at: end for at, end in self.end.items() if at.topic != topic}
        self._saved = {}
        return read

    def read_on_at(self, part: Partition, first: int) -> None:
        """The log has other records from there on: those are read next."""
        self.end[part] = first - 1
        self._saved = {}

    def identify(self, present: Mapping[str, str]) -> bool:
        """Note the identities of topics; whether any of them is news."""
        news = not present.items() <= self.log_identity.items()
        self.log_identity.update(present)
        return news

    def save_due(self) -> bool:
        """Whether to save: about once a second."""
        return self._ticks() - self._saved_at >= _SAVE_SECONDS

    def save(self, waiting: WaitingLabels) -> None:
        """Save the position up to the oldest label that waits. A failure is logged; it costs time at the next start."""
        self._saved_at = self._ticks()
        done = waiting.before(self.end)
        if done == self._saved:
            return
        try:
            here = Place(done, self.log_identity, self.log_epochs)
            write_place(self._path, here)
            if self._shared is not None:  # one who was taken for dead, and goes on, must not put it back
                theirs = self._kept_in_store()
                self._shared.save(_content(here if theirs is None else _further(here, theirs)))
            self._saved, self._problem = done, ""
        except (OSError, StoreError) as error:
            if str(error) != self._problem:  # every second the same
                log.warning("cannot save the position of the join", place=str(self._path), problem=str(error))
            self._problem = str(error)
