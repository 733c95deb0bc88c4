"""The store: each command is given out once, and answered to whoever asked."""

from __future__ import annotations

import queue
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
import structlog

from tests.services.processes import PATIENCE as WAIT
from tests.services.processes import required_or_skipped
from tests.services.redis import RedisServer
from thalweg.memory.exchange.commands import (
    MOST_COMMANDS,
    Command,
    CommandQueue,
    InMemoryCommandQueue,
    SqliteCommandQueue,
    StoreError,
)
from thalweg.memory.exchange.open import open_commands


@pytest.fixture(params=["memory", "sqlite", pytest.param("redis", marks=pytest.mark.redis)])
def reopened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], CommandQueue]]:
    """The store as each process opens it; in memory there is only the one."""
    memory = InMemoryCommandQueue()
    opened: list[CommandQueue] = []
    url = f"sqlite:{tmp_path / 'store.db'}"
    if request.param == "redis":
        url = request.getfixturevalue("redis_url")

    def reopen() -> CommandQueue:
        opened.append(memory if request.param == "memory" else open_commands(url))
        return opened[-1]

    yield reopen
    for store in opened:
        store.close()
        store.close()


def taken(store: CommandQueue, model: str) -> list[Command]:
    """What is asked, waiting for the store's own pace."""
    while not (commands := store.poll(model)):
        pass
    return commands


def test_a_command_goes_to_the_learner_once_and_its_answer_to_whoever_asked(
    reopened: Callable[[], CommandQueue], request: pytest.FixtureRequest
) -> None:
    model = request.node.name
    server, learner = reopened(), reopened()
    first = server.submit(model, "snapshot", {})
    second = server.submit(model, "rollback", {"version": 7})

    commands = taken(learner, model)

    assert [(c.id, c.verb, dict(c.arguments)) for c in commands] == [
        (first, "snapshot", {}),
        (second, "rollback", {"version": 7}),
    ]
    assert reopened().poll(model) == []
    learner.respond(second, {"version": 9})
    assert server.response(second, WAIT) == {"version": 9}
    assert server.response(first, 0.05) is None


def test_an_answer_that_comes_later_is_waited_for(
    reopened: Callable[[], CommandQueue], request: pytest.FixtureRequest
) -> None:
    model = request.node.name
    server, learner = reopened(), reopened()
    asked = server.submit(model, "snapshot", {})

    def answer() -> None:
        learner.respond(taken(learner, model)[0].id, {"version": 1})

    thread = threading.Thread(target=answer)
    thread.start()

    assert server.response(asked, WAIT) == {"version": 1}
    thread.join()


def test_commands_of_one_model_are_not_given_to_another(
    reopened: Callable[[], CommandQueue], request: pytest.FixtureRequest
) -> None:
    model = request.node.name
    store = reopened()
    store.submit(model, "snapshot", {})

    assert store.poll(model + "-other") == []
    assert len(taken(store, model)) == 1


def test_of_several_learners_that_look_at_once_each_command_goes_to_one(
    reopened: Callable[[], CommandQueue], request: pytest.FixtureRequest
) -> None:
    model = request.node.name
    server, got = reopened(), queue.SimpleQueue[str]()
    asked: set[str] = set()
    done = threading.Event()

    def look(store: CommandQueue) -> None:
        while not done.is_set():
            for command in store.poll(model):
                got.put(command.id)

    threads = [threading.Thread(target=look, args=(reopened(),)) for _ in range(3)]
    for thread in threads:
        thread.start()
    asked |= {server.submit(model, "snapshot", {}) for _ in range(60)}
    first = [got.get(timeout=WAIT) for _ in asked]
    done.set()
    for thread in threads:
        thread.join()

    assert got.empty()
    assert sorted(first) == sorted(asked)


def test_more_commands_than_may_wait_are_refused(
    reopened: Callable[[], CommandQueue], request: pytest.FixtureRequest
) -> None:
    model = request.node.name
    store = reopened()
    for _ in range(MOST_COMMANDS):
        store.submit(model, "snapshot", {})

    with pytest.raises(StoreError, match="is its learner running"):
        store.submit(model, "snapshot", {})


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_a_command_that_nobody_took_for_too_long_is_forgotten(kind: str, tmp_path: Path) -> None:
    now = [0.0]
    store: CommandQueue = (
        InMemoryCommandQueue(lambda: now[0])
        if kind == "memory"
        else SqliteCommandQueue(tmp_path / "s.db", lambda: now[0])
    )
    store.submit("m", "snapshot", {})

    now[0] = 601.0

    assert store.poll("m") == []
    store.close()


ASKER = """
import sys
from thalweg.memory.exchange.open import open_commands
store = open_commands(sys.argv[1])
print(store.response(store.submit("m", "snapshot", {}), 20))
"""


def test_two_processes_share_the_file(tmp_path: Path) -> None:
    url = f"sqlite:{tmp_path / 'store.db'}"
    store = open_commands(url)
    process = subprocess.Popen([sys.executable, "-c", ASKER, url], stdout=subprocess.PIPE, text=True)

    store.respond(taken(store, "m")[0].id, {"version": 3})

    assert process.communicate(timeout=WAIT)[0] == "{'version': 3}\n"
    store.close()


@pytest.mark.redis
def test_a_redis_that_is_gone_is_an_error_to_who_asks_and_silence_to_the_learner(tmp_path: Path) -> None:
    with required_or_skipped():
        server = RedisServer(tmp_path)
    server.start()
    store = open_commands(server.url)
    store.submit("m", "snapshot", {})
    server.stop()

    with pytest.raises(StoreError, match=r"store redis://127\.0\.0\.1"):
        store.submit("m", "snapshot", {})
    assert store.poll("m") == []
    server.start()
    assert store.submit("m", "snapshot", {})
    server.stop()
    store.close()


@pytest.mark.redis
def test_what_is_no_command_is_left_out_and_those_beside_it_are_not(redis_url: str) -> None:
    store, foreign = open_commands(redis_url), redis.Redis.from_url(redis_url)
    first = store.submit("beside", "snapshot", {})
    for garbage in (
        b"not json",
        b"7",
        b'{"id": "x"}',
        b'{"id": "x", "verb": "v", "arguments": 3, "asked": 9e99}',
        b"\xff",
    ):
        foreign.rpush("thalweg:commands:beside", garbage)
    second = store.submit("beside", "snapshot", {})

    commands = taken(store, "beside")

    assert [command.id for command in commands] == [first, second]
    foreign.close()
    store.close()


def test_a_redis_that_hangs_is_not_waited_for_at_every_look() -> None:
    hung = socket.create_server(("127.0.0.1", 0))  # takes connections and never says a word
    deaf = open_commands(f"redis://127.0.0.1:{hung.getsockname()[1]}/0")

    assert [deaf.poll("m") for _ in range(100)] == [[]] * 100

    hung.setblocking(False)
    hung.accept()[0].close()
    with pytest.raises(BlockingIOError):  # there was but one look
        hung.accept()
    hung.close()
    deaf.close()


@pytest.mark.parametrize("url", ["redis://user:hush@127.0.0.1:1/0", "redis://127.0.0.1:1/0?password=hush"])
def test_no_message_tells_a_password(url: str) -> None:
    store = open_commands(url)

    with pytest.raises(StoreError) as caught:
        store.submit("m", "snapshot", {})

    assert "hush" not in str(caught.value)
    assert "127.0.0.1:1/0" in str(caught.value)
    store.close()


def test_a_file_that_is_damaged_while_it_is_used_is_silence_to_the_learner_and_told_once(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    store = open_commands(f"sqlite:{path}")
    sqlite3.connect(path).execute("DROP TABLE commands").connection.close()

    with structlog.testing.capture_logs() as told:
        assert [store.poll("a"), store.poll("b"), store.poll("c")] == [[], [], []]
    with pytest.raises(StoreError, match=f"store {path}: "):
        store.submit("a", "snapshot", {})

    assert [entry["event"] for entry in told] == ["store unavailable: commands wait"]
    store.close()


@pytest.mark.parametrize("url", ["", "sqlite:", "http://x"])
def test_another_url_is_refused_with_the_forms_there_are(url: str) -> None:
    with pytest.raises(StoreError, match="expected memory:, sqlite:PATH or redis://"):
        open_commands(url)


def test_a_place_that_is_no_place_for_a_store_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=f"store {tmp_path}: cannot be opened"):
        open_commands(f"sqlite:{tmp_path}")
