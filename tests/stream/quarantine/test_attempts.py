"""What was being applied when a process ended."""

from __future__ import annotations

from pathlib import Path

import pytest

from thalweg.proto.records import Partition
from thalweg.stream.journal.entries import Skip
from thalweg.stream.quarantine.attempts import FileAttempts, fatal, place_of


def skip(offset: int) -> Skip:
    return Skip(Partition("t", 0), offset, 0, "")


def died(folder: Path, *versions: int) -> FileAttempts:
    """As a new process finds it after one ended while it applied the last of these versions."""
    attempts = FileAttempts(folder)
    for version in versions[:-1]:
        attempts.begin(version)
        attempts.end()
    attempts.begin(versions[-1])
    return FileAttempts(folder)


def test_deaths_within_one_version_are_counted_over_replays_of_those_before(tmp_path: Path) -> None:
    assert died(tmp_path, 5, 6, 7).deaths(7) == 1
    after = died(tmp_path, 6, 7)
    assert (after.deaths(7), after.deaths(6)) == (2, 0)


def test_a_death_elsewhere_is_another_suspect(tmp_path: Path) -> None:
    died(tmp_path, 7)
    after = died(tmp_path, 6)
    assert (after.deaths(7), after.deaths(6)) == (0, 1)


@pytest.mark.parametrize("lives", [7, 8])
def test_a_version_that_was_applied_is_no_suspect_any_more(tmp_path: Path, lives: int) -> None:
    attempts = died(tmp_path, 7)
    attempts.begin(lives)
    attempts.end()

    assert FileAttempts(tmp_path).deaths(7) == 0


def test_a_process_that_ends_between_two_versions_leaves_no_suspect(tmp_path: Path) -> None:
    attempts = FileAttempts(tmp_path)
    attempts.begin(7)
    attempts.end()

    assert FileAttempts(tmp_path).deaths(7) == 0


def test_a_process_that_ends_while_a_version_waits_says_nothing_about_it(tmp_path: Path) -> None:
    attempts = died(tmp_path, 7)
    attempts.begin(7)
    attempts.pause()

    assert FileAttempts(tmp_path).deaths(7) == 1


def test_the_events_that_were_tried_when_processes_ended_are_known(tmp_path: Path) -> None:
    died(tmp_path, 7).trying(skip(1))  # it ends before the version is applied
    for tried in (2, 3, 3, 4):
        attempts = FileAttempts(tmp_path)
        attempts.begin(7)
        attempts.trying(skip(1))
        attempts.trying(skip(tried))

    attempts = FileAttempts(tmp_path)
    attempts.begin(7)
    attempts.trying(skip(5))
    attempts.trying(None)  # the rest of the block is applied

    after = FileAttempts(tmp_path)
    assert [one.offset for one in after.trials(7)] == [2, 3, 3, 4]
    assert fatal(after.trials(7)) == {place_of(skip(3))}
    assert after.trials(8) == ()
    after.forget()
    assert FileAttempts(tmp_path).trials(7) == ()


@pytest.mark.parametrize("content", [b"", b"attempt1", b"x" * 40])
@pytest.mark.parametrize("events", ["", "{}", "[1]", '{"version": 7, "trials": [["t", "0"]], "tried": null}'])
def test_damaged_files_stop_nobody(tmp_path: Path, content: bytes, events: str) -> None:
    (tmp_path / "attempt.bin").write_bytes(content)
    (tmp_path / "attempted.json").write_text(events)
    assert FileAttempts(tmp_path).deaths(7) == 0
    assert died(tmp_path, 7).deaths(7) == 1
