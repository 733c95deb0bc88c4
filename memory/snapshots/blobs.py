"""What of a model's state in an object store is unneeded, and what of it somebody else has deleted."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

import structlog

from thalweg.memory.objects.objects import Listed

log = structlog.get_logger(__name__)

_YOUNG_SECONDS = 3600.0
"""A blob that nobody names is deleted when it is older: whoever uploads it may not have named it yet."""
_AVERAGED = re.compile(r"([0-9]{19})-[0-9a-f]{64}", re.ASCII)


def unneeded(blobs: Sequence[Listed], named: Collection[str]) -> list[str]:
    """The names of the blobs that no version names, of those that are not young."""
    newest = max((one.modified for one in blobs), default=0.0)
    return [one.name for one in blobs if digest_of(one.name) not in named and one.modified < newest - _YOUNG_SECONDS]


def averages_upto(listed: Sequence[Listed], version: int) -> list[str]:
    """The names of what was averaged up to a version."""
    found = ((one.name, _AVERAGED.fullmatch(digest_of(one.name))) for one in listed)
    return [name for name, match in found if match is not None and int(match[1]) <= version]


def still_there(before: set[str], there: set[str], named: set[str], model: str, place: str) -> set[str]:
    """Of the blobs that were there, those that are: what versions need and somebody else has deleted is told."""
    if lost := (before & named) - there:
        log.error(
            "objects that versions need were deleted by another, perhaps by a rule for the age of objects: "
            "they are uploaded again with the next version",
            model=model,
            place=place,
            lost=len(lost),
        )
    return before & there


def digest_of(name: str) -> str:
    """The SHA-256 that a blob is called by: the last part of its name."""
    return name.rpartition("/")[2]
