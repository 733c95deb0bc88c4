"""Rows of a user's own: from a topic, a file or through `produce`, they lead to one state."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.ops.replay.test_one_loop import quick, served
from thalweg.memory.snapshots.snapshots import InMemorySnapshots
from thalweg.ops.cli.produce import append_events
from thalweg.ops.config.model import ModelConfig
from thalweg.ops.replay.replay import replay
from thalweg.ops.run.app import event_schema, new_learner, new_monitor
from thalweg.stream.learn.processor import Processor
from thalweg.stream.log.in_memory import InMemoryLog
from thalweg.stream.sources.files import CsvMapping

OF = ModelConfig.model_validate(
    {
        "name": "fraud",
        "learner": "ridge",
        "topic": "t",
        "batch_events": 1,
        "fields": {"label": "is_fraud", "id": "payment.id", "time": {"field": "created", "unit": "ms"}},
        "columns": {
            "amount": {"kind": "numeric", "field": "order.total"},
            "country": {"kind": "categorical", "min_events": 1},
            "note": "text",
        },
    }
)


def rows(count: int) -> list[dict[str, Any]]:
    random = np.random.default_rng(0)
    made = []
    for number in range(count):
        fraud = bool(random.random() < 0.5)
        made.append(
            {
                "order": {"total": None if number % 5 == 0 else round(float(random.normal(5.0 * fraud)), 3)},
                "country": [None, "US" if fraud else "DE", "FR"][int(random.integers(3))],
                "note": "a late order" if number % 2 else None,
                "created": 1_700_000_000_000 + 1000 * number,
                "payment": {"id": f"p-{number}"},
                "is_fraud": None if number % 7 == 0 else fraud,
                "unasked": [1],
            }
        )
    return made


def as_csv(path: Path, some: list[dict[str, Any]]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["order.total", "country", "note", "created", "payment.id", "is_fraud", "unasked"])
        for row in some:
            own = [row[name] for name in ("country", "note", "created")]
            writer.writerow([row["order"]["total"], *own, row["payment"]["id"], row["is_fraud"], ""])
    return path


def test_a_topic_a_file_of_each_kind_and_what_produce_appends_lead_to_one_state(tmp_path: Path) -> None:
    some = rows(80)
    sent = [json.dumps(row).encode() for row in some]
    lines = tmp_path / "rows.jsonl"
    lines.write_bytes(b"\n".join(sent))
    table = as_csv(tmp_path / "rows.CSV", some)
    log = InMemoryLog()
    list(append_events(log, "t", table, event_schema(OF), CsvMapping(), None, 1, None))
    produced = Processor(
        new_learner(OF), log, InMemorySnapshots(), quick(OF), evaluator=new_monitor(OF, new_learner(OF))
    )
    produced.run(until_end=True)

    done = [replay(OF, lines), replay(OF, table)]

    hashes = {one.report()["state_sha256"] for one in done}
    assert {produced.state_sha256, *served(OF, sent, lives=2)} == hashes
    assert len(hashes) == 1
    for one in done:
        assert (one.events, one.labelled, one.unusable) == (80, 68, 0)
        assert one.report()["metrics"]["accuracy"] > 0.7


@pytest.mark.parametrize(
    "bad", [{"order": {"total": "x" * 2_000_000}}, {"country": "x" * 1025}, {"created": 1_700_000_000}]
)
def test_a_row_that_cannot_be_used_is_counted_and_the_rest_is_learned(tmp_path: Path, bad: dict[str, Any]) -> None:
    some = rows(20)
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in [*some[:10], some[10] | bad, *some[10:]]))

    done = replay(OF, path)

    assert (done.events, done.unusable) == (20, 1)


def of_ids(learner: str, params: dict[str, Any], columns: dict[str, Any], label: str) -> ModelConfig:
    fields = {"label": label, "time": "happened_at"}
    of = {"name": "m", "learner": learner, "topic": "t", "batch_events": 32, "fields": fields}
    return ModelConfig.model_validate({**of, "params": params, "columns": columns})


CLICKS = of_ids(
    "error_memory",
    {"dim": 4, "hidden": "8", "train_batch": 16, "memory_bytes": 200_000},
    {
        "user": {"kind": "hashed", "field": "user_id"},
        "item": {"kind": "hashed", "field": "sku"},
        "device": "categorical",
        "price": "numeric",
    },
    "clicked",
)
VISITS = of_ids(
    "prompt_tpp",
    {"width": 8, "time_width": 4, "unit_gaps": 20, "train_batch": 16},
    {"key": {"kind": "hashed", "field": "user_id"}},
    "action",
)


def clicks(count: int) -> list[dict[str, Any]]:
    """Of users, every third of whom likes nearly everything, as a shop writes them."""
    random = np.random.default_rng(1)
    made = []
    for number in range(count):
        user, item = int(random.integers(20)), int(random.integers(15))
        made.append(
            {
                "user_id": f"3f2a-{user}",
                "sku": 1000 + item,
                "device": None if number % 9 == 0 else ["phone", "desk"][user % 2],
                "price": None if number % 5 == 0 else 4.5 * item,
                "clicked": (user % 3 == 0) != (number % 10 == 0),
                "action": ["view", "cart", "buy"][(user + number) % 3],
                "happened_at": f"2026-03-01T{number // 3600:02}:{number // 60 % 60:02}:{number % 60:02}Z",
            }
        )
    return made


@pytest.mark.parametrize("of", [CLICKS, VISITS], ids=["clicks", "visits"])
def test_ordinary_rows_of_clicks_teach_a_recommender_and_a_point_process(tmp_path: Path, of: ModelConfig) -> None:
    some = clicks(400)
    lines, table = tmp_path / "clicks.jsonl", tmp_path / "clicks.csv"
    lines.write_text("".join(json.dumps(row) + "\n" for row in some))
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(some[0]))
        writer.writeheader()
        writer.writerows(some)

    done = [replay(of, path) for path in (lines, table)]

    assert [(one.events, one.labelled, one.unusable) for one in done] == [(400, 400, 0)] * 2
    metrics = done[0].report()["metrics"]
    assert done[1].report()["metrics"] == metrics
    if of is CLICKS:  # whose entries hold where they came from, so that its state does
        assert metrics["auc"] > 0.6
    else:
        sent = [json.dumps(row).encode() for row in some]
        assert {one.report()["state_sha256"] for one in done} == {served(of, sent)[0]}
