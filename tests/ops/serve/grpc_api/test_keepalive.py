"""Pings of gRPC's callers: HTTP/2 by hand, because a client's own pings come when its clock says."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tests.ops.serve.grpc_api.half_sent import _frame
from tests.ops.serve.serving import served
from thalweg.ops.serve.grpc_api.options import options_of
from thalweg.ops.serve.settings import ServerLimits

PING, GOAWAY, SETTINGS = 6, 7, 4


class Pinger:
    """A connection without calls."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self._socket.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _frame(SETTINGS, 0, 0, b""))

    def ping(self, number: int) -> str:
        """Ping once; `answered`, or what the server says instead."""
        self._socket.sendall(_frame(PING, 0, 0, number.to_bytes(8, "big")))
        while True:
            head = self._exactly(9)
            content = self._exactly(int.from_bytes(head[:3], "big"))
            if head[3] == PING and head[4] and int.from_bytes(content, "big") == number:
                return "answered"
            if head[3] == GOAWAY:
                return content[8:].decode()
            if head[3] == PING:
                self._socket.sendall(_frame(PING, 1, 0, content))

    def _exactly(self, count: int) -> bytes:
        found = b""
        while len(found) < count:
            part = self._socket.recv(count - len(found))
            assert part, "the server closed the connection"
            found += part
        return found

    def close(self) -> None:
        self._socket.close()


@pytest.mark.parametrize(("ping_seconds", "last"), [(0.0, "answered"), (3600.0, "too_many_pings")])
def test_callers_without_a_call_may_ping_as_often_as_the_setting_says(
    tmp_path: Path, ping_seconds: float, last: str
) -> None:
    with served(tmp_path, limits=ServerLimits(ping_seconds=ping_seconds)) as parts:
        pinger = Pinger(parts.server.grpc_port)
        answers = []
        for number in range(1, 11):
            answers.append(pinger.ping(number))
            if answers[-1] != "answered":
                break
        pinger.close()

    assert answers[0] == "answered"
    assert answers[-1] == last
    assert len(answers) == 10 or last != "answered"


def test_the_options_say_what_the_settings_say() -> None:
    usual = dict(options_of(ServerLimits()))
    other = dict(options_of(ServerLimits(keepalive_seconds=7, keepalive_timeout_seconds=0.5, connection_age_seconds=9)))

    assert usual["grpc.keepalive_permit_without_calls"] == 1
    assert usual["grpc.http2.min_ping_interval_without_data_ms"] <= 10_000  # clients ping every ten seconds or less
    assert usual["grpc.max_connection_age_ms"] == 2**31 - 1
    assert (other["grpc.keepalive_time_ms"], other["grpc.keepalive_timeout_ms"]) == (7000, 500)
    assert other["grpc.max_connection_age_ms"] == 9000
