"""The client of registries, against answers that no sound registry gives."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

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
