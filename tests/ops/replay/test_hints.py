"""Where a naive control predicts as well as the model, a replay says what to try."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import thalweg
from thalweg.ops.cli.main import main
from thalweg.ops.notebook.evaluation import Evaluation
from thalweg.ops.replay.hints import hints
from thalweg.proto.task import CLASSIFICATION, REGRESSION

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


@pytest.mark.parametrize("classes", [2, 5, 9])
def test_labels_by_chance_do_not_resemble_those_before_them(classes: int) -> None:
    for seed in range(4):
        random = np.random.default_rng(seed)
        report = evaluated(random.integers(0, classes, 400).astype(str), random.standard_normal((400, 2)))

        assert not [text for text in report.hints if "resemble" in text]


def test_numbers_by_chance_do_not_resemble_those_before_them() -> None:
    labels = np.random.default_rng(1).standard_normal(400)
    own = {"rmse": 2.0}
    controls = {"mean": {"rmse": 1.0}, "repeat_last_label": {"rmse": 1.4}}

    assert not [text for text in evaluated(labels, task="regression").hints if "resemble" in text]
    assert [("mean label" in text, "resemble" in text) for text in hints(REGRESSION, 400, own, controls)] == [
        (True, False)
    ]


@pytest.mark.parametrize("rows", [60, 400])
def test_labels_that_are_all_the_same_are_said_to_be(rows: int) -> None:
    (classes,) = evaluated(np.full(rows, "a"), X[:rows]).hints
    (numbers,) = evaluated(np.full(rows, 3.5), X[:rows], task="regression").hints

    assert "there is one class" in classes
    assert "same label" in numbers


def test_of_few_rows_only_a_model_that_is_far_behind_is_told() -> None:
    controls = {"majority": {"accuracy": 0.8}, "repeat_last_label": {"accuracy": 0.7}}

    (far,) = hints(CLASSIFICATION, 60, {"accuracy": 0.4}, controls, ("a", "b"))

    assert "60 graded rows are few" in far
    assert hints(CLASSIFICATION, 60, {"accuracy": 0.75}, controls, ("a", "b")) == []
    assert hints(CLASSIFICATION, 15, {"accuracy": 0.4}, controls, ("a", "b")) == []
    (error,) = hints(REGRESSION, 60, {"rmse": 9.0}, {"mean": {"rmse": 1.0}, "repeat_last_label": {"rmse": 1.5}})
    assert "the mean label" in error


@pytest.mark.parametrize(
    ("learner", "advised", "rows", "majority"),
    [
        ("nearest_mean", "nearest_mean", 60, 0.8),
        ("nearest_mean", "nearest_mean", 400, 0.95),
        ("river:river.forest.ARFClassifier", "ARFClassifier", 400, 0.6),
    ],
)
def test_no_learner_is_advised_to_take_itself(learner: str, advised: str, rows: int, majority: float) -> None:
    controls = {"majority": {"accuracy": majority}}

    (of_another,) = hints(CLASSIFICATION, rows, {"accuracy": 0.3}, controls, ("a", "b"), learner="ridge")
    (own,) = hints(CLASSIFICATION, rows, {"accuracy": 0.3}, controls, ("a", "b"), learner=learner)

    assert advised in of_another
    assert advised not in own


def test_of_users_and_items_the_recommender_is_named_first() -> None:
    random = np.random.default_rng(2)
    table = {
        "user_id": random.choice(["u1", "u2"], 400),
        "sku": random.choice(["a", "b"], 400),
        "clicked": random.choice(["yes", "no"], 400, p=[0.3, 0.7]),
    }
    model = thalweg.Model("nearest_mean", columns={"user_id": "categorical", "sku": "categorical"})

    (hint, *_) = model.evaluate(pd.DataFrame(table), "clicked").hints

    assert hint.index("error_memory") < hint.index("ARFClassifier")
    assert 'classes = ["no", "yes"] for the labels 0 and 1' in hint
    for names in ([True, False], [1, 0]):  # it takes them as they are
        table["clicked"] = random.choice(names, 400, p=[0.3, 0.7])
        (hint, *_) = model.evaluate(pd.DataFrame(table), "clicked").hints
        assert "error_memory" in hint
        assert "classes =" not in hint


def test_a_bottleneck_answers_from_the_second_row_on_and_why_not_the_first_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    said = replayed("bottleneck", "x,label\n" + "1.5,a\n2.5,b\n" * 50, tmp_path, monkeypatch, capsys)

    assert "not answered: 1, because no class was known yet" in said


def test_of_a_stream_without_labels_no_micro_batch_is_said_to_make_them_known(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    said = replayed("ridge", "x,label\n" + "1.5,\n2.5,\n" * 50, tmp_path, monkeypatch, capsys)

    assert "labels known of no row: nothing is graded" in said
    assert "before the next row" not in said


def replayed(
    learner: str, rows: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> str:
    """Standard output of the command."""
    (folder / "f.csv").write_text(rows)
    config = f'[[model]]\nname = "m"\nlearner = "{learner}"\ntopic = "t"\nfields = {{ label = "label" }}\n'
    (folder / "c.toml").write_text(config + '[model.columns]\nx = "numeric"\n')
    command = ["thalweg", "replay", str(folder / "c.toml"), "--model", "m", "--input", str(folder / "f.csv")]
    monkeypatch.setattr("sys.argv", command)
    with pytest.raises(SystemExit) as left:
        main()
    assert not left.value.code
    return capsys.readouterr().out


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
