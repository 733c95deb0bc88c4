import errno
import os
from pathlib import Path

import pytest

from tests.ops.simulate.test_disk import Plan
from thalweg.memory import files
from thalweg.memory.files import make_folder, write_durably
from thalweg.ops.simulate.disk import FaultyDisk


def test_a_folder_survives_a_power_cut_also_if_a_dead_process_has_created_it(tmp_path: Path) -> None:
    for seed in range(10):
        base = tmp_path / str(seed)
        base.mkdir()
        disk = FaultyDisk(base, Plan(seed))
        with disk.in_force():
            (base / "a" / "b").mkdir(parents=True)  # and dies before it flushes anything
            make_folder(base / "a" / "b" / "c")
            write_durably(base / "a" / "b" / "c" / "file", b"content")
            make_folder(base / "a" / "b" / "c" / "d")
        disk.power_cut()

        assert (base / "a" / "b" / "c" / "file").read_bytes() == b"content"


@pytest.mark.parametrize("number", [errno.EROFS, errno.EINVAL, errno.EACCES])
def test_folders_above_that_cannot_be_flushed_are_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    real = files.sync_folder

    def sync(folder: Path) -> None:
        if folder == tmp_path.parent:
            raise OSError(number, os.strerror(number), str(folder))
        assert folder != tmp_path.parent.parent
        real(folder)

    monkeypatch.setattr(files, "sync_folder", sync)

    make_folder(tmp_path / "a" / "b")

    assert (tmp_path / "a" / "b").is_dir()


def test_a_folder_above_that_fails_to_be_flushed_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def sync(folder: Path) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(folder))

    monkeypatch.setattr(files, "sync_folder", sync)

    with pytest.raises(OSError, match="Input/output error"):
        make_folder(tmp_path / "a")


def test_folders_above_are_flushed_once_and_again_where_one_was_created_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, flushed = files.sync_folder, list[Path]()
    monkeypatch.setattr(files, "sync_folder", lambda folder: (flushed.append(folder), real(folder)))
    folder = tmp_path / "a" / "b"
    make_folder(folder)
    assert flushed[:3] == [tmp_path / "a", tmp_path, tmp_path.parent]
    flushed.clear()

    make_folder(folder)
    make_folder(tmp_path / "a" / "c")
    assert flushed == [tmp_path / "a"]  # the entry of `c`
    flushed.clear()

    (tmp_path / "a" / "b").rmdir()
    (tmp_path / "a").rename(tmp_path / "aside")
    make_folder(folder)
    assert flushed == [tmp_path / "a", tmp_path]


@pytest.mark.parametrize("number", [None, errno.EOPNOTSUPP, errno.EINVAL])
def test_room_is_reserved_also_where_the_system_or_the_disk_cannot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int | None
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"kept")
    if number is None:
        monkeypatch.delattr(os, "posix_fallocate")
    else:

        def refuse(*_: int) -> None:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(os, "posix_fallocate", refuse)

    with path.open("r+b") as file:
        files.reserve(file.fileno(), 3 << 20)
        files.reserve(file.fileno(), 100)  # it is longer already

    assert path.stat().st_size == 3 << 20
    assert path.stat().st_blocks * 512 >= 3 << 20
    assert path.read_bytes()[:5] == b"kept\0"


def test_a_full_disk_is_still_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with (tmp_path / "file").open("w+b") as file, pytest.raises(OSError, match="No space"):
        files.reserve(file.fileno(), 100)


@pytest.mark.parametrize("data_only", [False, True])
def test_the_disk_s_own_cache_is_flushed_where_that_is_a_call_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data_only: bool
) -> None:
    calls: list[str] = []
    refused = False

    def control(_: int, command: int) -> None:
        calls.append("whole")
        if refused:
            raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))

    monkeypatch.setattr(files.fcntl, "F_FULLFSYNC", 51, raising=False)
    monkeypatch.setattr(files.fcntl, "fcntl", control)
    monkeypatch.delattr(os, "fdatasync")
    monkeypatch.setattr(os, "fsync", lambda _: calls.append("plain"))
    with (tmp_path / "file").open("w+b") as file:
        files.flush(file.fileno(), data_only)
        assert calls == ["whole"]
        refused = True  # as a file system of another host does
        files.flush(file.fileno(), data_only)
    assert calls == ["whole", "whole", "plain"]
