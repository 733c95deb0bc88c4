"""The reports of a model's shards as one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from thalweg.ops.serve.by_key.reports import of_shards
from thalweg.ops.telemetry.status import STATUS_FILE, Statuses

REPORTS = {
    "m~0": {
        "time": 20.0,
        "events": 300,
        "events_per_second": 2.5,
        "lag_records": 4,
        "dead_letters": {"bad_label": 2},
        "newest_dead_letters": {"bad_label": 7.0},
        "metrics": {"accuracy": 0.5, "rmse": 3.0},
        "recent": {"accuracy": 1.0},
        "recent_events": 10,
        "task": "classification",
        "floor_breached": False,
    },
    "m~12": {
        "time": 10.0,
        "events": 100,
        "events_per_second": 0.5,
        "lag_records": 0,
        "dead_letters": {"bad_label": 1, "wrong_shape": 5},
        "newest_dead_letters": {"bad_label": 9.0},
        "metrics": {"accuracy": 0.9, "rmse": 1.0},
        "recent": {"accuracy": 0.0},
        "recent_events": 30,
        "task": "classification",
        "floor_breached": True,
    },
    "other~0": {"time": 1.0, "events": 1000},
}


def test_counts_are_added_up_and_means_weighted() -> None:
    told = of_shards("m", REPORTS)

    assert told is not None
    assert (told["events"], told["events_per_second"], told["lag_records"], told["time"]) == (400, 3.0, 4, 10.0)
    assert told["dead_letters"] == {"bad_label": 3, "wrong_shape": 5}
    assert told["newest_dead_letters"] == {"bad_label": 9.0}
    assert told["metrics"] == pytest.approx({"accuracy": 0.6, "rmse": np.sqrt((300 * 9 + 100) / 400)})
    assert told["recent"] == pytest.approx({"accuracy": 0.25})
    assert told["task"] == "classification"
    assert told["floor_breached"]
    assert of_shards("n", REPORTS) is None


def test_a_server_reads_the_status_of_a_model_from_those_of_its_shards(tmp_path: Path) -> None:
    (tmp_path / STATUS_FILE).write_text(json.dumps({**REPORTS, "whole": {"events": 7}}))
    statuses = Statuses(tmp_path)

    assert (statuses.of("m") or {})["events"] == 400
    assert (statuses.of("m~0") or {})["events"] == 300
    assert (statuses.of("whole") or {})["events"] == 7
    assert statuses.of("nobody") is None
