"""What Docker asks in the container: healthy with and without TLS, unhealthy where nothing answers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.ops.serve.serving import served
from tests.services.certificates import Authority
from tests.services.ports import free_port
from thalweg.ops.serve.access.tokens import Tokens
from thalweg.ops.serve.tls.certificates import Certificates, TlsFiles

SCRIPT = Path(__file__).parents[4] / "ops" / "docker" / "healthcheck.py"


def exit_code(port: int) -> int:
    environment = os.environ | {"THALWEG_SERVICE__HTTP": f"0.0.0.0:{port}"}
    return subprocess.run([sys.executable, str(SCRIPT)], env=environment, timeout=120, check=False).returncode


@pytest.mark.parametrize("how", ["plain", "tls", "mutual"])
def test_a_service_that_answers_is_healthy(tmp_path: Path, how: str) -> None:
    settings = {}
    if how != "plain":
        root = Authority(tmp_path / "root")
        issued = root.issue("server")
        ca = str(root.certificate) if how == "mutual" else ""
        settings["certificates"] = Certificates(TlsFiles(str(issued.certificate), str(issued.key), ca))
    if how == "mutual":
        (tmp_path / "tokens").write_text("certificate:scoring roles=predict\n")
        settings["tokens"] = Tokens(tmp_path / "tokens")

    with served(tmp_path, **settings) as parts:
        assert exit_code(parts.server.http_port) == 0


def test_a_port_without_a_service_is_not_healthy() -> None:
    assert exit_code(free_port()) == 1
