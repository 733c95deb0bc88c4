"""A service that was called as what it is not: the error says what was found, and which option to give."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.ops.serve.serving import RunningServer, served
from tests.services.certificates import Authority
from thalweg.ops.cli.predict import run as predict
from thalweg.ops.cli.remote.target import target_of
from thalweg.ops.run.failed import Failed
from thalweg.ops.serve.tls.certificates import Certificates, TlsFiles

ROW = '{"features": [1.0, 0.0, 0.0, 0.0]}'


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("root"))


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with served(tmp_path_factory.mktemp("plain")) as parts:
        yield parts


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory, root: Authority) -> Iterator[RunningServer]:
    issued = root.issue("server")
    files = TlsFiles(str(issued.certificate), str(issued.key), "")
    with served(tmp_path_factory.mktemp("secure"), certificates=Certificates(files)) as parts:
        yield parts


@pytest.fixture(scope="module")
def mutual(tmp_path_factory: pytest.TempPathFactory, root: Authority) -> Iterator[RunningServer]:
    issued = root.issue("mutual-server")
    files = TlsFiles(str(issued.certificate), str(issued.key), str(root.certificate))
    with served(tmp_path_factory.mktemp("mutual"), certificates=Certificates(files)) as parts:
        yield parts


def told(given: str, ca: Path | None = None) -> str:
    with pytest.raises(Failed) as raised:
        predict(target_of(given, None, ca), "m", ROW)
    return str(raised.value)


def port(parts: RunningServer, wire: str) -> int:
    return parts.server.grpc_port if wire == "gRPC" else parts.server.http_port


@pytest.mark.parametrize("wire", ["gRPC", "HTTP"])
def test_without_tls_where_there_is_tls(
    wire: str, secure: RunningServer, root: Authority, capsys: pytest.CaptureFixture[str]
) -> None:
    address = f"localhost:{port(secure, wire)}"

    said = told(address)

    assert (
        f"found {wire} with TLS, but the call came without TLS: give --target https://{address}, and --ca FILE" in said
    )
    predict(target_of(f"https://{address}", None, root.certificate), "m", ROW)
    assert "version" in capsys.readouterr().out, "what it says helps"


@pytest.mark.parametrize("wire", ["gRPC", "HTTP"])
def test_with_tls_where_there_is_none(
    wire: str, plain: RunningServer, root: Authority, capsys: pytest.CaptureFixture[str]
) -> None:
    address = f"localhost:{port(plain, wire)}"

    for said, also in (
        (told(f"https://{address}"), ""),
        (told(f"https://{address}", root.certificate), " without --ca, --certificate and --key"),
    ):
        assert said.endswith(
            f"found {wire} without TLS, but the call came with TLS: give --target http://{address}{also}"
        )
    predict(target_of(f"http://{address}"), "m", ROW)
    assert "version" in capsys.readouterr().out, "what it says helps"


@pytest.mark.parametrize("wire", ["gRPC", "HTTP"])
def test_a_certificate_that_is_not_trusted_and_one_of_ours_that_is_wanted(
    wire: str, secure: RunningServer, mutual: RunningServer, root: Authority, tmp_path: Path
) -> None:
    other = Authority(tmp_path, "other").certificate

    assert "its certificate is not trusted" in told(f"https://localhost:{port(secure, wire)}", other)
    assert "give --ca FILE with the roots to trust" in told(f"https://localhost:{port(secure, wire)}")
    wanted = "give --certificate FILE and --key FILE"
    assert wanted in told(f"https://localhost:{port(mutual, wire)}", root.certificate)


@contextmanager
def speaking(words: bytes) -> Iterator[str]:
    """Something that says this to whoever connects, and hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with closing(connection):
                    connection.sendall(words)

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.mark.parametrize("words", [b"SSH-2.0-OpenSSH_9.6\r\n", b"\x00\x00\x00\x00\x00\x00", b""])
def test_something_else_and_nothing_at_all(words: bytes) -> None:
    with speaking(words) as address:
        assert "found something that is neither gRPC nor HTTP" in told(address)
    assert re.search("nothing answers there: .*; is the service running", told(address))
    assert "expected HOST:PORT" in told("localhost")


def test_http_that_is_not_ours_is_told_as_what_it_answers() -> None:
    with speaking(b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno") as address:
        assert "found HTTP that is no Thalweg" in told(address)
