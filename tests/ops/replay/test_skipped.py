"""What is said of events that a learner left out, and of streams of which nothing is graded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from thalweg.ops.cli.main import app


def replayed(folder: Path, toml: str, rows: list[str]) -> str:
    (folder / "rows.csv").write_text("\n".join(rows) + "\n")
    (folder / "c.toml").write_text(f'[[model]]\nname = "m"\ntopic = "t"\n{toml}')
    args = ["replay", str(folder / "c.toml"), "--model", "m", "--input", str(folder / "rows.csv")]
    found = CliRunner().invoke(app, args)
    assert found.exit_code == 0, found.output
    return found.output


CLICKS = """learner = "error_memory"
[model.fields]
label = "stars"
[model.columns]
user = "hashed"
item = "hashed"
"""
VISITS = """learner = "prompt_tpp"
[model.fields]
label = "what"
time = { field = "at", unit = "s" }
[model.columns]
key = { kind = "hashed", field = "user" }
[model.params]
experts = ["closed_form"]
"""


def test_ratings_that_a_recommender_cannot_learn_are_counted_where_the_figures_stand(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    rows = [f"u{u},i{i},{s}" for u, i, s in zip(*random.integers(0, 9, (2, 300)), random.integers(1, 6, 300))]

    said = replayed(tmp_path, CLICKS, ["user,item,stars", *rows])

    (hint,) = (line for line in said.splitlines() if line.startswith("hint: error_memory did not learn"))
    many = sum(not row.endswith(",1") for row in rows)
    assert f"{many} of 300 labelled events: it learns from labels from 0 (no click, not liked) to 1" in hint
    assert "docs/learners/error_memory.md" in hint


def test_types_beyond_the_most_are_counted_with_the_parameter_to_raise(tmp_path: Path) -> None:
    rows = [f"u{n % 3},{n * 60},t{n % 100}" for n in range(400)]

    said = replayed(tmp_path, VISITS, ["user,at,what", *rows])

    assert "did not learn 144 of 400 labelled events: it has no room for their classes; raise max_types" in said


def test_events_in_no_order_are_counted_with_the_remedy(tmp_path: Path) -> None:
    rows = [f"u{n % 3},{n * 60 - (n % 9 == 8) * 900},a" for n in range(400)]

    said = replayed(tmp_path, VISITS, ["user,at,what", *rows])

    assert "older than their key's newest; sort the file by time" in said


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        ([f"u{n},{n * 60},{'ab'[n % 2]}" for n in range(200)], "each event was the first of its key"),
        ([f"u{n % 3},{n * 60},{'ab'[n % 2]}" for n in range(40)], "all 40 rows came in one micro-batch"),
        ([f"u{n % 3},{n * 60},[/x{n % 2}]" for n in range(40)], "64 batch_events in [[model]], 5 say"),
    ],
)
def test_why_nothing_is_graded_is_said(tmp_path: Path, rows: list[str], why: str) -> None:
    assert why in replayed(tmp_path, VISITS, ["user,at,what", *rows])


def test_where_an_encoder_gives_no_numbers_it_is_named(tmp_path: Path) -> None:
    toml = """learner = "ridge"
encoder = "tests.models.encoders.probed:logarithm"
inputs.x = { shape = [4], dtype = "float32" }
"""
    rows = [f"{-5 * (row % 2)},0,0,{row % 3},{'ab'[row % 3 > 0]}" for row in range(60)]

    found = replayed(tmp_path, toml, ["x[0],x[1],x[2],x[3],label", *rows])

    assert "hint: ridge did not learn 30 of 60 labelled events: their labels, or the numbers that encoder" in found
    assert "probed:logarithm" in found


def test_beside_a_likelihood_stands_that_of_the_rate_alone(tmp_path: Path) -> None:
    """Where all is at random the rate is all there is to know, and the model is told from it by nothing."""
    random = np.random.default_rng(3)
    at = np.cumsum(random.exponential(600.0, 900))
    rows = [f"u{key},{time:.3f},t{kind}" for time, key, kind in zip(at, *random.integers(0, 3, (2, 900)))]

    said = replayed(tmp_path, VISITS, ["user,at,what", *rows])

    head, line = (next(one for one in said.splitlines() if one.startswith(f" {name}")) for name in ("metric", "log_l"))
    assert "event rate" in head
    own, rate = float(line.split()[1]), float(line.split()[-1])
    unit = 1800.0 * np.log(2)  # the median gap
    assert rate == pytest.approx(-np.log(3) - np.log(1800.0 / unit) - 1.0, abs=0.3)
    assert own == pytest.approx(rate, abs=0.3)
    assert "hint: the rate of events alone has log_likelihood" in said


def test_a_recommender_that_is_shown_clicks_alone_is_not_right_in_all_and_says_what_is_missing(tmp_path: Path) -> None:
    rows = [f"u{n % 7},i{n % 5},1" for n in range(60)]

    said = replayed(tmp_path, CLICKS, ["user,item,stars", *rows])

    assert "hint: all graded rows have the same label: there is nothing to learn. If only clicks are recorded" in said
