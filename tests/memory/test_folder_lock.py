"""The lock of a folder: one has it, the others are told who, and it ends with its process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.services.processes import until
from thalweg.memory.folder_lock import FolderLock


def test_one_has_it_and_the_others_are_told_who(tmp_path: Path) -> None:
    first, second = (FolderLock(tmp_path / "m", "learner", who) for who in ("learner", "learner-2"))

    assert first.take() == ""
    assert first.take() == ""
    assert second.take().startswith(f"learner (process {os.getpid()} on ")
    first.release()
    assert second.take() == ""
    assert first.take().startswith("learner-2 (process ")
    second.release()


def test_a_full_disk_keeps_the_name_of_who_has_it_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    lock, other = FolderLock(tmp_path, "learner", "learner"), FolderLock(tmp_path, "learner", "learner")
    with monkeypatch.context() as disk:
        disk.setattr(os, "pwrite", full)
        assert lock.take() == ""
    assert other.take() == "another process"
    lock.release()
    assert other.take() == ""
    other.release()


def test_the_parts_of_a_folder_have_locks_of_their_own(tmp_path: Path) -> None:
    learner, joiner = (FolderLock(tmp_path, part, "learner") for part in ("learner", "joiner"))

    assert learner.take() == joiner.take() == ""
    for lock in (learner, joiner):
        lock.release()


def test_it_is_free_again_as_soon_as_its_process_is_killed(tmp_path: Path) -> None:
    text = (
        "import sys, time\nfrom pathlib import Path\nfrom thalweg.memory.folder_lock import FolderLock\n"
        "lock = FolderLock(Path(sys.argv[1]), 'learner', 'other')\nassert lock.take() == ''\ntime.sleep(600)"
    )
    path = os.pathsep.join(part for part in sys.path if part)
    other = subprocess.Popen([sys.executable, "-c", text, str(tmp_path)], env={**os.environ, "PYTHONPATH": path})
    lock = FolderLock(tmp_path, "learner", "ours")
    try:
        told = tmp_path / ".learner.lock"
        until("the other to have it", lambda: told.exists() and told.read_text())
        assert lock.take().startswith(f"other (process {other.pid} on ")
    finally:
        other.kill()
        other.wait()

    assert lock.take() == ""
    lock.release()
