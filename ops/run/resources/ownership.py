"""Files that belong to another user, as after a restore by one: whose they are, and what to do."""

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


def _name(user: int) -> str:
    try:
        return f"{pwd.getpwuid(user).pw_name} ({user})"
    except KeyError:
        return str(user)
