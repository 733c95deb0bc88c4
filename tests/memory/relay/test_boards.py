"""Boards of announced versions: the newest of the newest owner counts, whoever comes late is refused."""

from __future__ import annotations

import hashlib
import itertools
import os
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import redis

from tests.services.object_store import s3
from tests.services.processes import until
from tests.services.proxy import Proxy
from thalweg.memory.objects.objects import Objects, ObjectsUnavailable
from thalweg.memory.relay import object_board
from thalweg.memory.relay.announced import PIECE_BYTES, Announced, Order, Poisoned, decode
from thalweg.memory.relay.board import BoardUnavailable, InMemoryBoard, Overtaken, TooLarge, VersionBoard
from thalweg.memory.relay.object_board import ObjectBoard
from thalweg.memory.relay.pieces import Pieces
from thalweg.memory.relay.redis_board import MOST_ALONE_BYTES, RedisBoard

SMALL, LARGE = b"small" * 10, np.random.default_rng(0).bytes(3 * PIECE_BYTES + 7)


def announced(content: bytes, *order: int, model: str = "m", version: int = 1) -> Announced:
    return Announced(
        model=model,
        order=Order(*order),
        version=version,
        learned_events=version,
        event_time=0.0,
        published_age=0.5,
        as_of_age=0.25,
        identity="i",
        sender=f"generation {order[0]}",
        sha256=hashlib.sha256(content).hexdigest(),
        size_bytes=len(content),
        cohorts=((7, version, 0.5, 3, 0),),
    )


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """The URL of an S3."""
    with s3() as server:
        yield server.url


@pytest.fixture
def empty_redis(redis_url: str) -> str:
    """The URL of a Redis without anything in it."""
    redis.Redis.from_url(redis_url).flushdb()
    return redis_url


@pytest.fixture(params=["memory", "folder", "s3", "redis", "redis and objects"])
def board(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[VersionBoard]:
    """Each kind of board, empty."""
    made: VersionBoard
    folder = f"file:{tmp_path / 'objects'}"
    if request.param == "memory":
        made = InMemoryBoard()
    elif request.param in ("folder", "s3"):
        url = folder if request.param == "folder" else f"{request.getfixturevalue('bucket')}/{uuid.uuid4().hex}"
        made = ObjectBoard(objects := Objects(url), Pieces(objects))
    else:
        pieces = Pieces(Objects(folder)) if request.param.endswith("objects") else None
        made = RedisBoard(request.getfixturevalue("empty_redis"), pieces)
    yield made
    made.close()


def content_of(board: VersionBoard, model: str = "m", after: Order | None = None) -> tuple[Announced, bytes] | None:
    found = board.read(model, after)
    if found is None:
        return None
    if found.content is not None:
        return found.announced, found.content
    pieces = [board.fetch(found.announced, number) for number in range(len(found.announced.pieces))]
    return found.announced, b"".join(piece or b"gone" for piece in pieces)


@pytest.mark.parametrize("content", [SMALL, LARGE], ids=["small", "large"])
def test_what_was_offered_last_is_read_with_its_content(board: VersionBoard, content: bytes) -> None:
    assert board.read("m", None) is None
    assert board.newest("m") is None

    board.offer(announced(SMALL, 3, 1, 1), lambda: SMALL)
    board.offer(announced(content, 3, 1, 2, version=2), lambda: content)

    found = content_of(board)
    assert found is not None
    assert found[0].version == 2
    assert found[0].cohorts == ((7, 2, 0.5, 3, 0),)
    assert found[1] == content
    assert board.newest("m") == (3, 1, 2)
    assert board.read("m", Order(3, 1, 2)) is None
    assert content_of(board, after=Order(3, 1, 1)) == found


@pytest.mark.parametrize("late", [(2, 9, 99), (3, 1, 99), (3, 2, 4)], ids=["owner", "sender", "announcement"])
def test_what_an_owner_announces_after_it_was_superseded_is_refused(board: VersionBoard, late: tuple[int, ...]) -> None:
    board.offer(announced(SMALL, 3, 2, 5), lambda: SMALL)

    with pytest.raises(Overtaken, match="generation 3"):
        board.offer(announced(LARGE, *late, version=1000), lambda: LARGE)

    found = content_of(board)
    assert found is not None
    assert found[0].order == (3, 2, 5)
    assert found[1] == SMALL


def test_of_owners_that_announce_at_once_the_newest_is_read(board: VersionBoard) -> None:
    def offer(generation: int) -> bool:
        content = str(generation).encode()
        try:
            board.offer(announced(content, generation, 1, 1, version=generation), lambda: content)
        except Overtaken:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        taken = list(pool.map(offer, [4, 9, 2, 7, 8, 1, 3, 6]))

    found = content_of(board)
    assert taken[1]
    assert found is not None
    assert (found[0].version, found[1]) == (9, b"9")


def test_an_announcement_is_offered_again_without_harm(board: VersionBoard) -> None:
    """Its answer may have been lost."""
    for _ in range(2):
        board.offer(announced(SMALL, 1, 1, 1), lambda: SMALL)

    assert board.newest("m") == (1, 1, 1)


@pytest.mark.parametrize("board", ["memory", "redis", "redis and objects"], indirect=True)
def test_equal_content_is_sent_once(board: VersionBoard) -> None:
    """In an object store small contents are part of the announcement."""
    board.offer(announced(SMALL, 1, 1, 1), lambda: SMALL)

    board.offer(announced(SMALL, 1, 1, 2), lambda: pytest.fail("it is there"))

    found = content_of(board)
    assert found is not None
    assert (found[0].order.sequence, found[1]) == (2, SMALL)


def test_content_that_the_store_has_lost_is_sent_again(empty_redis: str) -> None:
    board = RedisBoard(empty_redis)
    board.offer(announced(SMALL, 1, 1, 1), lambda: SMALL)
    redis.Redis.from_url(empty_redis).flushdb()

    board.offer(announced(SMALL, 1, 1, 2), lambda: SMALL)

    found = content_of(board)
    assert found is not None
    assert found[1] == SMALL


def test_pieces_that_versions_share_are_sent_once_and_old_ones_deleted(tmp_path: Path) -> None:
    objects = Objects(f"file:{tmp_path / 'objects'}")
    pieces = Pieces(objects)
    board = ObjectBoard(objects, pieces)
    for number in range(10):
        content = LARGE[:PIECE_BYTES] + bytes([number]) * PIECE_BYTES + LARGE[2 * PIECE_BYTES :]
        board.offer(announced(content, 1, 1, number), lambda content=content: content)  # type: ignore[misc]

    assert pieces.sent_bytes == len(LARGE) + 9 * PIECE_BYTES
    assert len(objects.names("m/relay")) == 3 + 3
    assert len(objects.names("m/announced")) == 4


def test_a_superseded_owner_deletes_no_piece_of_the_new_one(tmp_path: Path) -> None:
    """Also if it tidies up without having looked who owns the model now."""
    objects = Objects(f"file:{tmp_path / 'objects'}")
    old, new = Pieces(objects), Pieces(objects)
    old.put(announced(LARGE, 1, 1, 1), lambda: LARGE)
    one = announced(LARGE, 2, 1, 1)
    one = replace(one, pieces=new.put(one, lambda: LARGE))

    for number in range(2, 8):
        other = bytes([number]) * len(LARGE)
        late = announced(other, 1, 1, number)
        late = replace(late, pieces=old.put(late, lambda other=other: other))  # type: ignore[misc]
        old.prune(late)

    assert b"".join(new.get(one, number) or b"gone" for number in range(len(one.pieces))) == LARGE


def test_under_a_new_generation_pieces_are_put_anew(tmp_path: Path) -> None:
    """Those of the one before may be deleted by whoever has it."""
    pieces = Pieces(Objects(f"file:{tmp_path / 'objects'}"))
    for generation in (1, 2):
        one = announced(LARGE, generation, 1, 1)
        one = replace(one, pieces=pieces.put(one, lambda: LARGE))

        assert pieces.get(one, 0) == LARGE[:PIECE_BYTES]


def test_without_an_object_store_a_version_that_is_too_large_is_refused_by_name(empty_redis: str) -> None:
    board = RedisBoard(empty_redis)

    with pytest.raises(TooLarge, match=r"service\.state_url"):
        board.offer(replace(announced(SMALL, 1, 1, 1), size_bytes=1 << 27), bytes)
    assert MOST_ALONE_BYTES < 1 << 27


def test_notes_are_replaced(board: VersionBoard) -> None:
    assert board.noted("m") is None

    for text in (b"one", b"two"):
        board.note("m", text)

    assert board.noted("m") == b"two"


@pytest.mark.parametrize("board", ["memory", "redis"], indirect=True)
def test_listeners_are_told_of_what_is_announced(board: VersionBoard) -> None:
    heard: list[str] = []
    with ThreadPoolExecutor(1) as pool:
        listening = pool.submit(board.listen, heard.append, lambda: len(heard) > 0)
        until(
            "it to be heard",
            lambda: (
                board.offer(announced(SMALL, 1, 1, 1, model="other"), lambda: SMALL),
                heard,
            )[1],
        )
        listening.result(60)

    assert set(heard) == {"other"}


def test_a_connection_that_was_forgotten_on_the_way_is_told_and_listening_goes_on_by_another(empty_redis: str) -> None:
    proxy = Proxy(int(empty_redis.rpartition(":")[2].partition("/")[0]))
    there = RedisBoard(f"redis://127.0.0.1:{proxy.port}/0")
    here, heard, ended, numbers = RedisBoard(empty_redis), list[str](), threading.Event(), itertools.count()

    def listen(pool: ThreadPoolExecutor) -> Future[None]:
        heard.clear()
        listening = pool.submit(there.listen, heard.append, ended.is_set)
        until("it to be heard", lambda: (here.offer(announced(SMALL, 1, 1, next(numbers)), lambda: SMALL), heard)[1])
        return listening

    with ThreadPoolExecutor(2) as pool:
        try:
            listening = listen(pool)
            proxy.forget()
            with pytest.raises(BoardUnavailable, match="the connection that tells what is new has died"):
                listening.result(60)
            listen(pool)
        finally:
            ended.set()
    proxy.close()


def test_a_new_content_is_sent_at_once_and_one_that_is_there_not_again(empty_redis: str) -> None:
    board = RedisBoard(empty_redis)
    calls: list[str] = []
    run = board._run
    board._run = lambda *args: (calls.append(args[-3]), run(*args))[1]  # type: ignore[method-assign]

    board.offer(announced(SMALL, 1, 1, 1), lambda: SMALL)
    board.offer(announced(SMALL, 1, 1, 2), lambda: SMALL)
    redis.Redis.from_url(empty_redis).flushdb()
    board.offer(announced(SMALL, 1, 1, 3), lambda: SMALL)

    assert calls == [SMALL, b"", b"", SMALL]
    found = board.read("m", None)
    assert found is not None
    assert found.content == SMALL


def test_a_redis_that_is_away_is_named_without_its_password() -> None:
    board = RedisBoard("redis://user:secret@127.0.0.1:1/0")

    for call in (
        lambda: board.read("m", None),
        lambda: board.newest("m"),
        lambda: board.noted("m"),
        lambda: board.note("m", b""),
        lambda: board.offer(announced(SMALL, 1, 1, 1), lambda: SMALL),
        lambda: board.listen(print, lambda: False),
    ):
        with pytest.raises(BoardUnavailable, match=r"127\.0\.0\.1") as raised:
            call()
        assert "secret" not in str(raised.value)


POISON = {
    "garbage": b"\xff\x00garbage",
    "no object": b"[1]",
    "deep": b"[" * 100_000,
    "empty": b"",
    "another model": announced(SMALL, 1, 1, 1, model="other").encode(),
    "a path": announced(SMALL, 1, 1, 1, model="../m").encode(),
    "an absolute path": announced(SMALL, 1, 1, 1, model="/tmp/m").encode(),
    "a hidden name": announced(SMALL, 1, 1, 1, model=".m").encode(),
    "a negative order": announced(SMALL, -1, 1, 1).encode(),
    "an endless order": announced(SMALL, 10**40, 1, 1).encode(),
    "an enormous size": announced(SMALL, 1, 1, 1).encode().replace(b'"size_bytes":50', b'"size_bytes":1e300'),
    "a size beyond all": announced(SMALL, 1, 1, 1).encode().replace(b'"size_bytes":50', b'"size_bytes":%d' % 10**15),
    "no number": announced(SMALL, 1, 1, 1).encode().replace(b'"published_age":0.5', b'"published_age":NaN'),
    "a number beyond every float": announced(SMALL, 1, 1, 1)
    .encode()
    .replace(b'"published_age":0.5', b'"published_age":1%s' % (b"0" * 400)),
    "a path for a hash": announced(SMALL, 1, 1, 1).encode().replace(b'"pieces":[]', b'"pieces":["../../x"]'),
    "pieces of nothing": announced(SMALL, 1, 1, 1)
    .encode()
    .replace(b'"pieces":[]', b'"pieces":["%s"]' % (b"0" * 64))
    .replace(b'"size_bytes":50', b'"size_bytes":0'),
    "too long": announced(SMALL, 1, 1, 1).encode() + b" " * (2 << 20),
}


@pytest.mark.parametrize("record", POISON.values(), ids=POISON)
def test_what_is_no_announcement_is_told_as_such(record: bytes) -> None:
    with pytest.raises(Poisoned):
        decode(record, "m")


@pytest.mark.parametrize("name", ["../m", "/tmp/m", ".m", "", "a/b", "a\\b", "m\n", "live", "m" * 300, "..", "m\0"])
def test_what_cannot_name_a_folder_names_no_model(name: str) -> None:
    with pytest.raises(Poisoned):
        decode(announced(SMALL, 1, 1, 1, model=name).encode(), name)


def test_an_announcement_comes_back_as_it_was_written() -> None:
    one = announced(LARGE, 1, 2, 3)

    assert decode(one.encode(), "m") == one


@pytest.mark.parametrize("record", POISON.values(), ids=POISON)
def test_poison_in_redis_is_refused_and_overwritten_by_the_next_version(empty_redis: str, record: bytes) -> None:
    client, model = redis.Redis.from_url(empty_redis), "m"
    client.hset(f"thalweg:version:{model}", mapping={"record": record, "generation": "x", "content": b"y"})
    board = RedisBoard(empty_redis)

    with pytest.raises(Poisoned):
        board.read(model, None)
    board.offer(announced(SMALL, 1, 1, 1), lambda: SMALL)

    found = content_of(board)
    assert found is not None
    assert found[1] == SMALL


def test_a_key_of_another_kind_in_redis_is_replaced(empty_redis: str) -> None:
    name = f"m{uuid.uuid4().hex}"
    redis.Redis.from_url(empty_redis).lpush(f"thalweg:version:{name}", "x")
    board = RedisBoard(empty_redis)

    assert board.newest(name) is None
    board.offer(announced(SMALL, 1, 1, 1, model=name), lambda: SMALL)

    assert content_of(board, name) is not None


@pytest.mark.parametrize("record", POISON.values(), ids=POISON)
def test_poison_in_an_object_store_is_refused(tmp_path: Path, record: bytes) -> None:
    objects = Objects(f"file:{tmp_path / 'objects'}")
    board = ObjectBoard(objects, Pieces(objects))
    objects.put(f"m/announced/{1:016d}-{1:016d}-{1:016d}", record)

    with pytest.raises(Poisoned):
        board.read("m", None)


def test_what_hosts_note_stands_side_by_side(board: VersionBoard) -> None:
    assert board.hosts_noted("m") == {}
    for host, content in (("one", b"1"), ("two", b"2"), ("one", b"3")):
        board.note_host("m", host, content)

    assert board.hosts_noted("m") == {"one": b"3", "two": b"2"}
    assert board.hosts_noted("n") == {}


@pytest.mark.parametrize("board", ["memory", "redis", "redis and objects"], indirect=True)
def test_content_that_the_follower_has_is_not_sent_to_it_again(board: VersionBoard) -> None:
    one = announced(SMALL, 1, 1, 1)
    board.offer(one, lambda: SMALL)

    known, unknown = (board.read("m", None, [sha256]) for sha256 in (one.sha256, "0" * 64))

    assert known is not None
    assert unknown is not None
    assert (known.announced, known.content) == (unknown.announced, None)
    assert unknown.content == SMALL


def test_redis_writes_no_content_that_the_follower_has(empty_redis: str) -> None:
    """A version is announced every second; of each the follower knows the content."""
    board, content = RedisBoard(empty_redis), LARGE[: 1 << 20]
    one = announced(content, 1, 1, 1)
    board.offer(one, lambda: content)
    client = redis.Redis.from_url(empty_redis)
    before = client.info("stats")["total_net_output_bytes"]

    for _ in range(3):
        board.read("m", None, ["0" * 64, one.sha256])

    assert client.info("stats")["total_net_output_bytes"] - before < 100_000


def large(number: int) -> bytes:
    return np.random.default_rng(number).bytes(2 * PIECE_BYTES)


@pytest.mark.parametrize("where", ["redis", "objects"])
def test_pieces_of_versions_that_cannot_be_announced_do_not_pile_up(
    where: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Large contents can be put while their announcements are refused: by a Redis without its replicas, say."""
    objects = Objects(f"file:{tmp_path / 'objects'}")
    board: VersionBoard
    with monkeypatch.context() as refusing:
        if where == "redis":
            client = redis.Redis.from_url(request.getfixturevalue("empty_redis"))
            board = RedisBoard(request.getfixturevalue("empty_redis"), Pieces(objects))
        else:
            board = ObjectBoard(objects, Pieces(objects))
        board.offer(announced(large(0), 1, 1, 0), lambda: large(0))
        if where == "redis":
            client.config_set("min-replicas-to-write", 1)
            request.addfinalizer(lambda: client.config_set("min-replicas-to-write", 0))
        else:
            refusing.setattr(objects, "put", lambda name, content: _put_pieces_only(tmp_path, name, content))
        for number in range(1, 9):
            with pytest.raises(BoardUnavailable):
                board.offer(announced(large(number), 1, 1, number), lambda number=number: large(number))  # type: ignore[misc]

            assert len(objects.names("m/relay")) <= 2 + 2 * 2
            found = content_of(board)
            assert found is not None
            assert found[1] == large(0)
        if where == "redis":
            client.config_set("min-replicas-to-write", 0)

    board.offer(announced(large(8), 1, 1, 9), lambda: large(8))
    found = content_of(board)
    assert found is not None
    assert found[1] == large(8)


def _put_pieces_only(folder: Path, name: str, content: bytes) -> None:
    if "/announced/" in name:
        raise ObjectsUnavailable("refused")
    Objects(f"file:{folder / 'objects'}").put(name, content)


def test_pieces_of_an_announcement_whose_answer_was_lost_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    objects = Objects(f"file:{tmp_path / 'objects'}")
    board = ObjectBoard(objects, Pieces(objects))
    names = objects.names
    with monkeypatch.context() as lost:
        lost.setattr("thalweg.memory.relay.object_board._CHECK_SECONDS", 0.0)
        for number in range(1, 6):
            if number == 2:  # all later ones fail before they are made
                lost.setattr(objects, "put", lambda name, content: _put_pieces_only(tmp_path, name, content))
            looks = iter([names, lambda prefix: (_ for _ in ()).throw(ObjectsUnavailable("lost"))])
            lost.setattr(objects, "names", lambda prefix: next(looks)(prefix))  # noqa: B023 - used within the turn
            with pytest.raises(BoardUnavailable):
                board.offer(announced(large(number), 1, 1, number), lambda number=number: large(number))  # type: ignore[misc]

    found = content_of(board)
    assert found is not None
    assert found[1] == large(1)


def test_what_hosts_noted_that_are_gone_is_deleted(tmp_path: Path) -> None:
    """A host that is replaced has another name: else its notes would stay for ever."""
    objects, folder = Objects(f"file:{tmp_path / 'objects'}"), tmp_path / "objects" / "m" / "announced-hosts"
    for host in ("gone", "late", "here"):
        ObjectBoard(objects, Pieces(objects)).note_host("m", host, b"1")
    for host, ago in (("gone", 3700.0), ("late", 3500.0)):
        at = time.time() - ago
        os.utime(folder / host, (at, at))

    ObjectBoard(objects, Pieces(objects)).note_host("m", "here", b"2")

    assert {path.name for path in folder.iterdir()} == {"here", "late"}


def test_between_lists_a_follower_of_an_object_store_asks_for_the_next_announcement_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A list costs more, and tells of what another sender has announced."""
    monkeypatch.setattr(object_board, "_LIST_SECONDS", 3600.0)
    objects = Objects(f"file:{tmp_path / 'objects'}")
    sender, follower = ObjectBoard(objects, Pieces(objects)), ObjectBoard(objects, Pieces(objects))
    sender.offer(announced(SMALL, 1, 1, 1), lambda: SMALL)
    assert content_of(follower) is not None
    with monkeypatch.context() as counted:
        counted.setattr(objects, "names", lambda prefix: pytest.fail("it lists"))
        for _ in range(3):
            assert follower.read("m", Order(1, 1, 1)) is None

    sender.offer(announced(SMALL, 1, 1, 2), lambda: SMALL)
    assert read_order(follower, Order(1, 1, 1)) == (1, 1, 2)

    sender.offer(announced(SMALL, 2, 1, 1), lambda: SMALL)
    objects.put(f"m/announced/{1:016d}-{1:016d}-{3:016d}", announced(LARGE, 1, 1, 3).encode() + b"\nlate")
    assert read_order(follower, Order(1, 1, 2)) == (2, 1, 1)  # what the superseded one writes late is not taken


def test_what_another_sender_has_announced_is_found_by_the_next_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(object_board, "_LIST_SECONDS", 0.05)
    objects = Objects(f"file:{tmp_path / 'objects'}")
    board = ObjectBoard(objects, Pieces(objects))
    board.offer(announced(SMALL, 1, 1, 1), lambda: SMALL)
    assert content_of(board) is not None

    board.offer(announced(SMALL, 1, 2, 0), lambda: SMALL)

    until("it to be found", lambda: read_order(board, Order(1, 1, 1)) == (1, 2, 0))


def read_order(board: VersionBoard, after: Order) -> Order | None:
    found = board.read("m", after)
    return None if found is None else found.announced.order
