"""Object stores for tests: a folder, and an S3 that moto serves over HTTP on this machine."""

from __future__ import annotations

import logging
import os
import re
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any
from unittest.mock import patch

from moto.server import ThreadedMotoServer

from tests.services.ports import free_port


class S3Server:
    """A real server of the S3 protocol, in a thread; `stop` and `start` are an outage that loses nothing, and `fault`
    is one while it is there: `slow` (half a second a request), `full` (it takes nothing more), `failing` (500s),
    `unconditional` (it creates what is there already, as stores that know no conditions do), `refuses conditions` (501,
    unlike those), `unlisted` (lists are forbidden), `locked` (deletions are refused, one by one in an answer of status
    200), `gateway` (whatever is asked, something before it answers with a page of its own and status 200). `says` is a
    status and a code that it answers with, whatever is asked.
    """

    SLOW_SECONDS = 0.5

    def __init__(self) -> None:
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self._port, self.fault = free_port(), ""
        self.says: tuple[str, str] | None = None
        self.endpoint = f"http://127.0.0.1:{self._port}"
        bucket = f"states-{self._port}"  # moto keeps what there is in the process, whatever server it was put to
        self.url = f"s3://{bucket}/thalweg"
        self._server = ThreadedMotoServer("127.0.0.1", self._port, verbose=False)
        self.start()
        request = urllib.request.Request(f"{self.endpoint}/{bucket}", method="PUT")
        urllib.request.urlopen(request, timeout=60).close()

    @property
    def environment(self) -> dict[str, str]:
        """What a client needs."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": "a",
            "AWS_SECRET_ACCESS_KEY": "b",
            "AWS_REGION": "us-east-1",
            "AWS_ALLOW_HTTP": "true",
        }

    def start(self) -> None:
        self._server.start()
        server: Any = self._server._server
        server.app = partial(self._answer, server.app)

    def _answer(self, app: Any, environ: dict[str, Any], start: Callable[..., Any]) -> Any:
        fault = self.fault
        if fault == "slow":
            time.sleep(self.SLOW_SECONDS)
        if fault == "unconditional":
            environ.pop("HTTP_IF_NONE_MATCH", None)
        if fault == "unlisted" and "list-type" in environ["QUERY_STRING"]:
            return _refused(environ, start, "403 Forbidden", "AccessDenied")
        if fault == "gateway":
            return _answered(environ, start, "200 OK", b"<html>Please sign in</html>")
        if fault == "locked" and environ["QUERY_STRING"] in ("delete", "delete="):
            return self._locked(environ, start)
        if fault == "refuses conditions" and "HTTP_IF_NONE_MATCH" in environ:
            return _refused(environ, start, "501 Not Implemented", "NotImplemented")
        if self.says is not None:
            return _refused(environ, start, *self.says)
        failed = {"failing": "500 Internal Server Error", "full": "507 Insufficient Storage"}.get(fault)
        if failed is None or (fault == "full" and environ["REQUEST_METHOD"] in ("GET", "HEAD", "DELETE")):
            return app(environ, start)
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        start(failed, [("Content-Length", "0")])
        return [b""]

    def _locked(self, environ: dict[str, Any], start: Callable[..., Any]) -> list[bytes]:
        asked = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)).decode()
        environ["CONTENT_LENGTH"] = "0"
        errors = "".join(
            f"<Error><Key>{key}</Key><Code>AccessDenied</Code><Message>protected by object lock</Message></Error>"
            for key in re.findall(r"<Key>([^<]+)</Key>", asked)
        )
        return _answered(environ, start, "200 OK", f"<DeleteResult>{errors}</DeleteResult>".encode())

    def stop(self) -> None:
        self._server.stop()
        self._server = ThreadedMotoServer("127.0.0.1", self._port, verbose=False)


def _refused(environ: dict[str, Any], start: Callable[..., Any], status: str, code: str) -> list[bytes]:
    """As S3 refuses something: with a document that has a code of its own."""
    said = f"<Error><Code>{code}</Code><Message>what the store says</Message></Error>" if code else ""
    return _answered(environ, start, status, f'<?xml version="1.0" encoding="UTF-8"?>\n{said}'.encode())


def _answered(environ: dict[str, Any], start: Callable[..., Any], status: str, body: bytes) -> list[bytes]:
    environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    start(status, [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))])
    return [body]


@contextmanager
def s3() -> Iterator[S3Server]:
    """A server, and the environment of its clients."""
    server = S3Server()
    try:
        with patch.dict(os.environ, server.environment):
            yield server
    finally:
        server._server.stop()
