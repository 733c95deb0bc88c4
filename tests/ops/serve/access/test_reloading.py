"""A file of tokens or a certificate that cannot be taken up is told where health is told, until it can."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.ops.serve.serving import served
from tests.services.certificates import Authority
from tests.services.processes import until
from thalweg.memory.audit import audit_log
from thalweg.ops.serve.access.tokens import Tokens
from thalweg.ops.serve.tls.certificates import Certificates, TlsFiles
from thalweg.stream.health.registry import Health


class Clock:
    """A second passes with each look."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


def audited(folder: Path) -> list[tuple[str, str, str]]:
    entries = map(json.loads, (folder / "audit.jsonl").read_text().splitlines())
    return [(entry["action"], entry["by_kind"], entry["outcome"]) for entry in entries]


def told(health: Health) -> tuple[str, str]:
    now = health.now()
    return now.state.value, now.reason


def test_tokens(tmp_path: Path) -> None:
    path, health = tmp_path / "tokens", Health("tokens")
    path.write_text("a-token-of-some-length")
    tokens = Tokens(path, Clock(), health, audit_log(tmp_path))
    assert told(health) == ("running", "")

    path.write_text("short")
    tokens.identity(None)

    state, reason = told(health)
    assert state == "degraded"
    assert "the previous ones stay valid" in reason
    assert "at least 16 characters" in reason
    path.write_text("another-token-of-some-length")
    tokens.identity(None)
    assert told(health) == ("running", "")
    assert audited(tmp_path) == [("reload_tokens", "service", "failed"), ("reload_tokens", "service", "done")]
    assert "of-some-length" not in (tmp_path / "audit.jsonl").read_text()


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("root"))


def test_certificates(tmp_path: Path, root: Authority) -> None:
    first, second, health = root.issue("first"), root.issue("second"), Health("certificates")
    files = TlsFiles(str(tmp_path / "c.pem"), str(tmp_path / "c.key"))
    shutil.copy(first.certificate, files.certificate)
    shutil.copy(first.key, files.key)
    certificates = Certificates(files, Clock(), health, audit_log(tmp_path))
    certificates.current()
    assert told(health) == ("running", "")

    shutil.copy(second.key, files.key)
    certificates.current()

    state, reason = told(health)
    assert state == "degraded"
    assert reason.startswith("cannot reload the certificates, the previous ones stay in use: tls_key: ")
    shutil.copy(second.certificate, files.certificate)
    certificates.current()
    assert told(health) == ("running", "")


def test_a_server_tells_of_files_that_cannot_be_used_though_nobody_calls(tmp_path: Path, root: Authority) -> None:
    path, issued, healths = tmp_path / "tokens", root.issue("third"), (Health("tokens"), Health("certificates"))
    path.write_text("a-token-of-some-length")
    files = TlsFiles(str(tmp_path / "c.pem"), str(tmp_path / "c.key"))
    shutil.copy(issued.certificate, files.certificate)
    shutil.copy(issued.key, files.key)
    parts = {"tokens": Tokens(path, Clock(), healths[0]), "certificates": Certificates(files, Clock(), healths[1])}

    with served(tmp_path / "service", **parts):
        path.write_text("short")
        Path(files.certificate).write_text("none")

        until("both are told", lambda: [told(health)[0] for health in healths] == ["degraded", "degraded"])
