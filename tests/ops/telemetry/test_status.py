"""What the learner's process tells servers beside metrics: whole, finite, and soon."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.ops.telemetry.test_metrics import BLOCK, RAISED, report_of, watched
from thalweg.ops.telemetry.status import ALARMS_SHOWN, STATUS_FILE, LearnerStatus, ModelStatus, Statuses, finite
from thalweg.proto.event import Batch, ClassLabels


def graded(status: ModelStatus, monitor: Any) -> None:
    batch = Batch({}, ClassLabels(np.array([0, -1, 1], np.int32), ("a", "b")), np.ones(3), np.zeros(3))
    predictor: Any = SimpleNamespace(classes=("a",), properties={})
    for one in (monitor.live, monitor.frozen):
        one.predicted(batch, predictor, {"label": np.zeros(3, np.int32)})
    status.block_done(replace(BLOCK, version=4, events=30), None, {})  # type: ignore[arg-type]  # nobody asks it
    status.snapshot_failed(4, "full")
    status.rolled_back(5, "drift")
    status.reported(report_of(monitor, version=5, gauges={"classes": 2}))
    status.labels_joined([3.0, 1.0, 2.0])


def test_what_a_processor_and_a_joiner_tell_reaches_a_server(tmp_path: Path) -> None:
    told, monitor = LearnerStatus(tmp_path, clock=lambda: 50.0), watched()
    monitor.drift._alarms = [replace(RAISED, number=number, end=9) for number in range(1, 31)]
    graded(told.model("m"), monitor)
    told.start()
    told.close()

    found = Statuses(tmp_path).of("m")

    assert found is not None
    assert found["time"] == 50.0
    assert (found["version"], found["consumed_events"], found["lag_records"]) == (5, 30, 7)
    assert found["metrics"]["accuracy"] == found["frozen"]["accuracy"] == 0.5
    assert found["dead_letters"] == {"malformed": 2}
    assert found["rollbacks"] == {"drift": 1}
    assert found["snapshot_failures"] == 1
    assert found["state_bytes"] == 77
    assert found["gauges"] == {"classes": 2.0}
    assert found["label_delay_seconds"] == 2.0
    assert [alarm["number"] for alarm in found["drift"]["alarms"]] == list(range(31 - ALARMS_SHOWN, 31))
    assert Statuses(tmp_path).of("another") is None


def test_it_says_when_a_label_was_last_joined_and_before_the_first_when_it_began_to_wait() -> None:
    now = [5.0]
    status = ModelStatus(clock=lambda: now[0])
    now[0] = 9.0
    status.labels_joined([])
    assert status.table()["joined_at"] == 5.0

    status.labels_joined([1.0])

    assert status.table()["joined_at"] == 9.0


def test_the_table_is_that_of_the_last_report_and_its_time_goes_on() -> None:
    moments, monitor = iter([1.0, 2.0, 3.0, 4.0]), watched()  # the first: when it began
    status = ModelStatus(clock=lambda: next(moments))
    status.reported(report_of(monitor, version=5))
    first, same = status.table(), status.table()
    status.reported(report_of(monitor, version=6))

    assert [(table["time"], table["version"]) for table in (first, same, status.table())] == [(2, 5), (3, 5), (4, 6)]


def test_the_rate_is_that_of_the_last_ten_seconds() -> None:
    now = [0.0]
    status = ModelStatus(ticks=lambda: now[0])
    rates = []
    for second in range(1, 41):
        now[0] = float(second)
        status.block_done(replace(BLOCK, events=100 if second <= 20 else 0), None, {})  # type: ignore[arg-type]
        rates.append(status.table()["events_per_second"])

    assert rates[14] == pytest.approx(100)
    assert 0 < rates[24] < 100
    assert rates[39] == 0


def test_a_file_that_is_not_there_or_damaged_leaves_what_was_told_before(tmp_path: Path) -> None:
    told, monitor = LearnerStatus(tmp_path), watched()
    graded(told.model("m"), monitor)
    read = Statuses(tmp_path)
    assert read.of("m") is None

    for content in (told.render(), b'{"m": {"even', b"[]", None):
        if content is None:
            (tmp_path / STATUS_FILE).unlink()
        else:
            (tmp_path / STATUS_FILE).write_bytes(content)
        read._looked = float("-inf")
        found = read.of("m")
        assert found is not None
        assert found["consumed_events"] == 30


def test_numbers_that_json_does_not_know_are_left_out() -> None:
    nan, inf = float("nan"), float("inf")

    found = finite({"a": nan, "b": [1.0, inf], "c": {"d": -inf, "e": 2}, "f": (nan,)})

    assert found == {"b": [1.0, None], "c": {"e": 2}, "f": [None]}
    json.dumps(found, allow_nan=False)


def test_before_the_first_report_there_is_a_table_that_says_so() -> None:
    table = ModelStatus().table()

    assert (table["version"], table["lag_records"], table["state_bytes"], table["gauges"]) == (0, None, 0, {})
    assert "metrics" not in table
