"""Of a long stream a sample of the rows is watched, chosen by their numbers."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from thalweg.stream.drift import sampled
from thalweg.stream.drift.inputs import ColumnsWatch
from thalweg.stream.drift.sampled import SampledColumns
from thalweg.stream.drift.windows import Moved

NAMES = ("a", "b")
HALF, QUARTER, STOP = 4096, 8192, 1024


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampled, "EVERY", ((HALF, 2), (QUARTER, 4)))
    monkeypatch.setattr(sampled, "STOP", STOP)


def watch() -> SampledColumns:
    return SampledColumns(ColumnsWatch(NAMES, np.zeros(2, dtype=np.bool_)))


def rows(count: int, moved: int) -> NDArray[np.float32]:
    found = np.random.default_rng(0).normal(size=(count, 2))
    found[moved:, 0] += 1.5
    return found.astype(np.float32)


def fed(one: SampledColumns, values: NDArray[np.float32], by: int, first: int = 1) -> list[Moved]:
    found = []
    for start in range(0, len(values), by):
        found += one.feed(values[start : start + by], first + start)
    return found


@pytest.mark.parametrize(("moved", "every"), [(3000, 1), (6000, 2), (14_000, 4)])
def test_a_change_is_found_at_the_number_of_its_event_after_as_many_watched_rows(moved: int, every: int) -> None:
    (found, *_) = fed(watch(), rows(18_000, moved), 500)

    assert found.news
    assert moved < found.rows <= moved + 192 * every
    assert abs(found.since - moved) <= 192 * every
    assert found.columns[0][0] == "a"


@pytest.mark.parametrize("by", [1000, 64, 37])
def test_however_rows_are_cut_the_same_changes_and_state_come_of_them(by: int) -> None:
    values = rows(14_000, 12_000)
    one, other = watch(), watch()

    assert fed(one, values, 14_000) == fed(other, values, by)

    for name, tensor in one.tensors().items():
        np.testing.assert_array_equal(tensor, other.tensors()[name], err_msg=name)


@pytest.mark.parametrize("stop", [4000, 4096, 7001, 13_000])
def test_a_restored_watch_goes_on_with_the_same_rows(stop: int) -> None:
    values = rows(16_000, 12_000)
    whole, first, again = watch(), watch(), watch()

    fed(first, values[:stop], 333)
    again.restore(first.tensors())

    assert fed(again, values[stop:], 333, stop + 1) == [one for one in fed(whole, values, 333) if one.rows > stop]
    for name, tensor in whole.tensors().items():
        np.testing.assert_array_equal(tensor, again.tensors()[name], err_msg=name)


def test_a_quarter_of_the_rows_of_a_long_stream_is_counted() -> None:
    one = watch()

    fed(one, rows(QUARTER + 4000, 1 << 20), 512)

    assert one.tensors()["rows"][0] == HALF + (QUARTER - HALF) // 2 + 1000


def test_where_seasons_are_taken_out_every_row_is_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ColumnsWatch, "seasonal", True)
    one = watch()

    fed(one, rows(QUARTER + 4000, 1 << 20), 512)

    assert one.tensors()["rows"][0] == QUARTER + 4000
