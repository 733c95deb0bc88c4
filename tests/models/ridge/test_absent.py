"""Classes that no longer come are still predicted, and the present ones are predicted as before."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from thalweg.memory.snapshots.state import State
from thalweg.models.contract.learner import LearnerContext
from thalweg.models.ridge.learner import Ridge
from thalweg.models.ridge.predictor import RidgePredictor
from thalweg.proto.event import Batch, ClassLabels
from thalweg.proto.schema import TensorSpec

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]
WIDTH, NAMES = 12, tuple("abcdef")
CENTRES = np.random.default_rng(5).standard_normal((6, WIDTH)) * 1.5


def drawn(codes: Codes, seed: int, spread: float = 1.0, centres: Floats = CENTRES) -> Floats:
    return centres[codes] + spread * np.random.default_rng(seed).standard_normal((len(codes), WIDTH))


def taught(codes: Codes, by: int = 64, spread: float = 1.0, centres: Floats = CENTRES, **params: Any) -> Ridge:
    spec = {"x": TensorSpec("x", "float64", (WIDTH,))}
    learner, x = Ridge(LearnerContext(inputs=spec, params=params, seed=0)), drawn(codes, 1, spread, centres)
    for start in range(0, len(codes), by):
        some = codes[start : start + by].astype(np.int32)
        n = len(some)
        learner.learn(Batch({"x": x[start : start + by]}, ClassLabels(some, NAMES), np.ones(n), np.zeros(n)))
    return learner


def right(learner: Ridge, codes: Codes, spread: float = 1.0) -> float:
    predictor = learner.predictor()
    label = predictor.predict({"x": drawn(codes, 2, spread)})["label"]
    return float((np.array(predictor.classes)[label] == np.array(NAMES)[codes]).mean())


ONE_BY_ONE = np.repeat(np.arange(6), 300)
ALL = np.arange(1200) % 6


def test_after_class_after_class_all_classes_are_predicted_and_without_keeping_them_only_the_last() -> None:
    shuffled = np.random.default_rng(3).permutation(ONE_BY_ONE)

    joint, kept, lost = taught(shuffled), taught(ONE_BY_ONE), taught(ONE_BY_ONE, keep_absent=False)

    assert right(joint, ALL) > 0.93
    assert right(kept, ALL) > right(joint, ALL) - 0.03
    assert right(lost, ALL) < 0.5


def test_a_class_that_has_been_away_for_very_long_is_still_known() -> None:
    learner = taught(np.concatenate([np.zeros(300, int), 1 + np.arange(20_000) % 5]), by=500, spread=0.6)

    assert right(learner, np.zeros(400, int), spread=0.6) > 0.8


def test_while_one_class_comes_alone_hardly_any_of_its_events_is_taken_for_another() -> None:
    overlapping = np.concatenate([np.arange(1500) % 6, np.full(1200, 4)])

    learner = taught(overlapping, spread=3.0)

    assert right(learner, np.full(1000, 4), spread=3.0) > 0.97


@pytest.mark.parametrize("times", [1, 2])
def test_classes_that_overlap_and_come_one_after_the_other_are_known_nearly_as_if_they_had_come_together(
    times: int,
) -> None:
    shuffled = np.random.default_rng(3).permutation(ONE_BY_ONE)

    joint, kept, lost = (
        taught(shuffled, spread=2.5),
        taught(np.tile(ONE_BY_ONE, times), spread=2.5),
        taught(ONE_BY_ONE, spread=2.5, keep_absent=False),
    )

    assert right(kept, ALL, spread=2.5) > right(joint, ALL, spread=2.5) - 0.03 > 0.6
    assert right(lost, ALL, spread=2.5) < 0.25


def test_two_classes_at_a_time_are_known_nearly_as_if_all_had_come_together() -> None:
    order = np.concatenate([np.arange(600) % 2 + pair for pair in (0, 2, 4)])
    shuffled = np.random.default_rng(3).permutation(order)

    joint, kept = taught(shuffled, spread=2.5), taught(order, spread=2.5)

    assert right(kept, ALL, spread=2.5) > right(joint, ALL, spread=2.5) - 0.03


def test_a_class_whose_events_come_under_another_name_is_not_recalled_for_long() -> None:
    old = np.random.default_rng(4).integers(0, 3, 1500)
    learner = taught(np.concatenate([old, old + 3]), spread=1.0, centres=np.tile(CENTRES[:3], (2, 1)))

    predictor, asked = learner.predictor(), np.arange(300) % 3
    label = predictor.predict({"x": drawn(asked, 2)})["label"]

    assert (np.array(predictor.classes)[label] == np.array(NAMES)[asked + 3]).mean() > 0.9


def test_a_state_written_before_pairs_were_counted_is_read_and_its_classes_are_known_at_a_price() -> None:
    learner = taught(ONE_BY_ONE)
    state = learner.state()
    new = ("absent.together", "absent.until", "absent.taken", "absent.held", "absent.priced", "absent.intercept")
    old = State({name: array for name, array in state.tensors.items() if name not in new}, state.meta)
    again = Ridge(LearnerContext(inputs={"x": TensorSpec("x", "float64", (WIDTH,))}, params={}, seed=0))

    again.restore(old)

    assert again._absent is not None
    assert again._absent.pairs.priced(np.arange(6) < 5).all()
    assert right(again, ALL) > 0.85


def test_a_stream_in_which_no_class_is_away_has_one_head() -> None:
    learner = taught(np.arange(1200) % 6)

    assert "known" not in learner.predictor().state().tensors


def test_the_label_is_the_class_of_the_highest_score_whichever_head_answers() -> None:
    predictor = taught(ONE_BY_ONE).predictor()

    answer = predictor.predict({"x": drawn(ALL, 9)})

    assert "known" in predictor.state().tensors
    np.testing.assert_array_equal(answer["scores"].argmax(axis=1), answer["label"])
    assert len(np.unique(answer["label"])) == 6


def test_a_row_has_the_same_scores_whatever_the_other_rows() -> None:
    predictor, x = taught(ONE_BY_ONE).predictor(), drawn(ALL[:150], 9)

    together = predictor.predict({"x": x})["scores"]

    alone = np.concatenate([predictor.predict({"x": x[row : row + 1]})["scores"] for row in range(150)])
    np.testing.assert_array_equal(together, alone)


def test_a_published_predictor_and_a_restored_learner_predict_the_same() -> None:
    learner = taught(ONE_BY_ONE)
    again = Ridge(LearnerContext(inputs={"x": TensorSpec("x", "float64", (WIDTH,))}, params={}, seed=0))
    again.restore(learner.state())
    x = {"x": drawn(ALL, 9)}

    scores = learner.predictor().predict(x)["scores"]

    np.testing.assert_array_equal(RidgePredictor.of(learner.predictor().state()).predict(x)["scores"], scores)
    np.testing.assert_array_equal(again.predictor().predict(x)["scores"], scores)


@pytest.mark.parametrize("decays", [(0.9999, 0.999, 0.99), 0.999, 1.0])
def test_a_label_mistyped_once_takes_no_answer_from_the_others(decays: Any) -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(3000, 3)).astype(np.float32)
    labels = np.where(x.sum(axis=1) + 0.4 * rng.normal(size=len(x)) > 0, "yes", "no").astype(object)
    mistyped = labels.copy()
    mistyped[600] = "yess"

    right = []
    for told in (labels, mistyped):
        learner = Ridge(
            LearnerContext(inputs={"x": TensorSpec("x", "float32", (3,))}, params={"forgetting": decays}, seed=0)
        )
        hits = []
        for start in range(0, len(x), 20):
            rows, names = x[start : start + 20], sorted(set(told[start : start + 20]))
            if start >= 1000:
                answer = learner.predictor().predict({"x": rows})["label"]
                known = learner.predictor().classes
                hits += [known[code] == want for code, want in zip(answer, labels[start : start + 20])]
            codes = np.array([names.index(label) for label in told[start : start + 20]], dtype=np.int32)
            learner.learn(Batch({"x": rows}, ClassLabels(codes, names), np.ones(len(rows)), np.zeros(len(rows))))
        right.append(float(np.mean(hits)))

    assert right[1] >= right[0] - 0.005


def test_of_two_classes_the_rare_one_is_no_mistyped_label() -> None:
    codes = np.zeros(3000, int)
    codes[[20, 700, 1400]] = 1

    with_it, without = taught(codes, by=20), taught(codes, by=20, keep_absent=False)

    rare = np.ones(300, int)
    assert right(with_it, rare) > 0.9
    assert right(with_it, rare) > right(without, rare) + 0.2
