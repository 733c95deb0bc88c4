"""Of several servers one that is away, has no address or speaks another protocol stops nothing."""

from __future__ import annotations

import socket
import threading
import uuid
from collections.abc import Iterator

import pytest
from kafka import KafkaAdminClient
from kafka.errors import KafkaConnectionError

from tests.conftest import Opener
from tests.services.ports import free_port
from thalweg.proto.records import Partition
from thalweg.stream.log.kafka_client.errors import no_connection
from thalweg.stream.log.log import LogError, Message, PermanentLogError

pytestmark = pytest.mark.kafka


@pytest.fixture
def closing() -> Iterator[str]:
    """A server that closes each connection, as one that expects TLS does."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    server.accept()[0].close()
                except OSError:
                    return

        threading.Thread(target=serve, daemon=True).start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)


@pytest.fixture(params=["away", "without an address", "closing"])
def bad(request: pytest.FixtureRequest, closing: str) -> str:
    return {
        "away": f"127.0.0.1:{free_port()}",
        "without an address": "no-such-host.invalid:9092",
        "closing": closing,
    }[request.param]


@pytest.mark.parametrize("first", [True, False])
def test_it_is_asked_and_written_to(open_kafka: Opener, kafka_servers: str, bad: str, first: bool) -> None:
    topic = f"t-{uuid.uuid4().hex[:12]}"
    admin = KafkaAdminClient(bootstrap_servers=kafka_servers)
    admin.create_topics({topic: {"num_partitions": 1}})
    admin.close()
    servers = f"{bad},{kafka_servers}" if first else f"{kafka_servers},{bad}"
    log = open_kafka(servers, {})
    try:
        assert log.bounds(topic) == {Partition(topic, 0): (0, 0)}
        log.append(topic, [Message(b"one")])
        assert log.bounds(topic) == {Partition(topic, 0): (0, 1)}
    finally:
        log.close()


def test_what_is_wrong_with_all_is_said(open_kafka: Opener) -> None:
    with pytest.raises(PermanentLogError, match="no such host; check"):
        open_kafka("no-such-host.invalid:9092,nor-this.invalid:9092", {}).bounds("t")


def test_where_one_may_come_back_it_is_waited_for(open_kafka: Opener) -> None:
    with pytest.raises(LogError, match="out of reach") as raised:
        open_kafka(f"no-such-host.invalid:9092,127.0.0.1:{free_port()}", {}).bounds("t")
    assert not isinstance(raised.value, PermanentLogError)


def test_of_several_that_are_out_of_reach_each_is_told() -> None:
    refused, unknown = KafkaConnectionError("111 ECONNREFUSED"), KafkaConnectionError("DNS Resolution failure")
    servers = ["a:9092", "b:9092"]
    causes = [("b:9092", refused), ("a:9092", refused), ("b:9092", unknown), ("a:9092", refused)]

    reason = no_connection(servers, causes).problem.reason

    assert "b:9092: no such host; check log.url" in reason
    assert "a:9092: KafkaConnectionError: 111 ECONNREFUSED" in reason
    assert reason.count("ECONNREFUSED") == 1
