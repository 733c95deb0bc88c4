"""What a learner tells the servers about each version's records, before they can see the version."""

from __future__ import annotations

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from thalweg.proto.records import Partition, Records
from thalweg.stream.freshness.cohorts import Cohort, cohort_reader
from thalweg.stream.freshness.waiting import FreshnessTracker

NOW = 1_700_000_000.0


class Told:
    """A learner's tracker and what a server finds of it."""

    def __init__(self, folder: Path, known: bool = True) -> None:
        self.folder = folder
        self.replaced = 0
        (folder / "live").mkdir(exist_ok=True)
        if known:
            (folder / "caught-up").touch()
        self.tracker = self.new()

    def new(self) -> FreshnessTracker:
        return FreshnessTracker(self.folder / "live", self.folder / "caught-up", self._replace, "m")

    def _replace(self, count: int) -> None:
        self.replaced += count

    def take(self, version: int, *times: float, now: float = NOW) -> None:
        nothing = [None] * len(times)
        run = Records(Partition("t", 0), range(len(times)), times, nothing, nothing, [()] * len(times))
        self.tracker.taken(version, [run], now)

    @property
    def cohorts(self) -> list[Cohort]:
        return [Cohort(*entry) for _, entry in cohort_reader(self.folder / "live").newer(0)]  # type: ignore[arg-type]


@pytest.fixture
def told(tmp_path: Path) -> Told:
    return Told(tmp_path)


def test_servers_learn_of_the_records_of_a_version_when_it_is_published(told: Told) -> None:
    told.take(1, NOW - 2, NOW - 1)
    told.take(2, NOW - 0.5)
    assert not told.cohorts

    told.tracker.publishing(1, NOW)
    assert told.cohorts == [Cohort(1, NOW - 2, 1, 0), Cohort(1, NOW - 1, 1, 1)]

    told.tracker.publishing(2, NOW)
    assert told.cohorts[2:] == [Cohort(2, NOW - 0.5, 1, 2)]


def test_what_a_new_model_learns_before_it_has_caught_up_is_no_part_of_the_promise(tmp_path: Path) -> None:
    told = Told(tmp_path, known=False)
    told.take(1, NOW - 86_400)
    told.tracker.publishing(1, NOW)
    told.tracker.caught_up(NOW)
    told.take(2, NOW)
    told.tracker.publishing(2, NOW)

    assert [one.version for one in told.cohorts] == [2]


def test_after_a_restart_the_backlog_counts_as_old_as_it_is_and_that_is_said_once(told: Told) -> None:
    with capture_logs() as lines:
        told.take(1, NOW - 7200)
        told.take(2, NOW - 7000)
        told.tracker.publishing(2, NOW)

    assert [one.appended for one in told.cohorts] == [NOW - 7200, NOW - 7000]
    assert [line["oldest_seconds"] for line in lines] == [7200.0]


def test_a_model_that_has_caught_up_once_is_known_to_have_after_a_restart(tmp_path: Path) -> None:
    told = Told(tmp_path, known=False)
    told.tracker.caught_up(NOW)
    told.tracker = told.new()
    told.take(1, NOW - 7200)
    told.tracker.publishing(1, NOW)

    assert [one.records for one in told.cohorts] == [1]


def test_what_was_learned_and_not_published_before_a_crash_is_told_after_it(told: Told) -> None:
    told.tracker.learned_again(5, NOW - 60, 40, NOW)
    told.tracker.publishing(5, NOW)

    assert told.cohorts == [Cohort(5, NOW - 60, 40, 0)]


def test_a_block_that_was_computed_again_counts_once(told: Told) -> None:
    told.take(5, NOW - 1)
    told.tracker.learned_again(5, NOW - 1, 1, NOW)
    told.tracker.publishing(5, NOW)

    assert [one.records for one in told.cohorts] == [1]


def test_however_long_nothing_is_published_what_waits_is_bounded_and_complete(told: Told) -> None:
    for version in range(1, 1001):
        told.take(version, NOW + version)
    told.tracker.publishing(1000, NOW + 2000)

    assert len(told.cohorts) <= 16
    assert sum(one.records for one in told.cohorts) == 1000


def test_records_whose_time_cannot_be_are_counted(told: Told) -> None:
    told.tracker.caught_up(NOW)
    told.take(1, NOW - 86_400, NOW, now=NOW + 1)

    assert told.replaced == 1


def test_a_live_folder_that_cannot_be_written_stops_nothing_and_is_said_once(told: Told) -> None:
    (told.folder / "live").rmdir()
    with capture_logs() as lines:
        for version in (1, 2):
            told.take(version, NOW)
            told.tracker.publishing(version, NOW)

    assert len(lines) == 1
