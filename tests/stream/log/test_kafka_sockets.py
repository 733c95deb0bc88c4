"""A connection to Kafka that fails leaves no socket open, whichever way it fails; no broker is needed."""

from __future__ import annotations

import gc
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.services.ports import free_port
from thalweg.stream.log.kafka import KafkaLog
from thalweg.stream.log.kafka_client import clients
from thalweg.stream.log.log import LogError


@pytest.fixture
def seldom_collected() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def open_sockets() -> int:
    found = 0
    for link in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # the folder that is listed here
            found += str(link.readlink()).startswith("socket:")
    return found


@pytest.mark.parametrize("answer", [None, b"", b"this is no TLS\n"], ids=["refused", "closed", "no TLS"])
def test_a_connection_that_fails_leaves_no_socket_open(
    answer: bytes | None, seldom_collected: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(clients._CONSUMER, "bootstrap_timeout_ms", 500)
    port = free_port()
    listener = socket.create_server(("127.0.0.1", port)) if answer is not None else None

    def answering() -> None:
        assert listener is not None
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            near.sendall(answer or b"")
            near.close()

    if listener is not None:
        threading.Thread(target=answering, daemon=True).start()
    log = KafkaLog(f"127.0.0.1:{port}", {"security.protocol": "SSL"} if answer else {})
    before = open_sockets()

    for _ in range(2):
        with pytest.raises(LogError):
            log.bounds("t")

    assert open_sockets() <= before
    log.close()
    if listener is not None:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
