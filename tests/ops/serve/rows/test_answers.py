"""Answers in rows, of each kind of task: the real outputs of real learners."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.ops.serve.serving import SPECS, events
from thalweg.models.contract.learner import LearnerContext
from thalweg.models.ridge.learner import Ridge
from thalweg.ops.serve.inference import InferenceResponse, RequestOptions
from thalweg.ops.serve.rows.answers import to_rows
from thalweg.proto.event import Batch, NumberLabels
from thalweg.proto.schema import Array, TensorSpec
from thalweg.proto.task import CLASSIFICATION, REGRESSION, SCORING, SEQUENCE, Task
from thalweg.stream.publication.ports import ServedVersion, VersionInfo


class Fixed:
    """A predictor of one answer."""

    inputs: Mapping[str, TensorSpec] = SPECS
    properties: Mapping[str, str] = {}

    def __init__(self, task: Task, outputs: Mapping[str, Array], classes: tuple[str, ...] = ()) -> None:
        self.task, self.classes, self._outputs = task, classes, outputs
        self.outputs = {
            name: TensorSpec(
                name, "bytes" if task.outputs.get(name, ("", 0))[0] == "bytes" else a.dtype.name, a.shape[1:]
            )
            for name, a in outputs.items()
        }

    def predict(self, inputs: Any) -> Mapping[str, Array]:
        return self._outputs


def shown(predictor: Any, inputs: Any = None, outputs: tuple[str, ...] = (), rows: int = 1) -> list[dict[str, Any]]:
    served = ServedVersion(predictor, VersionInfo(812, 5, 0.0, 0.0, 1.0, 1))
    response = InferenceResponse(RequestOptions("m", outputs=outputs), served, predictor.predict(inputs), 0.02)
    found = to_rows(response, [None] * rows)
    assert all((row.pop("version"), row.pop("staleness_seconds")) == (812, 0.02) for row in found)
    return found


LABEL = np.array([1], dtype=np.int32)
SCORES = np.array([[0.25, 0.75]])


@pytest.mark.parametrize(
    ("task", "outputs", "row"),
    [
        (CLASSIFICATION, {"label": LABEL}, {"label": "ok"}),
        (CLASSIFICATION, {"label": LABEL, "scores": SCORES}, {"label": "ok", "scores": {"no": 0.25, "ok": 0.75}}),
        (
            CLASSIFICATION.with_probabilities(),
            {"label": LABEL, "scores": SCORES},
            {"label": "ok", "probabilities": {"no": 0.25, "ok": 0.75}},
        ),
        (
            CLASSIFICATION,
            {"label": LABEL, "scores": SCORES * 9, "probabilities": SCORES},
            {"label": "ok", "probabilities": {"no": 0.25, "ok": 0.75}},
        ),
        (
            replace(CLASSIFICATION, scores="points"),
            {"label": LABEL, "points": SCORES, "scores": np.array([[1.0, np.inf]])},
            {"label": "ok", "points": {"no": 0.25, "ok": 0.75}, "scores": [1.0, None]},
        ),
        (
            CLASSIFICATION,
            {"label": np.array([-1], dtype=np.int32)},
            {"reason": "no prediction for this row: its key is unknown, or its numbers are beyond the model's range"},
        ),
        (REGRESSION, {"value": np.array([[1.5]])}, {"value": 1.5}),
        (REGRESSION, {"value": np.array([[1.5, 2.5]])}, {"value": [1.5, 2.5]}),
        (SCORING, {"score": np.array([0.75]), "surprise": np.array([[1, 2]])}, {"score": 0.75, "surprise": [1, 2]}),
        (
            SEQUENCE,
            {"next_time": np.array([5.5]), "next_type": np.array([0]), "type_scores": SCORES},
            {"next_time": 5.5, "next_type": "no", "type_scores": {"no": 0.25, "ok": 0.75}},
        ),
    ],
)
def test_the_task_says_what_the_outputs_of_a_row_are(
    task: Task, outputs: dict[str, Array], row: dict[str, Any]
) -> None:
    assert shown(Fixed(task, outputs, ("no", "ok"))) == [row]


def test_before_any_class_is_known_there_is_a_reason_and_no_label() -> None:
    learner = Ridge(LearnerContext(inputs=SPECS, params={}, seed=0))

    (row,) = shown(learner.predictor(), events(1).inputs)

    assert row.keys() == {"scores", "reason"}
    assert row["reason"] == "no class is known yet"


def test_a_row_without_a_prediction_has_a_reason() -> None:
    (row,) = shown(Fixed(REGRESSION, {"value": np.array([[np.nan]])}))

    assert (row["value"], row["reason"][:26]) == (None, "no prediction for this row")


def test_scores_beside_probabilities_are_shown_when_they_are_asked_for() -> None:
    outputs = {"label": LABEL, "scores": SCORES * 9, "probabilities": SCORES}

    (row,) = shown(Fixed(CLASSIFICATION, outputs, ("no", "ok")), outputs=("scores",))

    assert row == {"scores": {"no": 2.25, "ok": 6.75}}


def test_a_regression_of_one_target_answers_with_numbers() -> None:
    batch = events(300)
    numbers = Batch(
        batch.inputs, NumberLabels(batch.inputs["features"][:, :1] * np.float64(2)), batch.weights, batch.times
    )
    learner = Ridge(LearnerContext(inputs=SPECS, params={"task": "regression", "expansion": 0}, seed=0))
    learner.learn(numbers)

    rows = shown(learner.predictor(), batch[:5].inputs, rows=5)

    assert [row["value"] for row in rows] == pytest.approx((batch.inputs["features"][:5, 0] * 2).tolist(), abs=0.3)
