"""What this process may not use: whose it is, as after a restore by another user, and what to do."""

from __future__ import annotations

import os
import pwd
from contextlib import suppress
from pathlib import Path


def not_ours(error: PermissionError) -> str:
    """The error with the owner of what may not be used, where somebody else is the owner; else the error alone."""
    path = Path(str(error.filename or ""))
    for place in (path, *path.parents):  # of what is in a closed folder nothing can be seen
        with suppress(OSError):
            owner = place.stat().st_uid
            if owner == os.geteuid() or error.filename is None:
                break
            return (
                f"{path}: permission denied: {place} belongs to user {_name(owner)}, and this process runs as "
                f"{_name(os.geteuid())}, as after a restore by another user: chown the files of the service to the "
                "user that runs it"
            )
    return str(error)


def may_not_be_written(place: Path) -> str:
    """Why this process can write no file in a folder, or not this file; empty if it can, or can make it."""
    for one in (place, *place.absolute().parents):
        try:
            found = one.stat()
        except FileNotFoundError:
            continue
        except OSError:  # told of the one above it, which may not be entered
            continue
        wanted = os.R_OK | os.W_OK | (os.X_OK if one.is_dir() else 0)
        if os.access(one, wanted):
            return ""
        what = f"{place} may not be written" if one == place else f"{place} cannot be made: {one} may not be written"
        return (
            f"{what} by user {_name(os.geteuid())}; it belongs to {_name(found.st_uid)}, mode {found.st_mode & 0o777:o}"
        )
    return ""


def _name(user: int) -> str:
    try:
        return f"{pwd.getpwuid(user).pw_name} ({user})"
    except KeyError:
        return str(user)
