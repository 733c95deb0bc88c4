"""Names in a request that nobody reads: a misspelt one must not pass as if it were not there."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable

from thalweg.proto.schema import InputError

PARAMETERS = ("as_of_version", "binary_data_output", "event_id", "explain", "key", "min_state_version")
"""Parameters of inference requests that this service reads."""
_ALIKE = 0.75


def check_fields(given: Iterable[str], known: Collection[str], where: str) -> None:
    """Refuse fields that a message does not have. Raises InputError, which names the nearest known one."""
    for name in given:
        if name not in known:
            raise InputError(f"{where}: no such field {name!r:.80}; {nearest(name, known) or all_of(known)}")


def check_parameters(given: Iterable[str]) -> None:
    """Refuse parameters that look like one of ours but misspelt; others are extensions of other servers, and ignored.

    Raises:
        InputError: One is misspelt; the message names the right one.
    """
    check_names(given, PARAMETERS, "")


def check_names(given: Iterable[str], known: Collection[str], where: str) -> None:
    """The same for other parameters than those of requests."""
    for name in given:
        if name not in known and (meant := nearest(name, known)):
            raise InputError(f"{where}{': ' * bool(where)}parameter {name!r:.80}: no such parameter; {meant}")


def check_options(given: Iterable[str], known: Collection[str]) -> None:
    """Refuse options after the `?` of an address that a route does not have. Raises InputError."""
    for name in given:
        if name not in known:
            raise InputError(f"option {name!r:.80}: no such option; {nearest(name, known) or all_of(known)}")


def nearest(name: str, known: Collection[str], alike: float = _ALIKE) -> str:
    """A question for the known name that looks like this one, at least as much as this (0 to 1); empty if none does."""
    near = difflib.get_close_matches(name[:80].lower(), known, 1, alike)
    return f"did you mean {near[0]!r}?" if near else ""


def all_of(known: Collection[str]) -> str:
    """The known names, for a message."""
    return "known: " + (", ".join(map(repr, sorted(known))) or "none")
