"""The errors of a client say which cluster was out of reach, whichever call met it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from thalweg.stream.log.log import LogError

kafka = pytest.importorskip("kafka.errors")
from thalweg.stream.log.kafka_client import errors  # noqa: E402  # needs the client

_WHERE = "Kafka at broker:9092"
_RAISED: list[Callable[[Exception], Exception]] = [
    lambda error: errors.log_error("group 'g'", error, _WHERE),
    lambda error: errors.client_error(error, _WHERE),
    lambda error: errors.append_error("t", [(0, error)], 1_000_000, _WHERE),
]


@pytest.mark.parametrize("raised", _RAISED, ids=["a look", "a reader", "an append"])
@pytest.mark.parametrize(
    "error",
    [
        kafka.KafkaConnectionError("111 ECONNREFUSED"),
        kafka.KafkaTimeoutError("no answer"),
        kafka.NodeNotReadyError("coordinator-0"),
        kafka.MetadataEmptyBrokerList(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_cluster_out_of_reach_is_named(raised: Callable[[Exception], Exception], error: Exception) -> None:
    assert f"{_WHERE} is out of reach: {type(error).__name__}" in str(raised(error))


@pytest.mark.parametrize("raised", _RAISED, ids=["a look", "a reader", "an append"])
def test_a_cluster_is_named_once(raised: Callable[[Exception], Exception]) -> None:
    error = errors.no_connection(["broker:9092"], [("broker:9092", kafka.KafkaConnectionError("111 ECONNREFUSED"))])
    assert str(raised(error)).count(_WHERE) == 1


def test_what_a_cluster_refuses_is_not_out_of_reach() -> None:
    error = errors.log_error("topic 't'", kafka.TopicAuthorizationFailedError(), _WHERE)
    assert isinstance(error, LogError)
    assert "out of reach" not in str(error)


def test_only_a_listener_that_never_answered_may_speak_another_protocol() -> None:
    """A broker that ends or starts closes connections, too; to wait for it is no mistake of the settings."""
    confluent = pytest.importorskip("confluent_kafka")
    from thalweg.stream.log.confluent_client.errors import Causes

    away = confluent.KafkaError(confluent.KafkaError._TRANSPORT)
    line = "FAIL [rdkafka#consumer-1] broker:9092/bootstrap: Disconnected (after 0ms in state APIVERSION_QUERY)"
    for answered in (False, True):
        causes = Causes("broker:9092")
        if answered:
            causes.clear()
        for _ in range(10):
            causes.failed(line)
        problem = causes.problem(away)
        assert problem.permanent is not answered
        assert ("TLS or SASL" in problem.reason) is not answered
        assert _WHERE in problem.reason
