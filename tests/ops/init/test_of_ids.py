"""A sample of clicks: what `init` says of users and items, tried as it stands there."""

from __future__ import annotations

import csv
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.ops.replay.test_rows import clicks
from thalweg.ops.config.config import parse
from thalweg.ops.init.guess import guess
from thalweg.ops.init.sample import Sample, file_sample
from thalweg.ops.init.write import configuration
from thalweg.ops.replay.replay import replay


def written(sample: Sample, label: str) -> str:
    return configuration(
        guess(sample, label),
        name="m",
        topic="m.events",
        log_url="memory:",
        origin="clicks.csv",
        rows=len(sample.rows),
        own_form=sample.own_form,
    )


@pytest.fixture
def file(tmp_path: Path) -> Path:
    rows = clicks(200)
    with (tmp_path / "clicks.csv").open("w", newline="") as opened:
        writer = csv.DictWriter(opened, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return tmp_path / "clicks.csv"


@pytest.mark.parametrize(
    ("learner", "label", "replaced"),
    [("error_memory", "clicked", {"user_id", "sku"}), ("prompt_tpp", "action", None)],
)
def test_what_init_says_of_ids_is_accepted_and_learns_from_the_file_that_it_saw(
    file: Path, learner: str, label: str, replaced: set[str] | None
) -> None:
    text = written(file_sample(file, 500), label)
    model: dict[str, Any] = tomllib.loads(text)["model"][0]
    _, _, after = text.partition(f'# learner = "{learner}"\n')
    told = tomllib.loads("\n".join(re.findall(r"^# (\w+ = .*)$", after.partition("\n\n")[0], re.M)))

    kept = {} if replaced is None else {n: one for n, one in model["columns"].items() if n not in replaced}
    changed = {**model, "learner": learner, "columns": {**kept, **told}}
    done = replay(parse({"model": [changed]}, "x.toml", {}).model[0], file)

    assert told["user" if learner == "error_memory" else "key"] == {"kind": "hashed", "field": "user_id"}
    assert (done.events, done.labelled, done.unusable) == (200, 200, 0)


def test_of_a_sample_without_users_nothing_is_said_of_ids() -> None:
    names = ["amount", "country", "at", "late"]
    rows = [dict(zip(names, (number, "DE", "2026-03-01T00:00:00Z", number % 2))) for number in range(9)]

    assert "error_memory" not in written(Sample(rows, names), "late")
