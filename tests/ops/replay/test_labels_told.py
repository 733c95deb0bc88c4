"""What a replay says beside its figures of rows that not all of them count."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from thalweg.ops.cli.main import app
from thalweg.ops.config.config import load
from thalweg.ops.replay.replay import Replayed, replay

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
