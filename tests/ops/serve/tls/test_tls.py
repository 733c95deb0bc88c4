"""TLS and mutual TLS over real sockets, on both interfaces: who is let in, what is told, what is read again."""

from __future__ import annotations

import shutil
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
import structlog

from tests.ops.serve.serving import RunningServer, served
from tests.services.certificates import Authority, Issued
from tests.services.processes import PATIENCE, until
from thalweg.memory.trust import client_context
from thalweg.ops.cli.predict import run as predict
from thalweg.ops.cli.remote.target import Target
from thalweg.ops.run.failed import Failed
from thalweg.ops.serve.access.tokens import Tokens
from thalweg.ops.serve.tls.certificates import Certificates, TlsFiles
from thalweg.proto import inference_pb2 as pb
from thalweg.proto import inference_pb2_grpc

ROW = '{"features": [1.0, 0.0, 0.0, 0.0]}'


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("root"))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("stranger"), "stranger")


class Clock:
    now = 0.0

    def __call__(self) -> float:
        self.now += 2.0  # late enough for a look at the files, each time
        return self.now


def files_of(issued: Issued, client_ca: Path | str = "") -> TlsFiles:
    return TlsFiles(str(issued.certificate), str(issued.key), str(client_ca))


@contextmanager
def secured(folder: Path, files: TlsFiles, **settings: Any) -> Iterator[RunningServer]:
    with served(folder, certificates=Certificates(files, Clock()), **settings) as parts:
        yield parts


@pytest.fixture(scope="module")
def one_way(tmp_path_factory: pytest.TempPathFactory, root: Authority) -> Iterator[RunningServer]:
    with secured(tmp_path_factory.mktemp("one_way"), files_of(root.issue("server"))) as parts:
        yield parts


@pytest.fixture(scope="module")
def mutual(tmp_path_factory: pytest.TempPathFactory, root: Authority) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("mutual")
    (folder / "tokens").write_text("certificate:scoring roles=predict\ncertificate:night-shift roles=read\n")
    files = files_of(root.issue("mutual-server"), root.certificate)
    with secured(folder, files, tokens=Tokens(folder / "tokens")) as parts:
        yield parts


def live_over_grpc(parts: RunningServer, ca: Path, own: Issued | None = None) -> bool:
    """Whether a client with this root, and perhaps a certificate, gets an answer."""
    pair = (None, None) if own is None else (own.key.read_bytes(), own.certificate.read_bytes())
    credentials = grpc.ssl_channel_credentials(ca.read_bytes(), *pair)
    with grpc.secure_channel(f"localhost:{parts.server.grpc_port}", credentials) as channel:
        try:
            stub = inference_pb2_grpc.GRPCInferenceServiceStub(channel)
            return bool(stub.ServerLive(pb.ServerLiveRequest(), timeout=PATIENCE).live)
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE:  # type: ignore[attr-defined]
                raise
            return False


def live_over_http(parts: RunningServer, ca: Path, own: Issued | None = None) -> bool:
    context = client_context(ca)
    if own is not None:
        context.load_cert_chain(own.certificate, own.key)
    try:
        return (
            httpx.get(f"https://localhost:{parts.server.http_port}/v2/health/live", verify=context).status_code == 200
        )
    except httpx.TransportError:
        return False


LIVE = {"grpc": live_over_grpc, "http": live_over_http}


@pytest.mark.parametrize("wire", LIVE)
def test_who_trusts_the_root_is_answered_and_who_does_not_is_not(
    wire: str, one_way: RunningServer, root: Authority, stranger: Authority
) -> None:
    assert LIVE[wire](one_way, root.certificate)
    assert not LIVE[wire](one_way, stranger.certificate)


@pytest.mark.parametrize("wire", LIVE)
def test_with_a_client_ca_only_who_has_a_valid_certificate_of_it_is_answered(
    wire: str, mutual: RunningServer, root: Authority, stranger: Authority
) -> None:
    assert LIVE[wire](mutual, root.certificate, root.issue("client"))
    assert not LIVE[wire](mutual, root.certificate)
    assert not LIVE[wire](mutual, root.certificate, stranger.issue("foreign"))
    assert not LIVE[wire](mutual, root.certificate, root.issue("late", days=-1))
    assert LIVE[wire](mutual, root.certificate, root.issue("client"))  # and the server lives


@pytest.mark.parametrize("port", ["grpc_port", "http_port"])
@pytest.mark.parametrize(
    ("name", "refused"), [("scoring", ""), ("night-shift", "takes the role predict"), ("x", "token")]
)
def test_a_client_certificate_has_the_roles_of_its_name(
    port: str, mutual: RunningServer, root: Authority, name: str, refused: str, capsys: pytest.CaptureFixture[str]
) -> None:
    own = root.issue(name)
    target = Target(f"localhost:{getattr(mutual.server, port)}", "", True, root.certificate, own.certificate, own.key)

    if refused:
        with pytest.raises(Failed, match=refused):
            predict(target, "m", ROW)
    else:
        predict(target, "m", ROW)
        assert '"label": "left"' in capsys.readouterr().out


@pytest.mark.parametrize(
    ("version", "answered"), [("TLSv1_1", False), ("TLSv1_2", True), ("TLSv1_3", True)], ids=lambda one: str(one)
)
@pytest.mark.parametrize("wire", ["grpc", "http"])
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_nothing_before_tls_1_2_is_spoken(
    wire: str, version: str, answered: bool, one_way: RunningServer, root: Authority
) -> None:
    context = client_context(root.certificate)
    context.set_alpn_protocols(["h2" if wire == "grpc" else "http/1.1"])
    context.set_ciphers("ALL:@SECLEVEL=0")  # otherwise the client itself would not offer the old one
    context.minimum_version = context.maximum_version = getattr(ssl.TLSVersion, version)

    def greeted() -> bool:
        port = getattr(one_way.server, f"{wire}_port")
        with socket.create_connection(("127.0.0.1", port), 20) as plain:
            try:
                return context.wrap_socket(plain, server_hostname="localhost").version() is not None
            except (ssl.SSLError, ConnectionError):
                return False

    assert greeted() is answered


def test_plain_text_on_the_tls_port_is_told_in_one_line_and_harms_nothing(
    one_way: RunningServer, root: Authority
) -> None:
    with structlog.testing.capture_logs() as lines:
        for port in (one_way.server.http_port, one_way.server.grpc_port):
            for _ in range(3):
                with pytest.raises(httpx.TransportError):
                    httpx.get(f"http://localhost:{port}/v2/health/live", timeout=PATIENCE)
        until("a line", lambda: [line for line in lines if "plain text" in line["event"]])

    assert len([line for line in lines if "plain text" in line["event"]]) == 1
    assert live_over_http(one_way, root.certificate)
    assert live_over_grpc(one_way, root.certificate)
    context = client_context(root.certificate)
    page = httpx.get(f"https://localhost:{one_way.server.http_port}/metrics", verify=context).text
    assert 'thalweg_requests_refused_total{reason="tls"}' in page


def test_a_connection_that_never_shakes_hands_is_closed(one_way: RunningServer) -> None:
    with socket.create_connection(("127.0.0.1", one_way.server.http_port), 20) as silent:
        silent.settimeout(20)
        assert silent.recv(1) == b""


@pytest.mark.parametrize("wire", LIVE)
def test_certificates_are_exchanged_without_a_restart_and_a_bad_exchange_changes_nothing(
    wire: str, tmp_path: Path, root: Authority, stranger: Authority
) -> None:
    first, second = root.issue("first"), stranger.issue("second")
    files = TlsFiles(str(tmp_path / "c.pem"), str(tmp_path / "c.key"))

    def put(certificate: Path, key: Path) -> None:
        for source, path in ((certificate, files.certificate), (key, files.key)):
            shutil.copy(source, f"{path}.new")
            Path(f"{path}.new").replace(path)

    put(first.certificate, first.key)
    with secured(tmp_path, files) as parts:
        live = LIVE[wire]
        assert live(parts, root.certificate)

        with structlog.testing.capture_logs() as lines:
            put(second.certificate, first.key)
            assert live(parts, root.certificate)
        assert [line["problem"].partition(":")[0] for line in lines if line["log_level"] == "error"] == ["tls_key"]

        put(second.certificate, second.key)
        assert live(parts, stranger.certificate)
        assert not live(parts, root.certificate)


def test_who_calls_with_its_token_over_tls_is_answered_on_the_command_line(
    tmp_path: Path, root: Authority, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tokens").write_text("a-token-of-some-length roles=predict")
    with secured(tmp_path, files_of(root.issue("server")), tokens=Tokens(tmp_path / "tokens")) as parts:
        for port in (parts.server.grpc_port, parts.server.http_port):
            predict(Target(f"localhost:{port}", "a-token-of-some-length", True, root.certificate), "m", ROW)
            with pytest.raises(Failed, match="a token is required"):
                predict(Target(f"localhost:{port}", "", True, root.certificate), "m", ROW)

    assert capsys.readouterr().out.count('\n  "label": "left",\n') == 2
