"""Plans follow from costs by arithmetic that a person can redo, and name what limits them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from typer.testing import CliRunner

from thalweg.ops.cli.main import app
from thalweg.ops.run.failed import Failed
from thalweg.ops.scale.measure import Costs
from thalweg.ops.scale.plan import Pace, Plan, plan

COSTS = Costs(
    model="m",
    learner="ridge",
    scaled=True,
    events=1000,
    batch_events=256,
    block_events=512.0,
    seconds_per_event=1e-4,
    decode_seconds=1e-5,
    predict_seconds=2e-5,
    grade_seconds=3e-5,
    learn_seconds=3.5e-5,
    record_bytes=200.0,
    state_bytes=1000,
    state_bytes_per_event=2.0,
    snapshot_bytes=5000,
    snapshot_seconds=0.01,
    snapshot_core_seconds=0.0,
    version_bytes=100,
    publish_seconds=0.001,
    journal_bytes_per_event=0.5,
    merge_seconds=0.001,
    process_bytes=100_000_000,
)
"""One core learns 10,000 events per second, 7,000 at 70 %."""


def planned(rate: float, partitions: int | None = None, pace: Pace | None = None, **costs: Any) -> Plan:
    return plan(replace(COSTS, **costs), rate, partitions, pace or Pace())


@pytest.mark.parametrize(
    ("rate", "partitions", "workers", "used"),
    [
        (7_000, None, 1, 0.7),
        (7_001, None, 2, 0.35005),
        (28_000, None, 4, 0.7),
        (28_000, 4, 4, 0.7),
        (28_000, 5, 5, 0.56),
        (28_000, 6, 6, 0.28_000 / 0.6),  # four or five workers: one has two partitions of six, and too much
        (28_000, 100, 4, 0.7),
        (100, 64, 1, 0.01),
    ],
)
def test_the_busiest_worker_has_no_more_than_seventy_percent(
    rate: float, partitions: int | None, workers: int, used: float
) -> None:
    found = planned(rate, partitions)

    assert (found.workers, found.used) == (workers, pytest.approx(used))
    assert found.advice == ""
    assert found.bottleneck == "learning"


@given(
    rate=st.floats(1, 1e7),
    partitions=st.none() | st.integers(1, 2000),
    microseconds=st.floats(0.5, 5000),
    merging=st.booleans(),
)
def test_a_plan_without_advice_has_room_and_one_with_advice_has_none(
    rate: float, partitions: int | None, microseconds: float, merging: bool
) -> None:
    pace = Pace(merge_seconds=0.5 if merging else None)

    found = planned(rate, partitions, pace, seconds_per_event=microseconds * 1e-6)

    assume(abs(found.used - 0.7) > 1e-6)
    assert 1 <= found.workers <= found.partitions
    fits = found.used <= 0.7 and found.merge_share <= 0.7
    assert fits == (found.advice == "")
    if found.workers > 1 and fits:  # one fewer would be too few
        fewer = -(-found.partitions // (found.workers - 1)) / found.partitions
        assert rate * fewer * microseconds * 1e-6 > 0.7 - 1e-6
    assert found.snapshot_interval_seconds > 0


def test_too_few_partitions_are_named_with_how_many_are_needed() -> None:
    found = planned(28_000, 3)

    assert (found.workers, found.bottleneck) == (3, "partitions")
    assert "7,000 events/s, and 9,333 come: the topic needs 4 partitions" in found.advice


def test_without_shards_there_is_one_process_and_the_plan_says_what_would_help() -> None:
    found = planned(28_000, 8, scaled=False)

    assert (found.workers, found.bottleneck, found.used) == (1, "one learner process", pytest.approx(2.8))
    assert (
        "[model.scale] by = 'partition' lets 4 processes learn; without it one can learn 7,000 events/s" in found.advice
    )
    assert planned(5_000, 8, scaled=False).advice == ""


def test_the_saving_of_many_shards_takes_part_of_a_worker() -> None:
    one, many = (planned(28_000, partitions, snapshot_core_seconds=0.02) for partitions in (4, 400))

    assert (one.workers, one.used) == (4, pytest.approx(0.7))  # what one shard takes is in what was measured
    saving = 0.02 / many.snapshot_interval_seconds
    shards = -(-400 // many.workers)
    assert many.workers > 4
    assert many.used == pytest.approx(2.8 * shards / 400 + (shards - 1) * saving)
    assert many.used <= 0.7


def test_merging_many_shards_is_a_limit_of_its_own() -> None:
    found = planned(28_000, 512, Pace(merge_seconds=0.5))

    assert (found.bottleneck, found.merge_share) == ("merging", pytest.approx(512 * 0.001 / 0.5))
    assert planned(28_000, 512, Pace(merge_seconds=0.5), merge_seconds=None).merge_share == 0
    assert planned(28_000, 512).advice == ""  # answers by key: nothing is merged


def test_the_dearest_part_of_an_event_is_the_bottleneck_of_a_plan_that_fits() -> None:
    assert planned(1, decode_seconds=4e-5).bottleneck == "decoding"
    assert planned(1, grade_seconds=4e-5).bottleneck == "grading"
    assert planned(1, seconds_per_event=2e-4).bottleneck == "journal, publishing, saving"


def test_memory_and_traffic_follow_from_rate_shards_and_intervals() -> None:
    found = planned(28_000, 8)

    assert found.workers == 4  # two shards each
    assert found.memory_bytes == 100_000_000 + 2 * (4 * 1000 + 3 * 100)
    assert found.memory_bytes_per_event == 8.0
    assert (found.log_bytes, found.journal_bytes) == (5_600_000, 14_000)
    # each shard: 10,000 events after 2.86 s, or 0.5 s of learning at 35 % of a core, which is sooner
    assert found.snapshot_interval_seconds == pytest.approx(0.5 / 0.35)
    assert found.snapshot_bytes == pytest.approx(8 * 5000 / (0.5 / 0.35))
    assert found.version_bytes == pytest.approx(8 * 100 * 50)  # 5 % of the time, 1 ms each
    assert planned(28_000, 8, Pace(merge_seconds=0.5)).version_bytes == pytest.approx(8 * 1000 * 2)
    slow = planned(28_000, 8, snapshot_seconds=3.0)
    assert slow.snapshot_interval_seconds == pytest.approx(33.0)  # saving keeps to a tenth of the time


CONFIGURATION = """
[service]
state_dir = "{folder}/state"
[log]
url = "sqlite:{folder}/log.db"
[[model]]
name = "small"
learner = "nearest_mean"
topic = "small"
inputs.x = {{ shape = [4] }}
[model.scale]
answers = "key"
[[model]]
name = "alone"
learner = "nearest_mean"
topic = "alone"
inputs.x = {{ shape = [4] }}
"""


def test_the_command_plans_every_model_as_a_table_and_as_json(tmp_path: Path) -> None:
    path = tmp_path / "thalweg.toml"
    path.write_text(CONFIGURATION.format(folder=tmp_path))
    usual = ["scale", "plan", str(path), "--seconds", "0.2"]

    table = CliRunner().invoke(app, [*usual, "--rate", "10"])
    told = CliRunner().invoke(app, [*usual, "--rate", "10", "--model", "small", "--partitions", "3", "--json"])
    too_much = CliRunner().invoke(app, [*usual, "--rate", "1e9", "--partitions", "2"])

    assert table.exit_code == 0, table.output
    for part in ("small (nearest_mean)", "alone (nearest_mean)", "workers", "bottleneck", "1 (proposed)"):
        assert part in table.output
    (found,) = json.loads(told.stdout)["models"]
    assert (found["plan"]["model"], found["plan"]["partitions"], found["plan"]["workers"]) == ("small", 3, 1)
    assert found["measured"]["seconds_per_event"] > 0
    assert isinstance(too_much.exception, Failed)
    assert "small: partitions: a partition has one learner" in too_much.output
    assert "alone: one learner process: [model.scale] by = 'partition' lets" in too_much.output
    assert [one.name for one in tmp_path.iterdir()] == ["thalweg.toml"]
