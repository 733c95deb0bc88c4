"""The whole service as it is run where others reach it: TLS, tokens, and files that are nobody else's."""

from __future__ import annotations

import os
from pathlib import Path

import httpx
import pytest

from tests.ops.running import WAIT, Service, service, until
from tests.services import warm
from tests.services.certificates import Authority
from tests.services.processes import stop
from thalweg.memory.trust import client_context

pytestmark = pytest.mark.slow

PREDICT, READ = "a-token-for-predictions", "a-token-for-dashboards"
ROW = '{"features": [0, 0, 0, 0]}'


def secure(running: Service, folder: Path) -> Authority:
    """Rewrite its configuration for TLS and tokens."""
    root = Authority(folder / "pki")
    issued = root.issue("server")
    tokens = folder / "tokens"
    tokens.write_text(f"{PREDICT} roles=predict\n{READ} roles=read\n")
    settings = f'tls_certificate = "{issued.certificate}"\ntls_key = "{issued.key}"\ntoken_file = "{tokens}"\n'
    running.path.write_text(running.path.read_text().replace("[service]\n", f"[service]\n{settings}", 1))
    return root


def test_a_service_with_tls_and_tokens_answers_its_callers_and_writes_files_for_itself_alone(tmp_path: Path) -> None:
    with service(tmp_path) as running:
        root = secure(running, tmp_path)
        running.log.close()
        for database in tmp_path.glob("log.db*"):  # made by this test, which has another umask
            database.unlink()
        begun = {path for path in tmp_path.rglob("*") if path.is_file()}
        supervisor = running.start()
        context = client_context(root.certificate)
        base = f"https://localhost:{running.ports['http']}"
        with httpx.Client(base_url=base, verify=context, timeout=WAIT) as client:

            def ready() -> bool:
                try:
                    return client.get("/readyz").status_code == 200
                except httpx.TransportError:
                    return False

            until("readiness", ready)
            codes = {
                (path, token): client.get(path, headers={"authorization": f"Bearer {token}"}).status_code
                for path in ("/metrics", "/v1/models/m")
                for token in (READ, PREDICT, "a-token-that-nobody-has")
            }
        arguments = [
            "--target",
            f"https://localhost:{running.ports['grpc']}",
            "--model",
            "m",
            "--ca",
            str(root.certificate),
        ]
        answers = [
            warm.run("predict", *arguments, given=ROW, timeout=WAIT, env={**os.environ, "THALWEG_TOKEN": token})
            for token in (PREDICT, READ)
        ]
        made = {path for path in tmp_path.rglob("*") if path.is_file()} - begun
        live = (tmp_path / "state" / "live").resolve()
        made |= {path for path in live.rglob("*") if path.is_file()}
        open_to_others = {str(path): oct(path.stat().st_mode) for path in made if path.stat().st_mode & 0o077}
        text = running.text()
        code = stop(supervisor)

    assert set(codes.values()) == {200, 401, 403}
    assert [codes["/metrics", token] for token in (READ, PREDICT, "a-token-that-nobody-has")] == [200, 403, 401]
    assert [(answer.returncode, "version" in answer.stdout) for answer in answers] == [(0, True), (1, False)]
    assert "takes the role predict" in answers[1].stderr
    assert len(made) > 5
    assert open_to_others == {}
    assert code == 0
    assert not any(token in text for token in (PREDICT, READ, "a-token-that-nobody-has"))
