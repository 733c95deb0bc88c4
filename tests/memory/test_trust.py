"""Our clients of TLS trust a private authority whatever it says of itself, with every version of Python."""

from __future__ import annotations

import json
import ssl
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from tests.services.certificates import Authority
from thalweg.memory.trust import client_context
from thalweg.ops.serve.access.jwt_keys import read_keys
from thalweg.stream.registry.client import RegistryClient


class Answering(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        content = json.dumps({"schema": '"string"', "keys": [{"kty": "RSA", "n": "AQ", "e": "AQAB"}]}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def as_since_3_13(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python's usual context, as strict as it has been since 3.13."""
    usual = ssl.create_default_context

    def strict(*arguments: object, **more: object) -> ssl.SSLContext:
        made = usual(*arguments, **more)  # type: ignore[arg-type]
        made.verify_flags |= ssl.VERIFY_X509_STRICT
        return made

    monkeypatch.setattr(ssl, "create_default_context", strict)
    monkeypatch.setattr(ssl, "_create_default_https_context", strict)


@contextmanager
def https(root: Authority) -> Iterator[str]:
    made = root.issue("server")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made.certificate, made.key)
    server = HTTPServer(("127.0.0.1", 0), Answering)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"https://localhost:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.usefixtures("as_since_3_13")
def test_a_root_that_does_not_say_its_key_usage_is_trusted_by_whoever_is_told_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = Authority(tmp_path)
    with https(root) as url:
        with urllib.request.urlopen(url, context=client_context(root.certificate)) as answer:
            assert answer.status == 200

        monkeypatch.setenv("SSL_CERT_FILE", str(root.certificate))
        found = RegistryClient(url).fetch(1)
        assert found is not None
        assert found.text == '"string"'
        assert len(read_keys(url, "")) == 1


def test_a_root_that_nobody_named_is_not_trusted(tmp_path: Path) -> None:
    named, other = Authority(tmp_path / "named"), Authority(tmp_path / "other")
    with https(other) as url, pytest.raises(OSError, match="CERTIFICATE_VERIFY_FAILED"):
        urllib.request.urlopen(url, context=client_context(named.certificate))
