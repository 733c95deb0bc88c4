"""SIGTERM under load: every request that was begun is answered."""

from __future__ import annotations

import json
import signal
import threading
from pathlib import Path

import grpc
import httpx
import pytest

from tests.ops.running import service
from tests.ops.serve.test_server import REST
from tests.services.processes import until
from thalweg.proto import inference_pb2 as pb

pytestmark = pytest.mark.slow

METHOD = "/inference.GRPCInferenceService/ModelInfer"
CALLERS = 6


def content() -> bytes:
    request = pb.ModelInferRequest(model_name="m")
    request.inputs.add(name="features", datatype="FP32", shape=[1, 4])
    request.raw_input_contents.append(bytes(16))
    return request.SerializeToString()


def test_a_server_that_is_told_to_stop_answers_every_request_that_was_begun(tmp_path: Path) -> None:
    with service(tmp_path) as running:
        running.send(200)
        process = running.start()
        until("readiness", running.ready)
        answered = {"grpc": 0, "http": 0}
        ends: list[str] = []

        def over_grpc() -> None:
            options = [("grpc.use_local_subchannel_pool", 1)]
            with grpc.insecure_channel(f"127.0.0.1:{running.ports['grpc']}", options) as channel:
                call = channel.unary_unary(METHOD)
                while True:
                    try:
                        call(content(), timeout=60)
                    except grpc.RpcError as error:
                        ends.append(f"{error.code().name}: {error.details()}")
                        return
                    answered["grpc"] += 1

        def over_http() -> None:
            with httpx.Client(base_url=f"http://127.0.0.1:{running.ports['http']}", timeout=60) as client:
                while True:
                    try:
                        status = client.post("/v2/models/m/infer", content=json.dumps(REST)).status_code
                    except httpx.HTTPError as error:
                        ends.append(f"{type(error).__name__}: {error}")
                        return
                    ends.extend([f"HTTP {status}"] * (status != 200))
                    answered["http"] += 1

        callers = [threading.Thread(target=kind) for kind in (over_grpc, over_http) for _ in range(CALLERS)]
        for caller in callers:
            caller.start()
        until("load", lambda: min(answered.values()) > 100)
        process.send_signal(signal.SIGTERM)
        for caller in callers:
            caller.join(60)

        assert len(ends) == 2 * CALLERS
        refused = ("UNAVAILABLE: failed to connect", "ConnectError: ")  # no connection, so no request was begun
        assert [end for end in ends if not end.startswith(refused)] == []
        assert process.wait(60) == 0
