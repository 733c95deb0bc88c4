"""Nothing is created at the path of a folder that was moved away while a process works in it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from thalweg.memory.exchange.commands import SqliteCommandQueue, StoreError
from thalweg.memory.exchange.pending import SqlitePending
from thalweg.memory.files import make_folder
from thalweg.memory.folder_lock import FolderLock
from thalweg.memory.kept_folders import FolderMoved, kept, must_be_kept
from thalweg.memory.snapshots.manifest import Manifest
from thalweg.memory.snapshots.snapshots import FolderSnapshots
from thalweg.memory.snapshots.state import State
from thalweg.stream.journal.entries import BlockEntry
from thalweg.stream.journal.file_journal import FileJournal
from thalweg.stream.log.log import LogError
from thalweg.stream.log.sqlite import SqliteLog
from thalweg.stream.publication.live_folder import live_folder, make_model_folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "state"
    made.mkdir()
    return made


def moved(folder: Path) -> None:
    folder.rename(folder.with_name("elsewhere"))


def removed(folder: Path) -> None:
    shutil.rmtree(folder)


def replaced(folder: Path) -> None:
    moved(folder)
    folder.mkdir()


def pointed_elsewhere(folder: Path) -> None:
    moved(folder)
    other = folder.with_name("other")
    other.mkdir()
    folder.symlink_to(other)


@pytest.mark.parametrize("happens", [moved, removed, replaced, pointed_elsewhere])
@pytest.mark.parametrize(
    "create",
    [
        lambda path: make_folder(path / "m"),
        lambda path: make_model_folder(path / "live" / "m"),
        lambda path: live_folder(path),
        lambda path: FolderSnapshots(path / "m").prepare(),
        lambda path: FileJournal(path / "m" / "journal"),
        lambda path: FolderLock(path / "m", "learner", "test").take(),
        lambda path: SqliteLog(path / "log.db"),
        lambda path: SqliteCommandQueue(path / "store.db"),
        lambda path: SqlitePending(path / "store.db"),
    ],
)
def test_nothing_is_created_where_a_kept_folder_was(
    folder: Path, happens: Callable[[Path], None], create: Callable[[Path], object]
) -> None:
    with kept(folder):
        happens(folder)

        with pytest.raises((FolderMoved, LogError, StoreError), match=r"put the folder back where it was"):
            create(folder)

        assert not folder.exists() or not list(folder.iterdir())


def test_a_folder_that_is_put_back_and_other_folders_are_as_before(folder: Path) -> None:
    with kept(folder):
        moved(folder)
        make_folder(folder.with_name("other"))
        folder.with_name("elsewhere").rename(folder)

        make_folder(folder / "m")

    removed(folder)
    must_be_kept(folder)  # nobody works in it any more


def test_the_journal_and_the_snapshots_of_a_folder_that_was_moved_go_on_once_it_is_back(folder: Path) -> None:
    model = folder / "m"
    snapshots, journal = FolderSnapshots(model), FileJournal(model / "journal")
    snapshots.prepare()
    journal.append(BlockEntry(1, (), 1))
    model.rename(folder / "away")

    with pytest.raises(FolderMoved, match=r"m/journal was moved away or removed"):
        journal.append(BlockEntry(2, (), 1))
    with pytest.raises(FolderMoved, match=r"m was moved away or removed"):
        snapshots.save(manifest(2), {"learner": State({}, {})})

    assert not model.exists()
    (folder / "away").rename(model)
    journal.append(BlockEntry(2, (), 1))
    snapshots.save(manifest(2), {"learner": State({}, {})})
    assert [entry.version for entry in journal.entries(0)] == [1, 2]
    assert [one.version for one in snapshots.manifests()] == [2]
    journal.close()


def manifest(version: int) -> Manifest:
    return Manifest(
        model="m",
        version=version,
        parent=None,
        learner="test",
        config_sha256="",
        offsets={},
        events_learned=0,
        created=0.0,
    )
