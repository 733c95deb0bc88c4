"""Events that wait for their label, in every kind of store alike."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from tests.services.processes import required_or_skipped
from tests.services.redis import RedisServer
from thalweg.memory.exchange.commands import StoreError
from thalweg.memory.exchange.open import open_pending
from thalweg.memory.exchange.pending import InMemoryPending, Limits, Pending, SqlitePending, Waiting
from thalweg.memory.exchange.redis_pending import RedisPending


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(params=["memory", "sqlite", pytest.param("redis", marks=pytest.mark.redis)])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., tuple[Pending, Clock, str]]]:
    """A store with a clock of its own, and a model name that no other test uses."""
    made: list[Pending] = []

    def make(limits: Limits = Limits(), clock: Clock | None = None) -> tuple[Pending, Clock, str]:  # noqa: B008
        clock = clock or Clock()
        if request.param == "memory":
            made.append(InMemoryPending(limits, clock))
        elif request.param == "sqlite":
            made.append(SqlitePending(tmp_path / "store.db", limits, clock))
        else:
            made.append(RedisPending(request.getfixturevalue("redis_url"), limits, clock))
        return made[-1], clock, f"{request.node.name}.{tmp_path.name}"

    yield make
    for pending in made:
        pending.close()
        pending.close()


def test_what_is_remembered_is_found_by_id_and_model(opened: Callable[..., tuple[Pending, Clock, str]]) -> None:
    pending, _, model = opened()
    pending.remember(model, [("a", 1.5, b"first"), ("ü:b", 2.0, b"second")])

    assert pending.find(model, ["ü:b", "none", "a"]) == [Waiting(2.0, b"second"), None, Waiting(1.5, b"first")]
    assert pending.find(f"{model}2", ["a"]) == [None]
    pending.check()


def test_the_first_of_an_id_counts_and_a_joined_one_stays_known(
    opened: Callable[..., tuple[Pending, Clock, str]],
) -> None:
    pending, _, model = opened()
    pending.remember(model, [("a", 1.0, b"first")])
    pending.remember(model, [("a", 2.0, b"second")])
    assert pending.find(model, ["a"]) == [Waiting(1.0, b"first")]

    pending.settle(model, ["a", "never"])
    pending.remember(model, [("a", 3.0, b"third")])

    (found,) = pending.find(model, ["a"])
    assert found is not None
    assert found.joined
    assert pending.find(model, ["never"]) == [None]


def test_a_joined_one_knows_the_label_that_it_was_joined_with(
    opened: Callable[..., tuple[Pending, Clock, str]],
) -> None:
    pending, _, model = opened()
    pending.remember(model, [("a", 1.0, b"first"), ("b", 2.0, b"second")])

    pending.settle(model, {"a": "labels/0/17", "never": "labels/0/18"})
    pending.settle(model, ["b"])

    assert pending.find(model, ["a", "b", "never"]) == [Waiting(1.0, b"", "labels/0/17"), Waiting(2.0, b""), None]


def test_no_more_wait_than_may_and_the_oldest_go_first(opened: Callable[..., tuple[Pending, Clock, str]]) -> None:
    pending, clock, model = opened(Limits(events=3))
    for number in range(5):
        clock.now += 1
        pending.remember(model, [(f"e{number}", 0.0, b"x")])

    found = pending.find(model, [f"e{number}" for number in range(5)])
    assert [event is not None for event in found] == [False, False, True, True, True]


def test_in_memory_and_sqlite_events_past_their_time_are_gone(tmp_path: Path) -> None:
    clock = Clock()
    for pending in (InMemoryPending(Limits(seconds=10), clock), SqlitePending(tmp_path / "s.db", Limits(10), clock)):
        clock.now = 1000.0
        pending.remember("m", [("a", 0.0, b"x")])
        clock.now += 11
        assert pending.find("m", ["a"]) == [None]
        pending.remember("m", [("b", 0.0, b"x")])
        assert pending.find("m", ["b"]) != [None]
        pending.close()


@pytest.mark.redis
def test_a_clock_that_was_ahead_once_keeps_no_other_event_past_its_time(tmp_path: Path) -> None:
    clock = Clock()
    pending = SqlitePending(tmp_path / "store.db", Limits(seconds=100.0), clock)
    clock.now = 9000.0
    pending.remember("ahead", [("early", 0.0, b"x")])
    clock.now = 1000.0
    pending.remember("m", [("old", 0.0, b"x")])
    clock.now = 1200.0
    pending.remember("m", [("young", 0.0, b"x")])

    ids = [row[0] for row in pending._connection.execute("SELECT id FROM pending ORDER BY number")]
    assert ids == ["early", "young"]
    pending.close()


def test_in_redis_events_expire_by_themselves(redis_url: str, tmp_path: Path) -> None:
    import redis

    pending = RedisPending(redis_url, Limits(seconds=77))
    pending.remember(tmp_path.name, [("a", 0.0, b"x")])
    pending.settle(tmp_path.name, ["a"])

    client = redis.Redis.from_url(redis_url)
    assert 0 < client.ttl(f"thalweg:pending:{tmp_path.name}:a") <= 77
    assert 0 < client.ttl(f"thalweg:pending:{tmp_path.name}") <= 77


def test_other_processes_see_the_same_file(tmp_path: Path) -> None:
    url = f"sqlite:{tmp_path}/store.db"
    with closing(open_pending(url)) as one, closing(open_pending(url)) as other:
        one.remember("m", [("a", 1.0, b"x")])

        assert other.find("m", ["a"]) == [Waiting(1.0, b"x")]
        other.settle("m", ["a"])
        (found,) = one.find("m", ["a"])
        assert found is not None
        assert found.joined


@pytest.mark.redis
def test_a_redis_that_is_gone_is_said_so_and_one_that_is_back_used_again(tmp_path: Path) -> None:
    with required_or_skipped():
        server = RedisServer(tmp_path)
    server.start()
    pending = open_pending(server.url)
    pending.remember("m", [("a", 1.0, b"x")])
    server.stop()
    for action in (
        pending.check,
        lambda: pending.remember("m", [("b", 1.0, b"x")]),
        lambda: pending.find("m", ["a"]),
        lambda: pending.settle("m", ["a"]),
    ):
        with pytest.raises(StoreError, match="store redis://127"):
            action()
    server.start()
    pending.remember("m", [("c", 1.0, b"x")])
    assert pending.find("m", ["c"]) == [Waiting(1.0, b"x")]
    pending.close()
    server.stop()


def test_a_url_of_another_form_is_refused() -> None:
    with pytest.raises(StoreError, match="expected memory:, sqlite:PATH or redis://"):
        open_pending("ftp://x")


def test_whichever_byte_of_the_file_is_flipped_no_other_event_is_found(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA page_size = 512")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("VACUUM")
    ids = [f"id {i}" for i in range(5)]
    store = SqlitePending(path, clock=lambda: 1e9)
    store.remember("m", [(id, 1e9, id.encode() * 3) for id in ids])
    store.settle("m", ids[:1])
    store.close()
    content, dropped = path.read_bytes(), 0

    for at in range(len(content)):
        if not any(content[max(0, at - 1) : at + 2]):
            continue  # the midst of empty space
        path.write_bytes(content[:at] + bytes([content[at] ^ 1 << at % 8]) + content[at + 1 :])
        for beside in ("-wal", "-shm"):
            path.with_name(path.name + beside).unlink(missing_ok=True)
        try:
            with closing(SqlitePending(path, clock=lambda: 1e9)) as store:
                found = store.find("m", ids)
        except StoreError:
            continue
        dropped += found.count(None)
        for id, event in zip(ids, found):
            assert event is None or event.joined or (event.time, event.value) == (1e9, id.encode() * 3), at

    assert dropped > 10


def counts(path: Path) -> tuple[dict[str, int], dict[str, int]]:
    """How many events each model has, as the store keeps it and as they are counted."""
    with closing(sqlite3.connect(path)) as connection:
        kept = dict(connection.execute("SELECT model, events FROM pending_counts WHERE events > 0"))
        return kept, dict(connection.execute("SELECT model, count(*) FROM pending GROUP BY model"))


def test_the_count_of_each_model_is_exact_for_several_processes_and_after_restarts(tmp_path: Path) -> None:
    path, clock, random = tmp_path / "s.db", Clock(), np.random.default_rng(0)
    stores = [SqlitePending(path, Limits(20, 12), clock), SqlitePending(path, Limits(20, 7), clock)]

    for step in range(300):
        clock.now += float(random.choice([0.0, 0.5, 30.0], p=[0.5, 0.48, 0.02]))
        store, model = stores[step % 2], f"m{random.integers(2)}"
        ids = [f"e{number}" for number in random.integers(0, 60, random.integers(1, 4))]
        store.remember(model, [(id, 0.0, b"x") for id in ids])
        store.settle(model, ids[:1])
        if step % 50 == 49:
            store.close()
            stores[step % 2] = SqlitePending(path, Limits(20, 7), clock)
        kept, counted = counts(path)
        assert kept == counted
        assert max(counted.values()) <= 12

    for store in stores:
        store.close()


def test_a_file_of_a_version_that_kept_no_counts_is_counted_once(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    with closing(SqlitePending(path)) as pending:
        pending.remember("m", [(f"e{number}", 0.0, b"x") for number in range(5)])
    with closing(sqlite3.connect(path)) as connection:
        for what in ("TRIGGER pending_added", "TRIGGER pending_removed", "TABLE pending_counts"):
            connection.execute(f"DROP {what}")

    with closing(SqlitePending(path, Limits(events=3))) as pending:
        assert counts(path)[0] == {"m": 5}
        pending.remember("m", [("new", 0.0, b"x")])
        found = pending.find("m", [*(f"e{number}" for number in range(5)), "new"])

    assert [one is not None for one in found] == [False, False, False, True, True, True]
    assert counts(path)[0] == {"m": 3}


@pytest.mark.parametrize("full", [False, True])
def test_remembering_takes_as_long_however_many_wait(tmp_path: Path, full: bool) -> None:
    def steps(waiting: int) -> int:
        """Of SQLite's machine, in tens, for one event more."""
        taken, limits = [0], Limits(events=waiting if full else 1_000_000)

        def step() -> None:
            taken[0] += 1

        with closing(SqlitePending(tmp_path / f"{waiting}.db", limits)) as pending:
            pending.remember("other", [(f"e{number}", 0.0, b"x") for number in range(waiting)])
            pending.remember("m", [(f"e{number}", 0.0, b"x") for number in range(waiting)])
            pending.remember("m", [("before", 0.0, b"x")])
            pending._connection.set_progress_handler(step, 10)
            pending.remember("m", [("one", 0.0, b"x")])
        return taken[0]

    assert steps(2000) <= steps(100) + 5
