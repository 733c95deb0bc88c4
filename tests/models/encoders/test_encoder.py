"""Encoders: a learner behind one is a learner; what is encoded once is not encoded again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import save_file

from tests.models import small_networks
from thalweg.memory.snapshots.state import State
from thalweg.models.contract.learner import Learner, LearnerContext, ParamsError, Predictor
from thalweg.models.contract.registry import find
from thalweg.models.contract.testing import LearnerContract
from thalweg.models.encoders.encoded import EncodedPredictor, make_learner
from thalweg.models.encoders.encoder import Encoder, shared_encoder
from thalweg.proto.event import Batch, ClassLabels
from thalweg.proto.schema import TensorSpec

IMAGE = {"image": TensorSpec("image", "float32", (1, 8, 8))}
EMBEDDING = "tests.models.small_networks:embedding"


def pictures(count: int, seed: int = 0, ids: bool = False) -> Batch:
    """Of two kinds, bright to the left or to the right."""
    generator = np.random.default_rng(seed)
    codes = generator.integers(0, 2, count).astype(np.int32)
    x = generator.random((count, 1, 8, 8)).astype(np.float32)
    x[codes == 1] = x[codes == 1][..., ::-1] * np.linspace(0.2, 1.0, 8, dtype=np.float32)
    x[codes == 0] = x[codes == 0] * np.linspace(1.0, 0.2, 8, dtype=np.float32)
    names = [f"e{seed}-{row}" for row in range(count)] if ids else None
    return Batch({"image": x}, ClassLabels(codes, ("left", "right")), np.ones(count), np.zeros(count), names)


class Contract(LearnerContract):
    learner, encoder = "ridge", EMBEDDING
    params: dict[str, Any] = {"expansion": 16}  # noqa: RUF012

    def new(self) -> Learner:
        return make_learner(self.learner, LearnerContext(inputs=IMAGE, params=self.params), self.encoder)

    def other(self) -> Learner:
        larger = {"image": TensorSpec("image", "float32", (1, 8, 9))}
        return make_learner(self.learner, LearnerContext(inputs=larger, params=self.params), "random_features:48")

    def predictor_from(self, state: State) -> Predictor:
        return EncodedPredictor(find(self.learner).predictor_from(state), shared_encoder(self.encoder, "", IMAGE, 0))

    def batches(self) -> list[Batch]:
        return [pictures(13, seed, ids=seed % 2 == 0) for seed in range(5)]


class TestRidgeBehindAModule(Contract):
    pass


class TestRidgeBehindRandomFilters(Contract):
    encoder = "random_convolution:64"


class TestBottleneckBehindRandomFeatures(Contract):
    learner, encoder = "bottleneck", "random_features:32"
    params: dict[str, Any] = {"heads": 4, "pairs": 8, "key_width": 3, "key_events": 20, "key_steps": 5}  # noqa: RUF012


def onnx_file(path: Path) -> str:
    """An encoder that folds a picture of 8 × 8 flat and multiplies it, rectified."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    weights = np.random.default_rng(0).normal(0, 0.1, (64, 16)).astype(np.float32)
    make, kind = onnx.helper, onnx.TensorProto.FLOAT
    graph = make.make_graph(
        [
            make.make_node("Flatten", ["x"], ["flat"], axis=1),
            make.make_node("MatMul", ["flat", "weights"], ["raw"]),
            make.make_node("Relu", ["raw"], ["features"]),
        ],
        "encoder",
        [make.make_tensor_value_info("x", kind, ["n", 1, 8, 8])],
        [make.make_tensor_value_info("features", kind, ["n", 16])],
        [onnx.numpy_helper.from_array(weights, "weights")],
    )
    onnx.save(make.make_model(graph, opset_imports=[make.make_opsetid("", 17)], ir_version=9), path)
    return f"onnx:{path}"


def test_an_onnx_file_encodes_as_what_it_says(tmp_path: Path) -> None:
    encoder = Encoder(onnx_file(tmp_path / "e.onnx"), "", IMAGE, 0)
    x = pictures(11).inputs

    found = encoder.inputs(x)["features"]

    weights = np.random.default_rng(0).normal(0, 0.1, (64, 16)).astype(np.float32)
    np.testing.assert_allclose(found, np.maximum(x["image"].reshape(11, -1) @ weights, 0), atol=1e-5)
    np.testing.assert_array_equal(encoder.inputs({"image": x["image"][4:5]})["features"], found[4:5])
    (tmp_path / "torn.onnx").write_bytes((tmp_path / "e.onnx").read_bytes()[:100])
    with pytest.raises(ParamsError, match=r"encoder: .*torn.onnx cannot be read as ONNX"):
        Encoder(f"onnx:{tmp_path}/torn.onnx", "", IMAGE, 0)
    with pytest.raises(ParamsError, match=r"encoder: .* cannot take inputs of shape"):
        Encoder(f"onnx:{tmp_path}/e.onnx", "", {"x": TensorSpec("x", "float32", (3,))}, 0)


@pytest.mark.parametrize("encoder", [EMBEDDING, "random_convolution:64", "random_features:64"])
def test_behind_an_encoder_pictures_are_told_apart(encoder: str) -> None:
    made = make_learner("ridge", LearnerContext(inputs=IMAGE, params={"expansion": 0}), encoder)
    for seed in range(20):
        made.learn(pictures(50, seed))

    asked = pictures(200, seed=99)
    told = made.predictor().predict(asked.inputs)["label"]

    assert isinstance(asked.labels, ClassLabels)
    right = [made.predictor().classes[code] == asked.labels.names[true] for code, true in zip(told, asked.labels.codes)]
    assert np.mean(right) > 0.9


def test_an_event_is_encoded_once_whoever_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = Encoder(EMBEDDING, "", IMAGE, 0)
    rows = []
    encode = encoder._encode
    monkeypatch.setattr(encoder, "_encode", lambda x: rows.append(len(x["image"])) or encode(x))
    batch = pictures(24, ids=True)

    first = encoder.batch(batch)
    again = encoder.batch(batch[8:])

    assert sum(rows) == 24
    np.testing.assert_array_equal(again.inputs["features"], first.inputs["features"][8:])
    assert again.labels is not None
    assert shared_encoder(EMBEDDING, "", IMAGE, 0) is shared_encoder(EMBEDDING, "", IMAGE, 7)


def test_an_id_that_stands_for_other_inputs_elsewhere_changes_nothing() -> None:
    one, other = pictures(8, ids=True), pictures(8, seed=5)
    same_ids = Batch(other.inputs, other.labels, other.weights, other.times, one.ids)
    encoder = Encoder(EMBEDDING, "", IMAGE, 0)
    encoder.batch(one)

    found = encoder.batch(same_ids).inputs["features"]

    np.testing.assert_array_equal(found, Encoder(EMBEDDING, "", IMAGE, 0).inputs(other.inputs)["features"])


def test_another_file_of_weights_is_another_encoder(tmp_path: Path) -> None:
    tensors = small_networks.embedding().state_dict()
    for name, factor in (("a", 1.0), ("b", 2.0)):
        save_file({key: each * factor for key, each in tensors.items()}, tmp_path / name)

    one, other = (Encoder(EMBEDDING, str(tmp_path / name), IMAGE, 0) for name in "ab")

    assert one.sha256 != other.sha256
    x = {"image": pictures(3).inputs["image"]}
    assert (one.inputs(x)["features"] != other.inputs(x)["features"]).any()


@pytest.mark.parametrize(
    ("encoder", "weights", "message"),
    [
        ("tests.models.small_networks:layered", "", "encoder: .* cannot take inputs of shape"),
        ("tests.models.small_networks:scalar", "", r"encoder: expected features \(N, F\)"),
        ("tests.models.small_networks:raising", "", "encoder: .* raised RuntimeError"),
        (EMBEDDING, "nowhere.safetensors", "weights: .*cannot be read"),
        ("random_convolution:20", "", "a multiple of 16 features, got size 20"),
    ],
)
def test_encoders_that_do_not_fit_are_refused(encoder: str, weights: str, message: str) -> None:
    with pytest.raises(ParamsError, match=message):
        make_learner("ridge", LearnerContext(inputs=IMAGE), encoder, weights)
