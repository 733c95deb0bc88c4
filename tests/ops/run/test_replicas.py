"""Several server processes behind one address: callers are spread over them, and one that dies costs only its own."""

from __future__ import annotations

import json
import os
import signal
import socket
from pathlib import Path

import grpc
import httpx
import numpy as np
import pytest

from tests.ops.running import FEATURES, Service, service, until
from tests.services.processes import PATIENCE, stop
from thalweg.proto import inference_pb2 as pb

pytestmark = pytest.mark.slow

MANY = 40
"""Connections: that all of them come to the same of two processes does not happen."""


def asked(running: Service) -> int:
    """Ask over many connections of both interfaces; how many were answered."""
    request = pb.ModelInferRequest(model_name="m")
    request.inputs.add(name="features", datatype="FP32", shape=[1, FEATURES])
    request.raw_input_contents.append(np.eye(FEATURES, dtype=np.float32)[:1].tobytes())
    content, answered = request.SerializeToString(), 0
    for _ in range(MANY // 2):
        options = [("grpc.use_local_subchannel_pool", 1)]
        with grpc.insecure_channel(f"127.0.0.1:{running.ports['grpc']}", options) as channel:
            channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")(content, timeout=60, wait_for_ready=True)
            answered += 1
        url = f"http://127.0.0.1:{running.ports['http']}/v1/models/m/predict"
        answered += httpx.post(url, json={"features": [0.0] * FEATURES}, timeout=60).status_code == 200
    return answered


def answers(running: Service) -> float | None:
    return running.metric("thalweg_inference_requests_total", model_name="m", code="OK")


def counted_by(running: Service, number: int) -> float:
    """What one of them has told of its own answers."""
    path = running.folder / "state" / "live" / f"server-{number}.json"
    counters = json.loads(path.read_text())["counters"]
    return float(sum(count for name, _, count in counters if name == "thalweg_inference_requests_total"))


def test_callers_are_spread_over_the_servers_and_one_that_dies_costs_only_its_own(tmp_path: Path) -> None:
    with service(tmp_path) as running:
        running.path.write_text(running.path.read_text().replace("[service]", "[service]\nservers = 2"))
        running.send(100)
        supervisor = running.start()
        until("readiness", running.ready)
        until("both servers", lambda: running.pid("server") and running.pid("server-2"))
        rounds = 0
        while not rounds or min(counted_by(running, number) for number in (1, 2)) == 0:
            assert asked(running) == MANY
            rounds += 1
            until("all to be told", lambda sent=rounds * MANY: sum(counted_by(running, one) for one in (1, 2)) == sent)
        assert rounds < 3
        assert answers(running) == rounds * MANY
        first = running.pid("server")
        assert first is not None
        up = {role: running.metric("thalweg_process_up", role=role) for role in ("server", "server-2", "learner")}
        assert up == {"server": 1, "server-2": 1, "learner": 1}

        os.kill(first, signal.SIGKILL)

        until("another server", lambda: running.pid("server") not in (None, first))
        until("readiness of both", lambda: all(running.ready() for _ in range(MANY)))
        assert asked(running) == MANY
        until("the sum over the dead one, too", lambda: answers(running) == (rounds + 1) * MANY)
        assert running.metric("thalweg_process_restarts_total", role="server") == 1
        assert running.metric("thalweg_process_restarts_total", role="server-2") == 0
        assert stop(supervisor) == 0, running.text()


def test_they_share_their_address_with_nobody_else(tmp_path: Path) -> None:
    with service(tmp_path) as running, socket.create_server(("127.0.0.1", running.ports["http"]), reuse_port=True):
        running.path.write_text(running.path.read_text().replace("[service]", "[service]\nservers = 2"))
        supervisor = running.start()

        assert supervisor.wait(PATIENCE) == 2
        assert f"cannot listen on 127.0.0.1:{running.ports['http']}" in running.text()
