"""Where the brokers themselves send clients: by IPv6, and to a name that nobody knows."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Opener
from tests.services.kafka import Broker
from tests.services.processes import required_or_skipped, until
from thalweg.stream.log.log import LogError, Message, PermanentLogError

pytestmark = [pytest.mark.kafka, pytest.mark.slow]


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as tried:
            tried.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with required_or_skipped():
        made = Broker(tmp_path)
    yield made
    made.close()


@pytest.mark.skipif(not _has_ipv6(), reason="this machine has no IPv6")
def test_brokers_may_have_addresses_of_ipv6(broker: Broker, open_kafka: Opener) -> None:
    broker.advertise(broker.port, "[::1]")
    broker.start()
    log = open_kafka(f"[::1]:{broker.port}")

    until("a record to be taken", lambda: log.append("t", [Message(b"x")]))
    reader = log.reader(["t"], {})
    found = until("it to be read", lambda: reader.poll(0.5))

    assert found[0].partition.topic == "t"
    reader.close()
    log.close()


def test_a_name_that_brokers_advertise_and_nobody_knows_is_told_as_theirs(broker: Broker, open_kafka: Opener) -> None:
    broker.advertise(broker.port, "kafka-0.nowhere.invalid")
    broker.start()
    log = open_kafka(broker.servers)

    def told() -> str:
        try:
            log.bounds("t")
        except LogError as error:
            return str(error) if isinstance(error, PermanentLogError) else ""
        return ""

    assert "check log.url, and advertised.listeners of the brokers" in until("it to be told", told)
    log.close()
