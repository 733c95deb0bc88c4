"""The losses of a model as files: what the comparison of models reads, at its own pace.

A model appends the losses of each block once it has learned it. What a crash takes away comes again with the blocks
that are then learned again, in every bit; what is there already is not written twice. The files are bounded: of a
comparison that does not go on, the oldest losses are dropped.
"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np
import structlog

from thalweg.memory.files import flush, make_folder
from thalweg.stream.comparison.block_losses import BlockLosses, from_bytes, to_bytes
from thalweg.stream.comparison.losses import LossName

log = structlog.get_logger(__name__)

SEGMENT_BYTES = 1 << 20
MOST_SEGMENTS = 64
_END = ".losses"


class LossSink(Protocol):
    """Where a model's losses go."""

    @property
    def name(self) -> LossName:
        """Which loss."""

    def add(self, block: BlockLosses) -> None:
        """The losses of a block; those of a version that is known already are dropped. Does not raise."""

    def sync(self) -> None:
        """What was added survives a power cut once this returns; does not raise."""

    def begin_anew(self) -> None:
        """The model has no state: its versions begin at 1 again. Does not raise."""

    def close(self) -> None:
        """Release the file; `add` opens it again. Does not raise."""


class FileLosses:
    """Writes one model's losses.

    Args:
        folder: Holds the files; created if needed.
        name: Which loss.
        segment_bytes: Size after which another file begins.
        most_segments: Files kept at most.
    """

    def __init__(
        self,
        folder: Path,
        name: LossName = "auto",
        segment_bytes: int = SEGMENT_BYTES,
        most_segments: int = MOST_SEGMENTS,
    ) -> None:
        self.name: LossName = name
        self._folder = folder
        self._segment_bytes, self._most_segments = segment_bytes, most_segments
        self._file: int | None = None
        self._size = 0
        self._newest = -1
        self._keyed = 0
        self._failed = False
        self._opened = False

    def add(self, block: BlockLosses) -> None:
        try:
            if not self._opened:
                self._open()
            if block.version <= self._newest:
                return
            if self._file is None or self._size >= self._segment_bytes:
                self._begin_segment(block.version)
            self._write(to_bytes(replace(block, first=self._keyed)))
            self._newest = block.version
            self._keyed += _keyed(block)
            self._failed = False
        except OSError as error:
            self._tell(error)

    def sync(self) -> None:
        if self._file is not None:
            try:
                flush(self._file)
            except OSError as error:
                self._tell(error)

    def begin_anew(self) -> None:
        self.close()
        shutil.rmtree(self._folder, ignore_errors=True)
        self._newest, self._keyed, self._opened = -1, 0, False

    def close(self) -> None:
        if self._file is not None:
            with suppress(OSError):
                os.close(self._file)
            self._file = None
        self._opened = False

    def _open(self) -> None:
        make_folder(self._folder)
        if found := segments(self._folder):
            path = path_of(self._folder, found[-1])
            content = path.read_bytes()
            end, self._newest = 0, found[-1] - 1
            for block, at in from_bytes(content):
                end, self._newest, self._keyed = at, block.version, block.first + _keyed(block)
            self._file = os.open(path, os.O_WRONLY | os.O_APPEND)
            if end < len(content):
                os.ftruncate(self._file, end)  # a crash left it half written
            self._size = end
        self._opened = True

    def _begin_segment(self, version: int) -> None:
        if self._file is not None:
            flush(self._file)
            os.close(self._file)
            self._file = None
        self._file = os.open(path_of(self._folder, version), os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_TRUNC, 0o600)
        self._size = 0
        found = segments(self._folder)
        for old in found[: max(0, len(found) - self._most_segments)]:
            log.warning(
                "the comparison of models does not go on: the oldest losses are dropped", folder=str(self._folder)
            )
            path_of(self._folder, old).unlink(missing_ok=True)

    def _write(self, content: bytes) -> None:
        assert self._file is not None
        written = 0
        try:
            while written < len(content):
                written += os.write(self._file, content[written:])
        except OSError:
            with suppress(OSError):
                os.ftruncate(self._file, self._size)
            raise
        self._size += len(content)

    def _tell(self, error: OSError) -> None:
        if not self._failed:
            log.error(
                "losses cannot be written: these events are not compared", folder=str(self._folder), problem=str(error)
            )
        self._failed = True
        with suppress(OSError):
            self.close()


def _keyed(block: BlockLosses) -> int:
    return int(np.count_nonzero(block.keys >= 0))


def segments(folder: Path) -> list[int]:
    """The first version of each file, in order; none without a folder. Raises OSError."""
    try:
        names = [path.name.removesuffix(_END) for path in folder.iterdir() if path.name.endswith(_END)]
    except FileNotFoundError:
        return []
    return sorted(int(name) for name in names if name.isascii() and name.isdigit())


def path_of(folder: Path, version: int) -> Path:
    """The file whose first block led to this version."""
    return folder / f"{version}{_END}"
