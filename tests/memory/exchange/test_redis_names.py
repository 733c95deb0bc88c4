"""Services that share a Redis: each has its own names, and one that has another's is refused."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest
import redis
from structlog.testing import capture_logs

from tests.memory.relay.test_boards import announced
from tests.services.processes import until
from thalweg.memory.exchange import redis_names as module
from thalweg.memory.exchange.open import open_commands, open_pending
from thalweg.memory.exchange.redis_names import OtherService, RedisNames, ServiceLog
from thalweg.memory.relay.board import BoardUnavailable
from thalweg.memory.relay.redis_board import RedisBoard

pytestmark = pytest.mark.redis


@pytest.fixture
def url(redis_url: str) -> str:
    redis.Redis.from_url(redis_url).flushdb()
    return redis_url


def names(
    log: str | None, topic: str = "events", prefix: str = "thalweg", place: str = "", moved: str = ""
) -> RedisNames:
    return RedisNames(prefix, ServiceLog(id=lambda: log, topics={"m": topic}, place=place, moved_from=moved))


def remembers(url: str, names: RedisNames, id: str = "a") -> None:
    with closing(open_pending(url, names=names)) as pending:
        pending.remember("m", [(id, 1.0, b"x")])


def test_a_service_with_another_log_is_refused_and_shares_nothing(url: str) -> None:
    ours, theirs = names("log-1"), names("log-2")
    commands = open_commands(url, ours)
    command = commands.submit("m", "rollback", {"version": 1})
    remembers(url, ours)
    board = RedisBoard(url, names=ours)
    board.offer(announced(b"ours", 1, 1, 1), lambda: b"ours")

    with capture_logs() as logs:
        assert open_commands(url, theirs).poll("m") == []
    other = RedisBoard(url, names=theirs)
    refusals: list[Callable[[], object]] = [
        lambda: open_commands(url, theirs).submit("m", "rollback", {}),
        lambda: open_pending(url, names=theirs).find("m", ["a"]),
        lambda: open_pending(url, names=theirs).settle("m", ["a"]),
        lambda: remembers(url, theirs),
    ]
    for call in refusals:
        with pytest.raises(OtherService, match=r"'m'.*'thalweg'.*log-1.*log-2.*store\.prefix.*moved_from = \"log-1\""):
            call()
    of_board: list[Callable[[], object]] = [
        lambda: other.read("m", None),
        lambda: other.offer(announced(b"x", 2, 1, 1), lambda: b"x"),
        lambda: other.note("m", b"x"),
        lambda: other.noted("m~3"),  # a shard, and
        lambda: other.newest("m@2"),  # a successor are the model's
        lambda: other.note_host("m", "h", b"x"),
    ]
    for call in of_board:
        with pytest.raises(BoardUnavailable, match="another service's"):
            call()

    assert "another service's" in logs[0]["problem"]
    until("our command to come", lambda: [one.id for one in commands.poll("m")] == [command])
    (waiting,) = open_pending(url, names=ours).find("m", ["a"])
    assert waiting is not None
    assert not waiting.joined
    found = board.read("m", None)
    assert found is not None
    assert found.content == b"ours"


def test_with_prefixes_of_their_own_two_services_share_a_redis(url: str) -> None:
    one, two = names("log-1"), names("log-2", prefix="staging:fraud")
    remembers(url, one)
    remembers(url, two, "b")
    submitted = open_commands(url, two).submit("m", "snapshot", {})
    heard: list[str] = []
    stopping = threading.Event()
    board = RedisBoard(url, names=one)
    listening = threading.Thread(target=board.listen, args=(heard.append, stopping.is_set))
    listening.start()
    time.sleep(0.3)
    RedisBoard(url, names=two).offer(announced(b"two", 1, 1, 1), lambda: b"two")
    time.sleep(0.7)
    stopping.set()
    listening.join()

    assert heard == []
    assert open_commands(url, one).poll("m") == []
    assert [one is not None for one in open_pending(url, names=one).find("m", ["a", "b"])] == [True, False]
    assert board.read("m", None) is None
    until("it to come", lambda: [one.id for one in open_commands(url, two).poll("m")] == [submitted])
    keys = {key.decode().rpartition(":m")[0].partition(":")[0] for key in redis.Redis.from_url(url).scan_iter()}
    assert keys == {"thalweg", "staging"}


def test_what_a_service_of_before_left_is_found(url: str) -> None:
    with closing(open_pending(url)) as before:
        before.remember("m", [("a", 1.0, b"x")])

    assert open_pending(url, names=names("log-1")).find("m", ["a"])[0] is not None


@pytest.mark.parametrize(
    ("other", "taken"),
    [
        (names("log-2", place="host:/a/log.db"), True),  # begun anew where it was
        (names("log-1", place="pod-2:/a/log.db"), True),  # the same file elsewhere
        (names("log-2", place="host:/b/log.db"), False),
        (names("log-1", topic="others", place="host:/a/log.db"), False),
        (names("log-2", moved="log-1"), True),
        (names("log-2", moved="log-0"), False),
        (names(None), True),  # not known yet: it neither waits for the log nor is recorded
    ],
)
def test_a_service_is_told_from_others_by_its_log(url: str, other: RedisNames, taken: bool) -> None:
    first = names("log-1", place="host:/a/log.db")
    remembers(url, first)

    if taken:
        remembers(url, other, "b")
    else:
        with pytest.raises(OtherService):
            remembers(url, other, "b")


def test_one_that_was_refused_goes_on_when_the_record_is_deleted(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_AGAIN_SECONDS", 0.0)
    remembers(url, names("log-1"))
    theirs = names("log-2")
    with pytest.raises(OtherService, match="delete the key thalweg:note:m:service"):
        remembers(url, theirs)

    redis.Redis.from_url(url).delete("thalweg:note:m:service")

    remembers(url, theirs)


def test_the_record_lasts_while_anything_of_the_model_may_be_there(url: str) -> None:
    made = RedisNames("thalweg", ServiceLog(id=lambda: "log-1", topics={"m": "t"}, keep_seconds=10**6))
    remembers(url, made)

    assert 10**6 - 60 < redis.Redis.from_url(url).ttl("thalweg:note:m:service") <= 10**6


def test_a_user_that_may_not_write_the_record_works_as_before(url: str) -> None:
    admin: Any = redis.Redis.from_url(url)
    admin.execute_command("ACL", "SETUSER", "less", "on", ">secret", "~thalweg:pending:*", "+@all")
    with capture_logs() as logs:
        remembers(url.replace("://", "://less:secret@"), names("log-2"))
    admin.execute_command("ACL", "DELUSER", "less")

    assert "it cannot be told whether another service has these models" in [one["event"] for one in logs]


@pytest.mark.parametrize("content", ["", "{", "[1]", "3", '{"log": 1}', "null"])
def test_a_record_that_is_none_is_replaced(url: str, content: str) -> None:
    redis.Redis.from_url(url).set("thalweg:note:m:service", content)

    remembers(url, names("log-1"))

    with pytest.raises(OtherService):
        remembers(url, names("log-2"))


def test_a_redis_that_is_emptied_under_a_service_is_told_once(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_RENEW_SECONDS", 0.0)
    ours = names("log-1")
    with capture_logs() as before:
        remembers(url, ours)
        remembers(url, ours, "b")
    redis.Redis.from_url(url).flushdb()

    with capture_logs() as after:
        remembers(url, ours, "c")
        remembers(url, ours, "d")

    assert before == []
    (told,) = after
    assert told["event"].startswith(
        "the store was emptied, or restarted without what it held: requests that waited for"
    )
    assert (told["model"], told["log_level"]) == ("m", "error")
