"""Users and items named by texts: the same answer on every route, and the same as for their numbers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import httpx
import numpy as np
import pytest

from tests.ops.serve.serving import RunningServer, Taught, served
from thalweg.models.contract.learner import LearnerContext
from thalweg.models.error_memory.learner import ErrorMemory
from thalweg.proto import inference_pb2 as pb
from thalweg.proto import inference_pb2_grpc
from thalweg.proto.event import Batch, NumberLabels
from thalweg.proto.rows.ids import id_number
from thalweg.proto.schema import TensorSpec

USER = "0f8fad5b-d9cb-469f-a165-70867728950e"
CONTEXT = LearnerContext(
    inputs={name: TensorSpec(name, "int64", ()) for name in ("user", "item")},
    params={"dim": 4, "hidden": "8", "network": "mlp"},
)


def clicks(count: int, seed: int) -> Batch:
    """This user clicks on item 7 alone."""
    random = np.random.default_rng(seed)
    items = random.integers(6, 9, count)
    users = np.full(count, id_number("user", USER))
    labels = NumberLabels((items == 7).astype(np.float64)[:, None])
    return Batch({"user": users, "item": items}, labels, np.ones(count), np.arange(count, dtype=float))


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    model = Taught(lambda: ErrorMemory(CONTEXT), ErrorMemory.predictor_from, clicks)
    with served(tmp_path_factory.mktemp("service"), model=model) as parts:
        yield parts


def by_rest(service: RunningServer, user: Any, item: Any) -> float:
    url = f"http://127.0.0.1:{service.server.http_port}/v1/models/m/predict"
    answer = httpx.post(url, json={"user": user, "item": item}, timeout=60)
    assert answer.status_code == 200, answer.text
    return float(answer.json()["score"])


def by_open_inference_json(service: RunningServer, user: Any, item: Any) -> float:
    url = f"http://127.0.0.1:{service.server.http_port}/v2/models/m/infer"
    inputs = [
        {
            "name": name,
            "shape": [1],
            "datatype": "BYTES" if isinstance(value, str) else "INT64",
            "data": [value],
        }
        for name, value in (("user", user), ("item", item))
    ]
    answer = httpx.post(url, json={"inputs": inputs, "outputs": [{"name": "score"}]}, timeout=60)
    assert answer.status_code == 200, answer.text
    return float(answer.json()["outputs"][0]["data"][0])


def by_grpc(service: RunningServer, user: Any, item: Any) -> float:
    request = pb.ModelInferRequest(model_name="m")
    request.outputs.add(name="score")
    for name, value in (("user", user), ("item", item)):
        if isinstance(value, str):
            request.inputs.add(name=name, datatype="BYTES", shape=[1]).contents.bytes_contents.append(value.encode())
        else:
            request.inputs.add(name=name, datatype="INT64", shape=[1]).contents.int64_contents.append(value)
    with grpc.insecure_channel(f"127.0.0.1:{service.server.grpc_port}") as channel:
        response = inference_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer(request, timeout=60)
    (output,) = response.outputs
    if response.raw_output_contents:
        return float(np.frombuffer(response.raw_output_contents[0], "<f4")[0])
    return float(output.contents.fp32_contents[0])


@pytest.mark.parametrize("ask", [by_rest, by_open_inference_json, by_grpc])
def test_a_text_asks_for_the_user_of_its_number(service: RunningServer, ask: Any) -> None:
    liked, other = ask(service, USER, 7), ask(service, USER, "8")

    assert liked > other
    assert ask(service, id_number("user", USER), "7") == pytest.approx(liked)


@pytest.mark.parametrize("user", ["", 1.5, [1, 2], None, True, "x" * 1025])
def test_what_is_no_id_is_refused_by_name(service: RunningServer, user: Any) -> None:
    url = f"http://127.0.0.1:{service.server.http_port}/v1/models/m/predict"

    answer = httpx.post(url, json={"user": user, "item": 7}, timeout=60)

    assert answer.status_code == 400
    assert "user" in answer.text
