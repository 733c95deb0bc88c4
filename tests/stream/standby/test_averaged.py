"""A shard that has averaged is followed and taken over: what it mixed in comes by the object store."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.stream.averaging.test_averaging import Sibling, appended, averaging, new
from tests.stream.standby import hosts
from tests.stream.standby.hosts import MODEL, Owner, close_all, follower_of
from thalweg.stream.journal.entries import AveragingEntry
from thalweg.stream.learn.ports import Ports
from thalweg.stream.learn.saving import saving
from thalweg.stream.log.in_memory import InMemoryLog

EVERY = 8


@pytest.fixture(autouse=True)
def _saved_only_here(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Versions are saved after averages and when a test says so; whatever is open is closed."""
    monkeypatch.setattr(hosts, "SETTINGS", hosts.SETTINGS.model_copy(update={"snapshot_events": 10**6}))
    monkeypatch.setattr(saving, "_AGAIN_SECONDS", 1e9)
    yield
    close_all()


class Lived:
    """A shard whose journal has averages after the only version in the store, as its disk is full, and whose topic is
    quiet now.
    """

    def __init__(self, tmp_path: Path) -> None:
        self.log, self.url = InMemoryLog(), f"file:{tmp_path / 'objects'}"
        self.objects = tmp_path / "objects" / MODEL
        self.sibling = Sibling(tmp_path / "live", 1)
        self.sibling.learns(8)
        ports = Ports(siblings=averaging(tmp_path / "live", EVERY))
        self.owner = Owner(tmp_path / "owner", self.url, self.log, new=new, ports=ports)
        self.learned = 0
        self.learns(4)
        self.owner.processor._saving.save(wait=True)
        self.owner.upload()
        self.uploaded = self.owner.processor._saver.newest()
        self.disk_is_full(True)
        self.learns(EVERY + 4, EVERY + 4)
        self.owner.upload()
        self.disk_is_full(False)
        self.averaged = self.averages()

    def disk_is_full(self, full: bool) -> None:
        def save(*what: Any) -> Any:
            raise OSError(errno.ENOSPC, "no space left on device")

        snapshots = vars(self.owner.processor._saver._snapshots)
        if full:
            snapshots["save"] = save
        else:
            self.owner.processor._saver.wait()
            del snapshots["save"]

    def learns(self, *counts: int) -> None:
        for count in counts:
            self.sibling.learns(8)
            appended(self.log, count, self.learned)
            self.learned += count
            while self.owner.turn():
                pass

    def averages(self) -> list[int]:
        entries = self.owner.processor._journal.entries(self.uploaded)
        return [entry.version for entry in entries if isinstance(entry, AveragingEntry)]


def lived(tmp_path: Path) -> Lived:
    found = Lived(tmp_path)
    assert found.owner.processor._saver.newest() == found.uploaded  # nothing but the journal has the averages
    assert found.averaged
    return found


def test_a_standby_that_starts_after_an_average_follows_and_goes_on_with_the_same_bits(tmp_path: Path) -> None:
    shard = lived(tmp_path)
    follower = follower_of(tmp_path / "standby", shard.url, shard.log, new)

    follower.look()

    fold = follower.fold
    assert fold is not None
    assert (fold.problem, follower.copy.problem, fold.level, fold.loads) == ("", "", True, 1)
    assert fold.fold.version >= shard.averaged[0]
    taken = Owner(tmp_path / "standby", shard.url, shard.log, follower, new)
    assert taken.warm is not None
    assert taken.place == shard.owner.place


def test_a_host_that_has_followed_nothing_takes_over_with_the_same_bits(tmp_path: Path) -> None:
    shard = lived(tmp_path)

    taken = Owner(tmp_path / "other", shard.url, shard.log, new=new)

    assert taken.place == shard.owner.place


def test_who_took_over_uploads_what_the_one_before_averaged(tmp_path: Path) -> None:
    shard = lived(tmp_path)
    second = Owner(tmp_path / "second", shard.url, shard.log, new=new)
    shutil.rmtree(shard.objects / "averaged")
    second.upload()

    third = Owner(tmp_path / "third", shard.url, shard.log, new=new)

    assert third.place == shard.owner.place


@pytest.mark.parametrize("damage", ["missing", "altered"])
def test_without_what_was_averaged_it_goes_on_from_before_and_says_so(tmp_path: Path, damage: str) -> None:
    shard = lived(tmp_path)
    for path in (shard.objects / "averaged").iterdir():
        path.unlink() if damage == "missing" else path.write_bytes(path.read_bytes()[:-1] + b"?")
    follower = follower_of(tmp_path / "standby", shard.url, shard.log, new)

    follower.look()

    assert follower.copy.problem == f"what version {shard.averaged[0]} has averaged is not in the object store"
    for taken in (
        Owner(tmp_path / "other", shard.url, shard.log, new=new),
        Owner(tmp_path / "standby", shard.url, shard.log, follower, new),
    ):
        while taken.turn():
            pass
        assert taken.processor.events_learned == shard.learned


def test_averages_before_the_version_in_the_store_need_nothing(tmp_path: Path) -> None:
    """The journal reaches back to the version before, for those who follow that one."""
    shard = lived(tmp_path)
    shard.owner.processor._saving.save(wait=True)
    shard.learns(EVERY + 4)  # which ends with an average, that is saved
    assert len(shard.averages()) > len(shard.averaged)
    shard.owner.upload()
    shutil.rmtree(shard.objects / "averaged", ignore_errors=True)
    follower = follower_of(tmp_path / "standby", shard.url, shard.log, new)

    follower.look()

    assert follower.fold is not None
    assert (follower.fold.problem, follower.copy.problem, follower.fold.level) == ("", "", True)
    assert follower.fold.fold.version > shard.averaged[-1]


def test_what_no_version_in_the_store_needs_any_more_is_deleted_there(tmp_path: Path) -> None:
    shard = lived(tmp_path)
    assert len(list((shard.objects / "averaged").iterdir())) == len(shard.averaged)
    for _ in range(7):
        shard.learns(4)
        shard.owner.processor._saving.save(wait=True)
        shard.owner.upload()

    left = {int(path.name.partition("-")[0]) for path in (shard.objects / "averaged").iterdir()}
    oldest = min(int(path.name.partition("-")[2]) for path in (shard.objects / "heads").iterdir())
    assert not left & set(shard.averaged)
    assert all(version > oldest for version in left)
