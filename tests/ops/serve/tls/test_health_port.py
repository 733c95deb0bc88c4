"""The port for health and metrics alone: in plain text, whatever the other ports ask for."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.ops.serve.serving import RunningServer, served
from tests.ops.serve.tls.test_container_health import SCRIPT
from tests.services.certificates import Authority
from tests.services.ports import free_port
from tests.services.processes import until
from thalweg.ops.config.access.exposure import exposures
from thalweg.ops.config.config import Config, parse
from thalweg.ops.config.error import ConfigurationError
from thalweg.ops.run.relay.monitor import Monitor
from thalweg.ops.serve.access.access import AccessSettings
from thalweg.ops.serve.access.tokens import Tokens
from thalweg.ops.serve.settings import Addresses
from thalweg.ops.serve.tls.certificates import Certificates, TlsFiles

MODEL = {"name": "m", "learner": "ridge", "topic": "t", "inputs": {"features": {"shape": [4]}}}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("mutual")
    root = Authority(folder / "root")
    issued = root.issue("server")
    (folder / "tokens").write_text("certificate:scoring roles=predict\n")
    with served(
        folder,
        addresses=Addresses(grpc="127.0.0.1:0", http="127.0.0.1:0", health="127.0.0.1:0"),
        certificates=Certificates(TlsFiles(str(issued.certificate), str(issued.key), str(root.certificate))),
        tokens=Tokens(folder / "tokens"),
        access=AccessSettings(),
    ) as parts:
        yield parts


def url(service: RunningServer, path: str) -> str:
    return f"http://127.0.0.1:{service.server.health_port}{path}"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/healthz", 200),
        ("/readyz", 503),
        ("/readyz?exclude=untrained", 503),
        ("/v2/health/live", 200),
        ("/metrics", 200),
    ],
)
def test_who_has_neither_certificate_nor_token_is_told_of_health_and_metrics(
    service: RunningServer, path: str, status: int
) -> None:
    answer = httpx.get(url(service, path), timeout=60)

    assert answer.status_code == status
    if path == "/metrics":
        assert "thalweg_state_version" in answer.text


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/v1/models"),
        ("POST", "/v1/models/m/predict"),
        ("POST", "/v2/models/m/infer"),
        ("POST", "/v1/models/m/events"),
        ("GET", "/openapi.json"),
        ("GET", "/api/models"),
        ("POST", "/healthz"),
    ],
)
def test_nothing_else_is_answered_there(service: RunningServer, method: str, path: str) -> None:
    assert httpx.request(method, url(service, path), timeout=60).status_code in (404, 405)


def test_the_other_port_still_asks_for_a_certificate(service: RunningServer) -> None:
    with pytest.raises(httpx.TransportError):
        httpx.get(f"https://127.0.0.1:{service.server.http_port}/healthz", verify=False, timeout=60)


def test_a_page_of_another_name_is_refused_there_as_well(service: RunningServer) -> None:
    answer = httpx.get(url(service, "/metrics"), headers={"host": "elsewhere.example"}, timeout=60)

    assert answer.status_code == 403


def test_docker_asks_it_where_there_is_one(service: RunningServer) -> None:
    def code(port: int | None) -> int:
        more = {"THALWEG_SERVICE__HEALTH": f"0.0.0.0:{port}", "THALWEG_SERVICE__HTTP": f"0.0.0.0:{free_port()}"}
        return subprocess.run([sys.executable, str(SCRIPT)], env=os.environ | more, timeout=120, check=False).returncode

    assert code(service.server.health_port) == 0
    assert code(free_port()) == 1


def test_a_host_that_only_learns_has_it_too(tmp_path: Path) -> None:
    port = free_port()
    monitor = Monitor(configured(tmp_path, health=f"127.0.0.1:{port}", http="127.0.0.1:0"))
    monitor.start()
    try:
        answer = until("an answer", lambda: httpx.get(f"http://127.0.0.1:{port}/healthz", timeout=60))
        assert answer.status_code == 200
        assert httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=60).status_code == 200
    finally:
        monitor.close()


@pytest.mark.parametrize(
    ("health", "said"),
    [
        ("8082", "service.health: expected HOST:PORT, got '8082'"),
        ("127.0.0.1:8080", "service.health: expected another address than service.http, got '127.0.0.1:8080'"),
        ("127.0.0.1:8081", "service.health: expected another address than service.grpc, got '127.0.0.1:8081'"),
    ],
)
def test_an_address_that_cannot_be_is_refused_by_name(tmp_path: Path, health: str, said: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        configured(tmp_path, health=health)

    assert said in str(refused.value)


def test_check_tells_where_others_can_reach_it(tmp_path: Path) -> None:
    (tmp_path / "tokens").write_text("certificate:scoring roles=predict\n")
    token_file = str(tmp_path / "tokens")

    far = list(exposures(configured(tmp_path, health="0.0.0.0:8082", token_file=token_file)))
    near = list(exposures(configured(tmp_path, health="127.0.0.1:8082", token_file=token_file)))

    assert any(one.startswith("service.health: others can reach it") for one in far)
    assert not any(one.startswith("service.health") for one in near)


def configured(folder: Path, **service: object) -> Config:
    table = {"service": {"state_dir": str(folder / "state"), **service}, "model": [MODEL]}
    return parse(table, "test", {})
