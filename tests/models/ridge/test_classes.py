"""How many events each class had, however they were counted."""

from __future__ import annotations

import numpy as np
import pytest

from thalweg.models.ridge.classes import Classes


def counted(*codes: int, names: str = "abc", at_once: bool = False) -> Classes:
    """Classes of so many events of these columns."""
    classes = Classes()
    classes.table = {name: column for column, name in enumerate(names)}
    classes.grow()
    for part in [list(codes)] if at_once else [[code] for code in codes]:
        classes.add(np.array(part, dtype=np.int32))
    return classes


def assert_right(classes: Classes) -> None:
    """Total and rarity are those of the events."""
    events = classes.events.astype(np.float64)
    varied = 1.0 - (events**2).sum() / events.sum() ** 2
    assert classes.total == events.sum()
    assert classes.rarity == pytest.approx(min(1000.0, max(1.0, 0.25 / max(varied, 1e-9))))


ONE_IN_TWENTY = [0] * 19 + [1]


def test_total_and_rarity_are_those_of_the_events_however_they_came() -> None:
    one_by_one, at_once = counted(*ONE_IN_TWENTY), counted(*ONE_IN_TWENTY, at_once=True)
    assert one_by_one.rarity == at_once.rarity > 2.0
    assert one_by_one.total == at_once.total == 20.0

    one_by_one.add(np.array([2, 2, 2], dtype=np.int32))
    assert_right(one_by_one)
    one_by_one.add(np.array([0], dtype=np.int32))
    assert_right(one_by_one)
    one_by_one.subtract(np.array([0, 2], dtype=np.int32))
    assert_right(one_by_one)
    one_by_one.merge(counted(0, 1, 1, names="cd"))
    assert_right(one_by_one)
    one_by_one.restore(["a", "b"], np.array([400, 3]))
    assert_right(one_by_one)


def test_of_no_event_nothing_is_rare() -> None:
    assert Classes().rarity == counted().rarity == 1.0
    assert Classes().total == 0.0
