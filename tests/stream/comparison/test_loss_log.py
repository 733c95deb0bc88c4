"""Losses on disk: written once, read while they are written, bounded."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from thalweg.stream.comparison.block_losses import BlockLosses, from_bytes, to_bytes
from thalweg.stream.comparison.loss_log import FileLosses, path_of, segments
from thalweg.stream.comparison.loss_reader import LossReader


def block(version: int, count: int = 10) -> BlockLosses:
    """The losses of the `version`-th run of `count` records."""
    first = (version - 1) * count
    offsets = np.arange(first, first + count)
    losses = offsets / 7.0
    spans, keys = {"t/0": (first - 1, first + count - 1)}, np.where(offsets % 2, offsets, -1)
    return BlockLosses(version, spans, ("t/0",), np.zeros(count, "i4"), offsets, losses, keys)


def versions(reader: LossReader) -> list[int]:
    return [one.version for one in reader.blocks()]


def test_a_block_is_read_as_it_was_written_and_what_is_half_written_or_damaged_is_not_read() -> None:
    content = to_bytes(block(1)) + to_bytes(block(2))

    (first, _), (second, end) = from_bytes(content)

    assert end == len(content)
    assert second.spans == {"t/0": (9, 19)}
    assert np.array_equal(first.losses, block(1).losses)
    assert np.array_equal(second.offsets, block(2).offsets)
    for upto in range(len(to_bytes(block(1))), len(content)):
        assert [one.version for one, _ in from_bytes(content[:upto])] == [1]
    damaged = bytearray(content)
    damaged[-3] ^= 1
    assert [one.version for one, _ in from_bytes(bytes(damaged))] == [1]


def test_a_reader_goes_on_with_what_is_written_after_it_has_read(tmp_path: Path) -> None:
    written, reader = FileLosses(tmp_path / "losses", segment_bytes=600), LossReader(tmp_path / "losses")
    assert versions(reader) == []
    read = []
    for version in range(1, 12):
        written.add(block(version))
        read += versions(reader) if version % 3 == 0 else []

    assert read + versions(reader) == list(range(1, 12))
    assert len(segments(tmp_path / "losses")) > 3


def test_what_is_learned_again_after_a_crash_is_not_written_twice_and_a_torn_end_is_cut_off(tmp_path: Path) -> None:
    folder = tmp_path / "losses"
    before = FileLosses(folder)
    for version in (1, 2, 3):
        before.add(block(version))
    path = path_of(folder, 1)
    path.write_bytes(path.read_bytes()[:-5])

    after = FileLosses(folder)
    for version in (2, 3, 4):
        after.add(block(version))

    assert versions(LossReader(folder)) == [1, 2, 3, 4]
    assert [one.first for one in LossReader(folder).blocks()] == [0, 5, 10, 15]  # events with keys are numbered


def test_a_model_that_begins_anew_writes_its_versions_again_and_a_reader_finds_them(tmp_path: Path) -> None:
    losses, reader = FileLosses(tmp_path / "losses"), LossReader(tmp_path / "losses")
    for version in (1, 2, 3):
        losses.add(block(version))
    assert versions(reader) == [1, 2, 3]

    losses.begin_anew()
    losses.add(block(1))

    assert versions(reader) == [1]


def test_the_oldest_are_dropped_when_nobody_reads_and_a_reader_goes_on_behind_the_gap(tmp_path: Path) -> None:
    losses, reader = FileLosses(tmp_path / "losses", segment_bytes=1, most_segments=4), LossReader(tmp_path / "losses")
    losses.add(block(1))
    assert versions(reader) == [1]

    for version in range(2, 20):
        losses.add(block(version))

    assert len(segments(tmp_path / "losses")) == 4
    assert versions(reader) == [16, 17, 18, 19]


def test_files_are_deleted_only_when_all_in_them_is_done(tmp_path: Path) -> None:
    folder = tmp_path / "losses"
    losses, reader = FileLosses(folder, segment_bytes=1), LossReader(folder)
    for version in (1, 2, 3, 4):
        losses.add(block(version))
    assert versions(reader) == [1, 2, 3, 4]

    reader.forget({"t/0": 15})

    assert segments(folder) == [2, 3, 4]


def test_a_full_disk_costs_losses_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    losses, whole, full = FileLosses(tmp_path / "losses"), os.write, [False]

    def write(handle: int, content: Any) -> int:
        if full[0]:
            whole(handle, content[:20])
            raise OSError(errno.ENOSPC, "No space left on device")
        return whole(handle, content)

    monkeypatch.setattr(os, "write", write)
    losses.add(block(1))
    full[0] = True
    losses.add(block(2))
    full[0] = False
    losses.add(block(3))

    assert versions(LossReader(tmp_path / "losses")) == [1, 3]
