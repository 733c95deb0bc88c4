"""A request of many rows gets, on every interface, the answers that its rows get alone.

It is read, computed and written in pieces.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import grpc
import httpx
import numpy as np
import pytest

from tests.ops.serve.serving import FEATURES, RunningServer, events, served
from thalweg.ops.serve.bounds.pieces import PIECE_ROWS
from thalweg.ops.serve.settings import ServerLimits
from thalweg.proto import inference_pb2 as pb
from thalweg.proto import inference_pb2_grpc

ROWS = 4 * PIECE_ROWS + 1237
LABELS = list[str]
Scores = Any


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with served(tmp_path_factory.mktemp("large"), limits=ServerLimits()) as parts:
        yield parts


@pytest.fixture(scope="module")
def features() -> Any:
    return events(ROWS, 7).inputs["features"]


@pytest.fixture(scope="module")
def expected(service: RunningServer, features: Any) -> tuple[LABELS, Scores]:
    """By the predictor itself, a few rows at a time."""
    predictor = service.learner.predictor()
    parts = [predictor.predict({"features": features[start : start + 8]}) for start in range(0, ROWS, 8)]
    codes = np.concatenate([part["label"] for part in parts])
    scores = np.concatenate([part["scores"] for part in parts])
    return [predictor.classes[code] for code in codes.tolist()], scores


def address(service: RunningServer) -> str:
    return f"127.0.0.1:{service.server.grpc_port}"


def post(service: RunningServer, path: str, body: bytes) -> Any:
    answer = httpx.post(f"http://127.0.0.1:{service.server.http_port}{path}", content=body, timeout=240)
    assert answer.status_code == 200, answer.text[:300]
    return answer.json()


@pytest.mark.parametrize("typed", [False, True])
def test_over_grpc(service: RunningServer, features: Any, expected: tuple[LABELS, Scores], typed: bool) -> None:
    request = pb.ModelInferRequest(model_name="m")
    tensor = request.inputs.add(name="features", datatype="FP32", shape=[ROWS, FEATURES])
    if typed:
        tensor.contents.fp32_contents.extend(features.reshape(-1).tolist())
    else:
        request.raw_input_contents.append(features.tobytes())

    with grpc.insecure_channel(address(service), [("grpc.max_receive_message_length", -1)]) as channel:
        answer = inference_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer(request, timeout=240)

    labels, scores = expected
    places = {output.name: place for place, output in enumerate(answer.outputs)}
    assert answer.raw_output_contents[places["scores"]] == scores.tobytes()
    framed = b"".join(len(one).to_bytes(4, "little") + one for one in map(str.encode, labels))
    assert answer.raw_output_contents[places["label"]] == framed
    if typed:
        assert [one.decode() for one in answer.outputs[places["label"]].contents.bytes_contents] == labels
        given = np.array(answer.outputs[places["scores"]].contents.fp32_contents, np.float32)
        assert given.tobytes() == scores.tobytes()


def test_in_tensors_of_json(service: RunningServer, features: Any, expected: tuple[LABELS, Scores]) -> None:
    tensor = {"name": "features", "datatype": "FP32", "shape": [ROWS, FEATURES], "data": features.tolist()}

    answer = post(service, "/v2/models/m/infer", json.dumps({"inputs": [tensor]}).encode())

    outputs = {output["name"]: output["data"] for output in answer["outputs"]}
    assert outputs["label"] == expected[0]
    assert np.array(outputs["scores"], np.float32).tobytes() == expected[1].tobytes()


@pytest.mark.parametrize("path", ["/v1/models/m/predict", "/v1/models/m:predict"])
def test_in_rows(service: RunningServer, features: Any, expected: tuple[LABELS, Scores], path: str) -> None:
    rows = [{"id": f"e{place}", "features": row} for place, row in enumerate(features.tolist())]
    body = {"instances": rows} if ":" in path else rows

    answer = post(service, path, json.dumps(body).encode())

    found = answer["predictions"] if ":" in path else answer
    assert [row["label"] for row in found] == expected[0]
    assert [row["id"] for row in found] == [row["id"] for row in rows]


def test_an_error_names_the_row_of_the_request_wherever_it_is_cut(service: RunningServer, features: Any) -> None:
    rows: list[Any] = [{"features": row} for row in features.tolist()]
    rows[ROWS - 5] = {"features": [1.0, "x", 1.0, 1.0]}

    answer = httpx.post(
        f"http://127.0.0.1:{service.server.http_port}/v1/models/m/predict", content=json.dumps(rows), timeout=240
    )

    assert answer.status_code == 400
    assert f"row {ROWS - 5}" in answer.json()["error"]


def test_no_rows_are_answered_with_none(service: RunningServer) -> None:
    assert post(service, "/v1/models/m/predict", b"[]") == []
    assert post(service, "/v1/models/m:predict", b'{"instances":[]}') == {"predictions": []}


def test_an_answer_that_could_not_be_sent_is_refused_with_what_fits(service: RunningServer) -> None:
    rows = 3_900_000  # of 16 bytes: the request is just not too large itself
    request = pb.ModelInferRequest(model_name="m")
    request.inputs.add(name="features", datatype="FP32", shape=[rows, FEATURES])
    request.raw_input_contents.append(bytes(4 * FEATURES * rows))

    with grpc.insecure_channel(address(service)) as channel, pytest.raises(grpc.RpcError) as refused:
        inference_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer(request, timeout=240)

    error: Any = refused.value
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "(service.max_message_bytes); send at most " in error.details()
