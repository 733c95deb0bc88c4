"""The error budget over the window of days: kept over restarts, added up over servers."""

from __future__ import annotations

from pathlib import Path

from structlog.testing import capture_logs

from thalweg.stream.freshness.budget import Budget, within_window

HOUR = 3600.0
NOW = 480_000 * HOUR


def test_what_several_servers_count_is_added_up(tmp_path: Path) -> None:
    Budget(tmp_path, 1).add(100, 1, NOW)
    Budget(tmp_path, 2).add(50, 0, NOW)

    assert within_window(tmp_path, 30, NOW) == (150, 1)


def test_a_process_goes_on_from_the_hour_of_the_one_before_it(tmp_path: Path) -> None:
    Budget(tmp_path).add(100, 1, NOW)
    after = Budget(tmp_path)
    after.add(10, 2, NOW + 60)
    after.write()

    assert within_window(tmp_path, 30, NOW) == (110, 3)


def test_what_is_older_than_the_window_is_forgotten(tmp_path: Path) -> None:
    budget = Budget(tmp_path)
    budget.add(100, 100, NOW)
    budget.add(10, 1, NOW + 24 * HOUR)
    budget.write()

    assert within_window(tmp_path, 1, NOW + 24 * HOUR) == (10, 1)
    assert within_window(tmp_path, 2, NOW + 24 * HOUR) == (110, 101)


def test_the_file_is_bounded_however_long_it_runs(tmp_path: Path) -> None:
    budget = Budget(tmp_path)
    for hour in range(0, 3000, 7):
        budget.add(1, 0, NOW + hour * HOUR)
    budget.write()

    assert (tmp_path / "freshness-1.hours").stat().st_size <= (90 * 24 + 1) * 32
    assert within_window(tmp_path, 90, NOW + 2996 * HOUR)[0] == 90 * 24 // 7 + 1


def test_a_clock_that_is_set_back_counts_in_the_latest_hour(tmp_path: Path) -> None:
    budget = Budget(tmp_path)
    budget.add(1, 0, NOW)
    budget.add(1, 1, NOW - 5 * HOUR)
    budget.write()

    assert within_window(tmp_path, 1, NOW) == (2, 1)


def test_a_damaged_hour_is_left_out(tmp_path: Path) -> None:
    budget = Budget(tmp_path)
    budget.add(1, 0, NOW)
    budget.add(1, 0, NOW + HOUR)
    path = tmp_path / "freshness-1.hours"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content[:-12])

    assert within_window(tmp_path, 30, NOW + HOUR) == (1, 0)


def test_a_folder_that_cannot_be_written_is_said_once_and_found_again_later(tmp_path: Path) -> None:
    (tmp_path / "later").write_text("no folder")
    budget = Budget(tmp_path / "later")
    with capture_logs() as lines:
        budget.add(1, 0, NOW)
        budget.add(1, 1, NOW + 2)
    (tmp_path / "later").unlink()
    budget.add(1, 0, NOW + 4)

    assert len(lines) == 1
    assert within_window(tmp_path / "later", 30, NOW) == (3, 1)
