"""A prediction corrected by the latest inputs of the same caller, where that is asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.models import small_networks
from tests.models.cotta.test_learner import PICTURE, SMALL, pictures
from thalweg.memory.snapshots.state import State
from thalweg.models.contract.learner import Learner, LearnerContext, ParamsError
from thalweg.models.contract.testing import LearnerContract
from thalweg.models.cotta.learner import Cotta
from thalweg.proto.event import Batch
from thalweg.proto.schema import InputError, TensorSpec

CALLER = {"who": TensorSpec("who", "int64", (), ids=True)}


def learner(caller: str = "who", window: int = 6, **params: Any) -> Cotta:
    inputs = {**PICTURE, **(CALLER if caller else {})}
    given = {**SMALL, "window": window, "caller": caller, "window_callers": 3, **params}
    return Cotta(LearnerContext(inputs=inputs, params=given, seed=1))


def asked(count: int, seed: int = 0, callers: int = 2) -> Batch:
    """Pictures, each of one of so many callers."""
    made = pictures(count, seed)
    who = np.random.default_rng(seed).integers(0, callers, count)
    return Batch({**made.inputs, "who": who}, made.labels, made.weights, made.times)


def in_runs(made: Cotta) -> Cotta:
    """The same learner, whose callers' classes have come in runs: the network of these tests says one class always."""
    state = made.state()
    gates = np.tile([20.0, 1.0], (len(state.tensors["window.ids"]), 1))
    made.restore(State({**state.tensors, "window.prior.gate": gates}, state.meta))
    return made


class TestWindowOfCallers(LearnerContract):
    def new(self) -> Learner:
        return learner()

    def other(self) -> Learner:
        return learner(statistics_rows=5)

    def batches(self) -> list[Batch]:
        return [asked(13, seed, callers=5) for seed in range(5)]


def scores(made: Cotta, inputs: Any) -> Any:
    return made.predictor().predict(inputs)["scores"]


def test_the_same_picture_is_answered_by_what_its_caller_showed_before() -> None:
    made, without = learner(), learner("", window=0)
    shown = asked(40, seed=3)
    made.learn(shown)
    without.learn(Batch({"image": shown.inputs["image"]}, shown.labels, shown.weights, shown.times))
    in_runs(made)
    picture = pictures(1, seed=9).inputs["image"]

    answers = {who: scores(made, {"image": picture, "who": np.array([who])})[0] for who in (0, 1, 77)}

    assert np.abs(answers[0] - answers[1]).max() > 1e-5
    np.testing.assert_allclose(answers[77], scores(without, {"image": picture})[0], atol=1e-6)  # nothing came before


def test_a_caller_whose_classes_do_not_come_in_runs_is_answered_as_without_a_window() -> None:
    made, without = learner(), learner("", window=0)
    shown = asked(40, seed=3)
    made.learn(shown)
    without.learn(Batch({"image": shown.inputs["image"]}, shown.labels, shown.weights, shown.times))
    request = asked(5, seed=9).inputs

    np.testing.assert_allclose(scores(made, request), scores(without, {"image": request["image"]}), atol=1e-6)


def test_rows_of_one_request_say_nothing_of_each_other() -> None:
    made = learner()
    made.learn(asked(40, seed=3))
    in_runs(made)
    request = asked(5, seed=9).inputs

    together = scores(made, request)

    for row in range(5):
        alone = scores(made, {name: array[row : row + 1] for name, array in request.items()})
        np.testing.assert_array_equal(together[row], alone[0])


def test_without_a_caller_all_inputs_are_one_callers() -> None:
    made, without = learner(""), learner("", window=0)
    shown = pictures(40, seed=3)
    made.learn(shown)
    without.learn(shown)
    in_runs(made)
    request = pictures(5, seed=9).inputs

    assert np.abs(scores(made, request) - scores(without, request)).max() > 1e-3


def test_what_is_published_and_what_is_restored_answer_alike() -> None:
    made, again = learner(), learner()
    made.learn(asked(43, seed=3))
    in_runs(made)
    request = asked(5, seed=9).inputs

    again.restore(made.state())
    published = Cotta.predictor_from(made.predictor().state())

    assert set(published.inputs) == {"image", "who"}
    for one in (published, again.predictor()):
        np.testing.assert_array_equal(one.predict(request)["scores"], scores(made, request))
    for each in (made, again):
        each.learn(asked(20, seed=4))
    np.testing.assert_array_equal(scores(again, request), scores(made, request))


def test_a_state_without_windows_or_of_another_size_is_read_and_the_windows_begin() -> None:
    made = learner()
    made.learn(asked(40, seed=3))
    state, request = made.state(), asked(5, seed=9).inputs
    before = State({name: each for name, each in state.tensors.items() if "window." not in name}, state.meta)
    fresh = scores(learner(), request)

    for other, given in ((learner(), before), (learner(window=4), state)):
        other.learn(asked(24, seed=5))
        other.restore(given)

        assert other.state().tensors["window.ids"].size == 0
        assert np.isfinite(scores(other, request)).all()
        assert scores(other, request).shape == fresh.shape


def test_a_window_changes_no_state_where_there_is_none() -> None:
    assert not [name for name in learner("", window=0).state().tensors if "window" in name or "callers" in name]


def test_a_caller_that_is_no_id_is_refused() -> None:
    made = learner()
    with pytest.raises(InputError, match="'who'"):
        made.predictor().predict({"image": pictures(2).inputs["image"]})
    with pytest.raises(InputError, match="'who'"):
        made.predictor().predict({"image": pictures(2).inputs["image"], "who": np.array([0.5, 1.5])})


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"caller": "whom"}, "caller: expected an input of shape .* among image, who, got 'whom'"),
        ({"caller": "image"}, "caller: expected an input of shape .* got 'image', float32"),
        ({"caller": ""}, "inputs: expected one input, got"),
        ({"window": 0}, "caller: expected window above 0 with a caller, got window = 0"),
    ],
)
def test_mistakes_are_named(params: dict[str, Any], message: str) -> None:
    given = {**SMALL, "window": 6, "caller": "who", **params}
    with pytest.raises(ParamsError, match=message):
        Cotta(LearnerContext(inputs={**PICTURE, **CALLER}, params=given, seed=1))


def test_a_network_without_a_linear_layer_is_corrected_by_its_logits() -> None:
    given = {**SMALL, "model": "tests.models.cotta.test_window:without_linear_layer", "window": 6}
    made = Cotta(LearnerContext(inputs=PICTURE, params=given, seed=1))

    made.learn(pictures(40))
    in_runs(made)

    assert made.state().tensors["window.features"].shape[2] == small_networks.CLASSES
    assert np.isfinite(scores(made, pictures(5, seed=9).inputs)).all()


def without_linear_layer() -> Any:
    """Convolutions only, on (N, 1, 8, 8)."""
    from torch import manual_seed, nn

    manual_seed(0)
    convolutions = nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, small_networks.CLASSES, 6)
    return nn.Sequential(*convolutions, nn.Flatten())
