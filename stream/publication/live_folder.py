"""The folder of published versions, in shared memory where available.

A folder in shared memory outlives the state folder that it belongs to, so each knows the other: the state folder holds
a random identity, which the memory's folder repeats together with the state folder's path. Processes hold a lock on
that file while they use the folder.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import threading
import time
import uuid
from contextlib import suppress
from pathlib import Path

import structlog

from thalweg.memory.kept_folders import must_be_kept
from thalweg.stream.publication.state_before import (
    IDENTITY,
    PLACE,
    SHARED,
    in_use,
    place_of,
    shared_folder,
    was_replaced,
)

log = structlog.get_logger(__name__)

_held: dict[Path, int] = {}  # locks of this process, by file
_CONTAINERS = 64 << 20
"""Bytes of shared memory that engines of containers give by default."""
_REMEMBERED_SECONDS = 7 * 86400.0
"""For how long it is known that a state folder was at a path: longer than it takes to bring a disk back."""


def live_folder(state_dir: Path) -> Path:
    """The folder of published versions below `state_dir`; created if needed.

    A link to a private folder in shared memory where enough of it is free, else a plain folder. An existing plain
    folder is used as it is: so processes that do not share `/dev/shm` can share this one. What a deleted state folder
    of the same path has left in shared memory is removed, as is what this user's other deleted state folders have.

    Raises:
        OSError: It cannot be created, or the one in memory belongs to another user.
    """
    location = state_dir / "live"
    if location.is_dir() and not location.is_symlink():
        return location
    must_be_kept(state_dir)
    state_dir.mkdir(parents=True, exist_ok=True)
    if not _roomy():
        return _on_disk(location)
    remove_orphans()
    target = shared_folder(state_dir)
    if not target.exists() and not _has_room():
        log.warning(
            "shared memory is full: versions are published on disk, in a folder that stays", folder=str(location)
        )
        return _on_disk(location)
    _make_private(target)
    _tie(target, state_dir)
    if not location.is_symlink() or location.readlink() != target:  # new, or copied with another service's state
        beside = location.with_name(f".live.{os.getpid()}.{threading.get_ident()}")
        try:
            beside.symlink_to(target)
        except OSError:  # no links here, as on exFAT: what is published is on this disk, too
            location.mkdir(exist_ok=True)
            return location
        beside.replace(location)  # atomically: a process that starts at the same time always finds the folder
    return location


def _roomy() -> bool:
    """Whether there is shared memory, and more of it than a container has that was given none on purpose: three
    versions of a model may need more, and one that finds no room cannot be served.
    """
    if not (SHARED.is_dir() and os.access(SHARED, os.W_OK)):
        return False
    found = os.statvfs(SHARED)
    return found.f_blocks * found.f_frsize > _CONTAINERS


def _has_room() -> bool:
    """Whether others have left as much of it as is asked for; a folder that exists is used however little is left."""
    found = os.statvfs(SHARED)
    return found.f_bavail * found.f_frsize >= _CONTAINERS


def _on_disk(location: Path) -> Path:
    location.unlink(missing_ok=True)
    location.mkdir(exist_ok=True)
    return location


def make_model_folder(folder: Path) -> None:
    """Create a model's folder in the live folder, also if the folder in shared memory was deleted. Raises OSError."""
    must_be_kept(folder)
    live = folder.parent
    if live.is_symlink() and not live.exists():
        _make_private(live.readlink())
        _tie(live.readlink(), live.parent)
    folder.mkdir(parents=True, exist_ok=True)


def _make_private(target: Path) -> None:
    target.mkdir(mode=0o700, exist_ok=True)
    found = target.lstat()  # anyone may create something there before us, for example a link to a folder of ours
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise PermissionError(f"{target}: expected a folder of this user, found another user's; remove it")
    target.chmod(0o700)


def _tie(target: Path, state_dir: Path) -> None:
    """Take the folder for this state folder; empty it if it belonged to one that was at this path before."""
    wanted = f"{_identity(state_dir)}\n{state_dir.resolve()}"
    mark = target / IDENTITY
    if (held := _held.pop(mark, None)) is not None:
        os.close(held)
    found = mark.read_text(encoding="utf-8") if mark.exists() else wanted
    if found != wanted:
        if in_use(mark):
            raise PermissionError(f"{target}: a running service uses it whose state folder is another {state_dir}")
        if left := [path for path in target.iterdir() if path != mark]:
            log.info(
                "the state folder is another one: removed what the one before at this path had published",
                folder=str(target),
            )
        for path in left:
            _remove(path)
    elif was_replaced(state_dir) and in_use(mark):
        raise PermissionError(f"{target}: a running service uses it whose state folder was replaced by this one")
    if found != wanted or not mark.exists():
        _write(mark, wanted)
    place = target / PLACE
    if not place.exists() or was_replaced(state_dir):
        beside = target / f"{PLACE}.{uuid.uuid4().hex}"
        _write(beside, place_of(state_dir))
        beside.replace(place)  # atomically: a process that starts meanwhile does not find half of it
    os.utime(mark)  # it is in use from now on
    _held[mark] = os.open(mark, os.O_RDONLY)
    fcntl.flock(_held[mark], fcntl.LOCK_SH)


def _identity(state_dir: Path) -> str:
    """The state folder's identity, drawn if it has none. Processes that start together agree."""
    own, drawn = state_dir / IDENTITY, state_dir / f"{IDENTITY}.{uuid.uuid4().hex}"
    if not own.exists():
        _write(drawn, uuid.uuid4().hex)
        try:
            os.link(drawn, own)
        except FileExistsError:
            pass
        except OSError:  # no hard links here
            drawn.replace(own)
        drawn.unlink(missing_ok=True)
    return own.read_text(encoding="utf-8")


def _write(path: Path, text: str) -> None:
    """Raises OSError, with the path also where the disk is full."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def remove_orphans(remembered_seconds: float = _REMEMBERED_SECONDS) -> None:
    """Remove this user's folders in shared memory whose state folder no longer exists: at once what they hold, and
    after so many seconds since they were last used that they have existed, by which a start without its state folder
    is known.

    Nothing is said: they belong to nothing that still exists, nor to the service that starts.
    """
    for target in SHARED.glob(f"thalweg-{os.getuid()}-*"):
        mark = target / IDENTITY
        try:
            owner = Path(mark.read_text(encoding="utf-8").partition("\n")[2])
            if target.is_symlink() or target.stat().st_uid != os.getuid():
                continue
            if (owner / IDENTITY).exists() or in_use(mark):
                continue
            forgotten = time.time() - mark.stat().st_mtime >= remembered_seconds
        except OSError:  # of an older version, or being created
            continue
        if forgotten:
            shutil.rmtree(target, ignore_errors=True)
            continue
        with suppress(FileNotFoundError):  # another start removes it, too
            for path in target.iterdir():
                if path != mark:
                    _remove(path)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
