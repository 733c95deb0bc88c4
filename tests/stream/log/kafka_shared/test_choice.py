"""Which client of Kafka is used, as configured and as installed."""

from __future__ import annotations

import pytest

from thalweg.ops.config.config import ConfigurationError, parse
from thalweg.ops.config.effective import effective
from thalweg.stream.log.kafka_shared import choice
from thalweg.stream.log.kafka_shared.choice import Client, effective_client
from thalweg.stream.log.log import LogError
from thalweg.stream.log.open import open_log

MODEL = {"name": "m", "learner": "ridge", "topic": "t", "inputs": {"x": {"shape": [2]}}}


@pytest.fixture(params=[True, False], ids=["installed", "not installed"])
def installed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    found = object() if request.param else None
    monkeypatch.setattr(choice, "find_spec", lambda name: found if name == "confluent_kafka" else object())
    return bool(request.param)


def test_auto_takes_confluent_where_it_is_installed(installed: bool) -> None:
    assert effective_client() == effective_client("auto") == ("confluent" if installed else "kafka-python")
    assert effective_client("kafka-python") == "kafka-python"


def test_a_client_that_is_not_there_is_refused_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "find_spec", lambda name: None)

    with pytest.raises(LogError, match=r"log\.client: confluent-kafka is not installed; run: pip install"):
        open_log("kafka://127.0.0.1:1", client="confluent")
    with pytest.raises(ConfigurationError, match=r"log\.client: confluent-kafka is not installed; run: pip install"):
        parse({"log": {"url": "kafka://127.0.0.1:1", "client": "confluent"}, "model": [MODEL]}, "f", {})


def test_a_client_that_nobody_knows_is_refused() -> None:
    client: Client = "librdkafka"  # type: ignore[assignment]

    with pytest.raises(LogError, match="expected one of auto, confluent, kafka-python, got 'librdkafka'"):
        effective_client(client)


@pytest.mark.parametrize("client", ["kafka-python", "auto"])
def test_check_prints_the_client_in_use(client: Client) -> None:
    config = parse({"log": {"url": "kafka://127.0.0.1:1", "client": client}, "model": [MODEL]}, "f", {})

    assert f"# the client of Kafka in use: {effective_client(client)}" in effective(config).splitlines()
