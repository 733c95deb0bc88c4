"""A Redis that is away, slow, stopped or out of memory: nobody waits for it, and what can be kept is kept."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import redis

from tests.services.processes import required_or_skipped, until
from tests.services.proxy import Proxy
from tests.services.redis import RedisServer
from thalweg.memory.exchange.commands import StoreError
from thalweg.memory.exchange.open import open_pending
from thalweg.stream.health.registry import HealthRegistry
from thalweg.stream.labels import request_buffer as module
from thalweg.stream.labels.request_buffer import RequestBuffer

pytestmark = pytest.mark.redis

INPUTS = {"x": np.zeros((1, 2), np.float32)}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with required_or_skipped():
        server = RedisServer(tmp_path)
    server.start()
    yield server
    server.stop()


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CHECK_SECONDS", 0.05)


def buffered(url: str) -> tuple[RequestBuffer, HealthRegistry]:
    """What a server has to remember requests, over the Redis at this URL."""
    registry = HealthRegistry()
    made = RequestBuffer({"m": open_pending(url)}, registry)
    made.start()
    return made, registry


def kept(url: str, *ids: str) -> list[bool]:
    """Which of these a joiner finds."""
    pending = open_pending(url)
    found = [waiting is not None for waiting in pending.find("m", ids)]
    pending.close()
    return found


def test_requests_of_the_time_before_redis_came_are_kept(server: RedisServer) -> None:
    server.stop()
    requests, _ = buffered(server.url)
    requests.remember("m", "a", INPUTS, None)
    until("it to be noticed", lambda: not requests.reached("m"))
    requests.remember("m", "b", INPUTS, None)

    server.start()

    until("both to be kept", lambda: requests.remembered["m"] == 2)
    assert kept(server.url, "a", "b", "c") == [True, True, False]
    until("it to be reached", lambda: requests.reached("m"))
    requests.close()


def test_of_a_redis_that_was_emptied_the_requests_that_come_later_are_kept(server: RedisServer) -> None:
    requests, _ = buffered(server.url)
    requests.remember("m", "a", INPUTS, None)
    until("one to be kept", lambda: requests.remembered["m"] == 1)
    server.stop()

    server.start()  # without what it had
    requests.remember("m", "b", INPUTS, None)

    until("the other to be kept", lambda: requests.remembered["m"] == 2)
    assert kept(server.url, "a", "b") == [False, True]
    requests.close()


def test_a_redis_that_is_slow_loses_no_request(server: RedisServer) -> None:
    proxy = Proxy(server.port)
    proxy.delay_seconds = 0.1
    requests, _ = buffered(f"redis://127.0.0.1:{proxy.port}/0")

    for number in range(50):
        requests.remember("m", str(number), INPUTS, None)

    until("all to be kept", lambda: requests.remembered["m"] == 50)
    assert requests.reached("m")
    assert kept(server.url, *map(str, range(50))) == [True] * 50
    requests.close()
    proxy.close()


def test_a_redis_that_stands_still_is_told_and_its_requests_are_kept_later(server: RedisServer) -> None:
    requests, _ = buffered(server.url)
    process = server.process
    process.send_signal(signal.SIGSTOP)
    try:
        for id in ("a", "b"):
            requests.remember("m", id, INPUTS, None)  # does not wait
        until("it to be noticed", lambda: not requests.reached("m"))
        assert requests.remembered["m"] == 0
    finally:
        process.send_signal(signal.SIGCONT)

    until("both to be kept", lambda: requests.remembered["m"] == 2)
    assert kept(server.url, "a", "b") == [True, True]
    requests.close()


def test_a_redis_without_memory_says_so_finds_what_it_has_and_takes_the_rest_later(server: RedisServer) -> None:
    requests, registry = buffered(server.url)
    requests.remember("m", "a", INPUTS, None)
    until("one to be kept", lambda: requests.remembered["m"] == 1)
    admin = redis.Redis.from_url(server.url)
    admin.config_set("maxmemory", 1)

    requests.remember("m", "b", INPUTS, None)

    until("it to be noticed", lambda: not requests.reached("m"))
    (store,) = [one for one in registry.report() if one.component == "request_store"]
    assert "used memory" in store.reason
    checked = requests._checked
    until("some more checks", lambda: requests._checked > checked + 0.3)
    (later,) = [one for one in registry.report() if one.component == "request_store"]
    assert later.since == store.since  # it answers pings all the while
    assert kept(server.url, "a", "b") == [True, False]
    pending = open_pending(server.url)
    with pytest.raises(StoreError, match="used memory"):
        pending.remember("m", [("c", 1.0, b"x")])
    pending.close()
    admin.config_set("maxmemory", 0)
    until("the other to be kept", lambda: requests.remembered["m"] == 2)
    assert kept(server.url, "a", "b") == [True, True]
    admin.close()
    requests.close()
