"""The store: each command is given out once, and answered to whoever asked."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.services.processes import required_or_skipped
from tests.services.redis import RedisServer
from thalweg.memory.store import MOST_COMMANDS, Command, MemoryStore, SqliteStore, Store, StoreError, open_store

WAIT = 20.0


@pytest.fixture(params=["memory", "sqlite", pytest.param("redis", marks=pytest.mark.redis)])
def reopened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], Store]]:
    """The store as each process opens it; in memory there is only the one."""
    memory = MemoryStore()
    opened: list[Store] = []
    url = f"sqlite:{tmp_path / 'store.db'}"
    if request.param == "redis":
        url = request.getfixturevalue("redis_url")

    def reopen() -> Store:
        opened.append(memory if request.param == "memory" else open_store(url))
        return opened[-1]

    yield reopen
    for store in opened:
        store.close()
        store.close()


def taken(store: Store, model: str) -> list[Command]:
    """What is asked, waiting for the store's own pace."""
    while not (commands := store.asked(model)):
        pass
    return commands


def test_a_command_goes_to_the_learner_once_and_its_answer_to_whoever_asked(
    reopened: Callable[[], Store], request: pytest.FixtureRequest
) -> None:
    model = request.node.name
    server, learner = reopened(), reopened()
    first = server.ask(model, "snapshot", {})
    second = server.ask(model, "rollback", {"version": 7})

    commands = taken(learner, model)

    assert [(c.id, c.verb, dict(c.arguments)) for c in commands] == [
        (first, "snapshot", {}),
        (second, "rollback", {"version": 7}),
    ]
    assert reopened().asked(model) == []
    learner.answer(second, {"version": 9})
    assert server.answered(second, WAIT) == {"version": 9}
    assert server.answered(first, 0.05) is None


def test_an_answer_that_comes_later_is_waited_for(
    reopened: Callable[[], Store], request: pytest.FixtureRequest
) -> None:
    model = request.node.name
    server, learner = reopened(), reopened()
    asked = server.ask(model, "snapshot", {})

    def answer() -> None:
        learner.answer(taken(learner, model)[0].id, {"version": 1})

    thread = threading.Thread(target=answer)
    thread.start()

    assert server.answered(asked, WAIT) == {"version": 1}
    thread.join()


def test_commands_of_one_model_are_not_given_to_another(
    reopened: Callable[[], Store], request: pytest.FixtureRequest
) -> None:
    model = request.node.name
    store = reopened()
    store.ask(model, "snapshot", {})

    assert store.asked(model + "-other") == []
    assert len(taken(store, model)) == 1


def test_more_commands_than_may_wait_are_refused(reopened: Callable[[], Store], request: pytest.FixtureRequest) -> None:
    model = request.node.name
    store = reopened()
    for _ in range(MOST_COMMANDS):
        store.ask(model, "snapshot", {})

    with pytest.raises(StoreError, match="is its learner running"):
        store.ask(model, "snapshot", {})


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_a_command_that_nobody_took_for_too_long_is_forgotten(kind: str, tmp_path: Path) -> None:
    now = [0.0]
    store: Store = MemoryStore(lambda: now[0]) if kind == "memory" else SqliteStore(tmp_path / "s.db", lambda: now[0])
    store.ask("m", "snapshot", {})

    now[0] = 601.0

    assert store.asked("m") == []
    store.close()


ASKER = """
import sys
from thalweg.memory.store import open_store
store = open_store(sys.argv[1])
print(store.answered(store.ask("m", "snapshot", {}), 20))
"""


def test_two_processes_share_the_file(tmp_path: Path) -> None:
    url = f"sqlite:{tmp_path / 'store.db'}"
    store = open_store(url)
    process = subprocess.Popen([sys.executable, "-c", ASKER, url], stdout=subprocess.PIPE, text=True)

    store.answer(taken(store, "m")[0].id, {"version": 3})

    assert process.communicate(timeout=30)[0] == "{'version': 3}\n"
    store.close()


@pytest.mark.redis
def test_a_redis_that_is_gone_is_an_error_to_who_asks_and_silence_to_the_learner(tmp_path: Path) -> None:
    with required_or_skipped():
        server = RedisServer(tmp_path)
    server.start()
    store = open_store(server.url)
    store.ask("m", "snapshot", {})
    server.stop()

    with pytest.raises(StoreError, match=r"store redis://127\.0\.0\.1"):
        store.ask("m", "snapshot", {})
    assert store.asked("m") == []
    server.start()
    assert store.ask("m", "snapshot", {})
    server.stop()
    store.close()


@pytest.mark.parametrize("url", ["", "sqlite:", "http://x"])
def test_another_url_is_refused_with_the_forms_there_are(url: str) -> None:
    with pytest.raises(StoreError, match="expected memory:, sqlite:PATH or redis://"):
        open_store(url)


def test_a_place_that_is_no_place_for_a_store_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=f"store {tmp_path}: cannot be opened"):
        open_store(f"sqlite:{tmp_path}")
