"""A broker that keeps its connections and answers nothing for longer than a delivery may take."""

from __future__ import annotations

import threading
import time
from contextlib import suppress

import pytest
from kafka import KafkaAdminClient

from tests.conftest import Opener
from tests.services.kafka import Broker
from tests.services.processes import until
from thalweg.stream.log.log import Log, LogError, Message

pytestmark = pytest.mark.kafka

_SOON = {"delivery.timeout.ms": 4000, "request.timeout.ms": 3000}


def test_records_are_appended_again_once_it_goes_on(open_kafka: Opener, kafka_broker: Broker) -> None:
    """kafka-python's producer stays stuck for good after a record was given up."""
    log = open_kafka(kafka_broker.servers, _SOON)
    log.append("t", [Message(b"before")])
    with kafka_broker.standing_still(), pytest.raises(LogError, match="not appended"):
        log.append("t", [Message(b"in vain")])

    until("an append", lambda: _appended(log, b"after"), 60)

    log.append("t", [Message(b"more")])
    log.close()


def test_all_records_of_a_call_wait_together(open_kafka: Opener, kafka_broker: Broker) -> None:
    """Not one after the other: a call of several partitions was held for as many times the time of a delivery."""
    admin = KafkaAdminClient(bootstrap_servers=kafka_broker.servers)
    admin.create_topics({"t": {"num_partitions": 8}})
    admin.close()
    before = set(threading.enumerate())
    log = open_kafka(kafka_broker.servers, _SOON)
    records = [Message(b"one", partition=number) for number in range(8)]
    log.append("t", records)

    began = time.monotonic()
    with kafka_broker.standing_still(), pytest.raises(LogError, match="not appended"):
        log.append("t", records)

    assert time.monotonic() - began < 40  # 72 if each waits for itself
    until("an append", lambda: _appended(log, b"after"), 60)
    log.close()
    until("all threads to end, also with records left in a producer", lambda: set(threading.enumerate()) <= before, 30)


def test_what_others_send_meanwhile_is_told_to_each_of_them(open_kafka: Opener, kafka_broker: Broker) -> None:
    """Records of several threads: each call ends, with a place or with an error, and what has a place is there."""
    log = open_kafka(kafka_broker.servers, _SOON)
    log.append("t", [Message(b"0")])
    told: dict[bytes, bool] = {}

    def send(name: str) -> None:
        for number in range(100):
            value = f"{name}-{number}".encode()
            told[value] = _appended(log, value)
            time.sleep(0.05)

    threads = [threading.Thread(target=send, args=(name,)) for name in "abc"]
    for one in threads:
        one.start()
    with kafka_broker.standing_still():
        time.sleep(6)
    for one in threads:
        one.join(240)

    assert len(told) == 300
    assert [told[f"{name}-99".encode()] for name in "abc"] == [True] * 3
    reader = log.reader(["t"], {})
    found: list[bytes] = []
    until(
        "what was appended",
        lambda: found.extend(v or b"" for run in reader.poll(0.1) for v in run.values) or _landed(told) <= set(found),  # type: ignore[func-returns-value]
        60,
    )
    reader.close()
    log.close()


def _landed(told: dict[bytes, bool]) -> set[bytes]:
    return {value for value, there in told.items() if there}


def _appended(log: Log, value: bytes) -> bool:
    with suppress(LogError):
        log.append("t", [Message(value)])
        return True
    return False
