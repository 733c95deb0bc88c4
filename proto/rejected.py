"""Invalid records of a run, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

Reason: TypeAlias = Literal[
    "malformed",
    "wrong_shape",
    "wrong_dtype",
    "unknown_input",
    "missing_input",
    "non_finite",
    "bad_label",
    "bad_time",
    "invalid_time",
    "bad_weight",
    "bad_id",
    "bad_key",
    "too_large",
    "empty",
    "unknown_schema",
    "unmatched_label",
    "learner_error",
    "joiner_error",
]
REASONS: tuple[str, ...] = get_args(Reason)


@dataclass(frozen=True, slots=True)
class Rejected:
    """A record that is invalid, wholly or in part."""

    row: int
    """Index of the record in the run."""
    reason: Reason
    detail: str
    """What was expected and what came."""
    rows: tuple[int, ...] = ()
    """The invalid events of a record with many events; the others were decoded. Empty: none was decoded."""


class Refused(Exception):
    """One record is invalid, for this reason."""

    def __init__(self, reason: Reason, detail: str) -> None:
        self.reason: Reason = reason
        super().__init__(detail)


def is_tombstone(value: bytes | None) -> bool:
    """Whether a record's value is none, or JSON's for that, `null`: it says that its key was deleted.

    A compacted topic has such records, and so has every stream of changes of a database: Debezium sends one behind each
    deletion. They hold nothing to learn, and are no invalid ones.
    """
    return value is None or value.strip() == b"null"


def without_tombstones(rejected: Sequence[Rejected], values: Sequence[bytes | None]) -> list[Rejected]:
    """The invalid records that are no tombstones."""
    return [one for one in rejected if not is_tombstone(values[one.row])]
