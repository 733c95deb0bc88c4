"""Whether another state folder was at a path before: what it has published in shared memory stays when it is moved.

A service that is started without its folder, which was moved or is on a disk that is not mounted, would begin anew
without a word. Shared memory alone remembers it here; a restart of the machine, or of a container, empties it.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from contextlib import suppress
from pathlib import Path

from thalweg.memory.kept_folders import FolderElsewhere, folder_id

SHARED = Path("/dev/shm")
IDENTITY = ".identity"
"""In the state folder: its identity. In the folder in shared memory: the same, and the state folder's path."""
PLACE = ".place"
"""In the folder in shared memory: device and inode of the state folder, which a copy of it does not share."""
_BEGUN = ".begun-anew"
"""In a state folder: since when (Unix seconds), if another was at its path before."""
_TOLD_SECONDS = 3600.0


def shared_folder(state_dir: Path) -> Path:
    """The folder in shared memory of a state folder."""
    name = hashlib.sha256(str(state_dir.resolve()).encode()).hexdigest()[:16]
    return SHARED / f"thalweg-{os.getuid()}-{name}"


def in_use(mark: Path) -> bool:
    """Whether a process uses the folder in shared memory with this mark. Raises OSError."""
    handle = os.open(mark, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def has_state(state_dir: Path) -> bool:
    """Whether any model has saved a version in a state folder."""
    return any(state_dir.glob("*/[0-9]*/manifest.json"))


def other_before(state_dir: Path) -> bool:
    """Whether another folder was at this path, as far as this host knows, and what is there now holds no state."""
    return _was_another(state_dir) and not has_state(state_dir)


def must_not_be_away(state_dir: Path) -> None:
    """Raise FolderElsewhere if a service still runs whose state folder was at this path, and is not any more."""
    mark = shared_folder(state_dir) / IDENTITY
    with suppress(FileNotFoundError, PermissionError):
        if (_was_another(state_dir) or was_replaced(state_dir)) and in_use(mark):
            raise FolderElsewhere(state_dir.absolute(), _user(mark))


def place_of(state_dir: Path) -> str:
    """Tells a state folder from its copies. Raises OSError."""
    return "{}:{}".format(*folder_id(state_dir))


def was_replaced(state_dir: Path) -> bool:
    """Whether the one that shared memory knows at this path is another than is there now, be it a copy of it."""
    try:
        known = (shared_folder(state_dir) / PLACE).read_text(encoding="utf-8")
        return bool(known) and known != place_of(state_dir)
    except OSError:
        return False


def _user(mark: Path) -> int:
    """The process that uses the folder in shared memory with this mark, the one with the least number of several; 0 if
    the kernel does not tell, as of another container's.
    """
    found = mark.stat()
    file = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
    try:
        lines = [line.split() for line in Path("/proc/locks").read_text(encoding="utf-8").splitlines()]
    except OSError:
        return 0
    return min((int(line[4]) for line in lines if line[1] == "FLOCK" and line[5] == file), default=0)


def note_beginning(state_dir: Path) -> None:
    """Let processes know that another folder was at this path before. Nothing is raised: it is for people."""
    with suppress(OSError):
        (state_dir / _BEGUN).write_text(f"{time.time():.0f}", encoding="utf-8")


def begun_anew(state_dir: Path) -> str:
    """For people: that the state folder began anew within the last hour, and what to do; empty if it did not."""
    try:
        since = float((state_dir / _BEGUN).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    if abs(time.time() - since) > _TOLD_SECONDS:
        return ""
    return (
        f"began anew: another folder was at {state_dir.absolute()} before, and this one held no state; if that was not "
        "meant, stop the service, move this folder away, put the one of before in its place, and start it"
    )


def _was_another(state_dir: Path) -> bool:
    try:
        identity, _, path = (shared_folder(state_dir) / IDENTITY).read_text(encoding="utf-8").partition("\n")
        if path != str(state_dir.resolve()):
            return False
        own = state_dir / IDENTITY
        return not own.exists() or own.read_text(encoding="utf-8") != identity
    except OSError:
        return False
