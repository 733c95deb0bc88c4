"""Reads a model's losses while they are written, and deletes what was compared."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from thalweg.stream.comparison.block_losses import BlockLosses, from_bytes
from thalweg.stream.comparison.loss_log import path_of, segments


class LossReader:
    """Reads from the oldest file on. A block may come twice, after its writer has begun anew. Not thread-safe.

    Args:
        folder: Holds the files; it need not exist yet.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._segment: int | None = None
        self._inode = 0
        self._at = 0
        self._ends: dict[int, dict[str, int]] = {}

    def blocks(self) -> Iterator[BlockLosses]:
        """The blocks that were not read yet, in order, up to the end of what is written. Raises OSError."""
        looked_again = False
        while (content := self._rest()) is not None:
            assert self._segment is not None
            begin, ends = self._at, self._ends.setdefault(self._segment, {})
            for block, end in from_bytes(content):
                self._at = begin + end
                for place, (_, last) in block.spans.items():
                    ends[place] = max(last, ends.get(place, -1))
                yield block
            if self._at > begin:
                looked_again = False
            elif not looked_again and self._later():
                looked_again = True  # its last block may have been written just before the next file was begun
            elif self._go_on():
                looked_again = False
            else:
                return

    def forget(self, done: Mapping[str, int]) -> None:
        """Delete the files that were read and have nothing above these offsets, by place. Raises OSError."""
        for segment in sorted(self._ends):
            if segment == self._segment or any(
                last > done.get(place, -1) for place, last in self._ends[segment].items()
            ):
                return
            path_of(self._folder, segment).unlink(missing_ok=True)
            del self._ends[segment]

    def _rest(self) -> bytes | None:
        """What is unread of the present file; None if there is no file."""
        if self._segment is None and not self._go_on():
            return None
        assert self._segment is not None
        try:
            with path_of(self._folder, self._segment).open("rb") as file:
                found = os.fstat(file.fileno())
                if found.st_ino != self._inode or found.st_size < self._at:
                    self._inode, self._at = found.st_ino, 0
                file.seek(self._at)
                return file.read()
        except FileNotFoundError:  # too old to be kept, or the model has begun anew
            gone, self._segment = self._segment, None
            self._ends.pop(gone, None)
            return self._rest() if self._go_on(gone) else None

    def _go_on(self, after: int | None = None) -> bool:
        """Turn to the next file; whether there is one."""
        later = self._later(after)
        if not later and self._segment is None:
            later = segments(self._folder)
        if not later:
            return False
        self._segment, self._at, self._inode = later[0], 0, 0
        return True

    def _later(self, after: int | None = None) -> list[int]:
        after = self._segment if self._segment is not None else after
        return [one for one in segments(self._folder) if after is None or one > after]
