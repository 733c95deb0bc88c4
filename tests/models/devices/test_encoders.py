"""Encoders on a device, in front of any learner."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.memory.devices.gpus import pretend
from tests.models.devices.stand_ins import KIND, Imagined, Processor, instead_of_a_gpu, kind_of_gpu, pretended
from thalweg.memory.devices.device import COPIES
from thalweg.models.columns import encoding
from thalweg.models.columns.make import make_learner, predictor_maker
from thalweg.models.columns.settings import columns_of
from thalweg.models.contract.capabilities import computed_on
from thalweg.models.contract.learner import LearnerContext
from thalweg.models.encoders import encoder
from thalweg.models.encoders.encoder import Encoder
from thalweg.models.encoders.kinds import encoder_device
from thalweg.models.encoders.spec import EncoderSpec
from thalweg.proto.event import Batch, ClassLabels
from thalweg.proto.schema import TensorSpec, column_specs

PICTURE = {"picture": TensorSpec("picture", "float32", (1, 8, 8))}
NAMES = ["tests.models.small_networks:embedding", "random_convolution:32"]
ROWS = {"picture": np.random.default_rng(0).random((70, 1, 8, 8)).astype(np.float32)}


@pytest.fixture(autouse=True)
def _no_encoder_of_another_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoder, "_encoders", {})


@pytest.mark.parametrize("name", NAMES)
def test_features_are_those_of_the_processor_and_of_a_row_alone(name: str) -> None:
    with instead_of_a_gpu(Processor):
        there, here = Encoder(name, "", PICTURE, 0, "cuda:0"), Encoder(name, "", PICTURE, 0)

        found = there.inputs(ROWS)["features"]

        np.testing.assert_allclose(found, here.inputs(ROWS)["features"], rtol=1e-4, atol=1e-5)
        alone = there.inputs({"picture": ROWS["picture"][41:42]})["features"]
        np.testing.assert_array_equal(alone[0], found[41])  # always the same number of rows
        assert (there.computed_on, here.computed_on) == (kind_of_gpu(), "")
        assert there.sha256 == here.sha256, "the identity is that of the weights"


@pytest.mark.parametrize("name", NAMES)
def test_rows_are_sent_by_tiles_and_weights_once(name: str) -> None:
    with instead_of_a_gpu(Processor):
        there = Encoder(name, "", PICTURE, 0, "cuda:0")
        before = COPIES.to, COPIES.back

        there.inputs(ROWS)

        assert (COPIES.to - before[0], COPIES.back - before[1]) == (5, 5)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_meets_a_tensor_of_another_device(name: str) -> None:
    with pretended():
        assert Encoder(name, "", PICTURE, 0, "cuda:0").inputs(ROWS)["features"].shape[0] == 70


@pytest.mark.parametrize("name", NAMES)
def test_shapes_fit_where_there_are_no_numbers(name: str) -> None:
    with instead_of_a_gpu(Imagined, "meta"):
        assert Encoder(name, "", PICTURE, 0, "cuda:0").inputs(ROWS)["features"].shape[0] == 70


@pytest.mark.parametrize("learner", ["nearest_mean", "ridge"])
def test_a_state_behind_an_encoder_on_a_gpu_says_so_whatever_learns(learner: str) -> None:
    context = LearnerContext(inputs=PICTURE, device="cuda")
    with instead_of_a_gpu(Processor):
        made = make_learner(learner, context, NAMES[0])
        labels = ClassLabels(np.zeros(70, np.int32), ("a",))
        made.learn(Batch(ROWS, labels, np.ones(70), np.zeros(70)))

        assert computed_on(made) == kind_of_gpu()
        assert computed_on(make_learner(learner, LearnerContext(inputs=PICTURE), NAMES[0])) == ""


@pytest.mark.parametrize(
    ("name", "asked", "found"),
    [
        (NAMES[0], {"spare_gpu": "cuda:0"}, "cuda:0"),
        (NAMES[0], {"device": "cuda:1"}, "cuda:1"),
        (NAMES[0], {}, "cpu"),
        ("timm:resnet50", {"spare_gpu": "cuda:0"}, "cuda:0"),
        (NAMES[1], {"spare_gpu": "cuda:0"}, "cpu"),
        (NAMES[1], {"device": "cuda:1"}, "cuda:1"),
        ("onnx:x", {"device": "cuda:1"}, "cpu"),
        ("identity", {"spare_gpu": "cuda:0"}, "cpu"),
    ],
)
def test_a_network_of_the_users_own_takes_a_spare_gpu(name: str, asked: dict[str, Any], found: str) -> None:
    assert encoder_device(EncoderSpec(name=name), LearnerContext(inputs=PICTURE, **asked)) == found


def test_where_the_gpu_has_failed_answers_are_computed_on_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, 0)
    context = LearnerContext(inputs=PICTURE, device="cuda")
    trained = make_learner("nearest_mean", LearnerContext(inputs=PICTURE), NAMES[0])
    trained.learn(Batch(ROWS, ClassLabels(np.zeros(70, np.int32), ("a",)), np.ones(70), np.zeros(70)))

    made = predictor_maker("nearest_mean", context, NAMES[0])(trained.predictor().state())

    assert (made.predict(ROWS)["label"] == 0).all()


@pytest.mark.parametrize(("device", "found"), [("cuda", KIND), ("cpu", "")])
def test_a_state_behind_columns_of_which_some_are_encoded_on_a_gpu_says_so(
    device: str, found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoding, "shared_encoder", lambda *_: Named(found))
    table: dict[str, Any] = {"amount": "numeric", "vector": {"kind": "list", "length": 3}}
    columns = columns_of(table)
    context = LearnerContext(inputs=column_specs(columns), columns=columns, device=device)

    with instead_of_a_gpu(Processor):
        made = make_learner("nearest_mean", context, EncoderSpec(name=NAMES[0], columns=("vector",)))

    assert computed_on(made) == found


class Named:
    """An encoder that says what it computes on."""

    specs = {"features": TensorSpec("features", "float32", (2,))}  # noqa: RUF012
    sha256 = "00"

    def __init__(self, computed_on: str) -> None:
        self.computed_on = computed_on
