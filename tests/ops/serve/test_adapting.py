"""A deployed classifier that adapts to what it is asked: requests become events, answers change."""

from __future__ import annotations

from pathlib import Path

import grpc
import httpx
import numpy as np
import pytest
from safetensors.torch import save_file

from tests.models.small_networks import SIDE, convolutional
from tests.ops.running import Service, service, until
from tests.services.processes import PATIENCE, stop
from thalweg.proto import inference_pb2 as pb
from thalweg.proto import inference_pb2_grpc

pytestmark = pytest.mark.slow

MODEL = "learn_from_requests = true\n"


def asked(stub: inference_pb2_grpc.GRPCInferenceServiceStub, images: np.ndarray) -> pb.ModelInferResponse:
    request = pb.ModelInferRequest(model_name="m")
    request.inputs.add(name="image", datatype="FP32", shape=images.shape)
    request.raw_input_contents.append(images.astype(np.float32).tobytes())
    return stub.ModelInfer(request, timeout=PATIENCE, wait_for_ready=True)


def adapted(running: Service) -> float:
    return running.metric("thalweg_state_version", model_name="m") or 0.0


def check(running: Service) -> None:
    """Ask until the model has adapted to what it was asked; then ask what it must refuse."""
    generator = np.random.default_rng(0)
    supervisor = running.start()
    until("readiness", running.ready)
    with grpc.insecure_channel(f"127.0.0.1:{running.ports['grpc']}") as channel:
        stub = inference_pb2_grpc.GRPCInferenceServiceStub(channel)
        probe = generator.random((1, 1, SIDE, SIDE))
        first = asked(stub, probe)
        for _ in range(8):
            asked(stub, 0.5 + 0.5 * generator.random((5, 1, SIDE, SIDE)))
        until("requests to be learned", lambda: running.metric("thalweg_requests_recorded_total", model_name="m") == 41)
        until("a version that has adapted", lambda: adapted(running) > 0)
        until("other answers", lambda: asked(stub, probe).raw_output_contents[1] != first.raw_output_contents[1])
        with pytest.raises(grpc.RpcError) as caught:
            asked(stub, probe * 255)
        assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT  # type: ignore[attr-defined]
        assert "divided by 255" in caught.value.details()  # type: ignore[attr-defined]
        with httpx.Client(base_url=f"http://127.0.0.1:{running.ports['http']}/v2/models/m") as client:
            tensor = {"name": "image", "datatype": "FP32", "shape": [1, 1, SIDE, SIDE], "data": probe.ravel().tolist()}
            answer = client.post("/infer", json={"inputs": [tensor]}).json()
            small = {**tensor, "shape": [1, 1, 2, 2], "data": [0.0] * 4}
            refused = client.post("/infer", json={"inputs": [small]})
    assert answer["outputs"][0]["data"][0] in {"cat", "dog", "owl", "eel"}
    assert (refused.status_code, "input 'image'" in refused.json()["error"]) == (400, True)
    assert stop(supervisor) == 0, running.text()


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "source.safetensors"
    save_file(convolutional().state_dict(), path)
    return path


def test_what_is_asked_is_adapted_to(tmp_path: Path, weights: Path) -> None:
    with service(tmp_path, learner="cotta", model=MODEL, more=f'weights = "{weights}"\n') as running:
        check(running)
        newest = running.snapshots().newest()
        assert newest is not None
        assert newest.manifest.events_learned == 0  # nothing of it carried a label


@pytest.mark.kafka
def test_what_is_asked_is_adapted_to_over_kafka(tmp_path: Path, weights: Path, kafka_servers: str) -> None:
    with service(
        tmp_path,
        f"kafka://{kafka_servers}",
        f"m-{tmp_path.name[-8:]}",
        learner="cotta",
        model=MODEL,
        more=f'weights = "{weights}"\n',
    ) as running:
        check(running)
