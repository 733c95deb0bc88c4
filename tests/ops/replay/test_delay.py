"""With nothing set a row's label is known to the next row; `delay_events` says how many rows late it is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.ops.replay.test_replay import model, written
from thalweg.ops.replay.labels import when_known
from thalweg.ops.replay.replay import replay
from thalweg.stream.evaluation.prequential import Prequential

RUNS = [f"{'xy'[number // 5 % 2]}" for number in range(400)]  # labels in runs of five, unrelated to the inputs


def file_of(folder: Path, labels: list[str]) -> Path:
    lines = [
        json.dumps({"inputs": {"features": [number % 3, number % 7, 1, 2]}, "label": label}).encode()
        for number, label in enumerate(labels)
    ]
    return written(folder / "s.jsonl", lines)


def repeated(labels: list[str], late: int) -> float:
    """Accuracy of the newest label known, from the first event on that the model has an answer for."""
    graded = range(late + 1, len(labels))
    return sum(labels[place] == labels[place - late - 1] for place in graded) / len(graded)


@pytest.mark.parametrize("delay", [0, 1, 4, 5, 50])
def test_the_control_repeats_the_newest_label_that_is_known_at_that_delay(tmp_path: Path, delay: int) -> None:
    done = replay(model(batch_events="auto"), file_of(tmp_path, RUNS), delay_events=delay)

    assert done.controls["repeat_last_label"]["accuracy"] == pytest.approx(repeated(RUNS, delay))
    assert done.unanswered == delay + 1  # until the first label is known
    assert done.evaluation.graded == 400 - delay - 1
    assert done.report()["delay_events"] == delay


def test_a_delay_changes_what_is_predicted_and_not_what_is_learned(tmp_path: Path) -> None:
    path = file_of(tmp_path, RUNS)
    quick = {"forgetting": 0.5, "expansion": 0, "gamma": 0.001}  # follows the runs

    prompt, late = (replay(model(batch_events="auto", params=quick), path, delay_events=delay) for delay in (0, 5))

    assert prompt.report()["state_sha256"] == late.report()["state_sha256"]
    assert prompt.evaluation.metrics()["accuracy"] > late.evaluation.metrics()["accuracy"] + 0.1
    assert prompt.events == late.events == 400


def test_with_nothing_set_a_replay_is_row_by_row_and_says_so(tmp_path: Path) -> None:
    path = file_of(tmp_path, RUNS)

    nothing, one = replay(model(batch_events="auto"), path), replay(model(batch_events=1), path)

    assert nothing.report()["state_sha256"] == one.report()["state_sha256"]
    assert nothing.report()["metrics"] == one.report()["metrics"]
    assert when_known(nothing) == "before the next row"


def test_where_a_number_is_set_it_counts_and_the_controls_know_no_more_than_the_model(tmp_path: Path) -> None:
    done = replay(model(batch_events=64), file_of(tmp_path, RUNS))

    right = [RUNS[place] == RUNS[place // 64 * 64 - 1] for place in range(64, 400)]
    assert done.controls["repeat_last_label"]["accuracy"] == pytest.approx(sum(right) / len(right))
    assert done.unanswered == 64
    assert when_known(done) == "after each micro-batch of 64 rows, up to 63 rows late"


def test_each_replay_of_a_file_gives_the_same_figures_in_every_bit(tmp_path: Path) -> None:
    path = file_of(tmp_path, RUNS)

    def report(progress: bool) -> dict[str, object]:
        def read(events: int, evaluation: Prequential) -> None:
            if progress:
                evaluation.metrics()

        found = replay(model(batch_events="auto"), path, progress=read).report()
        return {name: value for name, value in found.items() if "second" not in name}

    assert report(True) == report(False)


@pytest.mark.parametrize("learner", ["ridge", "river:river.linear_model.LinearRegression"])
@pytest.mark.parametrize("encoder", ["identity", "random_features:8"])
@pytest.mark.parametrize("delay", [0, 50])
def test_a_regression_is_not_graded_before_it_knows_a_label(
    tmp_path: Path, learner: str, encoder: str, delay: int
) -> None:
    """Labels around 1000: a single answer of 0 would show in every figure."""
    lines = [
        json.dumps({"inputs": {"features": [n % 3, n % 7, 1, 2]}, "label": 1000.0 + n % 3}).encode() for n in range(200)
    ]
    task = {"task": "regression", "expansion": 0} if learner == "ridge" else {}
    changed = {"learner": learner, "encoder": encoder, "params": task, "batch_events": "auto"}

    done = replay(model(**changed), written(tmp_path / "s.jsonl", lines), delay_events=delay, frozen_after=20)

    assert done.unanswered == delay + 1
    assert done.evaluation.graded == 200 - delay - 1
    assert done.controls["repeat_last_label"]["mae"] < 5.0
    if learner == "ridge":
        assert done.evaluation.metrics()["rmse"] < 100.0
    if delay:  # the baseline was frozen before it knew a label
        assert done.frozen.metrics() == {}
        assert done.frozen.unanswered == 200
