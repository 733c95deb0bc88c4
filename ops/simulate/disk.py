"""A disk that may fail anywhere: full for a while, torn writes, and power cuts that forget what was not synced.

The code under test runs on a real folder (in memory, where there is one). While a `FaultyDisk` is in force, the calls
of the operating system that change that folder pass through it. It knows what a power cut would leave: of each file
what was last synced, or what was written since, or a part of that; of each folder the entries as last synced, or as
after any later change, because file systems order the changes of a folder, but not the contents of files against them.
"""

from __future__ import annotations

import builtins
import errno
import io
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Protocol

from thalweg.ops.simulate.scheduler import Process


class Faults(Protocol):
    """Decides what fails; the simulation implements it."""

    def point(self, what: str) -> None:
        """Called before every change of the disk; may raise Crash."""

    def room(self, wanted: int) -> int:
        """How many of the bytes to be written still fit; less than `wanted` on a full disk."""

    def choose(self, options: int) -> int:
        """A number below `options`."""

    def process(self) -> Process:
        """The process whose turn it is."""


_CHANGING = ("rename", "replace", "unlink", "mkdir", "rmdir", "link")

Listing = dict[str, int]
"""The entries of a folder: name → inode."""


class FaultyDisk:
    """The disk below one folder.

    Args:
        folder: Everything in it is on this disk.
        faults: Decides what fails.
    """

    def __init__(self, folder: Path, faults: Faults) -> None:
        self._folder = os.path.realpath(folder)
        self._faults = faults
        self._contents: dict[int, bytes] = {}  # of files, as synced, by inode
        self._listings: dict[int, list[Listing]] = {}  # of folders, as synced and after each change since
        self._paths: dict[int, str] = {}  # of inodes, as last seen: the order of choices must not depend on inodes
        self._listings[os.stat(self._folder).st_ino] = [{}]
        self._passing = False  # whether calls are the disk's own

    @contextmanager
    def in_force(self) -> Iterator[None]:
        """Within this block, the calls of the operating system in this process pass through the disk."""
        real = {name: getattr(os, name) for name in ("fsync", "fdatasync", *_CHANGING)}
        opened = io.open
        self._real_open: Callable[..., IO[Any]] = opened
        self._real_fsync: Callable[[int], None] = real["fsync"]
        os.fsync = self._sync  # type: ignore[assignment]
        os.fdatasync = self._sync  # type: ignore[assignment]
        for name in _CHANGING:
            setattr(os, name, self._changing(name, real[name]))
        io.open = builtins.open = self._open  # type: ignore[assignment]
        try:
            yield
        finally:
            for name, call in real.items():
                setattr(os, name, call)
            io.open = builtins.open = opened

    def power_cut(self) -> None:
        """Replace the folder's content by one that a power cut may leave. Every process must be dead."""
        self._passing = True
        try:
            self._cut(Path(self._folder))
        finally:
            self._passing = False

    def _cut(self, root: Path) -> None:
        contents, tree = self._survivors(root)
        for entry in list(root.iterdir()):
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        self._contents.clear()
        self._listings.clear()
        self._write(root, tree, contents)

    # -- calls --------------------------------------------------------------------------------------------------------

    def _ours(self, path: object) -> bool:
        if self._passing or not isinstance(path, str | os.PathLike):
            return False
        return os.path.abspath(os.fspath(path)).startswith(self._folder + os.sep)

    def _sync(self, handle: int) -> None:
        path = os.readlink(f"/proc/self/fd/{handle}")
        if not (path + os.sep).startswith(self._folder + os.sep):
            return
        self._faults.point(f"sync {_shown(path)}")
        if self._faults.room(1) < 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
        status = os.fstat(handle)
        if os.path.isdir(path):
            self._listings[status.st_ino] = [self._listing(path)]
        else:
            with self._real_open(f"/proc/self/fd/{handle}", "rb") as file:
                self._contents[status.st_ino] = file.read()

    def _changing(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def change(*args: Any, **kwargs: Any) -> Any:
            paths = [path for path in args[:2] if isinstance(path, str | os.PathLike)]
            if (folder := kwargs.get("dir_fd")) is not None:
                paths = [os.path.join(os.readlink(f"/proc/self/fd/{folder}"), path) for path in paths]
            if not any(self._ours(path) for path in paths):
                return call(*args, **kwargs)
            self._faults.point(f"{name} {_shown(paths[0])}")
            if name in ("mkdir", "link") and self._faults.room(1) < 1:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), os.fspath(paths[0]))
            try:
                return call(*args, **kwargs)
            finally:
                for path in paths:
                    if self._ours(path):
                        self._changed(os.path.dirname(os.path.abspath(os.fspath(path))))

        return change

    def _open(self, file: Any, mode: str = "r", buffering: int = -1, *args: Any, **kwargs: Any) -> IO[Any]:
        if not set(mode) & set("wax+") or not self._ours(file):
            return self._real_open(file, mode, buffering, *args, **kwargs)
        self._faults.point(f"open {_shown(file)}")
        existed = os.path.exists(file)
        if not existed and self._faults.room(1) < 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), os.fspath(file))
        raw = _File(self, os.fspath(file), mode.replace("b", "").replace("t", ""))
        if not existed:
            self._contents.pop(os.fstat(raw.fileno()).st_ino, None)  # an inode that is used again
            self._changed(os.path.dirname(os.path.abspath(os.fspath(file))))
        if buffering == 0:
            return raw
        buffered = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
        return buffered if "b" in mode else io.TextIOWrapper(buffered, *args, **kwargs)

    def allowed(self, path: str, wanted: int) -> int:
        """How many bytes of a write are taken. Raises Crash, or OSError if none."""
        self._faults.point(f"write {_shown(path)}")
        room = min(wanted, self._faults.room(wanted))
        if wanted and not room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
        return room

    def _changed(self, folder: str) -> None:
        with suppress(FileNotFoundError):
            self._listings.setdefault(os.stat(folder).st_ino, [{}]).append(self._listing(folder))

    def process(self) -> Process:
        """The process whose turn it is."""
        return self._faults.process()

    def _listing(self, folder: str) -> Listing:
        with os.scandir(folder) as entries:
            found = {entry.name: entry.inode() for entry in entries}
        for name, inode in found.items():
            self._paths[inode] = f"{folder}{os.sep}{name}"
        return found

    # -- power cuts ---------------------------------------------------------------------------------------------------

    def _survivors(self, root: Path) -> tuple[dict[int, bytes], dict[int, Listing]]:
        """What is left of each inode: contents of files, entries of folders."""
        now: dict[int, bytes] = {}
        folders: dict[int, str] = {os.stat(root).st_ino: str(root)}
        for base, names, files in os.walk(root):
            for name in names:
                folders[os.stat(os.path.join(base, name)).st_ino] = os.path.join(base, name)
            for name in files:
                path = os.path.join(base, name)
                now[os.stat(path).st_ino] = Path(path).read_bytes()
        tree = {}
        for inode in self._in_order(self._listings.keys() | folders.keys()):
            options = list(self._listings.get(inode, [{}]))
            if inode in folders:
                options.append(self._listing(folders[inode]))
            tree[inode] = options[self._faults.choose(len(options))]
        contents = {}
        for inode in self._in_order(now.keys() | self._contents.keys()):
            contents[inode] = self._left_of(self._contents.get(inode), now.get(inode))
        return contents, tree

    def _in_order(self, inodes: Iterable[int]) -> list[int]:
        return sorted(inodes, key=lambda inode: (self._paths.get(inode, ""), inode))

    def _left_of(self, synced: bytes | None, written: bytes | None) -> bytes:
        if written is None or written == synced:
            return synced or b""
        if synced is not None and not written.startswith(synced):
            return (synced, written)[self._faults.choose(2)]
        kept = len(synced or b"")
        upto = kept + self._faults.choose(len(written) - kept + 1)
        if self._faults.choose(4) == 0:  # the length reached the disk, the bytes did not
            return written[:upto] + bytes(len(written) - upto)
        return written[:upto]

    def _write(self, folder: Path, tree: dict[int, Listing], contents: dict[int, bytes]) -> None:
        """Write the tree below its root, which is the entry of the folder itself; it is all synced then."""
        root = os.stat(folder).st_ino
        self._write_entries(folder, tree.get(root, {}), tree, contents)

    def _write_entries(
        self, folder: Path, entries: Listing, tree: dict[int, Listing], contents: dict[int, bytes]
    ) -> None:
        for name, inode in sorted(entries.items()):
            path = folder / name
            if inode in tree:
                path.mkdir()
                self._write_entries(path, tree[inode], tree, contents)
            else:
                path.write_bytes(contents.get(inode, b""))
                self._contents[path.stat().st_ino] = contents.get(inode, b"")
        self._listings[folder.stat().st_ino] = [self._listing(str(folder))]


class _File(io.FileIO):
    """A file whose writes may be cut short."""

    def __init__(self, disk: FaultyDisk, path: str, mode: str) -> None:
        super().__init__(path, mode)
        self._disk = disk
        self._path = path
        self._process = disk.process()

    def __del__(self) -> None:
        self.close()  # of a dead process: the operating system would have

    def write(self, data: Any, /) -> int:
        content = memoryview(data).cast("B")
        if not self._process.alive:  # a buffer that is flushed when its object is collected
            return len(content)
        return super().write(content[: self._disk.allowed(self._path, len(content))])


def _shown(path: str | os.PathLike[str]) -> str:
    """The name of a file in the trace, which is the same in every process."""
    return os.path.basename(path).replace(str(os.getpid()), "PID")
