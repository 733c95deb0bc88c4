"""Google Cloud Storage and Azure Blob Storage as far as obstore speaks to them, over HTTP on this machine.

Google's XML API is that of S3 but for the names of headers, so moto serves it. Azure's is served here: what this server
answers was compared with Azurite 3.37, Microsoft's emulator.
"""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from unittest.mock import patch
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

from tests.services.object_store import S3Server

_ACCOUNT = "devstoreaccount1"
_SIGNED = "AWS4-HMAC-SHA256 Credential=a/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=b"
"""As moto knows its own callers; it looks at no signature."""


class GoogleServer(S3Server):
    """See `S3Server`; its `url` is `gs://…`."""

    def __init__(self) -> None:
        super().__init__()
        self.url = self.url.replace("s3:", "gs:")

    @property
    def environment(self) -> dict[str, str]:
        account = {"client_email": "", "private_key": "", "private_key_id": ""}
        account |= {"gcs_base_url": self.endpoint, "disable_oauth": True}  # type: ignore[dict-item]
        return {"GOOGLE_SERVICE_ACCOUNT_KEY": json.dumps(account)}

    def _answer(self, app: Callable[..., Any], environ: dict[str, Any], start: Callable[..., Any]) -> Any:
        environ["HTTP_AUTHORIZATION"] = _SIGNED
        for raw in {"RAW_URI", "REQUEST_URI"} & environ.keys():  # which it does not decode
            path, mark, query = environ[raw].partition("?")
            environ[raw] = unquote(path) + mark + query
        match environ.pop("HTTP_X_GOOG_IF_GENERATION_MATCH", None):
            case "0":  # of which there is no generation yet
                environ["HTTP_IF_NONE_MATCH"] = "*"
            case None:
                pass
            case other:
                raise AssertionError(f"a generation is asked for: {other}")
        return super()._answer(app, environ, start)


@contextmanager
def google() -> Iterator[GoogleServer]:
    """A server, and the environment of its clients."""
    server = GoogleServer()
    try:
        with patch.dict(os.environ, server.environment):
            yield server
    finally:
        server._server.stop()


class AzureServer(ThreadingHTTPServer):
    """Blobs of any container; lists come in pages of `PAGE`."""

    PAGE = 3
    daemon_threads = True
    url = "az://states/thalweg"

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Blob)
        self.blobs: dict[str, bytes] = {}
        self.blocks: dict[tuple[str, str], bytes] = {}
        self.lock = threading.Lock()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def environment(self) -> dict[str, str]:
        endpoint = f"http://127.0.0.1:{self.server_address[1]}"
        return {"AZURE_STORAGE_USE_EMULATOR": "true", "AZURITE_BLOB_STORAGE_URL": endpoint}


class _Blob(BaseHTTPRequestHandler):
    server: AzureServer
    protocol_version = "HTTP/1.1"

    def do_PUT(self) -> None:
        body, name, query = self._body(), self._name(), self._query()
        with self.server.lock:
            if query.get("comp") == "block":
                self.server.blocks[name, query["blockid"]] = body
                self._say(201)
                return
            if self.headers.get("If-None-Match") == "*" and name in self.server.blobs:
                self._say(409, code="BlobAlreadyExists")
                return
            if query.get("comp") == "blocklist":
                ids = [one.partition("<")[0] for one in body.decode().split("<Uncommitted>")[1:]]
                body = b"".join(self.server.blocks.pop((name, one)) for one in ids)
            self.server.blobs[name] = body
        self._say(201)

    def do_GET(self) -> None:
        if self._query().get("comp") == "list":
            self._say(200, self._listed().encode())
        elif (content := self.server.blobs.get(self._name())) is None:
            self._say(404, code="BlobNotFound")
        else:
            self._say(200, content)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        """Many deletions at once; how each went is told in a part of its own."""
        body = self._body().decode()
        assert self._query()["comp"] == "batch"
        told = []
        for number, path in enumerate(re.findall(r"^DELETE (\S+) HTTP/1.1", body, re.MULTILINE)):
            with self.server.lock:
                gone = self.server.blobs.pop(unquote(urlsplit(path).path).removeprefix(f"/{_ACCOUNT}/"), None)
            line = "404 Not Found\r\nx-ms-error-code: BlobNotFound" if gone is None else "202 Accepted"
            head = f"Content-Type: application/http\r\nContent-ID: {number}"
            told.append(f"--answer\r\n{head}\r\n\r\nHTTP/1.1 {line}\r\nContent-Length: 0\r\n\r\n")
        self._say(202, f"{''.join(told)}--answer--\r\n".encode(), kind="multipart/mixed; boundary=answer")

    def _listed(self) -> str:
        query = self._query()
        prefix, marker, delimiter = (query.get(key, "") for key in ("prefix", "marker", "delimiter"))
        with self.server.lock:
            names = sorted(name for name in self.server.blobs if name.startswith(prefix))
            sizes = {name: len(self.server.blobs[name]) for name in names}
        folded = []
        for name in names:
            rest = name[len(prefix) :]
            end = rest.find(delimiter) if delimiter else -1
            folded.append(name if end < 0 else prefix + rest[: end + 1])
        entries = sorted({one for one in folded if one >= marker})
        page, left = entries[: self.server.PAGE], entries[self.server.PAGE :]
        own = len(self._name()) + 1  # the container
        blobs = "".join(
            f"<BlobPrefix><Name>{escape(one[own:])}</Name></BlobPrefix>"
            if one not in sizes
            else f"<Blob><Name>{escape(one[own:])}</Name><Properties><Etag>1</Etag><Content-Type>a/b</Content-Type>"
            f"<Last-Modified>{formatdate(usegmt=True)}</Last-Modified><Content-Length>{sizes[one]}</Content-Length>"
            "</Properties></Blob>"
            for one in page
        )
        return (
            f'<?xml version="1.0" encoding="utf-8"?><EnumerationResults><Blobs>{blobs}</Blobs>'
            f"<NextMarker>{escape(left[0]) if left else ''}</NextMarker></EnumerationResults>"
        )

    def _say(self, status: int, body: bytes = b"", code: str = "", kind: str = "application/xml") -> None:
        self.send_response(status)
        headers = {
            "Content-Type": kind,
            "Content-Length": str(len(body)),
            "ETag": '"1"',
            "Last-Modified": formatdate(usegmt=True),
        }
        for name, value in {**headers, **({"x-ms-error-code": code} if code else {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _name(self) -> str:
        return unquote(urlsplit(self.path).path).removeprefix(f"/{_ACCOUNT}/")

    def _query(self) -> dict[str, str]:
        return {key: values[0] for key, values in parse_qs(urlsplit(self.path).query).items()} | self._whole_prefix()

    def _whole_prefix(self) -> dict[str, str]:
        """A list's prefix as a blob's name, with the container before it."""
        found = parse_qs(urlsplit(self.path).query)
        return {"prefix": f"{self._name()}/{found.get('prefix', [''])[0]}"} if found.get("comp") == ["list"] else {}

    def log_message(self, *args: Any) -> None: ...


@contextmanager
def azure() -> Iterator[AzureServer]:
    """A server, and the environment of its clients."""
    server = AzureServer()
    try:
        with patch.dict(os.environ, server.environment):
            yield server
    finally:
        server.shutdown()
        server.server_close()
