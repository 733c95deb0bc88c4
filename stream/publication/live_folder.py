"""The folder of published versions, in shared memory where available."""

from __future__ import annotations

import hashlib
import os
import stat
import threading
from pathlib import Path


def live_folder(state_dir: Path) -> Path:
    """The folder of published versions below `state_dir`; created if needed.

    A link to a private folder in shared memory where available, else a plain folder. An existing plain folder
    is used as it is: so processes that do not share `/dev/shm` can share this one.

    Raises:
        OSError: It cannot be created, or the one in memory belongs to another user.
    """
    location = state_dir / "live"
    shared = Path("/dev/shm")
    if location.is_dir() and not location.is_symlink():
        return location
    state_dir.mkdir(parents=True, exist_ok=True)
    if not (shared.is_dir() and os.access(shared, os.W_OK)):
        location.unlink(missing_ok=True)
        location.mkdir(exist_ok=True)
        return location
    name = hashlib.sha256(str(state_dir.resolve()).encode()).hexdigest()[:16]
    target = shared / f"thalweg-{os.getuid()}-{name}"
    target.mkdir(mode=0o700, exist_ok=True)
    found = target.lstat()  # anyone may create something there before us, for example a link to a folder of ours
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise PermissionError(f"{target}: expected a folder of this user, found another user's; remove it")
    target.chmod(0o700)
    if not location.is_symlink() or location.readlink() != target:  # new, or copied with another service's state
        beside = location.with_name(f".live.{os.getpid()}.{threading.get_ident()}")
        beside.symlink_to(target)
        beside.replace(location)  # atomically: a process that starts at the same time always finds the folder
    return location
