"""What a broker says about the length of a session, as each client tells it."""

from __future__ import annotations

import pytest


def test_kafka_python_names_the_setting_of_a_session_that_is_refused() -> None:
    errors = pytest.importorskip("kafka.errors")
    from thalweg.stream.log.kafka_client.errors import problem_of

    problem = problem_of(errors.InvalidSessionTimeoutError())

    assert problem.permanent
    assert '"session.timeout.ms" in [log.kafka]' in problem.reason


def test_confluent_names_the_setting_of_a_session_that_is_refused() -> None:
    kafka = pytest.importorskip("confluent_kafka")
    from thalweg.stream.log.confluent_client.errors import Causes

    problem = Causes("broker:1").problem(kafka.KafkaError(kafka.KafkaError.INVALID_SESSION_TIMEOUT))

    assert problem.permanent
    assert '"session.timeout.ms" in [log.kafka]' in problem.reason
