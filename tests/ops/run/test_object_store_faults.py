"""Whatever is wrong with the object store, learning goes on, health says so, and saving catches up."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.ops.run.test_learning import learning, saved
from tests.ops.run.test_object_store import host, part
from tests.samples import events
from tests.services.object_store import S3Server, s3
from tests.services.processes import until
from thalweg.memory.objects.objects import Objects, ObjectsUnavailable
from thalweg.memory.snapshots.remote import RemoteSnapshots
from thalweg.ops.cli.produce import messages
from thalweg.ops.run import learning as module
from thalweg.stream.log.in_memory import InMemoryLog

FAULTS = ("slow", "full", "failing", "away")


class Faulty(Objects):
    """Objects in memory or a folder, with the faults of a server."""

    fault = ""

    def _stumble(self, *, writes: bool) -> None:
        if self.fault == "slow":
            time.sleep(S3Server.SLOW_SECONDS / 5)
        if self.fault in ("failing", "away") or (self.fault == "full" and writes):
            raise ObjectsUnavailable(f"{self.url}: {self.fault}")

    def create(self, name: str, content: bytes) -> bool:
        self._stumble(writes=True)
        return super().create(name, content)

    def put(self, name: str, content: bytes | Path) -> None:
        self._stumble(writes=True)
        super().put(name, content)

    def get(self, name: str, most_bytes: int | None = None) -> bytes | None:
        self._stumble(writes=False)
        return super().get(name, most_bytes)

    def names(self, prefix: str) -> list[Any]:
        self._stumble(writes=False)
        return super().names(prefix)


@contextmanager
def store(kind: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Objects, Callable[[str], None]]]:
    """A store of this kind that the learner is given, and what gives it a fault; none: it has none any more."""
    if kind != "s3":
        faulty = Faulty("memory:" if kind == "memory" else f"file:{folder / 'objects'}")
        monkeypatch.setattr(module, "Objects", lambda url: faulty)
        yield faulty, lambda fault: setattr(faulty, "fault", fault)
        return
    with s3() as server:

        def fault(name: str) -> None:
            if server.fault == "away":
                server.start()
            server.fault = name
            if name == "away":
                server.stop()

        yield Objects(server.url), fault


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("kind", ["memory", "file", "s3"])
def test_learning_goes_on_and_saving_catches_up(
    kind: str, fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = InMemoryLog()
    log.append("t", messages(events(50), 1))
    with store(kind, tmp_path, monkeypatch) as (objects, give):
        config = host(tmp_path, "only", objects.url)
        with learning(config, log) as (_, registry):
            until("the state to be uploaded", lambda: uploaded(objects) == 50)
            give(fault)
            for first in (50, 100, 150):
                log.append("t", messages(events(50, first), 1))
                until("it to learn on", lambda first=first: saved(config, "a") == first + 50)  # type: ignore[misc]
            if fault == "slow":
                until("it to be uploaded all the same", lambda: uploaded(objects) == 200)
            else:
                until("health to tell it", lambda: part(registry).state == "waiting")
                assert "is the last one uploaded" in part(registry).reason
            give("")
            until("it to catch up", lambda: uploaded(objects) == 200)
            until("health to be well", lambda: part(registry).state == "running")
            assert part(registry).restarts == part(registry, "learner").restarts == 0


def uploaded(objects: Objects) -> int:
    """Events in the newest state in the store; 0: there is none that can be read now."""
    try:
        head = RemoteSnapshots(objects, "a").newest()
    except ObjectsUnavailable:
        return 0
    return 0 if head is None else int(head.manifest.partition('"events_learned": ')[2].partition(",")[0])


def test_a_bucket_without_conditional_writes_is_refused_at_the_start(tmp_path: Path) -> None:
    log = InMemoryLog()
    log.append("t", messages(events(50), 1))
    with s3() as server:
        server.fault = "unconditional"
        config = host(tmp_path, "only", server.url)
        with learning(config, log) as (made, _):
            until("it to be refused", lambda: made.refused is not None)

    assert "expected a store with conditional writes" in str(made.refused)
    assert not saved(config, "a")


def test_owners_whose_clocks_are_hours_apart_follow_each_other_by_generation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a host says of the time decides nothing: the second one lives in the past, the third in the future."""
    url, log, now = f"file:{tmp_path / 'objects'}", InMemoryLog(), time.time
    for number, hours in enumerate((0, -3, 3, -1), 1):
        log.append("t", messages(events(50, 50 * number), 1))
        with monkeypatch.context() as clock:
            clock.setattr(time, "time", lambda hours=hours: now() + 3600.0 * hours)
            config = host(tmp_path, f"host-{number}", url)
            with learning(config, log):
                until("it to go on from the one before", lambda: saved(config, "a") == 50 * number)  # noqa: B023
                until("it to be uploaded", lambda: uploaded(Objects(url)) == 50 * number)  # noqa: B023
    assert [generation for generation, _ in RemoteSnapshots(Objects(url), "a").heads()][-1] == 4


@pytest.mark.parametrize("poison", [b"", b"[1]", b'{"manifest": "{}", "files": {"../../../x": "y"}}', b"[" * 100_000])
def test_a_poisoned_manifest_is_told_and_the_state_before_it_taken(tmp_path: Path, poison: bytes) -> None:
    url, log = f"file:{tmp_path / 'objects'}", InMemoryLog()
    log.append("t", messages(events(50), 1))
    with learning(host(tmp_path, "first", url), log):
        until("it to be uploaded", lambda: uploaded(Objects(url)) == 50)
    Objects(url).put(f"a/heads/{7:010d}-{9:019d}", poison)

    second = host(tmp_path, "second", url)
    with learning(second, log):
        until("the state before to be restored", lambda: saved(second, "a") == 50)

    assert not (tmp_path / "x").exists()
    assert not list((tmp_path / "second").rglob("x"))
