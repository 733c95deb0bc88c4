"""What could not be used of a run of records, and why."""

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
    "bad_weight",
    "too_large",
    "empty",
    "unmatched_label",
]
REASONS: tuple[str, ...] = get_args(Reason)


@dataclass(frozen=True, slots=True)
class Rejected:
    """A record that cannot be used, or only in part."""

    row: int
    """Which record of the run."""
    reason: Reason
    detail: str
    """What was expected and what came, in words."""
    rows: tuple[int, ...] = ()
    """Of a record of many events, those that cannot be used; the others were taken. Empty: none was taken."""


class Refused(Exception):
    """One record cannot be used, for this reason."""

    def __init__(self, reason: Reason, detail: str) -> None:
        self.reason: Reason = reason
        super().__init__(detail)
