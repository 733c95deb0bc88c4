"""The live folder: on memory where there is some, private, and the same for all processes of a service."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from thalweg.memory.kept_folders import FolderElsewhere
from thalweg.stream.publication import live_folder as module
from thalweg.stream.publication.live_folder import live_folder
from thalweg.stream.publication.state_before import must_not_be_away, other_before, shared_folder


@pytest.fixture
def made() -> Iterator[Callable[[Path], Path]]:
    """`live_folder`, and afterwards nothing is left on memory."""
    folders = []

    def make(state_dir: Path) -> Path:
        folders.append(live_folder(state_dir))
        return folders[-1]

    yield make
    for folder in folders:
        shutil.rmtree(folder.resolve(), ignore_errors=True)


def test_the_live_folder_is_on_memory_where_there_is_one_and_private(
    tmp_path: Path, made: Callable[[Path], Path]
) -> None:
    folder = made(tmp_path / "state")
    again = made(tmp_path / "state")

    assert folder == again
    assert folder.is_dir()
    if folder.is_symlink():
        target = folder.resolve()
        assert target.parent == Path("/dev/shm")
        assert target.stat().st_mode & 0o777 == 0o700
        shutil.rmtree(target)
        assert made(tmp_path / "state").is_dir()  # as after the machine was started anew


def test_a_plain_live_folder_that_is_there_already_is_taken(tmp_path: Path, made: Callable[[Path], Path]) -> None:
    (tmp_path / "state" / "live").mkdir(parents=True)

    assert not made(tmp_path / "state").is_symlink()


def test_a_container_s_little_shared_memory_is_left_alone(
    tmp_path: Path, made: Callable[[Path], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = made(tmp_path / "state").resolve()
    real = os.statvfs

    def little(path: Path) -> os.statvfs_result:
        found = list(real(path))
        return (
            os.statvfs_result([4096, 4096, (64 << 20) // 4096, *found[3:]]) if path == Path("/dev/shm") else real(path)
        )

    monkeypatch.setattr(os, "statvfs", little)

    folder = made(tmp_path / "state")  # also where a link is left from a host with more

    assert folder.is_dir()
    assert not folder.is_symlink()
    (folder / "file").write_bytes(b"x")
    shutil.rmtree(before, ignore_errors=True)
    assert (folder / "file").exists()
    assert made(tmp_path / "state") == folder


on_memory = pytest.mark.skipif(not os.access("/dev/shm", os.W_OK), reason="this machine has no /dev/shm")


@on_memory
def test_shared_memory_that_others_have_filled_is_left_to_them_and_this_is_told(
    tmp_path: Path,
    made: Callable[[Path], Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """As after a reboot of a host whose other programs were sooner: the link is there, its folder not."""
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "live").symlink_to("/dev/shm/thalweg-of-a-boot-before")
    running = made(tmp_path / "running")
    real = os.statvfs

    def full(path: Path) -> os.statvfs_result:
        found = list(real(path))
        return os.statvfs_result([*found[:3], 0, 0, *found[5:]])

    monkeypatch.setattr(os, "statvfs", full)
    folder = made(tmp_path / "new")

    assert folder.is_dir()
    assert not folder.is_symlink()
    assert "shared memory is full" in capsys.readouterr().out
    assert made(tmp_path / "running") == running, "what a service uses already is not taken from it"
    assert running.is_symlink()


@pytest.mark.skipif(not os.access("/dev/full", os.W_OK), reason="this machine has no /dev/full")
def test_a_full_disk_is_told_with_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Path.write_text
    monkeypatch.setattr(Path, "write_text", lambda path, text, **more: real(Path("/dev/full"), text, **more))

    with pytest.raises(OSError, match=str(tmp_path / "state")):
        live_folder(tmp_path / "state")


@on_memory
def test_a_copy_of_a_state_folder_gets_a_live_folder_of_its_own(tmp_path: Path, made: Callable[[Path], Path]) -> None:
    first = made(tmp_path / "one")
    shutil.copytree(tmp_path / "one", tmp_path / "two", symlinks=True)

    second = made(tmp_path / "two")

    assert second.resolve() != first.resolve()


@on_memory
def test_a_link_that_somebody_put_in_its_place_is_not_followed(tmp_path: Path, made: Callable[[Path], Path]) -> None:
    target = made(tmp_path / "state").resolve()
    shutil.rmtree(target)
    (tmp_path / "precious").mkdir()
    target.symlink_to(tmp_path / "precious")

    with pytest.raises(PermissionError, match="expected a folder of this user"):
        live_folder(tmp_path / "state")

    target.unlink()


@on_memory
def test_processes_that_start_together_find_the_same_live_folder(tmp_path: Path, made: Callable[[Path], Path]) -> None:
    start = threading.Barrier(8)

    def make() -> Path:
        start.wait()
        return made(tmp_path / "state").resolve()

    with ThreadPoolExecutor(8) as pool:
        found = [future.result() for future in [pool.submit(make) for _ in range(8)]]

    assert len(set(found)) == 1
    assert [path.name for path in (tmp_path / "state").iterdir() if path.name != ".identity"] == ["live"]


@on_memory
def test_what_a_deleted_state_folder_published_is_not_served_for_a_new_one(
    tmp_path: Path, made: Callable[[Path], Path]
) -> None:
    folder = made(tmp_path / "state")
    (folder / "m").mkdir()
    (folder / "m" / "1.safetensors").write_text("of the deleted state")
    assert (made(tmp_path / "state") / "m").is_dir()  # of the same state folder: kept
    shutil.rmtree(tmp_path / "state")

    again = made(tmp_path / "state")

    assert again.resolve() == again.readlink()
    assert {path.name for path in again.iterdir()} == {".identity", ".place"}


@on_memory
def test_of_a_folder_whose_state_folder_is_gone_the_memory_alone_stays_for_a_week_unless_it_is_in_use(
    tmp_path: Path, made: Callable[[Path], Path]
) -> None:
    used, gone = made(tmp_path / "used").resolve(), made(tmp_path / "gone").resolve()
    for folder in (used, gone):
        (folder / "m").mkdir()
    os.close(module._held.pop(gone / ".identity"))  # its processes have ended
    for state in ("used", "gone"):
        shutil.rmtree(tmp_path / state)

    kept = made(tmp_path / "other").resolve()
    left = [path.name for path in gone.iterdir()]
    known = other_before(tmp_path / "gone")
    os.utime(gone / ".identity", (0.0, time.time() - 8 * 86400.0))
    made(tmp_path / "other")

    assert (left, known) == ([".identity"], True)
    assert (used / "m").is_dir()
    assert (used.exists(), gone.exists(), kept.exists()) == (True, False, True)
    assert not other_before(tmp_path / "gone")


@on_memory
@pytest.mark.parametrize("way", ["a copy", "another one", "nothing"])
def test_what_is_put_in_the_place_of_a_state_folder_in_use_is_refused_until_it_is_not(
    tmp_path: Path, made: Callable[[Path], Path], monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    state, away = tmp_path / "state", tmp_path / "away"
    made(state)
    must_not_be_away(state)
    state.rename(away)
    if way == "a copy":
        shutil.copytree(away, state, symlinks=True)
    elif way == "another one":
        state.mkdir()

    with pytest.raises(FolderElsewhere, match=rf"{state} .*running service \(process {os.getpid()}\) uses"):
        must_not_be_away(state)
    if way == "a copy":
        with monkeypatch.context() as patch:
            patch.setattr(module, "_held", {})  # as another process sees it
            with pytest.raises(PermissionError, match="was replaced by this one"):
                live_folder(state)
    os.close(module._held.pop(shared_folder(state) / ".identity"))  # its processes have ended

    must_not_be_away(state)
    made(state)
    must_not_be_away(state)


@on_memory
def test_a_folder_in_use_by_another_state_folder_is_not_taken_from_it(
    tmp_path: Path, made: Callable[[Path], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    made(tmp_path / "state")
    shutil.rmtree(tmp_path / "state")
    monkeypatch.setattr(module, "_held", {})  # as another process sees it

    with pytest.raises(PermissionError, match="a running service uses it"):
        live_folder(tmp_path / "state")
