"""A model whose state is in an object store, too: it goes on on another host, under one owner, and outlives outages."""

from __future__ import annotations

import shutil
import threading
from functools import partial
from pathlib import Path

import pytest

from tests.ops.run.test_learning import configuration, learner, learning, saved
from tests.samples import events
from tests.services.object_store import s3
from tests.services.processes import until
from thalweg.memory.objects.objects import Objects
from thalweg.memory.snapshots.remote import RemoteSnapshots
from thalweg.memory.snapshots.snapshots import FolderSnapshots
from thalweg.ops.cli.produce import messages
from thalweg.ops.config.config import Config
from thalweg.ops.config.error import ConfigurationError
from thalweg.stream.health.registry import ComponentHealth, HealthRegistry
from thalweg.stream.journal.file_journal import FileJournal
from thalweg.stream.journal.tail import Tail
from thalweg.stream.learn.saving import mirror
from thalweg.stream.log.in_memory import InMemoryLog
from thalweg.stream.log.log import LogError
from thalweg.stream.publication.announcement import ANNOUNCEMENT, newest_slot

RIDGE = 'learner = "ridge"\nsnapshot_seconds = 0.01\nbatch_events = 10\n'


def host(folder: Path, name: str, url: str, service: str = "") -> Config:
    """A host's configuration: its own state folder, the same store, none without a URL."""
    (folder / name).mkdir(exist_ok=True)
    return configuration(
        folder / name, f'state_url = "{url}"\n' * bool(url) + f"drain_seconds = 5.0\n{service}", a=RIDGE
    )


def part(registry: HealthRegistry, component: str = "object_store") -> ComponentHealth:
    found = until("it to be there", lambda: [one for one in registry.report() if one.component == component])
    return found[0]


def uploaded(url: str) -> int:
    """Events in the newest state in the store."""
    head = RemoteSnapshots(Objects(url), "a").newest()
    return 0 if head is None else int(head.manifest.partition('"events_learned": ')[2].partition(",")[0])


def state_of(config: Config) -> str:
    kept = FolderSnapshots(Path(config.service.state_dir) / "a").newest()
    assert kept is not None
    return kept.parts["learner"].sha256()


def test_a_model_goes_on_on_a_host_that_has_nothing_of_it(tmp_path: Path) -> None:
    url, log = f"file:{tmp_path / 'objects'}", InMemoryLog()
    log.append("t", messages(events(200), 1))
    first, second = host(tmp_path, "first", url), host(tmp_path, "second", url)
    with learning(first, log):
        until("the state to be uploaded", lambda: uploaded(url) == 200)
    log.append("t", messages(events(100, 200), 1))

    with learning(second, log) as (_, registry):
        until("the rest to be learned", lambda: saved(second, "a") == 300)
        until("it to be well", lambda: part(registry).state == "running")

    assert uploaded(url) == 300
    manifests = FolderSnapshots(Path(second.service.state_dir) / "a").manifests()
    assert manifests[0].events_learned == 200
    alone = host(tmp_path, "alone", "")
    with learning(alone, log):
        until("all to be learned", lambda: saved(alone, "a") == 300)
    assert state_of(second) == state_of(alone)


def test_a_host_that_was_taken_for_dead_is_told_ends_and_its_state_counts_for_nothing(tmp_path: Path) -> None:
    url, log = f"file:{tmp_path / 'objects'}", InMemoryLog()
    log.append("t", messages(events(50), 1))
    first, second = host(tmp_path, "first", url), host(tmp_path, "second", url)
    with learning(first, log) as (late, registry):
        until("the state to be uploaded", lambda: uploaded(url) == 50)
        with learning(second, log):
            until("the other to own it", lambda: saved(second, "a") == 50)
            log.append("t", messages(events(50, 50), 1))
            until("the first to be told", lambda: late.refused is not None)
            assert isinstance(late.refused, ConfigurationError)  # restarted, it would take the model back
            assert "is owned by host" in str(late.refused)
            assert learner(registry, "a").state == "failed"
            until("the second to learn on", lambda: uploaded(url) == 100)

    third = host(tmp_path, "first", url)  # back on the first host: what the second has learned is taken
    log.append("t", messages(events(50, 100), 1))
    with learning(third, log):
        until("it to learn on", lambda: saved(third, "a") == 150)
    assert [path.name for path in Path(third.service.state_dir).glob("a.superseded-*")] == ["a.superseded-1"]


def test_a_host_with_nothing_to_upload_learns_that_it_was_superseded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirror, "OWN_SECONDS", 0.1)
    url, log = f"file:{tmp_path / 'objects'}", InMemoryLog()
    log.append("t", messages(events(50), 1))
    first, second = host(tmp_path, "first", url), host(tmp_path, "second", url)
    with learning(first, log) as (late, _):
        until("the state to be uploaded", lambda: uploaded(url) == 50)
        with learning(second, log):
            until("the first to be told", lambda: late.refused is not None)


def test_a_store_that_was_emptied_is_told_and_has_the_state_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirror, "OWN_SECONDS", 0.1)
    url, log = f"file:{tmp_path / 'objects'}", InMemoryLog()
    log.append("t", messages(events(50), 1))
    first, second = host(tmp_path, "first", url), host(tmp_path, "second", url)
    with learning(first, log):
        until("the state to be uploaded", lambda: uploaded(url) == 50)
        for folder in (tmp_path / "objects").iterdir():
            shutil.rmtree(folder) if folder.is_dir() else folder.unlink()
        until("it to be there again", lambda: uploaded(url) == 50)
    with learning(second, log):
        until("it to be restored", lambda: saved(second, "a") == 50)


def test_a_folder_of_objects_that_is_away_is_waited_for_and_nothing_is_begun_in_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirror, "OWN_SECONDS", 0.1)
    folder, away, log = tmp_path / "objects", tmp_path / "away", InMemoryLog()
    log.append("t", messages(events(80)[:50], 1))
    first, second = host(tmp_path, "first", f"file:{folder}"), host(tmp_path, "second", f"file:{folder}")
    with learning(first, log) as (_, registry):
        until("the state to be uploaded", lambda: uploaded(f"file:{folder}") == 50)
        folder.rename(away)
        log.append("t", messages(events(80)[50:], 1))
        until("it to be saved", lambda: saved(first, "a") == 80)
        until("it to be told", lambda: [one for one in registry.report() if "no such folder any more" in one.reason])
        begun = folder.exists()
        away.rename(folder)
        until("uploading to catch up", lambda: uploaded(f"file:{folder}") == 80)
        until("it to be well", lambda: not [one for one in registry.report() if "no such folder" in one.reason])
    with learning(second, log):
        until("it to be restored", lambda: saved(second, "a") == 80)

    assert not begun


def test_an_upload_that_takes_long_is_no_part_that_is_silent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A large state over a slow line: silent beyond its bound, it would end the process."""
    monkeypatch.setattr("thalweg.ops.run.learners.one_model._SILENT_SECONDS", 0.05)
    url, log, go, begun = f"file:{tmp_path / 'objects'}", InMemoryLog(), threading.Event(), threading.Event()
    put = Objects.put

    def slowly(self: Objects, name: str, content: bytes | Path) -> None:
        begun.set()
        go.wait()
        put(self, name, content)

    monkeypatch.setattr(Objects, "put", slowly)
    log.append("t", messages(events(50), 1))
    config = host(tmp_path, "first", url)
    with learning(config, log) as (_, registry):
        assert begun.wait(60)
        until("the state to be on disk", lambda: saved(config, "a") == 50)
        silent = [(one.component, one.model) for one in registry.silent()]
        go.set()
        until("the state to be uploaded", lambda: uploaded(url) == 50)

    assert ("object_store", "a") not in silent


def test_a_folder_that_cannot_be_made_is_a_mistake_of_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    config = host(tmp_path, "first", f"file:{tmp_path / 'file'}")

    with pytest.raises(ConfigurationError, match=r"service\.state_url"), learning(config, InMemoryLog()):
        pass


def test_a_folder_with_a_state_does_not_take_anothers_for_its_own(tmp_path: Path) -> None:
    url, log = f"file:{tmp_path / 'objects'}", InMemoryLog()
    log.append("t", messages(events(50), 1))
    first, second = host(tmp_path, "first", url), host(tmp_path, "second", "")
    for config in (first, second):
        with learning(config, log):
            until("it to learn", lambda: saved(config, "a") == 50)  # noqa: B023
    second = host(tmp_path, "second", url)

    with learning(second, log) as (refused, _):
        until("it to be refused", lambda: refused.refused is not None)

    assert "move the folder away" in str(refused.refused)
    assert saved(second, "a") == 50


@pytest.mark.slow(10)
def test_a_store_that_is_away_costs_the_learner_nothing_and_is_told_what_it_missed(tmp_path: Path) -> None:
    log = InMemoryLog()
    with s3() as server:
        config = host(tmp_path, "only", server.url)
        log.append("t", messages(events(50), 1))
        with learning(config, log) as (_, registry):
            until("the state to be uploaded", lambda: uploaded(server.url) == 50)
            server.stop()
            log.append("t", messages(events(50, 50), 1))
            until("it to learn on", lambda: saved(config, "a") == 100)
            until("health to tell it", lambda: part(registry).state == "waiting")
            assert "is the last one uploaded" in part(registry).reason
            server.start()
            until("it to catch up", lambda: uploaded(server.url) == 100)
            until("health to be well", lambda: part(registry).state == "running")
        server.stop()
        log.append("t", messages(events(50, 100), 1))
        with learning(config, log) as (_, registry):  # started without the store, on what the folder has
            until("it to learn on", lambda: saved(config, "a") == 150)
            server.start()
            until("it to catch up", lambda: uploaded(server.url) == 150)


@pytest.mark.slow(10)
def test_a_host_without_a_state_waits_for_the_store_and_learns_nothing_twice(tmp_path: Path) -> None:
    log = InMemoryLog()
    log.append("t", messages(events(50), 1))
    with s3() as server:
        first = host(tmp_path, "first", server.url)
        second = host(tmp_path, "second", server.url, "silent_seconds = 1.0\n")
        with learning(first, log):
            until("the state to be uploaded", lambda: uploaded(server.url) == 50)
        server.stop()
        with learning(second, log) as (_, registry):
            until("it to wait", lambda: part(registry).state == "waiting")
            assert not saved(second, "a")
            assert learner(registry, "a").state == "waiting"  # a request takes longer than its bound: it is not stuck
            assert not [one.component for one in registry.silent()]
            server.start()
            until("the state to be restored", lambda: saved(second, "a") == 50)
        assert part(registry).restarts == 0


def test_a_host_that_takes_over_learns_the_same_blocks_again_that_no_snapshot_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, log = f"file:{tmp_path / 'objects'}", InMemoryLog()
    first, second = host(tmp_path, "first", url), host(tmp_path, "second", url)
    for config in (first, second):
        config.model[0] = config.model[0].model_copy(update={"snapshot_seconds": 1e6, "snapshot_events": 10**6})
    remote = RemoteSnapshots(Objects(url), "a")
    with learning(first, log) as (_, registry):
        for part_of_them in range(20):
            log.append("t", messages(events(7, 7 * part_of_them), 1))
            until("one more block", partial(lambda n: version(first) > n, part_of_them))
        until("its journal in the store", lambda: entries(remote) == version(first))
        with learning(second, log):
            until("what was learned to be learned again", lambda: published(second) == version(first))
        monkeypatch.setattr(mirror, "OWN_SECONDS", 0.1)
        until("the first to be told", lambda: learner(registry, "a").state == "failed")
    newest = [FolderSnapshots(Path(one.service.state_dir) / "a").manifests()[-1] for one in (first, second)]
    assert newest[0].version == newest[1].version >= 20
    assert newest[0].events_learned == newest[1].events_learned == 140
    assert state_of(first) == state_of(second)


def version(config: Config) -> int:
    """The newest entry of the journal."""
    folder = Path(config.service.state_dir) / "a" / "journal"
    return max((entry.version for entry in FileJournal(folder, read_only=True).entries(0)), default=0)


def published(config: Config) -> int:
    """The version that servers have."""
    announced = Path(config.service.state_dir) / "live" / "a" / ANNOUNCEMENT
    slot = newest_slot(announced.read_bytes()) if announced.exists() else None
    return -1 if slot is None else slot.info.version


def entries(remote: RemoteSnapshots) -> int:
    """Entries of the newest journal in the store."""
    head = remote.newest()
    content = None if head is None else remote.journal(head)
    return 0 if content is None else content.count(b"\n") - 1


@pytest.mark.parametrize("content", [b"", b"no number\n", b"../../x\n{}", b"99999999999999999999999\n"])
def test_a_journal_in_the_store_that_is_none_is_left_out(content: bytes) -> None:
    assert Tail.of(content) is None


def owners(url: str) -> list[str]:
    return [one.name for one in Objects(url).names("a/owners")]


def of_cluster(name: str, count: int, log: type[InMemoryLog] = InMemoryLog) -> InMemoryLog:
    made = log(cluster=name)
    made.append("t", messages(events(count), 1))
    return made


@pytest.mark.parametrize("has_a_state", [False, True])
def test_a_host_of_another_cluster_is_refused_before_it_claims_or_learns(tmp_path: Path, has_a_state: bool) -> None:
    url = f"file:{tmp_path / 'objects'}"
    first, second = host(tmp_path, "first", url), host(tmp_path, "second", url)
    with learning(first, of_cluster("one", 50)) as (running, _):
        until("the state to be uploaded", lambda: uploaded(url) == 50)
        claimed = owners(url)
        if has_a_state:  # as after log.url was changed beside its folder
            shutil.copytree(Path(first.service.state_dir) / "a", Path(second.service.state_dir) / "a")

        with learning(second, of_cluster("two", 70)) as (refused, _):
            until("it to be refused", lambda: refused.refused is not None)

        assert owners(url) == claimed
        assert running.refused is None
    told = str(refused.refused)
    for part_of_it in ("'a'", url, "cluster one,", "cluster two:", 'moved_from = "one"', "another service.state_url"):
        assert part_of_it in told
    assert saved(second, "a") == (50 if has_a_state else 0)
    assert uploaded(url) == 50


@pytest.mark.parametrize("keeps_its_folder", [False, True])
def test_a_model_is_moved_to_another_cluster_and_learns_every_event_of_it_once(
    tmp_path: Path, keeps_its_folder: bool
) -> None:
    url = f"file:{tmp_path / 'objects'}"
    with learning(host(tmp_path, "first", url), of_cluster("one", 50)):
        until("the state to be uploaded", lambda: uploaded(url) == 50)
    moved = host(tmp_path, "first" if keeps_its_folder else "second", url)
    moved = moved.model_copy(update={"log": moved.log.model_copy(update={"moved_from": "one"})})
    log = InMemoryLog(cluster="two")
    log.append("t", messages(events(30, 50), 1))

    for _ in range(2):  # the setting may stay
        with learning(moved, log):
            until("its events to be learned", lambda: uploaded(url) == 80)

    with learning(host(tmp_path, "third", url), of_cluster("one", 50)) as (refused, _):
        until("the old cluster to be refused", lambda: refused.refused is not None)
    assert uploaded(url) == 80


def test_a_state_that_knows_no_cluster_is_that_of_the_next_one_that_claims_it(tmp_path: Path) -> None:
    url, log = f"file:{tmp_path / 'objects'}", of_cluster("one", 50)
    config = host(tmp_path, "first", url)
    with learning(config, log):
        until("the state to be uploaded", lambda: uploaded(url) == 50)
    Objects(url).delete(["a/cluster"])  # as those of before have it

    log.append("t", messages(events(20, 50), 1))
    with learning(config, log):
        until("it to go on", lambda: uploaded(url) == 70)

    with learning(host(tmp_path, "second", url), of_cluster("two", 70)) as (refused, _):
        until("it to be refused", lambda: refused.refused is not None)


def test_a_host_that_is_refused_for_its_state_locks_nobody_out(tmp_path: Path) -> None:
    url, log = f"file:{tmp_path / 'objects'}", of_cluster("one", 50)
    first, second = host(tmp_path, "first", url), host(tmp_path, "second", "")
    with learning(first, log):
        until("the state to be uploaded", lambda: uploaded(url) == 50)
    Objects(url).delete(["a/cluster"])  # as those of before have it
    with learning(second, of_cluster("two", 50)):
        until("it to learn", lambda: saved(second, "a") == 50)

    with learning(host(tmp_path, "second", url), of_cluster("two", 50)) as (refused, _):
        until("it to be refused", lambda: refused.refused is not None)
    assert "move the folder away" in str(refused.refused)

    log.append("t", messages(events(20, 50), 1))
    with learning(first, log):
        until("it to go on", lambda: uploaded(url) == 70)


class _Unknown(InMemoryLog):
    """A log that does not tell its cluster until it is `back`."""

    back = False

    def cluster(self) -> str | None:
        if not self.back:
            raise LogError("out of reach")
        return super().cluster()


@pytest.mark.parametrize("name", ["one", "two"])
def test_while_the_log_does_not_tell_its_cluster_nothing_is_claimed_or_uploaded(tmp_path: Path, name: str) -> None:
    url, config = f"file:{tmp_path / 'objects'}", host(tmp_path, "first", f"file:{tmp_path / 'objects'}")
    with learning(config, of_cluster("one", 50)):
        until("the state to be uploaded", lambda: uploaded(url) == 50)
    claimed = owners(url)
    log = of_cluster(name, 50, _Unknown)
    log.append("t", messages(events(20, 50), 1))

    with learning(config, log) as (running, registry):
        until("health to tell it", lambda: "out of reach" in part(registry).reason)
        assert owners(url) == claimed
        _Unknown.back = True
        try:
            if name == "one":
                until("it to go on", lambda: uploaded(url) == 70)
            else:
                until("it to be refused", lambda: "cluster two" in str(running.refused))
                assert owners(url) == claimed
                assert uploaded(url) == 50
        finally:
            _Unknown.back = False
