"""The power fails at every point of a small stream: the recovered state is that of an undisturbed run.

What was published or acknowledged before is still there.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.services.power_cut import ForgetfulDisk
from tests.stream.chain import Chain
from tests.stream.learn.test_processor import event
from thalweg.memory.snapshots.snapshots import FolderSnapshots
from thalweg.proto.records import Partition
from thalweg.stream.journal.entries import ResetEntry
from thalweg.stream.journal.file_journal import FileJournal
from thalweg.stream.learn.ports import Ports
from thalweg.stream.learn.processor import Processor
from thalweg.stream.learn.settings import ProcessorSettings
from thalweg.stream.log.dead_letters import DeadLetters
from thalweg.stream.log.in_memory import InMemoryLog
from thalweg.stream.log.log import Message
from thalweg.stream.publication.file_channel import FilePublisher
from thalweg.stream.runtime import Runtime

SETTINGS = ProcessorSettings(
    model="m",
    topic="t",
    batch_events=4,
    batch_seconds=0,
    idle_seconds=0,
    snapshot_events=8,
    snapshot_seconds=1e9,
    publish_share=1,
)
STEPS = ("chunk",) * 6 + ("reset",) + ("chunk",) * 3
"""What happens; step n leads to version n + 1."""
BAD = 3  # this chunk has an invalid record, too


class _AtOnce:
    """In place of a thread."""

    def __init__(self, work: Callable[[], None], name: str) -> None:
        self.start = work

    def is_alive(self) -> bool:
        return False

    def join(self) -> None: ...


class _Journal(FileJournal):
    def begin_sync(self) -> None:
        """Not in a thread: the points of the cuts are numbered."""


class _Process:
    """A learner process on a state folder."""

    def __init__(self, log: InMemoryLog, folder: Path, live: Path) -> None:
        self.shown: dict[int, str] = {}
        """Hash of the state by version that was published."""
        process = self

        class Shown(FilePublisher):
            def publish(self, predictor: Any, *, version: int, learned_events: int, event_time: float) -> None:
                super().publish(predictor, version=version, learned_events=learned_events, event_time=event_time)
                process.shown[version] = process.processor.state_sha256

        self.publisher = Shown(live)
        snapshots = FolderSnapshots(folder / "m", 1)
        self.processor = Processor(
            Chain(),
            log,
            snapshots,
            SETTINGS,
            journal=_Journal(folder / "m" / "journal", sync_seconds=1e9),
            make=Chain,
            ports=Ports(publisher=self.publisher, dead_letters=DeadLetters(log, "t", "m")),
            runtime=Runtime(background=_AtOnce),
        )
        self.log, self.snapshots = log, snapshots
        snapshots.prepare()

    def run(self) -> None:
        """Take the steps that are missing, each chunk in a block of its own as it comes."""
        processor = self.processor
        reader = processor._intake.open(processor._fold.end)
        for version in range(processor.version + 1, len(STEPS) + 1):
            if STEPS[version - 1] == "reset":
                processor._change(ResetEntry(version, "operator"))
                self.shown[version] = processor.state_sha256  # acknowledged
                continue
            append(self.log, STEPS[: version - 1].count("chunk"))
            processor._saver._not_before = processor._cadence._not_before = (
                0.0  # both are due, however slow the disk is
            )
            assert processor._step(reader)
        processor._publish(now=True)
        processor._saving.save(wait=True)

    def close(self) -> None:
        self.processor._journal.close()
        self.publisher.close()


def append(log: InMemoryLog, chunk: int) -> None:
    """Append a chunk, unless it is in the log."""
    if log.bounds("t").get(Partition("t", 0), (0, 0))[1] < 4 * (chunk + 1) + (chunk >= BAD):
        bad = [Message(b"{", time=float(4 * chunk))] if chunk == BAD else []
        log.append("t", bad + [event(4 * chunk + i) for i in range(4)])


def _undisturbed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[int, dict[int, str]]:
    """The calls of a whole run, and the hash of each version."""
    (tmp_path / "whole").mkdir()
    disk = ForgetfulDisk(tmp_path / "whole")
    shown: dict[int, str] = {}
    with disk.watching(monkeypatch):
        process = _Process(InMemoryLog(), tmp_path / "whole", tmp_path / "live-whole")
        shown = process.shown
        with closing(process):
            process.processor.recover()
            process.run()
    assert list(shown) == list(range(len(STEPS) + 1))
    return disk.calls, shown


@pytest.mark.parametrize("seed", range(2))
def test_wherever_the_power_fails_what_was_published_is_there_and_the_rest_is_learned_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(os, "fsync", lambda handle: None)  # the recoveries need not wait for the real disk
    monkeypatch.setattr(os, "fdatasync", lambda handle: None)
    calls, whole = _undisturbed(tmp_path, monkeypatch)

    for cut_at in range(seed, calls, 2):
        place = tmp_path / f"{cut_at}"
        (place / "state").mkdir(parents=True)
        disk, log = ForgetfulDisk(place / "state", cut_at, seed), InMemoryLog()
        shown: dict[int, str] = {}
        with disk.watching(monkeypatch):
            first = _Process(log, place / "state", place / "live")
            shown = first.shown
            with closing(first):
                first.processor.recover()
                first.run()
        disk.copy_what_is_left(place / "left")

        again = _Process(log, place / "left", place / "live-after")
        again.processor.recover()

        at = f"cut {cut_at}"
        assert again.processor.version >= max(shown, default=0), at
        assert again.processor.state_sha256 == whole[again.processor.version], at
        assert again.publisher.shown() == again.processor.version, at
        again.run()
        assert again.processor.state_sha256 == whole[len(STEPS)], at
        again.close()
        assert [letter.offset for letter in DeadLetters(log, "t", "m").newest(1000)] == [4 * BAD], at
