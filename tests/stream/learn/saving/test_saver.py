"""The saver: what goes to disk is the state as it was when saving began, whatever is learned meanwhile."""

import threading
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from tests.services.processes import PATIENCE
from thalweg.memory.snapshots.manifest import Manifest
from thalweg.memory.snapshots.snapshots import FolderSnapshots
from thalweg.memory.snapshots.state import State
from thalweg.stream.journal.journal import InMemoryJournal
from thalweg.stream.learn.observer import NoObserver
from thalweg.stream.learn.saving.saver import Saver


class SlowDisk(FolderSnapshots):
    """Writes nothing before it is told to."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.go = threading.Event()

    def save(self, manifest: Manifest, parts: Mapping[str, State], *which: int | None) -> Manifest:
        assert self.go.wait(PATIENCE)
        return super().save(manifest, parts, *which)


def manifest(version: int) -> Manifest:
    return Manifest(
        model="m",
        version=version,
        parent=None,
        learner="any",
        config_sha256="",
        offsets={},
        events_learned=version,
        created=0.0,
    )


@pytest.mark.parametrize("entries", [3, 1 << 18], ids=["small", "large"])
def test_what_is_learned_while_a_snapshot_is_written_is_not_in_it(tmp_path: Path, entries: int) -> None:
    disk = SlowDisk(tmp_path)
    disk.prepare()
    saver = Saver(disk, InMemoryJournal(), NoObserver())
    weights = np.arange(entries, dtype=np.float64)
    of_class = {"seven": 2}
    before = State({"weights": weights.copy()}, {"of_class": {"seven": 2}})

    saver.save(manifest(1), {"learner": State({"weights": weights}, {"of_class": of_class})})
    weights += 1.0
    of_class["seven"] = 9
    disk.go.set()

    assert saver.wait() is None
    assert disk.manifests()[-1].state_sha256 == before.sha256()


def test_a_state_that_cannot_be_written_is_told_and_the_next_one_is_saved(tmp_path: Path) -> None:
    told: list[tuple[int, str]] = []

    class Watching(NoObserver):
        def snapshot_failed(self, version: int, error: str) -> None:
            told.append((version, error))

    disk = FolderSnapshots(tmp_path)
    disk.prepare()
    saver = Saver(disk, InMemoryJournal(), Watching())

    saver.save(manifest(1), {"learner": State({"weights": np.zeros(3)}, {"never": {1, 2}})})
    problem = saver.wait()
    saver.save(manifest(2), {"learner": State({"weights": np.zeros(3)}, {})})

    assert problem is not None
    assert told == [(1, str(problem))]
    assert saver.wait() is None
    assert [one.version for one in disk.manifests()] == [2]


def test_what_is_saved_between_gives_way_to_the_next_and_displaces_none_that_are_kept(tmp_path: Path) -> None:
    disk = FolderSnapshots(tmp_path, keep=3)
    disk.prepare()
    saver = Saver(disk, InMemoryJournal(), NoObserver())

    for version, between in [(1, False), (2, False), (3, True), (4, True), (5, True), (6, False), (7, True)]:
        saver.save(manifest(version), {"learner": State({"weights": np.zeros(3)}, {})}, between=between)
        assert saver.wait() is None

    assert [one.version for one in disk.manifests()] == [2, 6, 7]


def test_a_version_saved_between_that_is_spared_stays(tmp_path: Path) -> None:
    disk = FolderSnapshots(tmp_path, keep=3)
    disk.prepare()
    saver = Saver(disk, InMemoryJournal(), NoObserver())

    for version, spare in [(1, None), (2, 1)]:
        saver.save(manifest(version), {"learner": State({"weights": np.zeros(3)}, {})}, spare, between=version == 1)
        assert saver.wait() is None

    assert [one.version for one in disk.manifests()] == [1, 2]
