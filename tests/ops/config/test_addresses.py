"""Addresses to listen on: what they say, who is let in, and the same of the whole server."""

from __future__ import annotations

import socket
from pathlib import Path

import grpc
import httpx
import pytest

from tests.ops.serve.serving import served
from tests.services.processes import PATIENCE
from thalweg.ops.config.addresses import listen, split
from thalweg.ops.serve.settings import Addresses


def _has(host: str) -> bool:
    try:
        socket.create_server((host, 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


ipv6 = pytest.mark.skipif(not _has("::1"), reason="this machine has no IPv6")
dual_stack = pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no dual stack")


@pytest.mark.parametrize(
    ("address", "host", "port"),
    [
        ("127.0.0.1:80", "127.0.0.1", 80),
        ("localhost:0", "localhost", 0),
        ("[::]:65535", "::", 65535),
        ("[::1]:8080", "::1", 8080),
    ],
)
def test_an_address_is_a_host_and_a_port(address: str, host: str, port: int) -> None:
    assert split(address) == (host, port)


@pytest.mark.parametrize(
    "address",
    [
        *("8080", ":8080", "host:", "host:x", "host:²", "host:65536", "::1:80", "[::1:80", "::1]:80", "[]:80"),
        *("[host]:80", "a b:80", "http://host:80", "host:80/path", "me@host:80", "a:1;b:2", " :80", "a,b:80"),
    ],
)
def test_what_is_no_address_is_refused_with_what_was_expected(address: str) -> None:
    with pytest.raises(ValueError, match="expected HOST:PORT") as caught:
        split(address)

    assert repr(address) in str(caught.value)


def test_an_address_in_use_is_named() -> None:
    with listen("127.0.0.1:0") as listening:
        address = f"127.0.0.1:{listening.getsockname()[1]}"
        with pytest.raises(OSError, match=f"cannot listen on {address}"):
            listen(address)


@dual_stack
def test_all_addresses_of_ipv6_are_those_of_ipv4_too(tmp_path: Path) -> None:
    with served(tmp_path, addresses=Addresses(grpc="[::]:0", http="[::]:0")) as parts:
        for host in ("127.0.0.1", "[::1]"):
            assert httpx.get(f"http://{host}:{parts.server.http_port}/healthz").status_code == 200
            with grpc.insecure_channel(f"{host}:{parts.server.grpc_port}") as channel:
                grpc.channel_ready_future(channel).result(timeout=PATIENCE)


@ipv6
def test_one_address_of_ipv6_is_no_other(tmp_path: Path) -> None:
    with served(tmp_path, addresses=Addresses(grpc="[::1]:0", http="[::1]:0")) as parts:
        assert httpx.get(f"http://[::1]:{parts.server.http_port}/healthz").status_code == 200
        with grpc.insecure_channel(f"[::1]:{parts.server.grpc_port}") as channel:
            grpc.channel_ready_future(channel).result(timeout=PATIENCE)
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"http://127.0.0.1:{parts.server.http_port}/healthz")
