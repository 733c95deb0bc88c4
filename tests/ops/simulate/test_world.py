"""The loop under faults. What the simulation is worth is shown by what it finds once a fault is put back."""

import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import pytest

from thalweg.ops.simulate.simulate import simulate
from thalweg.ops.simulate.world import KINDS
from thalweg.stream.journal import file_journal
from thalweg.stream.journal.entries import Entry
from thalweg.stream.journal.file_journal import FileJournal
from thalweg.stream.journal.journal import JournalError

SEEDS = int(os.environ.get("THALWEG_SIMULATION_SEEDS", "1000"))
"""How many seeds are simulated; more for a night."""
CHUNKS = 20
STEPS = 250


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_whatever_fails_each_event_is_learned_once_and_the_state_is_the_fold_of_the_log(chunk: int) -> None:
    for seed in range(chunk, SEEDS, CHUNKS):
        verdict = simulate(seed, STEPS)

        assert not verdict.violations, f"thalweg simulate --seed {seed} --steps {STEPS}: {verdict.violations[0]}"


def test_a_long_simulation_meets_every_kind_of_fault_and_finds_nothing() -> None:
    verdict = simulate(7, 6000)

    assert verdict.violations == ()
    assert verdict.learner_deaths > 3
    assert verdict.events > 200


def test_the_same_seed_gives_the_same_trace_in_every_process() -> None:
    seeds = (21, 81)  # in which files are named by the process, and an identity of the log fills the disk
    here = [simulate(seed, 250).trace_sha256 for seed in seeds]
    code = f"""
from thalweg.ops.simulate.simulate import simulate
print(*(simulate(seed, 250).trace_sha256 for seed in {seeds}))
"""
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    there = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    ).stdout.split()

    assert here == there
    assert here[0] != here[1]


def found_among(seeds: int, kinds: Sequence[str] = KINDS, text: str = "") -> str:
    """The first violation among these seeds that contains the text; empty if there is none."""
    found = (one for seed in range(seeds) for one in simulate(seed, 2 * STEPS, kinds).violations if text in one)
    return next(found, "")


def test_it_finds_a_journal_that_ignores_short_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_journal, "_write_whole", lambda file, line: file.write(line))

    assert found_among(200, ["disk", "kill"])


def test_it_finds_versions_that_are_published_before_their_entry_is_on_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FileJournal, "sync", lambda self: None)

    assert found_among(200, ["power"])


def test_it_finds_a_recovery_that_fails_on_what_it_repairs(monkeypatch: pytest.MonkeyPatch) -> None:
    def truncate(self: FileJournal, version: int) -> None:
        raise JournalError("reads the line that is damaged")

    monkeypatch.setattr(file_journal, "_write_whole", lambda file, line: file.write(line))
    monkeypatch.setattr(FileJournal, "truncate", truncate)

    assert found_among(300, text="reads the line that is damaged")  # some seed before ends otherwise


def test_it_finds_an_event_that_is_learned_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    appends = FileJournal.append

    def append(self: FileJournal, entry: Entry) -> Any:
        if entry.version % 7:  # an entry that is missing
            appends(self, entry)

    monkeypatch.setattr(FileJournal, "append", append)

    assert found_among(50)
