"""A Redis as others run it: a cluster, Sentinels and failover, users with few rights, a socket, or another thing."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.memory.relay.test_boards import SMALL, announced
from tests.services.processes import required_or_skipped, until
from tests.services.redis import RedisServer
from tests.services.redis_groups import Watched, redis_cluster
from thalweg.memory.exchange.commands import StoreError
from thalweg.memory.exchange.open import open_commands, open_pending
from thalweg.memory.exchange.pending import Limits
from thalweg.memory.exchange.redis_client import check_redis_url
from thalweg.memory.exchange.redis_names import RedisNames
from thalweg.memory.relay import redis_board
from thalweg.memory.relay.board import BoardUnavailable
from thalweg.memory.relay.redis_board import RedisBoard

pytestmark = pytest.mark.redis


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with required_or_skipped():
        server = RedisServer(tmp_path, "--unixsocket", str(tmp_path / "socket"))
    server.start()
    yield server
    server.stop()


def everything_works(url: str, names: RedisNames | None = None) -> None:
    """What a service does with its store."""
    with (
        closing(open_commands(url, names)) as commands,
        closing(open_pending(url, Limits(events=20), names)) as pending,
        closing(RedisBoard(url, names=names)) as board,
    ):
        id = commands.submit("m", "snapshot", {})
        until("the command to come", lambda: [one.id for one in commands.poll("m")] == [id])
        commands.respond(id, {"version": 3})
        assert commands.response(id, 1.0) == {"version": 3}
        pending.check()
        pending.remember("m", [(f"event-{number}", 1.0, b"x") for number in range(30)])
        found = pending.find("m", [f"event-{number}" for number in range(30)])
        assert sum(one is not None for one in found) == 20
        kept = next(f"event-{number}" for number, one in enumerate(found) if one is not None)
        pending.settle("m", {kept: "topic/0/1"})
        (waiting,) = pending.find("m", [kept])
        assert waiting is not None
        assert waiting.joined
        heard: list[str] = []
        began = time.monotonic()

        def stopped() -> bool:
            if not heard and time.monotonic() - began > 0.3:
                one = announced(b"content", 1, 1, int(time.time() * 1e6))
                board.offer(one, lambda: b"content")
            return bool(heard)

        board.listen(heard.append, stopped)
        assert heard == ["m"]
        there = board.read("m", None)
        assert there is not None
        assert there.content == b"content"
        assert board.newest("m") == there.announced.order
        board.note("m", b"note")
        assert board.noted("m") == b"note"
        for host in ("a", "b", "c"):
            board.note_host("m", host, b"note")
        assert board.hosts_noted("m") == {"a": b"note", "b": b"note", "c": b"note"}


def test_a_cluster_does_all_that_a_server_does(tmp_path: Path) -> None:
    with required_or_skipped():
        RedisServer(tmp_path)
    with redis_cluster(tmp_path) as servers:
        everything_works(f"redis+cluster://127.0.0.1:{servers[1].port}")
        with closing(open_commands(servers[0].url)) as one, closing(open_commands(servers[1].url)) as two:
            errors = []
            for commands in (one, two, open_commands(servers[2].url)):
                try:
                    commands.submit("m", "x", {})
                except StoreError as error:
                    errors.append(str(error))
        assert len(errors) == 2  # the key is on one of the three
        assert all("MOVED" in error or "expected redis+cluster://HOST:PORT" in error for error in errors), errors


def test_a_cluster_that_is_away_at_the_start_is_used_when_it_is_there(tmp_path: Path) -> None:
    with required_or_skipped():
        RedisServer(tmp_path)
    with redis_cluster(tmp_path) as servers:
        url = f"redis+cluster://127.0.0.1:1,127.0.0.1:{servers[1].port}"
        with closing(open_pending("redis+cluster://127.0.0.1:1")) as nowhere, pytest.raises(StoreError, match=":1"):
            nowhere.check()
        everything_works(url)


def test_under_sentinels_the_primary_is_found_also_after_a_failover(tmp_path: Path) -> None:
    with required_or_skipped():
        RedisServer(tmp_path)
    watched = Watched(tmp_path)
    try:
        everything_works(watched.url)
        with closing(open_pending(watched.url)) as pending, closing(RedisBoard(watched.url)) as board:
            pending.remember("m", [("a", 1.0, b"x")])
            until("the replica to have it", lambda: _has(watched.replica, "thalweg:pending:m:a"))
            watched.fail_over()

            until("the new primary to take it", _done(lambda: pending.remember("m", [("b", 1.0, b"y")])))
            until("the new primary to take notes", _done(lambda: board.note("m", b"note")))

            assert [one is not None for one in pending.find("m", ["a", "b"])] == [True, True]
            assert _has(watched.replica, "thalweg:pending:m:b")
        with pytest.raises(StoreError, match=r"unknown command.*Sentinel.*redis\+sentinel://HOST:PORT/NAME"):
            open_pending(f"redis://127.0.0.1:{watched.port}").find("m", ["a"])
        with pytest.raises(StoreError, match="theirs"):
            open_pending(f"redis+sentinel://127.0.0.1:{watched.port}/theirs").find("m", ["a"])
    finally:
        watched.close()


def test_a_connection_to_a_server_that_has_become_a_replica_is_made_anew(server: RedisServer) -> None:
    """As where a name leads to the primary: the name leads elsewhere, and the old connection stays open."""
    admin: Any = redis.Redis.from_url(server.url)
    with closing(open_pending(server.url)) as pending, closing(RedisBoard(server.url)) as board:
        pending.remember("m", [("a", 1.0, b"x")])
        board.note("m", b"x")
        admin.replicaof("127.0.0.1", 1)
        before = admin.info("stats")["total_connections_received"]
        with pytest.raises(StoreError, match="replica now, and is looked up anew"):
            pending.remember("m", [("b", 1.0, b"x")])
        with pytest.raises(BoardUnavailable, match="replica now"):
            board.note("m", b"x")

        admin.replicaof("NO", "ONE")
        pending.remember("m", [("b", 1.0, b"x")])
        board.note("m", b"x")

        assert admin.info("stats")["total_connections_received"] - before >= 2
    admin.close()


def test_a_user_needs_the_rights_of_its_prefix_and_is_told_which_it_lacks(server: RedisServer) -> None:
    admin: Any = redis.Redis.from_url(server.url)
    rights = ("resetchannels", "&ours:*", "+@all", "-@dangerous")
    admin.execute_command("ACL", "SETUSER", "me", "on", ">secret", "~ours:*", *rights)
    url = server.url.replace("://", "://me:secret@")

    everything_works(url, RedisNames("ours"))

    with pytest.raises(StoreError, match=r"thalweg:commands:m.*needs the keys ~PREFIX") as told:
        open_commands(url).submit("m", "x", {})
    assert "secret" not in str(told.value)
    with pytest.raises(StoreError, match=r"thalweg:pending:m.*needs the keys") as told:
        open_pending(url).remember("m", [("a", 1.0, b"of a person")])
    assert "of a person" not in str(told.value)
    board = RedisBoard(url)
    for call in (lambda: board.newest("m"), lambda: board.noted("m"), lambda: board.hosts_noted("m")):
        with pytest.raises(BoardUnavailable, match="needs the keys"):  # not as if nothing were there
            call()
    admin.execute_command("ACL", "SETUSER", "me", "resetchannels")
    with pytest.raises(BoardUnavailable, match=r"ours:version:m.*channel &PREFIX:versions"):
        RedisBoard(url, names=RedisNames("ours")).offer(announced(b"new", 1, 1, int(time.time() * 1e6)), lambda: b"new")
    admin.close()


def test_a_socket_is_a_redis_too(server: RedisServer, tmp_path: Path) -> None:
    everything_works(f"unix://{tmp_path / 'socket'}?db=0")


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("redis+sentinel://host:26379", "expected redis://HOST"),
        ("redis+sentinel://host:port/ours", "expected HOST:PORT, got 'host:port'"),
        ("redis+cluster://host:6379/3", "database 0 alone"),
        ("redis+other://host", "expected redis://HOST"),
        ("redis://u:half/other@host:1", "%2F"),
        ("redis://u:p@s/w@host:1/0", "%2F"),
        ("redis+cluster://u:p/w@a:1,b:2", "%2F"),
        ("redis://u:12#w@host:1", "%23"),
        ("redis://u:pass@host:99999/0", "a port from 1 to 65535, got 'host:99999'"),
        ("redis://u:pass@host:x/0", "expected HOST:PORT, got 'host:x'"),
        ("redis+cluster://u:pass@a:1;b:2", "expected HOST:PORT, got 'a:1;b:2'"),
        ("redis+sentinel://u:pass@a:1,b:0/ours", "got 'b:0'"),
        ("redis:///0", "expected HOST:PORT, got ''"),
        ("redis://u:pass@host/first", "the number of a database, got 'first'"),
    ],
)
def test_another_url_is_refused_without_a_connection(url: str, told: str) -> None:
    with pytest.raises(StoreError, match=told) as raised:
        check_redis_url(url)

    assert "u:" not in str(raised.value)


@pytest.mark.parametrize(
    "url",
    [
        "redis://host",
        "redis://host/",
        "redis://[::1]/3",
        "rediss://user:pass@host:6380/0?ssl_ca_certs=/etc/ca.pem",
        "redis+sentinel://:pass@a,b:26380,[::1]:26379/ours/2?sentinel_password=other",
        "rediss+cluster://user:p%40ss@a:6379,b:6379",
        "unix:///run/redis.sock?db=1",
    ],
)
def test_the_forms_of_managed_services_are_understood(url: str) -> None:
    check_redis_url(url)


def _has(server: RedisServer, key: str) -> bool:
    with closing(redis.Redis.from_url(server.url)) as client:
        return bool(client.exists(key))


def _done(call: Callable[[], None]) -> Callable[[], bool]:
    def tried() -> bool:
        try:
            call()
        except (StoreError, BoardUnavailable):
            return False
        return True

    return tried


@pytest.mark.parametrize(
    ("missing", "told"),
    [("HELLO", ""), ("PING", ""), ("CLIENT", ""), ("SUBSCRIBE", "'SUBSCRIBE'"), ("PUBLISH", ""), ("EVAL", "'EVAL'")],
)
def test_a_redis_without_some_command_does_or_says_which_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str, told: str
) -> None:
    monkeypatch.setattr(redis_board, "_PING_SECONDS", 0.1)
    monkeypatch.setattr(redis_board, "_SILENT_SECONDS", 1.5)
    server = RedisServer(tmp_path, "--rename-command", missing, "")
    server.start()
    board, heard, problems, ended = RedisBoard(server.url), list[str](), list[str](), threading.Event()

    def use() -> bool:
        try:
            board.offer(announced(SMALL, 1, 1, next(numbers)), lambda: SMALL)
        except BoardUnavailable as error:
            problems.append(str(error))
        return bool(heard or problems)

    numbers = itertools.count()
    with ThreadPoolExecutor(1) as pool:
        listening = pool.submit(board.listen, heard.append, ended.is_set)
        try:
            until("an answer", lambda: use() or listening.done())
            until("a connection that is asked whether it lives", lambda: listening.done() or wait([listening], 2.0))
        finally:
            ended.set()
        if (problem := listening.exception(60)) is not None:
            problems.append(str(problem))
    if missing in ("HELLO", "PING", "CLIENT"):
        assert (heard[:1], problems) == (["m"], [])
    else:
        assert problems
        assert told in problems[0]
        assert "a Redis without that command" in problems[0]
    server.stop()
