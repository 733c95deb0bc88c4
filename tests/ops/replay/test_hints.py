"""Where a naive control predicts as well as the model, a replay says what to try."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import thalweg
from thalweg.ops.cli.main import main
from thalweg.ops.notebook.evaluation import Evaluation

RANDOM = np.random.default_rng(0)
X = RANDOM.standard_normal((400, 2))


def evaluated(labels: Any, inputs: Any = X, **settings: Any) -> Evaluation:
    model = thalweg.Model("ridge", inputs={"x": 2}, expansion=0, batch_events=8, **settings)
    return model.evaluate(inputs, labels)


def runs() -> Evaluation:
    return evaluated(np.repeat(RANDOM.choice(["a", "b", "c"], 10), 40))


def walk() -> Evaluation:
    return evaluated(np.cumsum(RANDOM.standard_normal(400)), task="regression")


def nothing() -> Evaluation:
    return evaluated(RANDOM.choice(["a", "b"], 400, p=[0.7, 0.3]))


def rare() -> Evaluation:
    return evaluated(np.where(np.arange(400) % 50 == 7, "b", "a"))


@pytest.mark.parametrize(
    ("stream", "control", "remedy"),
    [
        (runs, "the label before", "latest labels"),
        (walk, "the label before", "latest labels"),
        (nothing, "the most frequent label", "ARFClassifier"),
        (rare, "the most frequent label", "balanced_accuracy"),
    ],
)
def test_what_a_control_does_as_well_is_said_with_what_to_try(
    stream: Callable[[], Evaluation], control: str, remedy: str
) -> None:
    report = stream()

    (hint,) = [text for text in report.hints if control in text]
    assert remedy in hint
    assert str(control) in report._repr_html_()


def test_a_model_that_is_better_than_both_and_a_short_stream_get_no_hint() -> None:
    assert evaluated(np.where(X[:, 0] > 0, "a", "b")).hints == []
    assert evaluated(RANDOM.choice(["a", "b"], 100), X[:100]).hints == []


def test_replay_prints_it_beside_the_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = "".join(f"{a:.3f},{label}\n" for a, label in zip(X[:, 0], RANDOM.choice(["u", "v"], 400, p=[0.7, 0.3])))
    (tmp_path / "f.csv").write_text("x,label\n" + rows)
    config = '[[model]]\nname = "m"\nlearner = "nearest_mean"\ntopic = "t"\nfields = { label = "label" }\n'
    (tmp_path / "c.toml").write_text(config + '[model.columns]\nx = "numeric"\n')

    config, rows = str(tmp_path / "c.toml"), str(tmp_path / "f.csv")
    monkeypatch.setattr("sys.argv", ["thalweg", "replay", config, "--model", "m", "--input", rows])
    with pytest.raises(SystemExit) as left:
        main()

    assert not left.value.code
    said = capsys.readouterr()
    assert "hint: the most frequent label alone has accuracy 0." in said.err
    assert "hint" not in said.out
