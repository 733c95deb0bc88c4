"""Drift found in the recorded streams, with the settings that every model has."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from thalweg.ops.config.config import parse
from thalweg.ops.replay.replay import replay
from thalweg.stream.sources.files import CsvMapping

DELAYS = {"abrupt": 100, "recurring": 100, "gradual": 800, "incremental": 1500, "covariate_only": 200, "none": 0}


@pytest.mark.parametrize("name", DELAYS)
def test_every_change_is_found_in_time_and_nothing_else(shared: Path, name: str) -> None:
    folder = shared / "data" / "drift"
    truth = json.loads((folder / "ground_truth.json").read_text())[name]
    table = {
        "name": "m",
        "learner": "ridge",
        "topic": "t",
        "batch_events": 64,
        "inputs": {"features": {"shape": [6]}},
    }
    mapping = CsvMapping(ignore=("t", "concept", "ref_error"))

    done = replay(parse({"model": [table]}, "f", {}).model[0], folder / f"{name}.csv.gz", mapping, frozen_after=1000)

    starts = [change["start"] for change in truth["changes"]]
    assert len(done.alarms) == len(starts)
    for alarm, start in zip(done.alarms, starts, strict=True):
        assert start <= alarm.start <= start + DELAYS[name]
        if name == "covariate_only":
            assert alarm.signals[0][0] == "inputs"
            assert alarm.features[0][0] == "features[0]"
