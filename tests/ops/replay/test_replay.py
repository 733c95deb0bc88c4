"""Replay: the service's fold over a file, beside a frozen twin, and a report that any reader of JSON can read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.ops.running import WAIT, service, until
from tests.samples import events
from tests.services.processes import stop
from thalweg.ops.config.config import parse
from thalweg.ops.config.model import ModelConfig
from thalweg.ops.replay.replay import replay
from thalweg.ops.replay.report import write_report
from thalweg.proto.encode import to_json

pytestmark = pytest.mark.slow


def model(**more: Any) -> ModelConfig:
    table = {
        "name": "m",
        "learner": "ridge",
        "topic": "t",
        "batch_events": 16,
        "inputs": {"features": {"shape": [4]}},
        "params": {"expansion": 8},
    }
    return parse({"model": [{**table, **more}]}, "f", {}).model[0]


def written(path: Path, lines: list[bytes]) -> Path:
    path.write_bytes(b"\n".join([*lines, b""]))
    return path


@pytest.mark.parametrize("settings", ["", 'encoder = "random_features:32"\n'])
def test_replay_ends_in_the_state_that_the_service_ends_in(tmp_path: Path, settings: str) -> None:
    with service(tmp_path, model=settings) as running:
        running.send(1000, per_record=16)
        process = running.start("learn")
        until("everything to be learned", lambda: running.published(process.pid) == 1000)
        assert stop(process, WAIT) == 0, running.text()
        newest = running.snapshots().newest()
        assert newest is not None

        done = replay(running.config.model[0], written(tmp_path / "s.jsonl", to_json(events(1000))))

        assert done.report()["state_sha256"] == newest.manifest.state_sha256
        assert done.report()["metrics"] == pytest.approx(newest.manifest.metrics)


def test_neither_bad_lines_nor_redelivered_events_change_what_is_learned(tmp_path: Path) -> None:
    lines = to_json(events(500))
    disturbed = [
        line for number, good in enumerate(lines) for line in ([good, b"{bad"] if number % 7 else [good, good])
    ]

    plain = replay(model(), written(tmp_path / "plain.jsonl", lines), frozen_after=50)
    other = replay(model(), written(tmp_path / "other.jsonl", disturbed), frozen_after=50)

    assert other.report()["state_sha256"] == plain.report()["state_sha256"]
    assert other.report()["metrics"] == plain.report()["metrics"]
    assert other.report()["frozen"] == plain.report()["frozen"]
    assert other.report()["rejected"] == {"malformed": 500 - 72}


def test_until_it_stops_the_frozen_twin_is_the_learner(tmp_path: Path) -> None:
    path = written(tmp_path / "s.jsonl", to_json(events(300)))

    done = replay(model(), path, frozen_after=300)

    assert done.frozen_curve == done.curve
    assert done.frozen.metrics() == done.evaluation.metrics()


@pytest.mark.parametrize("count", [0, 1, 40])
@pytest.mark.parametrize("labelled", [True, False])
def test_however_little_there_is_it_can_be_reported(tmp_path: Path, count: int, labelled: bool) -> None:
    batch = events(count) if labelled else events(count).unlabelled()

    done = replay(model(), written(tmp_path / "s.jsonl", to_json(batch)))
    record, picture = write_report(done, tmp_path / "report")

    assert json.loads(record.read_text())["events"] == count
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_figure_that_is_no_number_is_null(tmp_path: Path) -> None:
    done = replay(model(), written(tmp_path / "s.jsonl", to_json(events(40))))
    done.curve[0]["metrics"] = {"accuracy": float("nan"), "log_loss": float("inf")}

    record, _ = write_report(done, tmp_path / "report")

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    read = json.loads(record.read_text(), parse_constant=refuse)
    assert read["curve"][0]["metrics"] == {"accuracy": None, "log_loss": None}


def test_the_report_says_how_sure_it_is_and_what_is_still_known(tmp_path: Path) -> None:
    done = replay(model(), written(tmp_path / "s.jsonl", to_json(events(4000))))
    record, _ = write_report(done, tmp_path / "report")

    read = json.loads(record.read_text())

    for window, figures in (("all", read["metrics"]), ("recent", read["recent"])):
        low, high = read["bounds"][window]["accuracy"]
        assert 0 <= low < figures["accuracy"] < high <= 1
    assert 0 < read["continual"]["accuracy"] <= 1


def test_numbers_are_learned_too(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    rows = random.normal(size=(400, 4))
    lines = [json.dumps({"inputs": {"features": row.tolist()}, "label": float(row.sum())}).encode() for row in rows]

    done = replay(model(params={"task": "regression"}), written(tmp_path / "s.jsonl", lines))
    _, picture = write_report(done, tmp_path / "report")

    assert done.evaluation.recent()["rmse"] < done.frozen.recent()["rmse"] + 1e-9
    assert done.report()["metrics"]["rmse"] < done.report()["controls"]["mean"]["rmse"]
    assert set(done.report()["controls"]) == {"mean", "repeat_last_label"}
    assert picture.stat().st_size > 10_000


def test_the_report_counts_what_was_labelled_and_unusable_and_compares_with_naive_controls(tmp_path: Path) -> None:
    lines = [*to_json(events(300)), *to_json(events(60, first=300).unlabelled()), b"{bad", b'{"inputs": {}}']

    record, _ = write_report(replay(model(), written(tmp_path / "s.jsonl", lines)), tmp_path / "report")

    read = json.loads(record.read_text())
    assert (read["events"], read["labelled"], read["unusable"]) == (360, 300, 2)
    assert read["unusable"] == sum(read["rejected"].values())
    assert set(read["controls"]) == set(read["controls_recent"]) == {"majority", "repeat_last_label"}
    assert all(0.1 < one["accuracy"] < 0.6 < read["metrics"]["accuracy"] for one in read["controls"].values())
