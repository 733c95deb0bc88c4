"""What a replay says beside its figures of rows that not all of them count."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from thalweg.ops.cli.main import app
from thalweg.ops.config.config import load
from thalweg.ops.replay.replay import Replayed, replay
from thalweg.ops.replay.unsure import WIDE, unsure_text

LABELS = ["a", "b"] * 240 + ["new"] + ["a", "b"] * 10
CONFIG = """
[[model]]
name = "m"
learner = "ridge"
topic = "m.events"
[model.fields]
label = "label"
[model.columns]
x = "numeric"
"""


def files(folder: Path, labels: list[str]) -> tuple[Path, Path]:
    config, file = folder / "c.toml", folder / "f.csv"
    config.write_text(CONFIG)
    file.write_text("\n".join(["x,label", *(f"{i % 7},{label}" for i, label in enumerate(labels))]))
    return config, file


def replayed(folder: Path, labels: list[str]) -> Replayed:
    config, file = files(folder, labels)
    return replay(load(config, {}).model[0], file)


def test_rows_of_classes_that_nobody_could_know_stand_beside_log_loss(tmp_path: Path) -> None:
    config, file = files(tmp_path, LABELS)

    done = CliRunner().invoke(
        app, ["replay", str(config), "--model", "m", "--input", str(file), "--report", str(tmp_path / "r")]
    )

    assert done.exit_code == 0, done.output
    report = replayed(tmp_path, LABELS).report()
    assert report["unknown_class"] == 2  # the first b, after a, and the new one
    known = report["log_loss_of_known"]
    assert report["metrics"]["log_loss"] == pytest.approx((known * 498 + 2 * 34.5388) / 500, rel=1e-4)
    rate = report["controls_log_loss_of_known"]["majority"]
    assert report["controls"]["majority"]["log_loss"] == pytest.approx((rate * 498 + 2 * 34.5388) / 500, rel=1e-4)
    told = "log_loss counts 2 rows of a class that was not known yet, 34.5 each; without: "
    assert f"{told}{known:.4f}, majority {rate:.4f}" in done.stdout
    assert "1 row of a class that hardly ever came; accuracy and log_loss count them" in done.stdout


def test_where_every_class_is_known_nothing_is_said(tmp_path: Path) -> None:
    report = replayed(tmp_path, ["a"] * 20).report()

    assert (report["unknown_class"], report["log_loss_of_known"]) == (0, report["metrics"]["log_loss"])


NEIGHBOURS = """
[[model]]
name = "m"
learner = "river:river.neighbors.KNNRegressor"
topic = "m.events"
fields = { label = "label" }
[model.columns]
x = "numeric"
place = "hashed"
"""


@pytest.mark.parametrize("plain", [20, 0])
def test_an_estimator_that_learns_and_raises_for_each_prediction_is_told_aloud(tmp_path: Path, plain: int) -> None:
    config, file = files(tmp_path, [])
    config.write_text(NEIGHBOURS)
    rows = [f"{i % 7},{'p' + str(i % 5) if i >= plain else ''},{i % 3 + 0.5}" for i in range(300)]
    file.write_text("\n".join(["x,place,label", *rows]))

    done = CliRunner().invoke(app, ["replay", str(config), "--model", "m", "--input", str(file)])

    assert done.exit_code == 0
    assert "no label was known yet" not in done.output
    assert "as the model gave no prediction for them" in done.output
    wanted = "hint: the model gave no prediction for" if plain else "nothing was graded: the model learned, and gave"
    assert wanted in done.output


def test_figures_that_rest_on_few_events_of_a_label_have_their_bounds_beside_them(tmp_path: Path) -> None:
    rare = replayed(tmp_path, ["yes" if i % 100 == 99 else "no" for i in range(500)])
    often = replayed(tmp_path, ["yes" if i % 2 else "no" for i in range(4000)])

    told = unsure_text(rare)
    low, high = rare.evaluation.recent_bounds()["auc"]
    assert [line.partition(",")[0] for line in told] == ["95 % CI of auc", "95 % CI of balanced_accuracy"]
    assert f"last 1,000 {low:.4f} to {high:.4f}" in told[0]
    assert high - low > WIDE
    assert unsure_text(often) == []
