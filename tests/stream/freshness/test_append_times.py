"""When records were appended: what the log says, within what the reader saw itself."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thalweg.stream.freshness.append_times import SLACK_SECONDS, AppendTimes

NOW = 1_700_000_000.0


def caught_up(at: float = NOW) -> AppendTimes:
    times = AppendTimes()
    times.caught_up(at)
    return times


def test_a_time_that_can_be_is_what_counts() -> None:
    assert caught_up().of([NOW + 0.25, NOW + 0.5], NOW + 1).tolist() == [NOW + 0.25, NOW + 0.5]


def test_the_backlog_of_a_stop_is_as_old_as_its_records_say() -> None:
    assert AppendTimes().of([NOW - 7200.0], NOW).tolist() == [NOW - 7200.0]


def test_a_producer_whose_clock_is_ahead_appends_nothing_in_the_future() -> None:
    assert caught_up().of([NOW + 3600], NOW + 1).tolist() == [NOW + 1]


@pytest.mark.parametrize("time", [NOW - 86_400, 3.0, 0.0, -1.0, float("nan")])
def test_a_time_from_before_there_was_nothing_to_read_is_not_that_of_the_append(time: float) -> None:
    times = caught_up()

    assert times.of([time], NOW + 1).tolist() == [NOW + 1]
    assert times.replaced == 1


def test_while_it_is_behind_such_a_record_is_as_old_as_the_last_time_with_nothing_to_read() -> None:
    times = caught_up()
    times.of([NOW + 1], NOW + 2)

    assert times.of([NOW - 86_400], NOW + 9).tolist() == [NOW]


def test_a_broker_that_does_not_answer_hides_nothing_that_is_late() -> None:
    times = caught_up()

    assert times.of([NOW - SLACK_SECONDS + 1], NOW + 1).tolist() == [NOW - SLACK_SECONDS + 1]
    assert times.replaced == 0


def test_a_log_without_times_is_taken_as_read_at_once() -> None:
    times = AppendTimes()

    assert times.of([-1.0, 0.0], NOW).tolist() == [NOW, NOW]
    assert times.replaced == 2


@given(times=st.lists(st.floats(allow_nan=True), min_size=1), empty=st.floats(0, 2 * NOW))
def test_whatever_the_times_are_no_record_is_older_than_the_slack_or_newer_than_now(
    times: list[float], empty: float
) -> None:
    found = caught_up(empty).of(times, now := empty + 10)

    assert np.all(found <= now)
    assert np.all(found >= min(now, empty - SLACK_SECONDS))
