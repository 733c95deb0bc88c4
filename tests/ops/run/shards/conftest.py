"""A Kafka of three brokers, for tests in which one of them goes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from kafka import KafkaAdminClient

from tests.services.kafka import Broker
from tests.services.processes import required_or_skipped, until


@pytest.fixture
def brokers(tmp_path: Path) -> Iterator[list[Broker]]:
    """Three brokers of one cluster, of which the first is the controller."""
    made: list[Broker] = []
    with ExitStack() as stack:
        for number in (1, 2, 3):
            folder = tmp_path / f"broker-{number}"
            folder.mkdir()
            with required_or_skipped():
                made.append(Broker(folder, made[0] if made else None, node=number, copies=3))
            stack.callback(made[-1].close)
            made[-1].start()
        admin = KafkaAdminClient(bootstrap_servers=made[0].servers)
        until("three brokers", lambda: len(admin.describe_cluster()["brokers"]) == 3)
        admin.close()
        yield made
