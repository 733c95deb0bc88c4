"""Servers of a Kafka cluster, as a URL names them."""

from __future__ import annotations

import pytest

from thalweg.stream.log.kafka_shared.choice import Client
from thalweg.stream.log.log import LogError, Message
from thalweg.stream.log.open import open_log


@pytest.mark.parametrize(
    ("servers", "told"),
    [
        ("a:1;b:2", "expected HOST:PORT, got 'a:1;b:2'"),
        ("a:9092,b:99999", "expected HOST:PORT with a port from 1 to 65535, got 'b:99999'"),
        ("a:0", "got 'a:0'"),
        ("a:port", "expected HOST:PORT, got 'a:port'"),
        ("a b:9092", "expected HOST:PORT, got 'a b:9092'"),
        ("::1:9092", "an IPv6 host in brackets"),
        ("http://a:9092", "expected HOST:PORT, got 'http://a:9092'"),
        ("a:9092/clicks", "expected HOST:PORT, got 'a:9092/clicks'"),
        (" , ", "expected HOST:PORT, got none"),
        ("me:secret@a:9092", "user and password are sasl.username and sasl.password in log.kafka"),
    ],
)
@pytest.mark.parametrize("client", ["kafka-python", "confluent"])
def test_a_server_that_is_none_is_named_before_anything_is_opened(client: Client, servers: str, told: str) -> None:
    with pytest.raises(LogError, match="log url kafka://") as raised:
        open_log(f"kafka://{servers}", client=client)

    assert told in str(raised.value)
    assert "secret" not in str(raised.value)


@pytest.mark.kafka
@pytest.mark.parametrize("written", ["{}", " {} ", "{},", ",{}", "{0} , {0}"])
def test_servers_may_be_written_as_for_kafkas_own_clients(
    kafka_client: Client, kafka_servers: str, written: str
) -> None:
    log = open_log(f"kafka://{written.format(kafka_servers)}", client=kafka_client)
    assert log.append("written-otherwise", [Message(b"0")])
    log.close()
