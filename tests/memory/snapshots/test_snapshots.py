"""Snapshots: the newest that verifies, the old or the new but never half of one."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from structlog.testing import capture_logs

from thalweg.memory.snapshots.manifest import Manifest
from thalweg.memory.snapshots.snapshots import FolderSnapshots, InMemorySnapshots, Snapshots, UnknownVersion
from thalweg.memory.snapshots.state import State
from thalweg.proto.records import Partition


def manifest(version: int) -> Manifest:
    return Manifest(
        model="digits",
        version=version,
        parent=version - 1 or None,
        learner="ridge",
        config_sha256="c0",
        offsets={Partition("a", 0): 7 * version, Partition("a", 1): 3},
        events_learned=10 * version,
        created=1.5,
        metrics={"accuracy": 0.5},
    )


def parts(version: int) -> dict[str, State]:
    return {
        "learner": State({"G": np.full((40, 40), float(version))}, {"n": version}),
        "recent_ids": State({"bytes": np.zeros(0, np.uint8)}),
    }


@pytest.fixture(params=["memory", "folder"])
def new(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Snapshots]:
    memory = InMemorySnapshots(keep=3)
    return lambda: memory if request.param == "memory" else FolderSnapshots(tmp_path / "digits", keep=3)


def test_the_newest_version_comes_back_whole(new: Callable[[], Snapshots]) -> None:
    for version in (1, 2, 10):
        new().save(manifest(version), parts(version))

    newest = new().newest()

    assert newest is not None
    assert newest.manifest.version == 10
    assert newest.manifest.offsets == manifest(10).offsets
    assert {name: part.sha256() for name, part in newest.parts.items()} == {
        name: part.sha256() for name, part in parts(10).items()
    }
    assert newest.manifest.state_sha256 == parts(10)["learner"].sha256()


def test_only_so_many_versions_are_kept_and_the_error_names_them(new: Callable[[], Snapshots]) -> None:
    for version in range(1, 6):
        new().save(manifest(version), parts(version))

    assert [kept.version for kept in new().manifests()] == [3, 4, 5]
    assert new().load(4).parts["learner"].meta == {"n": 4}
    with pytest.raises(UnknownVersion, match="version 1 is not kept; kept: 3, 4, 5"):
        new().load(1)


def test_a_version_that_is_being_deleted_is_no_damaged_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshots, remove = FolderSnapshots(tmp_path, keep=1), shutil.rmtree
    listed: list[list[int]] = []

    def slowly(path: Path, ignore_errors: bool = False) -> None:
        (path / "manifest.json").unlink(missing_ok=True)
        listed.append([kept.version for kept in FolderSnapshots(tmp_path).manifests()])
        remove(path, ignore_errors=ignore_errors)

    snapshots.save(manifest(1), parts(1))
    monkeypatch.setattr(shutil, "rmtree", slowly)
    with capture_logs() as logged:
        snapshots.save(manifest(2), parts(2))

    assert listed
    assert all(one == [2] for one in listed)
    assert logged == []
    assert [path.name for path in tmp_path.iterdir()] == ["2"]


def test_before_the_first_save_there_is_nothing(new: Callable[[], Snapshots]) -> None:
    assert new().newest() is None
    assert list(new().manifests()) == []


def test_what_was_saved_does_not_change_with_the_arrays_it_came_from(new: Callable[[], Snapshots]) -> None:
    mine = parts(1)
    new().save(manifest(1), mine)

    mine["learner"].tensors["G"][:] = -1

    assert (new().load(1).parts["learner"].tensors["G"] == 1).all()


def damage_truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


def damage_flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def damage_remove(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("damage", [damage_truncate, damage_flip, damage_remove])
@pytest.mark.parametrize("file", ["state.safetensors", "recent_ids.safetensors", "manifest.json"])
def test_a_damaged_version_is_set_aside_and_the_next_older_one_used(
    tmp_path: Path, file: str, damage: Callable[[Path], None]
) -> None:
    snapshots = FolderSnapshots(tmp_path)
    snapshots.save(manifest(1), parts(1))
    snapshots.save(manifest(2), parts(2))
    damage(tmp_path / "2" / file)

    problems = snapshots.verify(2)
    newest = snapshots.newest()

    assert file in problems[0]
    assert newest is not None
    assert newest.manifest.version == 1
    assert (tmp_path / "2.damaged").is_dir()


def test_what_a_killed_writer_left_is_cleared_and_never_listed(tmp_path: Path) -> None:
    snapshots = FolderSnapshots(tmp_path)
    snapshots.save(manifest(1), parts(1))
    (tmp_path / ".2.partial").mkdir()
    (tmp_path / ".2.partial" / "state.safetensors").write_bytes(b"half")

    assert [kept.version for kept in snapshots.manifests()] == [1]
    snapshots.prepare()

    assert sorted(path.name for path in tmp_path.iterdir()) == ["1"]


def test_a_save_that_fails_leaves_the_older_versions_as_they_were(tmp_path: Path) -> None:
    snapshots = FolderSnapshots(tmp_path)
    snapshots.save(manifest(1), parts(1))

    with pytest.raises(TypeError):
        snapshots.save(manifest(2), {**parts(2), "odd": State({"text": np.array(["x"])})})

    assert sorted(path.name for path in tmp_path.iterdir()) == ["1"]
    assert snapshots.verify(1) == []


def test_a_version_saved_again_replaces_itself(tmp_path: Path) -> None:
    snapshots = FolderSnapshots(tmp_path)
    snapshots.save(manifest(1), parts(1))

    snapshots.save(replace(manifest(1), created=2.0), parts(1))

    assert snapshots.load(1).manifest.created == 2.0
    assert snapshots.verify(1) == []


def large(version: int, changed: int = 0) -> dict[str, State]:
    """A state of 6 MB of which one number is another."""
    array = np.arange(750_000, dtype=np.int64).reshape(-1, 10)
    array[changed] = version
    return {"learner": State({"memory": array, "small": np.full(3, version)}, {"n": version})}


def test_of_a_large_array_only_what_changed_is_written_again(tmp_path: Path) -> None:
    snapshots = FolderSnapshots(tmp_path, keep=2)
    snapshots.save(manifest(1), large(1, changed=5))
    snapshots.save(manifest(2), large(2, changed=5))

    pieces = sorted(path.name for path in (tmp_path / "2").glob("*.piece"))
    shared = [name for name in pieces if (tmp_path / "1" / name).samefile(tmp_path / "2" / name)]
    assert len(pieces) == 6
    assert shared == pieces[1:]
    for version in (1, 2):
        kept = snapshots.load(version).parts["learner"]
        assert kept.sha256() == large(version, changed=5)["learner"].sha256()
        assert snapshots.verify(version) == []


def test_versions_that_share_pieces_are_deleted_and_copied_by_themselves(tmp_path: Path) -> None:
    snapshots = FolderSnapshots(tmp_path / "m", keep=1)
    for version in (1, 2, 3):
        snapshots.save(manifest(version), large(version))
    shutil.copytree(tmp_path / "m" / "3", tmp_path / "other" / "3")
    shutil.rmtree(tmp_path / "m")

    assert FolderSnapshots(tmp_path / "other").verify(3) == []


@pytest.mark.parametrize("harm", ["missing", "truncated", "altered"])
def test_a_damaged_piece_is_found_and_the_version_before_used(tmp_path: Path, harm: str) -> None:
    snapshots = FolderSnapshots(tmp_path, keep=3)
    snapshots.save(manifest(1), large(1, changed=5))
    snapshots.save(manifest(2), large(2, changed=5))
    piece = tmp_path / "2" / "learner.memory.00000.piece"  # the one that is not shared
    content = piece.read_bytes()
    piece.unlink()
    if harm != "missing":
        piece.write_bytes(content[:-1] if harm == "truncated" else b"x" + content[1:])

    newest = snapshots.newest()

    assert newest is not None
    assert newest.manifest.version == 1


def test_without_hard_links_every_piece_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no hard links here")

    monkeypatch.setattr("os.link", refuse)
    snapshots = FolderSnapshots(tmp_path, keep=2)
    for version in (1, 2):
        snapshots.save(manifest(version), large(version))

    assert snapshots.verify(2) == []
