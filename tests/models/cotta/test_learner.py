"""Test-time adaptation: its contract, and what a user relies on."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tests.models import small_networks
from thalweg.memory.snapshots.state import State
from thalweg.models.contract.learner import Learner, LearnerContext, ParamsError
from thalweg.models.contract.testing import LearnerContract
from thalweg.models.cotta.class_prior import ClassPrior
from thalweg.models.cotta.learner import Cotta
from thalweg.models.cotta.params import VARIANTS, Params
from thalweg.proto.event import Batch, ClassLabels
from thalweg.proto.schema import InputError, TensorSpec

PICTURE = {"image": TensorSpec("image", "float32", (1, small_networks.SIDE, small_networks.SIDE))}
VECTOR = {"features": TensorSpec("features", "float32", (12,))}
NETWORKS = "tests.models.small_networks"
SMALL: dict[str, Any] = {"model": f"{NETWORKS}:convolutional", "adapt_batch": 8, "follow_batch": 4}
VECTORS: dict[str, Any] = {"adapt_batch": 8, "follow_batch": 4, "views": "jitter", "largest": 0}


def learner(**params: Any) -> Cotta:
    return Cotta(LearnerContext(inputs=PICTURE, params={**SMALL, **params}, seed=1))


def of_vectors(network: str, **params: Any) -> Cotta:
    return Cotta(LearnerContext(inputs=VECTOR, params={**VECTORS, "model": f"{NETWORKS}:{network}", **params}, seed=1))


def pictures(count: int, seed: int = 0, labelled: bool = True) -> Batch:
    generator = np.random.default_rng(seed)
    x = generator.random((count, 1, small_networks.SIDE, small_networks.SIDE)).astype(np.float32)
    codes = generator.integers(-1, small_networks.CLASSES, count).astype(np.int32)
    labels = ClassLabels(codes, tuple("0123")) if labelled else None
    return Batch({"image": x}, labels, np.ones(count), np.zeros(count))


def vectors(count: int, seed: int = 0) -> Batch:
    x = np.random.default_rng(seed).normal(size=(count, 12)).astype(np.float32)
    return Batch({"features": x}, None, np.ones(count), np.zeros(count))


class TestDefault(LearnerContract):
    def new(self) -> Learner:
        return learner()

    def other(self) -> Learner:
        return learner(statistics_rows=5)

    def batches(self) -> list[Batch]:
        return [pictures(13, seed, labelled=seed != 2) for seed in range(5)]


@pytest.mark.slow
class TestPaper(TestDefault):
    def new(self) -> Learner:
        return learner(variant="paper", view_count=3)


@pytest.mark.slow
class TestStatisticsOnly(TestDefault):
    def new(self) -> Learner:
        return learner(variant="bn")


@pytest.mark.slow
class TestTent(TestDefault):
    def new(self) -> Learner:
        return learner(variant="tent")


@pytest.mark.slow
class TestSgd(TestDefault):
    def new(self) -> Learner:
        return learner(optimizer="sgd", learning_rate=0.01)

    def other(self) -> Learner:
        return learner(optimizer="adam")


class TestLayerNorm(LearnerContract):
    network = "layered"

    def new(self) -> Learner:
        return of_vectors(self.network)

    def other(self) -> Learner:
        return of_vectors(self.network, statistics_rows=5)

    def batches(self) -> list[Batch]:
        return [vectors(13, seed) for seed in range(5)]


@pytest.mark.slow
class TestBatchNormOfVectors(TestLayerNorm):
    network = "vectors"


@pytest.mark.slow
class TestPicturesOfAnySize(TestDefault):
    def new(self) -> Learner:
        return learner(model=f"{NETWORKS}:pooled")

    def other(self) -> Learner:
        larger = {"image": TensorSpec("image", "float32", (1, 12, 12))}
        return Cotta(LearnerContext(inputs=larger, params={**SMALL, "model": f"{NETWORKS}:pooled"}, seed=1))


@pytest.mark.slow
class TestSingleInputs(TestDefault):
    def new(self) -> Learner:
        return learner(adapt_batch=1, follow_batch=1, belt_window=3)


def test_an_answer_alone_is_that_in_company_whatever_the_company() -> None:
    made = learner()
    made.learn(pictures(40))
    asked = pictures(5, seed=9).inputs["image"]

    alone = made.predictor().predict({"image": asked[2:3]})["scores"]

    company = np.concatenate([np.ones_like(asked), asked[2:3]])
    np.testing.assert_array_equal(made.predictor().predict({"image": company})["scores"][5:], alone)


def test_an_answer_is_averaged_with_that_of_the_mirror_image_only_where_it_is_asked_for() -> None:
    asked = pictures(5).inputs["image"]
    as_it_is, averaged = learner().predictor(), learner(serve_views=2).predictor()

    def difference(predictor: Any) -> float:
        scores = [predictor.predict({"image": x})["scores"] for x in (asked, asked[..., ::-1].copy())]
        return float(np.abs(scores[0] - scores[1]).max())

    assert difference(as_it_is) > 1e-3  # the network tells left from right
    assert difference(averaged) < 1e-6


def test_an_answer_is_averaged_with_those_of_moved_images_only_where_it_is_asked_for() -> None:
    asked = pictures(5).inputs["image"]
    side = np.pad(asked, ((0, 0), (0, 0), (1, 1), (1, 1)), mode="edge")
    below, right = side[:, :, 2:, 1:-1], side[:, :, 1:-1, 2:]
    mirror = side[..., ::-1]
    above, left = mirror[:, :, :-2, 1:-1], mirror[:, :, 1:-1, :-2]
    alone = learner().predictor()

    def logits(x: Any) -> Any:
        return np.log(alone.predict({"image": np.ascontiguousarray(x)})["scores"])

    found = np.log(learner(serve_views=6).predictor().predict({"image": asked})["scores"])

    wanted = sum(logits(x) for x in (asked, asked[..., ::-1], below, above, right, left)) / 6
    wanted -= np.log(np.exp(wanted).sum(axis=1, keepdims=True))
    np.testing.assert_allclose(found, wanted, atol=1e-5)


@pytest.mark.parametrize("variant", VARIANTS)
def test_no_published_setting_mirrors_what_is_answered(variant: str) -> None:
    assert learner(variant=variant).params.serve_views == 1


@pytest.mark.parametrize("variant", sorted(set(VARIANTS) - {"ours"}))
def test_published_settings_step_once_and_by_the_batch_alone_whatever_the_defaults(variant: str) -> None:
    p = Params.of({"model": SMALL["model"], "variant": variant})

    assert (p.steps, p.step_own, p.own, p.class_prior) == (1, 0.0, 0.1, False)
    assert (p.adapt_batch, p.follow_batch) == ((64, 8) if variant == "code-imagenet" else (50, 10))
    assert p.learning_rate == {"bn": 0.0, "code-imagenet": 0.01}.get(variant, 1e-3)


def test_a_state_of_the_defaults_before_is_read_and_learned_on() -> None:
    before = learner(learning_rate=3e-3, steps=1, step_own=0.0, follow_batch=8)
    now, again = learner(), learner()
    before.learn(pictures(13))

    now.restore(before.state())
    now.learn(pictures(13, 1))
    again.restore(before.state())
    again.learn(pictures(13, 1))

    assert now.state().sha256() == again.state().sha256()
    assert now.state().meta["counts"]["steps"] == 3
    assert now.state().meta["counts"]["inputs"] == 24


def test_a_state_from_before_there_was_a_class_prior_is_read_and_the_prior_begins() -> None:
    made, again = learner(), learner()
    made.learn(pictures(40))
    state = made.state()
    older = State({name: each for name, each in state.tensors.items() if not name.startswith("prior.")}, state.meta)
    asked = pictures(5, seed=9).inputs

    again.learn(pictures(24, seed=3))
    again.restore(older)

    fresh = learner().state().tensors
    for name, each in again.state().tensors.items():
        np.testing.assert_array_equal(each, (fresh if name.startswith("prior.") else state.tensors)[name], err_msg=name)
    scores = (one.predictor().predict(asked)["scores"] for one in (made, again))
    np.testing.assert_array_equal(*scores)  # the traffic was not correlated


def test_while_classes_come_in_runs_no_step_is_taken_and_what_is_published_says_what_is_served() -> None:
    made = learner(least_diversity=0.0)
    restored = learner(least_diversity=0.0)
    prior = ClassPrior(small_networks.CLASSES)
    runs = np.full((800, small_networks.CLASSES), 0.02)
    runs[np.arange(800), np.arange(800) // 100 % small_networks.CLASSES] = 0.94
    for start in range(0, 800, 10):
        prior.take(runs[start : start + 10])
    tensors = {**made.state().tensors, **{f"prior.{name}": each for name, each in prior.tensors().items()}}
    made.restore(State(tensors, made.state().meta))
    asked = pictures(5, seed=9).inputs

    made.learn(pictures(8, labelled=False))

    assert made.gauges()["correlated_traffic"] == 1.0
    assert made.gauges()["left_out_steps"] == 1.0
    restored.restore(made.state())
    published = Cotta.predictor_from(made.predictor().state())
    wanted = made.predictor().predict(asked)["scores"]
    assert np.abs(wanted - learner().predictor().predict(asked)["scores"]).max() > 1e-3
    for one in (published, restored.predictor()):
        np.testing.assert_array_equal(one.predict(asked)["scores"], wanted)


def test_statistics_follow_before_weights_do() -> None:
    made = learner(adapt_batch=40)
    before = {name: array.copy() for name, array in made.state().tensors.items()}

    made.learn(pictures(8, labelled=False))

    after = made.state().tensors
    assert (after["target.mean.1"] != before["target.mean.1"]).any()
    assert all((after[name] == before[name]).all() for name in before if name.startswith("now."))


@pytest.mark.parametrize(
    ("adapt", "moving"),
    [("all", {"0.weight", "1.weight", "3.bias", "8.bias"}), ("norm", {"1.weight", "4.bias"}), ("8.*", {"8.weight"})],
)
def test_what_adapts_is_a_choice(adapt: str, moving: set[str]) -> None:
    made = learner(adapt=adapt, restore=0.0)
    before = {name: array.copy() for name, array in made.state().tensors.items()}

    made.learn(pictures(80, labelled=False))

    after = made.state().tensors
    moved = {
        name.removeprefix("now.teacher.")
        for name in before
        if name.startswith("now.teacher.") and (after[name] != before[name]).any()
    }
    assert moving <= moved
    assert ("0.weight" in moved) == (adapt == "all")
    assert ("1.weight" in moved) == (adapt != "8.*")


def test_teacher_and_student_alike_teach_nothing_and_nothing_moves() -> None:
    made = learner(loss="cross_entropy", views="none", optimizer="adam", restore=0.0)
    before = {name: array.copy() for name, array in made.state().tensors.items() if name.startswith("now.")}

    made.learn(pictures(80, labelled=False))

    assert made.gauges()["left_out_steps"] == 10
    for name, array in before.items():
        np.testing.assert_array_equal(made.state().tensors[name], array, err_msg=name)


def test_inputs_out_of_range_are_refused_to_a_caller_and_passed_over_in_a_stream() -> None:
    made = learner()
    bytes_ = pictures(3)
    loud = {"image": bytes_.inputs["image"] * 255}

    with pytest.raises(InputError, match=r"input 'image': expected numbers from 0 to 1, got .*divided by 255"):
        made.predictor().check(loud)
    made.learn(Batch(loud, None, np.ones(3), np.zeros(3)))

    assert made.gauges()["skipped_events"] == 3
    assert made.predictor().predict(loud)["label"].tolist() == [-1] * 3


def test_weights_are_read_from_a_file_and_must_fit(tmp_path: Path) -> None:
    tensors = {name: each + 1 for name, each in small_networks.convolutional().state_dict().items()}
    save_file(tensors, tmp_path / "good.safetensors")
    save_file({"0.weight": torch.zeros(1), "other": torch.zeros(2)}, tmp_path / "bad.safetensors")
    (tmp_path / "torn.safetensors").write_bytes(b"torn")

    made = learner(weights=str(tmp_path / "good.safetensors"))

    np.testing.assert_array_equal(made.state().tensors["now.teacher.8.bias"], tensors["8.bias"].numpy())
    with pytest.raises(ParamsError, match=r"not fit the model: missing 1\.bias \[8\], .*; unexpected other \[2\]; of "):
        learner(weights=str(tmp_path / "bad.safetensors"))
    save_file({**tensors, "head.bias": torch.zeros(2)}, tmp_path / "more.safetensors")
    more = learner(weights=str(tmp_path / "more.safetensors"), weights_strict=False)
    assert more.state().tensors["now.teacher.8.bias"].tolist() == tensors["8.bias"].tolist()
    with pytest.raises(ParamsError, match="cannot be read"):
        learner(weights=str(tmp_path / "torn.safetensors"))
    with pytest.raises(ValueError, match="state of other parameters"):
        learner().restore(made.state())


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"model": ""}, "model: expected 'module:factory'"),
        ({"model": "small"}, "model: expected 'module:factory'"),
        ({"model": f"{NETWORKS}:missing"}, "cannot be imported"),
        pytest.param(
            {"model": "timm:resnet18"},
            "needs timm: pip install",
            marks=pytest.mark.skipif(importlib.util.find_spec("timm") is not None, reason="timm is installed"),
        ),
        ({"model": f"{NETWORKS}:raising"}, "raised RuntimeError: no such checkpoint"),
        ({"model": f"{NETWORKS}:no_module"}, "to give a torch.nn.Module, got int"),
        ({"model": f"{NETWORKS}:layered"}, "cannot take inputs of shape"),
        ({"classes": "a,b"}, "classes: expected 4 distinct names"),
        ({"adapt": "nothing.*"}, "adapt: expected parameters to adapt, got none"),
        ({"variant": "best"}, "variant: expected one of ours, paper"),
        ({"adapt_batch": 7}, "adapt_batch: expected a multiple of follow_batch, 4, got 7"),
        ({"views": "mirrors"}, "views: expected one of"),
        ({"loss": "l2", "average": 2.0}, "average: expected 0 to 1, got 2.0"),
    ],
)
def test_mistakes_are_named(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ParamsError, match=message):
        learner(**params)


def test_a_model_without_norms_cannot_adapt_them() -> None:
    with pytest.raises(ParamsError, match="adapt: expected parameters to adapt, got none for 'norm'"):
        of_vectors("plain", adapt="norm")
