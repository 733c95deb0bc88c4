"""How long a state that cannot be claimed yet waits: for a log a moment, for a store longer and longer."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from tests.services.processes import until
from thalweg.memory.objects.objects import Objects
from thalweg.memory.snapshots.remote import RemoteSnapshots
from thalweg.memory.snapshots.snapshots import FolderSnapshots
from thalweg.stream.health.registry import Health
from thalweg.stream.learn.saving import mirror
from thalweg.stream.learn.saving.mirror import Mirror
from thalweg.stream.log.log import LogError


class _Away:
    """A log that does not tell its cluster the first so many times."""

    def __init__(self, times: int) -> None:
        self.left = times

    def cluster(self) -> str:
        self.left -= 1
        if self.left >= 0:
            raise LogError("out of reach")
        return "one"


def mirrored(folder: Path, log: _Away) -> tuple[Mirror, RemoteSnapshots]:
    remote = RemoteSnapshots(Objects(f"file:{folder / 'objects'}"), "a")
    health = Health("object_store", "a")
    return Mirror(remote, FolderSnapshots(folder / "a"), (), health, lambda _: None, None, log.cluster), remote


def test_a_log_that_is_back_is_asked_within_seconds_however_long_it_was_away_at_the_start(tmp_path: Path) -> None:
    made, remote = mirrored(tmp_path, _Away(12))
    waits: list[float] = []

    def stop(seconds: float) -> bool:
        waits.append(seconds)
        return False

    made.begin(stop)

    assert remote.generation == 1
    assert len(waits) == 12
    assert max(waits) <= 2.0


def test_what_is_learned_meanwhile_is_claimed_within_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirror, "_LOOK_SECONDS", 0.01)
    monkeypatch.setattr(mirror, "_LOG_SECONDS", 0.05)
    made, remote = mirrored(tmp_path, _Away(30))
    began = time.monotonic()
    thread = threading.Thread(target=made.run)

    thread.start()
    try:
        until("it to be claimed", lambda: remote.generation == 1)
    finally:
        made.stop()
        thread.join()

    assert time.monotonic() - began < 20  # the thirty waits would take ten minutes, were each twice the last
