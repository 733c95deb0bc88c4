"""The client of registries, against answers that no sound registry gives."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.services.certificates import Authority
from thalweg.stream.log.log import LogError
from thalweg.stream.registry.client import RegistryClient


@contextmanager
def answering(answers: dict[str, Any]) -> Iterator[RegistryClient]:
    """A client of a server that answers these paths."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(answers.get(self.path, {"error_code": 40403})).encode()
            self.send_response(200 if self.path in answers else 404)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield RegistryClient(f"http://127.0.0.1:{server.server_address[1]}")
        finally:
            server.shutdown()
            thread.join()


def naming(*subjects: str) -> dict[str, Any]:
    return {"schema": "{}", "references": [{"name": one, "subject": one, "version": 1} for one in subjects]}


def test_schemas_that_name_each_other_in_a_circle_end() -> None:
    answers = {
        "/schemas/ids/1": naming("a"),
        "/subjects/a/versions/1?deleted=true": naming("b"),
        "/subjects/b/versions/1?deleted=true": naming("a"),
    }
    with answering(answers) as client:
        found = client.fetch(1)

    assert found is not None
    assert len(found.references) == 2


@pytest.mark.parametrize("references", [[{"name": "x"}], ["x"], [{"subject": "x", "version": "first"}], [None], 5])
def test_references_that_are_none_are_told_and_waited_for(references: Any) -> None:
    with (
        answering({"/schemas/ids/1": {"schema": "{}", "references": references}}) as client,
        pytest.raises(LogError, match="references"),
    ):
        client.fetch(1)


@contextmanager
def listening(secure: Path | None) -> Iterator[int]:
    """A web server, over TLS with a certificate in this folder."""
    server = HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    if secure is not None:
        issued = Authority(secure).issue("server")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(issued.certificate, issued.key)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_registry_that_is_called_with_the_wrong_scheme_says_so(tmp_path: Path) -> None:
    with (
        listening(None) as port,
        pytest.raises(LogError, match=r"no TLS answers there .*: http:// in log.registry.url"),
    ):
        RegistryClient(f"https://127.0.0.1:{port}").fetch(1)
    with listening(tmp_path) as port:
        with pytest.raises(LogError, match=r"https:// in log\.registry\.url\?"):
            RegistryClient(f"http://127.0.0.1:{port}").fetch(1)
        with pytest.raises(LogError, match=r"its certificate is not trusted, .*SSL_CERT_FILE"):
            RegistryClient(f"https://127.0.0.1:{port}").fetch(1)
