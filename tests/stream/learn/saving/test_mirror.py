"""How long a state that cannot be claimed yet waits: for a log a moment, for a store longer and longer."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.reliability.test_fuzzed_input import MANIFEST
from tests.services.processes import until
from thalweg.memory.objects.objects import Objects
from thalweg.memory.snapshots.manifest import Manifest
from thalweg.memory.snapshots.remote import RemoteSnapshots
from thalweg.memory.snapshots.snapshots import FolderSnapshots
from thalweg.memory.snapshots.state import State
from thalweg.stream.health.registry import Health
from thalweg.stream.journal.entries import BlockEntry
from thalweg.stream.journal.file_journal import FileJournal
from thalweg.stream.learn.saving import mirror
from thalweg.stream.learn.saving.mirror import Mirror
from thalweg.stream.log.log import LogError
from thalweg.stream.standby.copy import JOURNAL


class _Counted(FolderSnapshots):
    """Counts how often manifests are read."""

    read = 0

    def manifests(self) -> Sequence[Manifest]:
        self.read += 1
        return super().manifests()


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


def test_a_shard_that_learns_nothing_reads_nothing_and_one_that_does_is_uploaded(tmp_path: Path) -> None:
    folder, remote = tmp_path / "a", RemoteSnapshots(Objects(f"file:{tmp_path / 'objects'}"), "a")
    snapshots = _Counted(folder)
    made = Mirror(remote, snapshots, (), Health("object_store", "a"), lambda _: None, None, lambda: "one")
    made.begin(lambda _: False)
    snapshots.prepare()
    snapshots.save(replace(MANIFEST, model="a", version=1), {"learner": State({"x": np.ones(2)})})
    journal = FileJournal(folder / JOURNAL)
    made.upload()
    made._upload_journal()
    read, head = snapshots.read, remote.newest()
    assert head is not None

    for _ in range(3):
        assert not made.upload()
        made._upload_journal()
    assert snapshots.read == read

    journal.append(BlockEntry(2, (), 1))
    journal.sync()
    made._upload_journal()
    uploaded = remote.journal(head)
    assert uploaded is not None
    assert b'"version":2' in uploaded.replace(b" ", b"")
    snapshots.save(replace(MANIFEST, model="a", version=2), {"learner": State({"x": np.ones(2)})})
    assert made.upload()
    newest = remote.newest()
    assert newest is not None
    assert newest.version == 2
    journal.close()
