"""Shards that average: what was mixed in is in the journal, and a state follows from log and journal alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from structlog.testing import capture_logs

from tests.models.error_memory.sample import clicks
from thalweg.memory.snapshots.snapshots import InMemorySnapshots
from thalweg.models.contract.learner import LearnerContext
from thalweg.models.error_memory.learner import ErrorMemory
from thalweg.proto.event import NumberLabels
from thalweg.proto.schema import TensorSpec
from thalweg.stream.averaging.averaging import Averaging
from thalweg.stream.journal.entries import AveragingEntry, ResetEntry
from thalweg.stream.journal.file_journal import FileJournal
from thalweg.stream.journal.journal import InMemoryJournal, Journal, JournalError
from thalweg.stream.learn.ports import Ports
from thalweg.stream.learn.processor import Processor
from thalweg.stream.learn.rebuild import rebuild
from thalweg.stream.learn.settings import ProcessorSettings
from thalweg.stream.log.in_memory import InMemoryLog
from thalweg.stream.log.log import Message
from thalweg.stream.merging.folders import FolderShards
from thalweg.stream.publication.file_channel import FilePublisher
from thalweg.stream.publication.live_folder import make_model_folder

INPUTS = {name: TensorSpec(name, "int64", ()) for name in ("user", "item")}
PARAMS: dict[str, Any] = {"dim": 4, "hidden": "8-4", "memory_bytes": 20_000, "train_batch": 8, "row_rate": 0.3}
SETTINGS = ProcessorSettings(
    model="m~0", topic="t", batch_events=8, batch_seconds=0, idle_seconds=0, snapshot_events=10**6, snapshot_seconds=1e9
)
NOTED = {"settings_sha256": "same"}
EVERY = 20


def new(**params: Any) -> ErrorMemory:
    return ErrorMemory(LearnerContext(inputs=INPUTS, params={**PARAMS, **params}, seed=0))


class Sibling:
    """Another shard as its owner publishes it."""

    def __init__(self, live: Path, number: int, learner: ErrorMemory | None = None, **noted: Any) -> None:
        self.learner, self.events, self.version, self._seed = learner or new(), 0, 0, 7 + number
        folder = live / f"m~{number}"
        make_model_folder(folder)
        self._publisher = FilePublisher(folder, noted={**NOTED, **noted})

    def learns(self, count: int) -> None:
        self.learner.learn(clicks(count, self.events, seed=1000 * self._seed))
        self.events, self.version = self.events + count, self.version + 1
        self._publisher.publish(
            self.learner.predictor(), version=self.version, learned_events=self.events, event_time=1.0
        )


def appended(log: InMemoryLog, count: int, first: int = 0) -> None:
    """Events, each a record of its own."""
    batch = clicks(count, first)
    assert isinstance(batch.labels, NumberLabels)
    rows = zip(batch.inputs["user"].tolist(), batch.inputs["item"].tolist(), batch.labels.values[:, 0].tolist())
    records = [{"inputs": {"user": user, "item": item}, "label": label} for user, item, label in rows]
    log.append("t", [Message(json.dumps(record).encode(), time=1e9 + first) for record in records])


def averaging(live: Path, every: int = EVERY) -> Averaging:
    return Averaging(FolderShards(live, "m"), 0, every, NOTED)


def life(
    log: InMemoryLog, journal: Journal, snapshots: InMemorySnapshots, siblings: Averaging | None = None
) -> Processor:
    """One process, from start to the end of the log."""
    ports = Ports() if siblings is None else Ports(siblings=siblings)
    processor = Processor(new(), log, snapshots, SETTINGS, journal=journal, make=new, ports=ports)
    processor.run(until_end=True)
    return processor


def averaged(journal: Journal) -> list[AveragingEntry]:
    return [entry for entry in journal.entries(0) if isinstance(entry, AveragingEntry)]


class Lived:
    """A shard that has averaged twice with one sibling."""

    def __init__(self, tmp_path: Path) -> None:
        self.log, self.live = InMemoryLog(), tmp_path / "live"
        self.folder = tmp_path / "journal"
        sibling, siblings = Sibling(self.live, 1), averaging(self.live)
        sibling.learns(8)
        self.first = InMemorySnapshots()
        for part in range(3):
            appended(self.log, EVERY + 4, part * (EVERY + 4))
            sibling.learns(16)
            self.last = life(self.log, FileJournal(self.folder), InMemorySnapshots() if part else self.first, siblings)
        self.journal = FileJournal(self.folder, read_only=True)


def test_a_shard_averages_every_so_many_events_and_its_journal_holds_what_was_mixed_in(tmp_path: Path) -> None:
    lived = Lived(tmp_path)

    entries = averaged(lived.journal)

    assert len(entries) == 2
    assert [dict(entry.shards).keys() for entry in entries] == [{1}, {1}]
    assert all(entry.mixed is not None and entry.mixed.sha256() == entry.sha256 for entry in entries)
    assert all(entry.weight >= EVERY for entry in entries)
    alone = life(lived.log, InMemoryJournal(), InMemorySnapshots())
    assert alone.state_sha256 != lived.last.state_sha256


def test_who_applies_the_journal_again_reaches_the_same_bits_and_asks_no_other_shard(tmp_path: Path) -> None:
    lived = Lived(tmp_path)
    version, wanted = lived.last.version, lived.last.state_sha256

    restarted = life(lived.log, FileJournal(lived.folder), InMemorySnapshots())
    rebuilt = rebuild(new, lived.log, InMemorySnapshots(), lived.journal, SETTINGS, version)

    assert (restarted.version, restarted.state_sha256) == (version, wanted)
    assert rebuilt.state_sha256 == wanted


@pytest.mark.parametrize("damage", ["missing", "torn", "of another version"])
def test_without_what_was_mixed_in_the_journal_ends_there_and_the_shard_learns_on(tmp_path: Path, damage: str) -> None:
    lived = Lived(tmp_path)
    one, other = (lived.folder / f"averaged-{entry.version}.safetensors" for entry in averaged(lived.journal))
    if damage == "missing":
        other.unlink()
    elif damage == "torn":
        other.write_bytes(other.read_bytes()[:-7])
    else:
        other.write_bytes(one.read_bytes())

    with pytest.raises(JournalError, match="averaged"):
        averaged(lived.journal)
    again = life(lived.log, FileJournal(lived.folder), lived.first)

    assert again.events_learned == lived.last.events_learned
    assert len(averaged(FileJournal(lived.folder))) == 1


def test_what_no_snapshot_needs_and_what_is_taken_back_is_removed_with_its_entry(tmp_path: Path) -> None:
    lived = Lived(tmp_path)
    first, second = (entry.version for entry in averaged(lived.journal))
    journal = FileJournal(lived.folder)

    journal.truncate(second - 1)
    after_truncation = [path.name for path in lived.folder.glob("averaged-*")]
    journal.cut(second - 1, 0)
    journal.append(ResetEntry(second, "operator"))
    journal.cut(second, second - 1)

    assert after_truncation == [f"averaged-{first}.safetensors"]
    assert not list(lived.folder.glob("averaged-*"))


def test_a_sibling_that_learned_nothing_meanwhile_counts_for_nothing(tmp_path: Path) -> None:
    sibling, siblings = Sibling(tmp_path, 1), averaging(tmp_path)
    sibling.learns(40)
    learner = new()
    assert siblings.entry(learner, 1, 0) is None

    assert siblings.entry(learner, 2, EVERY) is None

    sibling.learns(8)
    found = siblings.entry(learner, 3, 2 * EVERY)
    assert found is not None
    assert found.mixed is not None
    assert (found.version, found.weight, found.shards) == (4, EVERY, ((1, 2),))
    assert found.mixed.tensors["weight"].tolist() == [8.0]


def test_shards_of_other_settings_or_of_another_shape_are_told_and_left_out(tmp_path: Path) -> None:
    stranger = Sibling(tmp_path, 1, settings_sha256="other")
    other = Sibling(tmp_path, 2, new(hidden="16-4"))
    fine, siblings = Sibling(tmp_path, 3), averaging(tmp_path)
    learner = new()
    siblings.entry(learner, 1, 0)
    for one in (stranger, other, fine):
        one.learns(16)

    with capture_logs() as told:
        found = siblings.entry(learner, 2, EVERY)

    assert found is not None
    assert found.shards == ((3, 1),)
    assert [one["shard"] for one in told] == [1, 2]
    assert "other settings" in told[0]["problem"]


def test_a_shard_with_numbers_that_are_none_or_unlike_the_others_is_told_and_harms_no_other(tmp_path: Path) -> None:
    fine, poisoned, unlike = (Sibling(tmp_path, number) for number in (1, 2, 3))
    poisoned.learner._combination.weights = np.full_like(poisoned.learner._combination.weights, np.nan)
    unlike.learner._turns = None  # it has not the weights of what may have turned
    siblings, learner = averaging(tmp_path), new()
    siblings.entry(learner, 1, 0)
    for one in (fine, poisoned, unlike):
        one.learns(16)

    with capture_logs() as told:
        found = siblings.entry(learner, 2, EVERY)

    assert found is not None
    assert found.mixed is not None
    assert found.shards == ((1, 1),)
    assert all(np.isfinite(array).all() for array in found.mixed.tensors.values())
    assert [one["shard"] for one in told] == [2, 3]
    assert "weights.plain: expected finite numbers" in told[0]["problem"]
    assert "weights.unturned: expected an array" in told[1]["problem"]


def test_after_a_rollback_a_shard_counts_from_there(tmp_path: Path) -> None:
    sibling, siblings = Sibling(tmp_path, 1), averaging(tmp_path)
    siblings.entry(new(), 1, 100)
    sibling.learns(16)

    assert siblings.entry(new(), 2, 50) is None
    assert siblings.entry(new(), 3, 50 + EVERY - 1) is None
    sibling.learns(16)
    assert siblings.entry(new(), 4, 50 + EVERY) is not None


def test_shards_that_average_each_with_the_other_stay_closer_than_shards_that_do_not(tmp_path: Path) -> None:
    distances = {}
    for every in (EVERY, 10**9):
        live = tmp_path / str(every)
        shards = [Sibling(live, number) for number in (0, 1)]
        siblings = [Averaging(FolderShards(live, "m"), number, every, NOTED) for number in (0, 1)]
        for _ in range(8):
            for shard, others in zip(shards, siblings, strict=True):
                shard.learns(EVERY)
                entry = others.entry(shard.learner, shard.version, shard.events)
                if entry is not None and entry.mixed is not None:
                    shard.learner.mix(entry.mixed, entry.weight)
        distances[every] = _distance(*(shard.learner for shard in shards))

    assert 0 < distances[EVERY] < 0.6 * distances[10**9]


def _distance(one: ErrorMemory, other: ErrorMemory) -> float:
    """Between the layers of their networks."""
    mine, theirs = (learner.state().tensors for learner in (one, other))
    return float(sum(np.abs(mine[n] - theirs[n]).sum() for n in mine if n.startswith("network.weight.")))
