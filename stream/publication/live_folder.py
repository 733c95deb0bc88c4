"""The folder of published versions, on memory where the machine has some to share."""

from __future__ import annotations

import hashlib
import os
import stat
import threading
from pathlib import Path


def live_folder(state_dir: Path) -> Path:
    """The folder of published versions below `state_dir`; made if need be.

    A link to a private folder on memory where the machine offers one, else a plain folder. A plain folder that is
    there already is taken as it is: so processes that do not share `/dev/shm` can share this one.

    Raises:
        OSError: It cannot be made, or the one on memory is another user's.
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
    found = target.lstat()  # anybody may put something there before us, a link to a folder of ours, say
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise PermissionError(f"{target}: expected a folder of our own, found somebody else's; remove it")
    target.chmod(0o700)
    if not location.is_symlink() or location.readlink() != target:  # new, or copied along with another service's state
        beside = location.with_name(f".live.{os.getpid()}.{threading.get_ident()}")
        beside.symlink_to(target)
        beside.replace(location)  # at once: a process that starts beside us never finds nothing there
    return location
