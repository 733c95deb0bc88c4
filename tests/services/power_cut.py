"""A disk that forgets: what of a folder is left after a power cut, by the rules that file systems promise and no more.

It watches the calls that change a folder, and notes what is on disk at a cut. The content of a file is sure up to its
last `fsync`; of what was written later nothing, a part, all, or zeros may be there. Creations, renames and removals in
a folder are sure up to the folder's last `fsync`; of the later ones any may be there and any other not. A single rename
is whole.
"""

from __future__ import annotations

import os
import random
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

_CHANGES = ("rename", "replace", "unlink", "remove", "rmdir", "mkdir", "link", "truncate")


class PowerCut(BaseException):
    """The power fails here."""


@dataclass
class _Folder:
    """One folder's entries, by name: inode numbers."""

    sure: dict[str, int] = field(default_factory=dict)
    seen: dict[str, int] = field(default_factory=dict)
    changes: list[dict[str, int | None]] = field(default_factory=list)
    """Each change since the folder was flushed: name → inode, or None where the name goes."""

    def after_cut(self, choose: random.Random, share: float) -> dict[str, int]:
        left = dict(self.sure)
        for change in self.changes:
            if choose.random() < share:
                for name, inode in change.items():
                    left.pop(name, None)
                    if inode is not None:
                        left[name] = inode
        return left


class ForgetfulDisk:
    """Watches the changes below `folder`, and raises PowerCut at the one of number `cut_at`.

    Args:
        folder: Exists, is empty, and counts as being on disk.
        cut_at: Number of the call at which the power fails, from 0; None: never.
        seed: Decides what of the unsure is left. An even one: by chance; an odd one: nothing.
    """

    def __init__(self, folder: Path, cut_at: int | None = None, seed: int = 0) -> None:
        self.calls = 0
        """Watched so far."""
        self._root = folder
        self._cut_at = cut_at
        self._choose = random.Random(f"{cut_at} {seed}")
        self._share = 0.0 if seed % 2 else 0.5
        self._folders: dict[int, _Folder] = {folder.stat().st_ino: _Folder()}
        self._contents: dict[int, bytes] = {}
        self._handles: dict[int, int] = {}  # open, so that no inode number is given twice
        self._left: dict[str, bytes | None] | None = None

    @contextmanager
    def watching(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        """Watch the calls inside this block, which ends with the power cut."""
        with monkeypatch.context() as patch:
            for name in _CHANGES:
                patch.setattr(os, name, self._watched(name, getattr(os, name)))
            for name in ("fsync", "fdatasync"):
                patch.setattr(os, name, self._flushing(getattr(os, name)))
            try:
                with suppress(PowerCut):
                    yield
                self._cut()  # if not before
            finally:
                for handle in self._handles.values():
                    os.close(handle)

    def copy_what_is_left(self, to: Path) -> None:
        """Make a folder of what was on disk when the power failed."""
        assert self._left is not None, "the power has not failed"
        to.mkdir()
        for name, content in self._left.items():
            if content is None:
                (to / name).mkdir()
            else:
                (to / name).write_bytes(content)

    # -- watching -----------------------------------------------------------------------------------------------------

    def _count(self) -> None:
        self._look()
        if self.calls == self._cut_at:
            self._cut()
            raise PowerCut
        self.calls += 1

    def _watched(self, name: str, plain: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **more: Any) -> Any:
            if self._left is not None:
                return plain(*args, **more)
            self._count()
            result = plain(*args, **more)
            self._look()
            return result

        return call

    def _flushing(self, plain: Callable[[int], None]) -> Callable[[int], None]:
        def call(handle: int) -> None:
            if self._left is not None:
                return plain(handle)
            self._count()
            status = os.fstat(handle)
            if stat.S_ISDIR(status.st_mode):
                known = self._folders.get(status.st_ino)
                if known is not None:
                    known.sure, known.changes = dict(known.seen), []
            else:
                self._contents[status.st_ino] = _content(handle)
            return None

        return call

    def _look(self) -> None:
        """Note what has changed in the folders."""
        pending = [self._root]
        while pending:
            path = pending.pop()
            known = self._folders.setdefault(path.stat().st_ino, _Folder())
            now: dict[str, int] = {}
            for entry in os.scandir(path):
                inode = entry.inode()
                now[entry.name] = inode
                if entry.is_dir(follow_symlinks=False):
                    pending.append(Path(entry.path))
                if inode not in self._handles:
                    self._handles[inode] = os.open(entry.path, os.O_RDONLY)
            gone = {name: inode for name, inode in known.seen.items() if now.get(name) != inode}
            for name, inode in now.items():
                if known.seen.get(name) == inode:
                    continue
                before = [other for other, old in gone.items() if old == inode]  # renamed: one change of two names
                for other in before:
                    del gone[other]
                known.changes.append({**dict.fromkeys(before), name: inode})
                gone.pop(name, None)
            known.changes += [{name: None} for name in gone]
            known.seen = now

    # -- the cut ------------------------------------------------------------------------------------------------------

    def _cut(self) -> None:
        if self._left is None:
            self._left = dict(self._below(self._root.stat().st_ino, ""))

    def _below(self, folder: int, prefix: str) -> Iterator[tuple[str, bytes | None]]:
        for name, inode in self._folders[folder].after_cut(self._choose, self._share).items():
            if inode in self._folders:
                yield prefix + name, None
                yield from self._below(inode, f"{prefix}{name}/")
            else:
                yield prefix + name, self._file(inode)

    def _file(self, inode: int) -> bytes:
        sure, now = self._contents.get(inode, b""), _content(self._handles[inode])
        if self._share == 0.0 or sure == now:
            return sure
        kind = self._choose.randrange(4)
        if kind == 0 or not now.startswith(sure):
            return self._choose.choice([sure, now])
        some = now[: self._choose.randint(len(sure), len(now))]
        return [now, some, some + bytes(len(now) - len(some))][kind - 1]


def _content(handle: int) -> bytes:
    """Also of a handle that is open for writing only."""
    return Path(f"/proc/self/fd/{handle}").read_bytes()
