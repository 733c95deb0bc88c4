"""Cohorts: few, as many records as there are, and never younger than their records."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from thalweg.stream.freshness.cohorts import cohorts


def grouped(appended: list[float], records: list[int] | None = None) -> list[tuple[float, int]]:
    return cohorts(np.array(appended), np.array(records or [1] * len(appended)))


def test_records_of_one_moment_are_one_cohort() -> None:
    assert grouped([5.0003, 5.0, 5.0009]) == [(5.0, 3)]


def test_few_records_of_different_times_keep_them() -> None:
    assert grouped([7.0, 5.0, 6.0]) == [(5.0, 1), (6.0, 1), (7.0, 1)]


@given(rows=st.lists(st.tuples(st.floats(0, 1e9), st.integers(1, 1000)), min_size=1))
def test_many_are_few_with_all_of_the_records_each_as_old_as_its_oldest(rows: list[tuple[float, int]]) -> None:
    found = grouped([time for time, _ in rows], [count for _, count in rows])

    assert len(found) <= 16
    assert sum(count for _, count in found) == sum(count for _, count in rows)
    assert found[0][0] == min(time for time, _ in rows)
    assert sum(time * count for time, count in found) <= sum(time * count for time, count in rows) * (1 + 1e-9)
