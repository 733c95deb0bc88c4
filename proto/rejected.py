"""Invalid records of a run, and why."""

from __future__ import annotations

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
