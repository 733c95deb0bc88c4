"""Estimators over columns of each kind: every event is learned and answered, or the column is named in an error."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from thalweg.ops.config.config import parse
from thalweg.ops.replay.replay import replay
from thalweg.ops.run.failed import Failed

ROWS = 60
TREE = "river:river.tree.HoeffdingTreeRegressor"
LINEAR = "river:river.linear_model.LinearRegression"
SGD = "sklearn:sklearn.linear_model.SGDRegressor"
KINDS: dict[str, Any] = {
    "numeric": "numeric",
    "boolean": "boolean",
    "numbers": {"kind": "list", "length": 3},
    "hashed": {"kind": "hashed", "buckets": 16},
    "categorical": "categorical",
    "texts": {"kind": "list", "buckets": 16},
    "text": {"kind": "text", "buckets": 16},
}
OF_TEXTS = ("hashed", "categorical", "texts", "text")


def _value(kind: str, chance: random.Random) -> Any:
    made: dict[str, Any] = {
        "numeric": chance.gauss(0, 1),
        "boolean": chance.random() < 0.5,
        "numbers": [chance.random() for _ in range(3)],
        "hashed": f"h{chance.randrange(30)}",
        "categorical": chance.choice("abc"),
        "texts": chance.sample(["new", "web", "gift"], 2),
        "text": " ".join(chance.choices(["offer", "free", "lunch"], k=4)),
    }
    return made[kind]


@pytest.mark.parametrize("gaps", [False, True], ids=["whole", "gaps"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("learner", [LINEAR, TREE, SGD])
def test_a_regressor_learns_and_answers_every_event_or_names_the_column(
    tmp_path: Path, learner: str, kind: str, gaps: bool
) -> None:
    chance = random.Random(7)
    file = tmp_path / "rows.jsonl"
    rows = [
        {"column": None if gaps and i % 4 == 0 else _value(kind, chance), "x": i % 5, "y": chance.gauss(0, 1)}
        for i in range(ROWS)
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    columns = {"x": "numeric", "column": KINDS[kind]}
    table = {"name": "m", "topic": "m.events", "learner": learner, "fields": {"label": "y"}, "columns": columns}
    model = parse({"model": [table]}, "x.toml", {}).model[0]

    if learner != SGD and kind in OF_TEXTS:
        with pytest.raises(Failed, match=r"could not be learned.*not the texts of 'column'"):
            replay(model, file)
        return
    done = replay(model, file)

    assert done.learner.predictor().properties["events_learned"] == str(ROWS)
    assert (done.labelled, done.unusable, done.unanswered) == (ROWS, 0, 1)
    assert 0.5 < done.evaluation.metrics()["rmse"] < 2.0


def test_a_regressor_behind_one_hot_encoding_learns_hashed_columns(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps({"amount": 1.0, "country": "ab"[i % 2], "y": i % 2}) + "\n" for i in range(200)))
    columns = {"amount": "numeric", "country": "hashed"}
    learner = "river:tests.models.adapters.pipelines.regression"
    table = {"name": "m", "topic": "m.events", "learner": learner, "fields": {"label": "y"}, "columns": columns}

    done = replay(parse({"model": [table]}, "x.toml", {}).model[0], file)

    assert done.learner.predictor().properties["events_learned"] == "200"
    assert done.evaluation.metrics()["rmse"] < 0.9 * done.controls["mean"]["rmse"]
