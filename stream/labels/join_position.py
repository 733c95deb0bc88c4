"""The position of a joiner: where it stands in each topic, and beside it which topics those were."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import structlog

from thalweg.proto.records import Partition

log = structlog.get_logger(__name__)


def read_position(place: Path) -> dict[Partition, int]:
    """The position of the last run; empty if there was none, or its file is damaged: then everything is read again."""
    try:
        entries = json.loads(place.read_text())
        return {Partition(str(topic), int(number)): int(offset) for topic, number, offset in entries}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError) as error:
        log.warning("joining labels from the beginning: the position cannot be read", problem=str(error))
        return {}


def write_position(place: Path, done: Mapping[Partition, int]) -> None:
    """Replace the position. Raises OSError."""
    _write(place, [[*partition, offset] for partition, offset in sorted(done.items())])


def read_identities(place: Path) -> dict[str, str]:
    """The identity of each topic of the position in this file; empty where it is not known."""
    try:
        return {str(topic): str(identity) for topic, identity in json.loads(_beside(place).read_text()).items()}
    except (OSError, ValueError, AttributeError):
        return {}


def write_identities(place: Path, identities: Mapping[str, str]) -> None:
    """Replace the identities; only after the position holds nothing of other topics. Raises OSError."""
    _write(_beside(place), dict(sorted(identities.items())))


def _beside(place: Path) -> Path:
    return place.with_suffix(".topics.json")


def _write(place: Path, content: Any) -> None:
    beside = place.with_name(f".{place.name}.{os.getpid()}")
    beside.write_text(json.dumps(content))
    beside.replace(place)
