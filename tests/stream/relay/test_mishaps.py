"""What goes wrong once between hosts costs no later version, no file and no memory."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.services.processes import until
from tests.stream.relay.test_relay import Pair, in_real_time, offered, part, running
from thalweg.memory.objects.objects import Objects
from thalweg.memory.relay import pieces
from thalweg.memory.relay.announced import PIECE_BYTES, Announced, Order
from thalweg.memory.relay.board import BoardUnavailable, InMemoryBoard
from thalweg.memory.relay.pieces import Pieces
from thalweg.stream.health.registry import Health, HealthRegistry
from thalweg.stream.relay.landing import Landing
from thalweg.stream.relay.receiver import ModelReceiver
from thalweg.stream.relay.sender import ModelSender, Sender


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return Pair(tmp_path, InMemoryBoard())


def test_a_refused_version_is_not_fetched_again_at_every_beat(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[int] = []
    check = ModelReceiver._checked
    monkeypatch.setattr(ModelReceiver, "_checked", lambda self, *rest: (checked.append(1), check(self, *rest))[1])
    for beat in range(8):
        offered(pair, b"no state", 1, 1, beat)
        pair.receiver.look()
        pair.wait(1.0)
    assert len(checked) == 1
    pair.wait(10.0)
    offered(pair, b"no state", 1, 1, 9)
    pair.receiver.look()
    assert len(checked) == 2


def test_a_receiver_that_ended_unexpectedly_goes_on(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    pair.publish(1)
    pair.step()
    with monkeypatch.context() as broken:
        broken.setattr(ModelReceiver, "_read", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            pair.receiver.run()
    pair.publish(2)
    pair.step()
    assert pair.version == 2
    assert pair.problem() == ""


def test_a_full_folder_keeps_no_files_of_versions_that_are_not_served(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    pair.publish(1)
    pair.step()
    with monkeypatch.context() as disk:
        disk.setattr(Landing, "_note", full)
        for number in range(2, 8):
            pair.publish(number)
            pair.step()
    assert pair.version == 1
    assert "No space left on device" in pair.problem()
    assert [path.name for path in pair.target.glob("*.safetensors")] == ["1.safetensors"]
    pair.publish(8)
    pair.step()
    assert pair.version == 8


def test_what_failed_after_it_was_announced_hides_no_later_version(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    offer = InMemoryBoard.offer

    def announced_and_failed(*arguments: Any) -> None:
        offer(*arguments)
        raise BoardUnavailable("the reply was lost")

    with monkeypatch.context() as lossy:
        lossy.setattr(InMemoryBoard, "offer", announced_and_failed)
        for number in (1, 2, 3):
            pair.publish(number)
            with pytest.raises(BoardUnavailable):
                pair.sender.step()
            pair.receiver.look()
            pair.server.look()
            pair.wait(1.0)
            assert pair.version == number


def test_a_sender_that_starts_deletes_nothing_before_it_has_announced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pieces, "_OLD_SECONDS", -1.0)  # whatever is there is old
    store = Objects(f"file:{tmp_path}/objects")
    content = bytes(2 * PIECE_BYTES)
    first, second = (
        Announced(
            model="m",
            order=Order(1, incarnation, 1),
            version=1,
            learned_events=0,
            event_time=0.0,
            published_age=0.0,
            as_of_age=None,
            identity="i",
            sender="somebody",
            sha256=f"{incarnation:064d}",
            size_bytes=len(content),
        )
        for incarnation in (1, 2)
    )
    earlier = Pieces(store)
    earlier.put(first, lambda: content)

    later = Pieces(store)
    later.put(second, lambda: content)
    assert [one.name for one in store.names("m/relay") if f"{1:016d}-{1:016d}" in one.name]
    later.prune(second)
    assert not [one.name for one in store.names("m/relay") if f"{1:016d}-{1:016d}" in one.name]


def test_neither_a_content_that_is_here_nor_one_that_was_refused_is_read_again(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    contents: list[bytes | None] = []
    read = InMemoryBoard.read

    def noted(*arguments: Any) -> Any:
        found = read(*arguments)
        contents.extend([] if found is None else [found.content])
        return found

    monkeypatch.setattr(InMemoryBoard, "read", noted)
    pair.publish(1)
    for _ in range(3):
        pair.step()
    assert [content is None for content in contents] == [False, True, True]
    assert pair.problem() == ""

    for name, others in (("damaged", {}), ("other settings", {"identity": "other"})):
        contents.clear()
        for _ in range(3):
            offered(pair, name.encode(), 1 << 50, 1, int(pair.here.ticks), **others)  # type: ignore[arg-type]
            pair.receiver.look()
            pair.wait(1.0)
        assert [content is None for content in contents] == [False, True, True], name
        assert name in pair.problem()


def test_a_learner_is_heard_of_while_a_version_of_it_takes_long_to_send(tmp_path: Path) -> None:
    pair, sent, registry = in_real_time(tmp_path), threading.Event(), HealthRegistry()
    board = pair.board
    offer, notes = board.offer, iter(range(1000))

    def slowly(announced: Announced, content: Callable[[], bytes]) -> None:
        sent.wait()
        offer(announced, content)

    board.offer = slowly  # type: ignore[method-assign]
    sender = Sender(pair.source.parent, board, lambda name: "i", registry, lambda model, order: b"%d" % next(notes))
    pair.publish(1)
    sender.start()
    try:
        until("it to be told twice", lambda: board.noted("m") == b"1")
        assert board.newest("m") is None
    finally:
        sent.set()
        sender.close()


def test_no_note_of_a_learner_that_was_overtaken_hides_those_of_the_new_one(pair: Pair) -> None:
    sender = ModelSender(
        "m", pair.source, pair.board, "i", Health(), lambda order: b"late", pair.here, lambda: pair.here.ticks
    )
    pair.publish(1)
    sender.step()
    assert pair.board.noted("m") == b"late"

    offered(pair, b"new", 7, 1, 1)
    pair.board.note("m", b"new")
    for _ in range(5):
        pair.wait(1.0)
        sender.step()
        sender.keep_alive()

    assert pair.board.noted("m") == b"new"


def test_a_learner_that_is_heard_of_otherwise_is_well(pair: Pair) -> None:
    pair.publish(1)
    pair.step()
    pair.wait(20.0)
    pair.receiver.look()
    assert "nothing is heard" in pair.problem()

    pair.receiver.heard()
    pair.receiver.look()

    assert pair.problem() == ""


def test_what_has_moved_to_another_host_is_offered_once_a_minute_and_at_once_when_it_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    board, offers = InMemoryBoard(), list[int]()
    offer = InMemoryBoard.offer

    def counted(self: InMemoryBoard, announced: Announced, content: Callable[[], bytes]) -> None:
        offers.append(announced.order.generation)
        offer(self, announced, content)

    former, owner = (Pair(tmp_path / str(number), board, generation=number) for number in (4, 5))
    former.sender = moving_sender(former)
    former.publish(1)
    former.sender.step()
    owner.publish(1)
    owner.sender.step()
    monkeypatch.setattr(InMemoryBoard, "offer", counted)
    for _ in range(180):
        former.sender.step()
        former.wait(1.0)
    assert offers == [4, 4, 4]
    assert former.problem(0) == ""

    former.generation = 6
    former.publisher.close()
    former.publisher = former.learner()
    former.publish(1)  # it has come back, with what it had
    former.sender.step()
    assert offers == [4, 4, 4, 6]


def moving_sender(pair: Pair) -> ModelSender:
    return ModelSender(
        "m",
        pair.source,
        pair.board,
        "i",
        pair.health[0],
        clock=pair.here,
        ticks=lambda: pair.here.ticks,
        moves=True,
    )


class Mute(InMemoryBoard):
    """A store that takes PUBLISH and tells nobody, as where a balancer has each connection end at another server."""

    def __init__(self) -> None:
        super().__init__()
        self.mute = True

    def listen(self, told: Callable[[str], None], stopped: Callable[[], bool]) -> None:
        while self.mute and not stopped():
            time.sleep(0.01)
        super().listen(told, stopped)


def test_a_store_that_tells_nobody_of_new_versions_is_not_relied_upon_and_that_is_told(tmp_path: Path) -> None:
    pair, board = in_real_time(tmp_path), Mute()

    def arrives(version: int) -> float:
        began = time.monotonic()
        pair.publish(version)
        until("it to arrive", lambda: pair.version == version)
        return time.monotonic() - began

    with running(pair, lambda: board) as (_, there):
        for version in range(1, 6):
            arrives(version)
        assert min(arrives(version) for version in range(6, 12)) < 0.5
        until("it to be told", lambda: "does not pass on that there are new versions" in part(there).reason)

        board.mute = False
        numbers = itertools.count(12)
        until("it to be relied upon again", lambda: (arrives(next(numbers)), part(there).well)[1])
