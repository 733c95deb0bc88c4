"""The joiner's position on disk: with a checksum, flushed, and beside the position before it.

A position that is too old costs only time: what is joined again is a duplicate by its id.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog
from crc32c import crc32c

from thalweg.memory.snapshots.state import sync_folder, write_durably
from thalweg.proto.records import Partition, Position

log = structlog.get_logger(__name__)


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
