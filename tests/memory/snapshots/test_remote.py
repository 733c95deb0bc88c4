"""Snapshots in an object store: as they were saved, by one owner at a time."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.memory.relay.test_boards import SMALL, announced
from tests.services.object_store import s3
from thalweg.memory.objects.objects import Objects, ObjectsUnavailable
from thalweg.memory.relay.announced import Order
from thalweg.memory.relay.object_board import ObjectBoard
from thalweg.memory.relay.pieces import Pieces
from thalweg.memory.snapshots import blobs as blob_rules
from thalweg.memory.snapshots.manifest import Manifest
from thalweg.memory.snapshots.remote import DamagedHead, OtherCluster, RemoteSnapshots, Superseded
from thalweg.memory.snapshots.snapshots import FolderSnapshots
from thalweg.memory.snapshots.state import State


def saved(folder: Path, version: int, fill: float) -> Path:
    """A version with a large array, most of which stays as it is, and a small one."""
    large = np.random.default_rng(0).standard_normal(2_000_000).astype(np.float32)
    large[:1000] = fill
    state = State({"large": large, "small": np.full(3, fill)}, {"events": version})
    manifest = Manifest(
        model="m",
        version=version,
        parent=None,
        learner="ridge",
        config_sha256="c",
        offsets={},
        events_learned=version,
        created=1.0,
    )
    snapshots = FolderSnapshots(folder)
    snapshots.prepare()
    snapshots.save(manifest, {"learner": state, "fold": State({}, {"a": 1})})
    return folder / str(version)


@pytest.fixture
def objects(tmp_path: Path) -> Objects:
    return Objects(f"file:{tmp_path / 'objects'}")


def owner(objects: Objects, keep: int = 5) -> RemoteSnapshots:
    made = RemoteSnapshots(objects, "m", keep)
    made.claim("a test")
    return made


def blobs(objects: Objects) -> int:
    return sum(one.size_bytes for one in objects.names("m/blobs"))


def test_a_version_comes_back_as_it_was_saved_with_the_files_beside_it(objects: Objects, tmp_path: Path) -> None:
    version = saved(tmp_path / "m", 7, 1.0)
    (tmp_path / "m" / "frozen.safetensors").write_bytes(b"frozen")
    owner(objects).save(version, [tmp_path / "m" / "frozen.safetensors", tmp_path / "m" / "absent"])

    other = RemoteSnapshots(objects, "m")
    head = other.newest()
    assert head is not None
    other.restore(head, tmp_path / "elsewhere")

    kept = FolderSnapshots(tmp_path / "elsewhere")
    assert kept.verify(7) == []
    assert kept.load(7).parts["learner"].sha256() == FolderSnapshots(tmp_path / "m").load(7).parts["learner"].sha256()
    assert (tmp_path / "elsewhere" / "frozen.safetensors").read_bytes() == b"frozen"
    assert sorted(path.name for path in (tmp_path / "elsewhere").iterdir()) == ["7", "frozen.safetensors"]


def test_a_file_beside_a_version_may_be_written_while_it_is_uploaded(
    objects: Objects, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    version, schemas = saved(tmp_path / "m", 1, 1.0), tmp_path / "m" / "schemas.json"
    schemas.write_text("of before")
    put = Objects.put

    def while_it_is_written(self: Objects, name: str, content: bytes | Path) -> None:
        schemas.write_text("of after")
        put(self, name, content)

    monkeypatch.setattr(Objects, "put", while_it_is_written)
    mine = owner(objects)
    mine.save(version, [schemas])

    head = mine.newest()
    assert head is not None
    mine.restore(head, tmp_path / "back")
    assert (tmp_path / "back" / "schemas.json").read_text() == "of before"


def test_what_two_versions_share_is_uploaded_once(objects: Objects, tmp_path: Path) -> None:
    mine = owner(objects)
    mine.save(saved(tmp_path / "m", 1, 1.0))
    first = blobs(objects)
    mine.save(saved(tmp_path / "m", 2, 2.0))

    assert blobs(objects) - first < first / 4


def test_a_version_that_others_wait_for_takes_few_requests_one_after_the_other(
    objects: Objects, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request to S3 takes tens of milliseconds, and the shard has no owner meanwhile."""
    mine = owner(objects, keep=1)
    mine.save(saved(tmp_path / "m", 1, 1.0))
    mine.save(saved(tmp_path / "m", 2, 2.0))
    asked: list[float] = []

    def slow(ask: Callable[..., Any]) -> Callable[..., Any]:
        def slowly(*arguments: Any) -> Any:
            asked.append(time.monotonic())
            time.sleep(0.5)
            return ask(*arguments)

        return slowly

    for name in ("put", "get", "names", "create"):
        monkeypatch.setattr(Objects, name, slow(getattr(Objects, name)))
    mine.save(saved(tmp_path / "m", 3, 3.0), journal=b"what follows", prune=False)
    rounds = [0.0, *(at - asked[0] for at in asked if at - asked[0] > 0.4)]
    assert sum(later - one > 0.4 for one, later in pairwise(rounds)) == 3, rounds  # owners; contents; head; owners
    assert mine.heads()[-1] == (1, 3)
    monkeypatch.undo()
    assert len(mine.heads()) == 2
    mine.save(saved(tmp_path / "m", 4, 4.0))
    assert mine.heads() == [(1, 4)]  # what was left is deleted with the next one


def test_owners_have_each_a_generation_of_their_own(objects: Objects) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: owner(objects).generation, range(40)))

    assert len(set(found)) == 40
    assert max(found) == int(objects.names("m/owners")[-1].name.rpartition("/")[2])
    assert len(objects.names("m/owners")) <= 12


def test_whoever_was_superseded_is_told_and_what_it_writes_counts_for_nothing(objects: Objects, tmp_path: Path) -> None:
    late = owner(objects)
    late.save(saved(tmp_path / "a", 5, 1.0))
    new = owner(objects)

    with pytest.raises(Superseded, match="owned by a test now"):
        late.save(saved(tmp_path / "a", 9, 2.0))
    new.save(saved(tmp_path / "b", 6, 3.0))

    head = new.newest()
    assert head is not None
    assert (head.generation, head.version) == (2, 6)


def test_a_write_that_another_owner_overtakes_counts_for_nothing(
    objects: Objects, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped between its look at the owners and its write, as by SIGSTOP."""
    late = owner(objects)
    late.save(saved(tmp_path / "a", 5, 1.0))
    put = Objects.put

    def stopped(self: Objects, name: str, content: bytes | Path) -> None:
        if "/heads/" in name:
            monkeypatch.setattr(Objects, "put", put)
            new = owner(objects)
            new.save(saved(tmp_path / "b", 6, 3.0))
        put(self, name, content)

    monkeypatch.setattr(Objects, "put", stopped)
    with pytest.raises(Superseded):
        late.save(saved(tmp_path / "a", 9, 2.0))

    found = RemoteSnapshots(objects, "m").newest()
    assert found is not None
    assert (found.generation, found.version) == (2, 6)
    RemoteSnapshots(objects, "m").restore(found, tmp_path / "c")
    assert FolderSnapshots(tmp_path / "c").verify(6) == []


def test_a_store_that_was_emptied_gets_everything_again(objects: Objects, tmp_path: Path) -> None:
    mine = owner(objects)
    mine.save(saved(tmp_path / "m", 1, 1.0))
    shutil.rmtree(tmp_path / "objects")
    (tmp_path / "objects").mkdir()

    assert not mine.must_own()
    mine.save(saved(tmp_path / "m", 2, 2.0))

    head = mine.newest()
    assert head is not None
    mine.restore(head, tmp_path / "back")
    assert FolderSnapshots(tmp_path / "back").verify(2) == []
    assert mine.must_own()
    assert owner(objects).generation == 2


def test_old_versions_and_what_only_they_need_are_deleted(
    objects: Objects, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blob_rules, "_YOUNG_SECONDS", -1.0)
    mine = owner(objects, keep=2)
    for version in range(1, 7):
        mine.save(saved(tmp_path / "m", version, float(version)))

    assert mine.heads() == [(1, 5), (1, 6)]
    named = {digest for head in mine.heads() for digest in mine.head(*head).files.values()}
    assert {one.name.rpartition("/")[2] for one in objects.names("m/blobs")} == named
    for generation, version in mine.heads():
        mine.restore(mine.head(generation, version), tmp_path / "back")
        assert FolderSnapshots(tmp_path / "back").verify(version) == []


def test_blobs_that_nobody_names_yet_stay_for_an_hour(objects: Objects, tmp_path: Path) -> None:
    mine = owner(objects, keep=1)
    objects.put("m/blobs/" + "0" * 64, b"of an upload in progress")
    for version in (1, 2, 3):
        mine.save(saved(tmp_path / "m", version, float(version)))

    assert objects.get("m/blobs/" + "0" * 64) is not None


def test_the_state_of_the_owner_before_stays_until_there_are_enough_of_the_new_one(
    objects: Objects, tmp_path: Path
) -> None:
    first = owner(objects, keep=2)
    for version in (1, 2):
        first.save(saved(tmp_path / "m", version, 1.0))
    second = owner(objects, keep=2)
    second.save(saved(tmp_path / "m", 3, 1.0))
    assert second.heads() == [(1, 2), (2, 3)]
    second.save(saved(tmp_path / "m", 4, 1.0))
    assert second.heads() == [(2, 3), (2, 4)]


def flip(objects: Objects, name: str) -> None:
    content = bytearray(objects.get(name) or b"")
    content[len(content) // 2] ^= 1
    objects.put(name, bytes(content))


@pytest.mark.parametrize("damage", ["head flipped", "head cut", "head of another model", "escaping name"])
def test_a_damaged_head_is_told_and_the_one_before_is_taken(damage: str, objects: Objects, tmp_path: Path) -> None:
    mine = owner(objects)
    for version in (1, 2):
        mine.save(saved(tmp_path / "m", version, float(version)))
    name = objects.names("m/heads")[-1].name
    record = json.loads(objects.get(name) or b"")
    changes: dict[str, Callable[[], bytes]] = {
        "head cut": lambda: json.dumps(record).encode()[:-9],
        "head of another model": lambda: json.dumps(
            {**record, "manifest": record["manifest"].replace("1", "3")}
        ).encode(),
        "escaping name": lambda: json.dumps({**record, "files": {"../../x": "0" * 64}}).encode(),
    }
    if damage == "head flipped":
        flip(objects, name)
    else:
        objects.put(name, changes[damage]())

    found = mine.newest()

    assert found is not None
    assert found.version == 1


@pytest.mark.parametrize("how", ["flipped", "missing"])
def test_a_damaged_blob_is_told_and_nothing_is_written(how: str, objects: Objects, tmp_path: Path) -> None:
    mine = owner(objects)
    mine.save(saved(tmp_path / "m", 1, 1.0))
    head = mine.newest()
    assert head is not None
    name = max(objects.names("m/blobs"), key=lambda one: one.size_bytes).name
    if how == "flipped":
        flip(objects, name)
    else:
        objects.delete([name])

    with pytest.raises(DamagedHead, match="SHA-256 expected" if how == "flipped" else "missing"):
        mine.restore(head, tmp_path / "back")
    assert list((tmp_path / "back").iterdir()) == []


def test_a_model_is_learned_from_one_cluster_until_it_is_moved_on_purpose(objects: Objects) -> None:
    first, second = RemoteSnapshots(objects, "m"), RemoteSnapshots(objects, "m")
    first.learned_from("cluster-1")
    first.learned_from("cluster-1")

    with pytest.raises(OtherCluster, match=r"model 'm'.*file:.*cluster cluster-1.*cluster cluster-2.*moved_from"):
        second.learned_from("cluster-2")
    with pytest.raises(OtherCluster):
        second.learned_from("cluster-2", moved_from="cluster-3")
    first.learned_from("cluster-1", moved_from="cluster-0")  # long since moved
    RemoteSnapshots(objects, "n").learned_from("cluster-2")  # another model

    second.learned_from("cluster-2", moved_from="cluster-1")
    second.learned_from("cluster-2", moved_from="cluster-1")
    with pytest.raises(OtherCluster, match="cluster-2, and"):
        first.learned_from("cluster-1")


def test_of_many_hosts_that_come_at_once_those_of_one_cluster_are_let_in(objects: Objects) -> None:
    def come(number: int) -> str:
        try:
            RemoteSnapshots(objects, "m").learned_from(f"cluster-{number % 4}")
        except OtherCluster:
            return ""
        return f"cluster-{number % 4}"

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(come, range(40)))

    assert len(set(found) - {""}) == 1
    assert len([one for one in found if one]) == 10


def test_a_store_that_was_emptied_knows_the_cluster_again(objects: Objects, tmp_path: Path) -> None:
    mine = RemoteSnapshots(objects, "m")
    mine.learned_from("cluster-1")
    mine.claim("a test")
    shutil.rmtree(tmp_path / "objects")
    (tmp_path / "objects").mkdir()

    assert not mine.must_own()

    with pytest.raises(OtherCluster):
        RemoteSnapshots(objects, "m").learned_from("cluster-2")


def test_a_store_that_lists_late_is_told_and_claimed_once_its_lists_are_complete(
    objects: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    RemoteSnapshots(objects, "m").claim("before")
    late = objects.names("m/owners")
    made = RemoteSnapshots(objects, "m")

    with monkeypatch.context() as shown:
        shown.setattr(objects, "names", lambda prefix: late)
        for _ in range(2):  # asked again, it finds what it has created itself
            with pytest.raises(ObjectsUnavailable, match="m/owners is listed without what was just written"):
                made.claim("a test")

    assert made.generation == 0
    assert made.claim("a test") == 3


def test_where_nothing_may_be_deleted_versions_are_saved_claimed_and_announced_all_the_same(tmp_path: Path) -> None:
    with s3() as server:
        objects = Objects(server.url, retry_seconds=0.1)
        server.fault = "locked"
        for _ in range(12):
            mine = owner(objects, keep=2)
        for version in range(1, 5):
            mine.save(saved(tmp_path / "m", version, float(version)), [])

        assert (mine.generation, "piles up" in mine.undeleted) == (12, True)
        newest = RemoteSnapshots(objects, "m").newest()
        assert newest is not None
        assert newest.version == 4
        board = ObjectBoard(objects, Pieces(objects))
        for sequence in range(6):
            board.offer(announced(SMALL, 1, 1, sequence), lambda: SMALL)
        assert board.newest("m") == Order(1, 1, 5)
        assert "piles up" in board.undeleted


def test_what_somebody_else_has_deleted_of_a_version_is_uploaded_again_with_a_later_one(
    objects: Objects, tmp_path: Path
) -> None:
    mine = owner(objects, keep=1)
    for version in (1, 2):
        mine.save(saved(tmp_path / "m", version, float(version)), [])
    objects.delete([one.name for one in objects.names("m/blobs")])  # as a rule for the age of objects does

    for version in (3, 4):
        mine.save(saved(tmp_path / "m", version, float(version)), [])

    other = RemoteSnapshots(objects, "m")
    head = other.newest()
    assert head is not None
    other.restore(head, tmp_path / "elsewhere")
    assert FolderSnapshots(tmp_path / "elsewhere").verify(4) == []
