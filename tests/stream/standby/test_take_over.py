"""Who followed a shard goes on with it as its owner would have, whenever that one was killed, whoever else writes."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.stream.chain import Chain
from tests.stream.standby import hosts
from tests.stream.standby.hosts import MODEL, Owner, appended, close_all, follower_of
from thalweg.memory.objects.objects import Objects, ObjectsUnavailable
from thalweg.memory.snapshots.remote import RemoteSnapshots
from thalweg.memory.snapshots.snapshots import FolderSnapshots
from thalweg.stream.health.registry import Health
from thalweg.stream.journal.tail import Tail
from thalweg.stream.learn.saving import mirror
from thalweg.stream.learn.saving.mirror import Mirror
from thalweg.stream.log.in_memory import InMemoryLog
from thalweg.stream.standby.follower import Follower
from thalweg.stream.standby.marks import copied_generation, kept_generation


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    close_all()


def objects_of(tmp_path: Path) -> tuple[Path, str]:
    return tmp_path / "objects", f"file:{tmp_path / 'objects'}"


def cold(tmp_path: Path, log: InMemoryLog) -> tuple[int, int, str]:
    """Where a host arrives that has followed nothing, from a copy of the store as it is now."""
    shutil.copytree(tmp_path / "objects", tmp_path / "objects-copied")
    return Owner(tmp_path / "cold", f"file:{tmp_path / 'objects-copied'}", log).place


@pytest.mark.parametrize("seed", range(12))
def test_killed_at_a_random_point_it_goes_on_with_the_same_bits(tmp_path: Path, seed: int) -> None:
    """Owners come, and learn and upload on as zombies; the standby looks at any moment, and starts anew at times."""
    chance, log = random.Random(seed), InMemoryLog()
    _, url = objects_of(tmp_path)
    sent = appended(log, 0, 10)
    owners = [Owner(tmp_path / "owner-0", url, log)]
    owners[-1].upload()
    follower, looked = follower_of(tmp_path / "standby", url, log), 0
    for _ in range(chance.randrange(20, 120)):
        one = chance.choice(owners[-2:])
        match chance.choice(["append", "turn", "turn", "upload", "look", "look", "other", "restart"]):
            case "append":
                sent = appended(log, sent, chance.randrange(1, 9))
            case "turn":
                one.turn()
            case "upload":
                one.upload()
            case "look":
                follower.look()
                looked += 1
            case "other" if chance.random() < 0.2:
                owners.append(Owner(tmp_path / f"owner-{len(owners)}", url, log))
            case "restart" if chance.random() < 0.2:
                follower.close()
                follower = follower_of(tmp_path / "standby", url, log)
    follower.look()
    expected = cold(tmp_path, log)
    fold = follower.fold
    assert fold is not None

    taken = Owner(tmp_path / "standby", url, log, follower)

    assert taken.warm is not None
    assert taken.place == expected
    assert follower.copy.entries()[-1:] == [] or follower.copy.entries()[-1].version <= taken.place[0]
    for zombie in owners:
        zombie.turn()
        zombie.upload()
    while taken.turn():
        pass
    taken.end()
    assert not taken.superseded
    assert taken.processor.events_learned == sent
    newest = RemoteSnapshots(Objects(url), MODEL).newest()
    assert newest is not None
    assert newest.generation == kept_generation(tmp_path / "standby") == len(owners) + 1
    assert newest.version == taken.processor.version
    assert Owner(tmp_path / "next", url, log).place == taken.place


def followed(tmp_path: Path, *, count: int = 40) -> tuple[InMemoryLog, Owner, Follower, int]:
    """An owner in the middle of its work, and a standby that has all that it has uploaded."""
    log, (_, url) = InMemoryLog(), objects_of(tmp_path)
    sent = appended(log, 0, count)
    owner = Owner(tmp_path / "owner", url, log)
    while owner.turn():
        pass
    owner.upload()
    follower = follower_of(tmp_path / "standby", url, log)
    follower.look()
    return log, owner, follower, sent


def learn_on(owner: Owner, log: InMemoryLog, sent: int, count: int, *, save: bool = False, upload: bool = True) -> int:
    """Learn so many more events, in blocks of up to five."""
    for first in range(0, count, 5):
        sent = appended(log, sent, min(5, count - first))
        while owner.turn():
            pass
    if save:
        owner.processor._saving.save(wait=True)
    if upload:
        owner.upload()
    return sent


def is_at(follower: Follower, owner: Owner) -> bool:
    """Whether a standby is at most one entry before the owner, with the bits that the owner had there."""
    assert follower.fold is not None
    fold = follower.fold.fold
    assert fold.version >= owner.processor.version - 1
    return fold.learner.state().sha256() == owner.hashes[fold.version]


def test_it_folds_on_from_the_journal_and_is_restored_only_once(tmp_path: Path) -> None:
    log, owner, follower, sent = followed(tmp_path)
    for chunk in range(5):
        sent = learn_on(owner, log, sent, 7, save=chunk % 2 == 0)
        follower.look()
        assert follower.fold is not None
        assert is_at(follower, owner)
        assert follower.behind_seconds is not None

    assert follower.fold.loads == 1
    assert [one.version for one in follower.copy.snapshots.manifests()] == [owner.processor._saver.newest()]
    assert owner.processor._saver.newest() > 0


def test_what_was_uploaded_last_is_learned_when_it_takes_over(tmp_path: Path) -> None:
    log, owner, follower, sent = followed(tmp_path)
    learn_on(owner, log, sent, 30)
    assert follower.fold is not None
    before = follower.fold.version

    taken = Owner(tmp_path / "standby", objects_of(tmp_path)[1], log, follower)

    assert taken.warm is not None
    assert before is not None
    assert before < taken.processor.version
    assert taken.place == owner.place
    assert follower.fold.loads == 1


def test_a_state_that_others_went_on_from_is_restored_anew(tmp_path: Path) -> None:
    """A zombie's journal was followed, and then it turns out that another owner has learned the same events in other
    blocks.
    """
    log, zombie, follower, sent = followed(tmp_path)
    url = objects_of(tmp_path)[1]
    owner = Owner(tmp_path / "other", url, log)
    sent = learn_on(zombie, log, sent, 9, upload=False)
    zombie.mirror._journal_after = 0.0
    zombie.mirror._upload_journal()
    follower.look()
    assert follower.fold is not None
    assert follower.fold.version == zombie.processor.version - 1
    learn_on(owner, log, sent, 6)
    assert owner.place != zombie.place

    follower.look()

    assert is_at(follower, owner)
    assert follower.fold.loads == 2


def test_entries_of_another_history_are_found_without_a_new_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hosts, "SETTINGS", hosts.SETTINGS.model_copy(update={"snapshot_events": 1_000_000}))
    log, zombie, follower, sent = followed(tmp_path)
    owner = Owner(tmp_path / "other", objects_of(tmp_path)[1], log)
    sent = learn_on(zombie, log, sent, 15)
    follower.look()
    assert is_at(follower, zombie)
    learn_on(owner, log, sent, 20)  # the same 15 events in one block, and further ones

    follower.look()

    assert follower.fold is not None
    assert follower.fold.loads == 2
    assert owner.hashes[2] != zombie.hashes[2]
    assert is_at(follower, owner)


def test_a_journal_that_begins_where_the_copy_ends_leads_on_only_within_one_history(tmp_path: Path) -> None:
    _, owner, follower, _ = followed(tmp_path)
    tail = Tail(owner.processor.version, b"")

    assert follower.copy._leads_to(tail, 1)
    assert not follower.copy._leads_to(tail, 2)
    assert not follower.copy._leads_to(Tail(owner.processor.version + 1, b""), 1)


def test_a_store_that_was_emptied_is_told_and_the_copy_is_gone_on_from(tmp_path: Path) -> None:
    log, owner, follower, sent = followed(tmp_path)
    folder, url = objects_of(tmp_path)
    shutil.rmtree(folder)
    folder.mkdir()

    follower.look()
    assert "nothing of it" in follower.copy.problem
    taken = Owner(tmp_path / "standby", url, log, follower)

    assert taken.place == owner.place
    learn_on(owner, log, sent, 8, save=True)  # a zombie that puts back what was lost
    taken.upload()
    assert not taken.superseded
    assert owner.superseded
    newest = RemoteSnapshots(Objects(url), MODEL).newest()
    assert newest is not None
    assert newest.generation == 2


def damage(folder: Path, kind: str) -> None:
    for path in sorted((folder / MODEL / kind).iterdir())[-1 if kind == "heads" else 0 :]:
        path.write_bytes(path.read_bytes()[:-3] + b"???")


@pytest.mark.parametrize("kind", ["heads", "blobs"])
def test_a_damaged_version_is_told_and_the_journal_leads_past_it(tmp_path: Path, kind: str) -> None:
    log, owner, follower, sent = followed(tmp_path)
    folder, url = objects_of(tmp_path)
    sent = learn_on(owner, log, sent, 30, save=True)
    learn_on(owner, log, sent, 6)
    damage(folder, kind)

    follower.look()

    assert "damaged" in follower.copy.problem
    assert follower.fold is not None
    assert is_at(follower, owner)
    taken = Owner(tmp_path / "standby", url, log, follower)
    assert taken.place == owner.place
    taken.upload()
    assert Owner(tmp_path / "next", url, log).place == owner.place


def damage_newest(folder: Path) -> None:
    """What the newest version alone consists of, and its journal."""
    heads = [json.loads(path.read_bytes())["files"] for path in sorted((folder / MODEL / "heads").iterdir())]
    for digest in set(heads[-1].values()) - {digest for files in heads[:-1] for digest in files.values()}:
        path = folder / MODEL / "blobs" / digest
        path.write_bytes(path.read_bytes()[:-3] + b"???")
    for path in (folder / MODEL / "journal").iterdir():
        path.unlink()


@pytest.mark.parametrize("warm", [False, True], ids=["cold", "warm"])
def test_a_damaged_newest_version_is_passed_over_for_the_one_before_and_what_came_since_is_learned_again(
    tmp_path: Path, warm: bool
) -> None:
    log, owner, follower, sent = followed(tmp_path)
    folder, url = objects_of(tmp_path)
    sent = learn_on(owner, log, sent, 30, save=True)
    if warm:
        follower.look()
    before = dict(owner.hashes)
    sent = learn_on(owner, log, sent, 30, save=True)
    damage_newest(folder)
    if warm:
        follower.look()

    taken = Owner(tmp_path / "standby" if warm else tmp_path / "cold", url, log, follower if warm else None)

    assert 0 < taken.place[0] <= max(before)
    assert taken.place[2] == before[taken.place[0]]
    while taken.turn():
        pass
    taken.end()
    assert taken.processor.events_learned == sent
    assert Owner(tmp_path / "next", url, log).place == taken.place


def test_where_no_version_is_whole_nothing_begins_anew(tmp_path: Path) -> None:
    log, owner, _, sent = followed(tmp_path)
    folder, url = objects_of(tmp_path)
    learn_on(owner, log, sent, 30, save=True)
    damage(folder, "blobs")
    cold_one = Mirror(
        RemoteSnapshots(Objects(url, retry_seconds=0.0), MODEL),
        FolderSnapshots(tmp_path / "cold"),
        (),
        health := Health("object_store", MODEL),
        lambda error: None,
    )

    cold_one.begin(lambda seconds: True)  # it would wait

    assert health.now().state == "waiting"
    assert FolderSnapshots(tmp_path / "cold").manifests() == []


def test_a_damaged_journal_is_followed_as_far_as_it_is_whole(tmp_path: Path) -> None:
    log, owner, follower, sent = followed(tmp_path)
    learn_on(owner, log, sent, 6)
    (path,) = [max((objects_of(tmp_path)[0] / MODEL / "journal").iterdir())]
    content = path.read_bytes()
    path.write_bytes(content[:-20] + b"?" + content[-19:])

    follower.look()
    taken = Owner(tmp_path / "standby", objects_of(tmp_path)[1], log, follower)
    while taken.turn():
        pass

    assert taken.processor.events_learned == sent + 6


def test_a_store_that_is_away_is_told_and_what_is_followed_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, owner, follower, sent = followed(tmp_path)

    def away(self: Objects, prefix: str) -> None:
        raise ObjectsUnavailable("gone")

    with monkeypatch.context() as patched:
        patched.setattr(Objects, "names", away)
        follower._look()
        told = follower._health.now()
    assert (told.state, told.reason) == ("waiting", "not followed: gone")
    learn_on(owner, log, sent, 8)
    follower._look()
    assert follower._health.now().state == "running"
    assert follower.behind_seconds == 0.0
    assert follower.fold is not None
    assert follower.fold.loads == 1


def test_nothing_is_written_to_the_store_before_it_takes_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log, owner, follower, sent = followed(tmp_path)
    learn_on(owner, log, sent, 20)
    for name in ("put", "create", "delete"):
        monkeypatch.setattr(Objects, name, lambda *_: pytest.fail("written"))

    follower.look()

    assert follower.fold is not None
    assert is_at(follower, owner)


def test_a_former_owner_follows_whoever_goes_on_and_takes_the_shard_back(tmp_path: Path) -> None:
    """What they have in common is not fetched again, and no copy of it is set aside."""
    log, first, follower, sent = followed(tmp_path)
    url = objects_of(tmp_path)[1]
    first.end()
    second = Owner(tmp_path / "standby", url, log, follower)
    back = follower_of(tmp_path / "owner", url, log)
    back.look()
    assert back.copy.problem == "nobody has gone on yet with what was learned here"
    assert copied_generation(tmp_path / "owner") is None
    sent = learn_on(second, log, sent, 20)

    back.look()

    assert copied_generation(tmp_path / "owner") == 2
    second.end()
    again = Owner(tmp_path / "owner", url, log, back)
    assert again.warm is not None
    assert again.place == second.place
    assert [path.name for path in tmp_path.glob("*.superseded-*")] == []


def test_what_a_former_owner_has_alone_is_set_aside(tmp_path: Path) -> None:
    log, first, _, sent = followed(tmp_path)
    url = objects_of(tmp_path)[1]
    second = Owner(tmp_path / "second", url, log)
    learn_on(first, log, sent, 30, upload=False)
    second.upload()

    follower_of(tmp_path / "owner", url, log).look()

    assert [path.name for path in tmp_path.glob("*.superseded-*")] == ["owner.superseded-1"]


def test_a_copy_that_nobody_follows_any_more_is_brought_up_to_date_by_who_takes_over(tmp_path: Path) -> None:
    log, owner, follower, sent = followed(tmp_path)
    follower.close()
    learn_on(owner, log, sent, 30)

    taken = Owner(tmp_path / "standby", objects_of(tmp_path)[1], log)

    assert taken.warm is None
    assert taken.place == owner.place


def test_a_version_of_other_software_that_was_folded_past_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, owner, follower, sent = followed(tmp_path)
    sent = learn_on(owner, log, sent, 10, save=True, upload=False)
    learn_on(owner, log, sent, 10, upload=False)
    owner.mirror._journal_after = 0.0
    owner.mirror._upload_journal()
    follower.look()
    assert is_at(follower, owner)
    owner.upload()
    monkeypatch.setattr("thalweg.stream.standby.warm.learning_software", lambda _: {"numpy": "another"})

    follower.look()

    assert follower.fold is not None
    assert follower.fold.loads == 2
    assert is_at(follower, owner)


def test_a_fold_whose_bits_are_not_those_of_a_version_is_restored_from_it(tmp_path: Path) -> None:
    log, owner, follower, sent = followed(tmp_path)
    assert follower.fold is not None
    other = Chain().state()
    other.tensors["hash"] = np.ones(32, np.uint8)  # as another processor may compute it
    follower.fold.fold.learner.restore(other)
    sent = learn_on(owner, log, sent, 30, save=True)
    learn_on(owner, log, sent, 6)

    follower.look()

    assert follower.fold.loads == 2
    assert is_at(follower, owner)


def test_a_standby_that_is_late_goes_on_from_the_next_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log, owner, follower, sent = followed(tmp_path)
    assert follower.fold is not None
    monkeypatch.setattr("thalweg.stream.standby.warm.LATE_SECONDS", -1.0)
    sent = learn_on(owner, log, sent, 30, save=True)
    learn_on(owner, log, sent, 6)

    follower.look()

    assert follower.fold.loads == 2
    assert is_at(follower, owner)


def test_an_event_that_cannot_be_learned_is_left_out_as_its_owner_does(tmp_path: Path) -> None:
    log, owner, follower, sent = followed(tmp_path)
    follower.look()
    assert follower.fold is not None
    apply = follower.fold.fold.apply

    def fails(*arguments: object, **more: object) -> object:
        raise ValueError("a block that it cannot learn")

    follower.fold.fold.apply = fails  # type: ignore[assignment]
    learn_on(owner, log, sent, 8)
    follower._look()
    told = follower._health.now()
    assert (told.state, told.reason) == ("waiting", "it cannot be learned on: ValueError: a block that it cannot learn")

    follower.fold.fold.apply = apply  # type: ignore[method-assign]
    follower.look()
    assert is_at(follower, owner)


def test_the_journal_is_in_the_store_before_the_version_that_it_follows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host that restores a state, names it under its generation and dies again loses nothing of the journal."""
    log, owner, _, sent = followed(tmp_path)
    learn_on(owner, log, sent, 6)
    second = Owner(tmp_path / "second", objects_of(tmp_path)[1], log)
    monkeypatch.setattr(mirror.Mirror, "_upload_journal", lambda self: None)
    second.upload()

    third = Owner(tmp_path / "third", objects_of(tmp_path)[1], log)

    assert third.place == owner.place
