import errno
import os
import random
from pathlib import Path

import pytest

from thalweg.ops.simulate.disk import FaultyDisk
from thalweg.ops.simulate.scheduler import Crash, Process


class Plan:
    """Faults as a test sets them."""

    def __init__(self, seed: int = 0) -> None:
        self.random = random.Random(seed)
        self.left = 1 << 30
        self.points = list[str]()
        self.crash_at: int | None = None
        self.one = Process("one")

    def point(self, what: str) -> None:
        if not self.one.alive:
            raise Crash
        self.points.append(what)
        if len(self.points) - 1 == self.crash_at:
            self.one.alive = False
            raise Crash

    def room(self, wanted: int) -> int:
        taken = min(wanted, self.left)
        self.left -= taken
        return taken

    def choose(self, options: int) -> int:
        return self.random.randrange(options)

    def process(self) -> Process:
        return self.one


def synced(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    os.fsync(handle)
    os.close(handle)


def after_cuts(tmp_path: Path, write: object, seeds: int = 40) -> set[tuple[tuple[str, bytes], ...]]:
    """What power cuts leave after `write`, over many seeds."""
    found = set()
    for seed in range(seeds):
        folder = tmp_path / str(seed)
        folder.mkdir()
        disk = FaultyDisk(folder, Plan(seed))
        with disk.in_force():
            write(folder)  # type: ignore[operator]
        disk.power_cut()
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        found.add(tuple((str(path.relative_to(folder)), path.read_bytes()) for path in files))
    return found


def test_what_was_synced_survives_every_power_cut(tmp_path: Path) -> None:
    assert after_cuts(tmp_path, lambda folder: synced(folder / "a", b"content")) == {(("a", b"content"),)}


def test_a_file_whose_folder_was_not_synced_may_be_missing(tmp_path: Path) -> None:
    def write(folder: Path) -> None:
        with (folder / "a").open("wb") as file:
            file.write(b"content")
            file.flush()
            os.fsync(file.fileno())

    assert after_cuts(tmp_path, write) == {(), (("a", b"content"),)}


def test_of_an_append_that_was_not_synced_any_part_may_be_left_and_the_rest_may_be_zeros(tmp_path: Path) -> None:
    def write(folder: Path) -> None:
        synced(folder / "a", b"old")
        with (folder / "a").open("ab") as file:
            file.write(b"new")

    left = {content for files in after_cuts(tmp_path, write, 100) for _, content in files}

    assert {b"old", b"oldn", b"oldnew", b"oldn\0\0"} <= left
    assert all(content.startswith(b"old") and len(content) <= 6 for content in left)


def test_a_rename_that_was_not_synced_leaves_the_old_or_the_new_file_under_the_name(tmp_path: Path) -> None:
    def write(folder: Path) -> None:
        synced(folder / "a", b"old")
        synced(folder / "b", b"new")
        (folder / "b").rename(folder / "a")

    assert after_cuts(tmp_path, write) == {(("a", b"old"), ("b", b"new")), (("a", b"new"),)}


def test_a_rename_of_a_file_that_was_not_synced_may_leave_an_empty_file(tmp_path: Path) -> None:
    def write(folder: Path) -> None:
        synced(folder / "a", b"old")
        (folder / "b").write_bytes(b"new")
        (folder / "b").rename(folder / "a")
        sync_folder(folder)

    assert (("a", b""),) in after_cuts(tmp_path, write)


def test_a_full_disk_takes_a_part_of_a_write_and_refuses_the_rest(tmp_path: Path) -> None:
    plan = Plan()
    disk = FaultyDisk(tmp_path, plan)

    with disk.in_force(), (tmp_path / "a").open("wb", buffering=0) as file:
        plan.left = 3
        assert file.write(b"content") == 3
        with pytest.raises(OSError, match="No space left") as raised:
            file.write(b"tent")

    assert raised.value.errno == errno.ENOSPC
    assert (tmp_path / "a").read_bytes() == b"con"


def write_and_clean_up(folder: Path) -> None:
    try:
        synced(folder / "a", b"content")
        (folder / "a").rename(folder / "b")
    finally:
        (folder / "a").unlink(missing_ok=True)


@pytest.mark.parametrize("at", range(4))
def test_a_dead_process_writes_nothing_any_more(tmp_path: Path, at: int) -> None:
    plan = Plan()
    disk = FaultyDisk(tmp_path, plan)
    plan.crash_at = at

    with disk.in_force(), pytest.raises(Crash):
        write_and_clean_up(tmp_path)

    assert len(plan.points) == at + 1
    assert not (tmp_path / "b").exists()


def test_other_folders_are_not_touched(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    plan = Plan()
    with FaultyDisk(tmp_path / "disk", plan).in_force():
        synced(tmp_path / "other", b"content")
        (tmp_path / "other").rename(tmp_path / "moved")

    assert plan.points == []


def test_afterwards_the_calls_are_those_of_the_operating_system(tmp_path: Path) -> None:
    before = (os.fsync, os.rename, open)
    with FaultyDisk(tmp_path, Plan()).in_force():
        assert os.fsync is not before[0]

    assert (os.fsync, os.rename, open) == before
