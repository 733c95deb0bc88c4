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
