"""What a learner's host announces of a published version to other hosts: a line of JSON that nobody needs to trust.

Times are ages, in seconds at the moment of sending: clocks of two hosts need not agree.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, NamedTuple

MOST_RECORD_BYTES = 1 << 20
MOST_VERSION_BYTES = 16 << 30
PIECE_BYTES = 1 << 20
"""Large contents travel in pieces of this size: those that two versions share are sent once."""
MOST_COHORTS = 256
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@~-]{0,219}", re.ASCII)
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
_MOST_NUMBER = (1 << 53) - 1  # Redis compares them as doubles
_MOST_TEXT = 500


class Poisoned(Exception):
    """What is announced cannot be true or cannot be read; the message says what is wrong. It is not used."""


class Order(NamedTuple):
    """What decides which of two announcements is newer; no clock does."""

    generation: int
    """Of the owner of the model's state, as in `RemoteSnapshots`; 0 where nobody claims it."""
    incarnation: int
    """Of the sender, within the generation: one that starts takes a higher one."""
    sequence: int
    """Of the announcement, counted by the sender."""


@dataclass(frozen=True, slots=True)
class Announced:
    """A version, as its learner's host announces it."""

    model: str
    order: Order
    version: int
    learned_events: int
    event_time: float
    """Unix seconds of the newest event in it, as in the events; 0: none."""
    published_age: float
    """Seconds since it was published."""
    as_of_age: float | None
    """Seconds since the learner knew that no newer record was waiting; None: it never has."""
    identity: str
    """Hash of the settings under which it was made; empty: not known."""
    sender: str
    """Host and process, for people."""
    sha256: str
    """Of its content: the file of its tensors."""
    size_bytes: int
    pieces: tuple[str, ...] = ()
    """SHA-256 of each piece of the content, in order; empty: the content is with the announcement."""
    cohorts: tuple[tuple[int, int, float, int, int], ...] = ()
    """Of the records that it and the versions before it have learned: number, version, age of the append, records,
    records before them."""

    def encode(self) -> bytes:
        """As JSON."""
        return json.dumps(asdict(self), separators=(",", ":")).encode()


def decode(content: bytes, model: str) -> Announced:
    """The announcement of a model's version. Raises Poisoned for anything that `encode` cannot have written."""
    if len(content) > MOST_RECORD_BYTES:
        raise Poisoned(f"expected at most {MOST_RECORD_BYTES:,} bytes, got {len(content):,}")
    try:
        table = json.loads(content)
        if not isinstance(table, dict):
            raise ValueError(f"expected an object, got {type(table).__name__}")
        if missing := [one.name for one in fields(Announced) if one.name not in table]:
            raise ValueError(f"{missing[0]} is missing")
        found = Announced(
            model=checked_name(table["model"]),
            order=Order(*(_whole(one, "order") for one in _list(table["order"], 3))),
            version=_whole(table["version"], "version"),
            learned_events=_whole(table["learned_events"], "learned_events"),
            event_time=_number(table["event_time"], "event_time"),
            published_age=_age(table["published_age"]),
            as_of_age=None if table["as_of_age"] is None else _age(table["as_of_age"]),
            identity=_text(table["identity"], "identity"),
            sender=_text(table["sender"], "sender"),
            sha256=_hash(table["sha256"]),
            size_bytes=_whole(table["size_bytes"], "size_bytes", MOST_VERSION_BYTES),
            pieces=tuple(_hash(one) for one in _list(table["pieces"])),
            cohorts=tuple(_cohort(one) for one in _list(table["cohorts"], most=MOST_COHORTS)),
        )
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise Poisoned(f"the announcement of {model!r} is none: {error}") from error
    if found.model != model:
        raise Poisoned(f"the announcement of {model!r} names model {found.model!r}")
    if found.pieces and len(found.pieces) != -(-found.size_bytes // PIECE_BYTES):
        raise Poisoned(f"the announcement of {model!r}: {len(found.pieces)} pieces for {found.size_bytes:,} bytes")
    return found


def checked_name(name: Any) -> str:
    """The name of a model or a shard, which becomes that of a folder. Raises ValueError for anything else."""
    if not isinstance(name, str) or not _NAME.fullmatch(name) or name == "live":
        raise ValueError(f"expected the name of a model, got {name!r:.80}")
    return name


def _cohort(value: Any) -> tuple[int, int, float, int, int]:
    number, version, age, records, before = _list(value, 5)
    return (
        _whole(number, "cohorts", 1 << 62),
        _whole(version, "cohorts"),
        _age(age),
        _whole(records, "cohorts"),
        _whole(before, "cohorts"),
    )


def _list(value: Any, length: int | None = None, most: int = 1 << 20) -> Sequence[Any]:
    if not isinstance(value, list) or (length is not None and len(value) != length) or len(value) > most:
        raise ValueError(f"expected a list{'' if length is None else f' of {length}'}, got {value!r:.80}")
    return value


def _whole(value: Any, name: str, most: int = _MOST_NUMBER) -> int:
    if type(value) is not int or not 0 <= value <= most:
        raise ValueError(f"{name}: expected a whole number from 0 to {most}, got {value!r:.80}")
    return value


def _number(value: Any, name: str) -> float:
    if type(value) not in (int, float) or not math.isfinite(value):
        raise ValueError(f"{name}: expected a number, got {value!r:.80}")
    return float(value)


def _age(value: Any) -> float:
    return max(0.0, _number(value, "age"))


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str) or len(value) > _MOST_TEXT:
        raise ValueError(f"{name}: expected a text of at most {_MOST_TEXT} characters, got {value!r:.80}")
    return value


def _hash(value: Any) -> str:
    if not isinstance(value, str) or not _SHA256.fullmatch(value):
        raise ValueError(f"expected a SHA-256, got {value!r:.80}")
    return value
