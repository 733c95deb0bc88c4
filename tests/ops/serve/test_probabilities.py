"""Probabilities and class names over both wires: the same numbers, in the same order, and why a row has no label."""

from __future__ import annotations

import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import grpc
import httpx
import numpy as np
import pytest

from tests.ops.serve.serving import FEATURES, NAMES, RunningServer, Taught, events, new_learner, served
from thalweg.models.calibration.calibrated import calibrated, calibrated_predictor
from thalweg.models.ridge.learner import Ridge
from thalweg.ops.serve.class_names import why_no_label
from thalweg.proto import inference_pb2 as pb
from thalweg.proto import inference_pb2_grpc
from thalweg.proto.event import Batch, ClassLabels
from thalweg.proto.tensors import from_raw

CALIBRATED = Taught(
    lambda: calibrated(new_learner()), lambda state: calibrated_predictor(Ridge.predictor_from(state), state), events
)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with served(tmp_path_factory.mktemp("service"), model=CALIBRATED) as parts:
        yield parts


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with served(tmp_path_factory.mktemp("untrained"), model=CALIBRATED) as parts:
        parts.learner = CALIBRATED.new()
        parts.learner.learn(Batch({"features": np.zeros((0, FEATURES), np.float32)}, None, np.ones(0), np.ones(0)))
        parts.publisher.publish(parts.learner.predictor(), version=parts.version + 1, learned_events=0, event_time=0.0)
        assert parts.server.models.find("m").versions.subscriber.wait_for(parts.version + 1, 20)
        yield parts


def by_grpc(service: RunningServer, features: Any, *outputs: str) -> tuple[dict[str, Any], Any]:
    """Outputs by name, and the parameters."""
    request = pb.ModelInferRequest(model_name="m", raw_input_contents=[features.astype("<f4").tobytes()])
    request.inputs.add(name="features", datatype="FP32", shape=features.shape)
    for name in outputs:
        request.outputs.add(name=name)
    with grpc.insecure_channel(f"127.0.0.1:{service.server.grpc_port}") as channel:
        response = inference_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer(request)
    found = {}
    for tensor, raw in zip(response.outputs, response.raw_output_contents):
        found[tensor.name] = from_raw(tensor.name, tensor.datatype, tuple(tensor.shape), raw)
    return found, response.parameters


def by_http(service: RunningServer, features: Any, *outputs: str) -> tuple[dict[str, Any], Any]:
    tensor = {"name": "features", "shape": features.shape, "datatype": "FP32", "data": features.reshape(-1).tolist()}
    body = {"inputs": [tensor], "outputs": [{"name": name} for name in outputs]}
    answer = httpx.post(f"http://127.0.0.1:{service.server.http_port}/v2/models/m/infer", json=body)
    assert answer.status_code == 200, answer.text
    record = answer.json()
    return {one["name"]: np.array(one["data"]).reshape(one["shape"]) for one in record["outputs"]}, record["parameters"]


def test_who_asks_for_nothing_gets_probabilities_besides(service: RunningServer) -> None:
    features = events(5, seed=9).inputs["features"]

    for found, _ in (by_grpc(service, features), by_http(service, features)):
        assert list(found) == ["label", "scores", "probabilities"]
        assert found["probabilities"].shape == (5, 3)
        assert np.abs(found["probabilities"].sum(axis=1) - 1).max() < 1e-6
        assert (found["probabilities"].argmax(axis=1) == found["scores"].argmax(axis=1)).all()


def test_both_wires_give_the_same_classes_in_the_order_of_the_columns(service: RunningServer) -> None:
    batch = events(6, seed=3)
    assert isinstance(batch.labels, ClassLabels)
    wanted = ("probabilities", "classes", "label")

    grpc_found, _ = by_grpc(service, batch.inputs["features"], *wanted)
    http_found, parameters = by_http(service, batch.inputs["features"], *wanted)

    assert list(grpc_found) == list(http_found) == list(wanted)
    classes = [[name.decode() for name in row] for row in grpc_found["classes"]]
    assert classes == http_found["classes"].tolist()
    assert {tuple(row) for row in classes} == {tuple(service.learner.predictor().classes)}
    assert np.array_equal(grpc_found["probabilities"], http_found["probabilities"].astype(np.float32))
    first = [row[place] for row, place in zip(classes, grpc_found["probabilities"].argmax(axis=1))]
    assert first == http_found["label"].tolist() == [NAMES[code] for code in batch.labels.codes]
    assert "no_label" not in parameters


def test_the_metadata_say_what_there_is_and_in_which_order(service: RunningServer) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{service.server.grpc_port}") as channel:
        by_wire = inference_pb2_grpc.GRPCInferenceServiceStub(channel).ModelMetadata(pb.ModelMetadataRequest(name="m"))
    record = httpx.get(f"http://127.0.0.1:{service.server.http_port}/v2/models/m").json()

    said = [(one.name, one.datatype, list(one.shape)) for one in by_wire.outputs]
    assert said == [(one["name"], one["datatype"], one["shape"]) for one in record["outputs"]]
    assert ("probabilities", "FP32", [-1, -1]) in said
    assert ("classes", "BYTES", [-1, -1]) in said
    assert json.loads(by_wire.properties["classes"]) == list(service.learner.predictor().classes)
    assert by_wire.properties["probabilities"] == "calibrated"


def test_a_model_that_has_learned_nothing_says_so(untrained: RunningServer) -> None:
    features = np.zeros((2, FEATURES), np.float32)

    found, parameters = by_http(untrained, features, "label", "probabilities", "classes")
    _, by_wire = by_grpc(untrained, features)

    assert found["label"].tolist() == ["", ""]
    assert found["probabilities"].shape == found["classes"].shape == (2, 0)
    assert parameters["no_label"] == "no class is known: the model has learned no labelled event"
    assert by_wire["no_label"].string_param == parameters["no_label"]


def test_rows_beyond_the_models_range_are_named() -> None:
    predictor = SimpleNamespace(classes=("a", "b"))
    codes = np.array([0, -1, 1, *[-1] * 30], np.int32)

    assert why_no_label(predictor, {"label": codes}).startswith("no prediction for rows 1, 3, 4, ")  # type: ignore[arg-type]
    assert len(why_no_label(predictor, {"label": codes})) < 200  # type: ignore[arg-type]
    assert why_no_label(predictor, {"label": codes[:1]}) == ""  # type: ignore[arg-type]
    assert why_no_label(predictor, {"label": codes[:0]}) == ""  # type: ignore[arg-type]
    assert why_no_label(predictor, {"value": np.zeros((2, 1))}) == ""  # type: ignore[arg-type]


def test_rows_by_rest_show_the_same_probabilities_by_class_and_no_scores(service: RunningServer) -> None:
    features = events(2, seed=4).inputs["features"]
    found, _ = by_grpc(service, features, "probabilities", "classes")
    url = f"http://127.0.0.1:{service.server.http_port}/v1/models/m/predict"

    rows = httpx.post(url, json=[{"features": row.tolist()} for row in features]).json()
    asked = httpx.post(f"{url}?outputs=label,scores,classes", json={"features": features[0].tolist()}).json()

    for row, names, values in zip(rows, found["classes"], found["probabilities"]):
        assert set(row) >= {"label", "probabilities"}
        assert "scores" not in row
        assert list(row["probabilities"]) == [name.decode() for name in names]
        assert np.array_equal(np.array(list(row["probabilities"].values()), np.float32), values)
    assert list(asked["scores"]) == asked["classes"] == list(service.learner.predictor().classes)
