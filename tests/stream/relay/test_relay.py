"""Versions on their way from a learner's host to a server's: the newest arrives whole, or not at all."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import redis
from structlog.testing import capture_logs

from tests.services.object_store import S3Server, s3
from tests.services.processes import until
from tests.services.redis import RedisServer
from tests.stream.publication.test_file_channel import Filled, filled, published, show
from thalweg.memory.objects.objects import Objects
from thalweg.memory.relay.announced import Announced, Order
from thalweg.memory.relay.board import BoardUnavailable, Found, InMemoryBoard, VersionBoard
from thalweg.memory.relay.object_board import ObjectBoard
from thalweg.memory.relay.pieces import Pieces
from thalweg.memory.relay.redis_board import RedisBoard
from thalweg.memory.snapshots.state import State, write_state
from thalweg.stream.freshness.cohorts import Cohort, cohort_reader, cohort_writer
from thalweg.stream.health.registry import ComponentHealth, Health, HealthRegistry
from thalweg.stream.publication.announcement import ANNOUNCEMENT, Slot, make_announcement, newest_slot, write_slot
from thalweg.stream.publication.file_channel import FilePublisher, FileSubscriber
from thalweg.stream.publication.ports import VersionInfo
from thalweg.stream.relay.local import GENERATION
from thalweg.stream.relay.receiver import ModelReceiver, Receiver
from thalweg.stream.relay.sender import ModelSender, Sender

HOUR = 3600.0


@dataclass
class Clock:
    """Of one host: what it shows is off by so much; `ticks` is right."""

    off: float = 0.0
    ticks: float = 1000.0

    def __call__(self) -> float:
        return 1e9 + self.ticks + self.off


@dataclass
class Pair:
    """A learner's host and a server's, which share a board and nothing else; each step is taken by hand."""

    folder: Path
    board: VersionBoard
    here: Clock = field(default_factory=Clock)
    there: Clock = field(default_factory=Clock)
    generation: int = 0

    def __post_init__(self) -> None:
        self.source, self.target = self.folder / "here" / "m", self.folder / "there" / "m"
        self.health = Health("relay", "m"), Health("relay", "m")
        self.publisher = self.learner()
        self.sender = self.new_sender()
        self.receiver = self.new_receiver()
        self.server: FileSubscriber = published(self.target)

    def learner(self) -> FilePublisher:
        return FilePublisher(self.source, self.here, noted={GENERATION: self.generation})

    def new_sender(self, identity: str = "i") -> ModelSender:
        return ModelSender(
            "m", self.source, self.board, identity, self.health[0], clock=self.here, ticks=lambda: self.here.ticks
        )

    def new_receiver(self, identity: str = "i") -> ModelReceiver:
        return ModelReceiver(
            "m", self.target, self.board, identity, self.health[1], clock=self.there, ticks=lambda: self.there.ticks
        )

    def publish(self, number: int, size: int = 1000) -> None:
        self.publisher.publish(
            filled(number, size),
            version=number,
            learned_events=10 * number,
            event_time=5.0,  # type: ignore[arg-type]
        )

    def wait(self, seconds: float) -> None:
        self.here.ticks += seconds
        self.there.ticks += seconds

    def step(self) -> None:
        """Send, receive, map; a second passes."""
        self.sender.step()
        self.receiver.look()
        self.server.look()
        self.wait(1.0)

    def problem(self, side: int = 1) -> str:
        found = self.health[side].now()
        return "" if found.well else f"{found.state.value}: {found.reason}"

    @property
    def version(self) -> int | None:
        """What the server answers from, and is whole."""
        served = self.server.current  # read once: the next one may be there at any moment
        if served is None:
            return None
        assert (served.predictor.values == served.info.version).all()  # type: ignore[attr-defined]
        return served.info.version


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return Pair(tmp_path, InMemoryBoard())


def offered(pair: Pair, content: bytes, *order: int, version: int = 7, **others: object) -> None:
    """Put an announcement on the board, as somebody who can write there."""
    one = Announced(
        model="m",
        order=Order(*order),
        version=version,
        learned_events=0,
        event_time=0.0,
        published_age=0.0,
        as_of_age=None,
        identity="i",
        sender="somebody",
        sha256=hashlib.sha256(content).hexdigest(),
        size_bytes=len(content),
    )
    pair.board.offer(replace(one, **others), lambda: content)  # type: ignore[arg-type]


def test_a_version_arrives_as_it_was_published(pair: Pair) -> None:
    pair.publish(3)
    pair.publisher.confirm(pair.here())
    pair.step()

    assert pair.version == 3
    assert pair.server.current is not None
    assert pair.server.current.info.learned_events == 30
    assert pair.server.current.info.event_time == 5.0
    assert pair.problem() == pair.problem(0) == ""
    sent, got = ((one / "1.safetensors").read_bytes() for one in (pair.source, pair.target))
    assert sent == got


def test_what_was_overtaken_before_it_was_sent_is_skipped(pair: Pair) -> None:
    for number in range(1, 20):
        pair.publish(number)
    pair.step()

    assert pair.version == 19
    assert pair.target.joinpath("1.safetensors").exists()
    assert not pair.target.joinpath("2.safetensors").exists()


def test_few_files_are_kept(pair: Pair) -> None:
    for number in range(1, 10):
        pair.publish(number)
        pair.step()

    assert len(list(pair.target.glob("*.safetensors"))) == 3


def test_a_confirmation_arrives_without_the_content(pair: Pair) -> None:
    assert isinstance(pair.board, InMemoryBoard)
    pair.publish(1)
    pair.step()
    sent = pair.board.sent_bytes

    pair.publisher.confirm(pair.here())
    pair.step()

    assert pair.board.sent_bytes == sent
    assert pair.server.current is not None
    assert pair.server.current.info.staleness_seconds(pair.there()) == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("off", [-HOUR, HOUR])
def test_clocks_that_are_an_hour_apart_change_neither_order_nor_staleness(tmp_path: Path, off: float) -> None:
    pair = Pair(tmp_path, InMemoryBoard(), there=Clock(off), here=Clock())
    pair.board = InMemoryBoard(lambda: pair.here.ticks)
    pair.sender, pair.receiver = pair.new_sender(), pair.new_receiver()
    for number in (1, 2, 3):
        pair.publish(number)
        pair.publisher.confirm(pair.here())
        pair.step()
        assert pair.version == number

    assert pair.server.current is not None
    assert pair.server.current.info.staleness_seconds(pair.there()) == pytest.approx(1.0, abs=0.01)
    pair.wait(20.0)
    assert pair.server.current.info.staleness_seconds(pair.there()) == pytest.approx(21.0, abs=0.01)


def test_staleness_counts_the_time_on_the_board(tmp_path: Path) -> None:
    """What a host that starts finds there may be old."""
    pair = Pair(tmp_path, InMemoryBoard(), there=Clock(HOUR))
    pair.board = InMemoryBoard(lambda: pair.here.ticks)
    pair.sender, pair.receiver = pair.new_sender(), pair.new_receiver()
    pair.publish(1)
    pair.publisher.confirm(pair.here())
    pair.sender.step()

    pair.wait(500.0)
    pair.receiver.look()
    pair.server.look()

    assert pair.server.current is not None
    assert pair.server.current.info.staleness_seconds(pair.there()) == pytest.approx(500.0, abs=0.01)


def test_an_owner_that_was_superseded_changes_nothing_and_is_told(tmp_path: Path) -> None:
    board = InMemoryBoard()
    late = Pair(tmp_path / "late", board, generation=4)
    late.publish(50)
    late.step()
    new = Pair(tmp_path / "new", board, generation=5)
    new.publish(20)
    new.step()

    late.publish(1000)
    late.step()
    new.step()

    assert "has announced it since (generation 5)" in late.problem(0)
    assert (new.version, late.version) == (20, 50)  # what callers were answered from stays until it is passed
    new.publish(51)
    new.step()
    late.step()
    assert new.version == late.version == 51


def test_what_callers_have_seen_stays_until_a_new_owner_has_learned_it_again(tmp_path: Path) -> None:
    board = InMemoryBoard()
    before = Pair(tmp_path / "before", board, generation=4)
    before.publish(50)
    before.step()
    after = Pair(tmp_path / "after", board, generation=5)

    for number in (40, 45, 49):
        after.publish(number)
        after.sender.step()
        before.receiver.look()
        before.server.look()
        assert before.version == 50
        before.wait(3.0)
        after.wait(3.0)

    after.publish(49)
    after.wait(3.0)
    after.sender.step()
    before.wait(3.0)
    before.receiver.look()
    assert before.problem() == (
        "degraded: version 50 is served: its new owner, at version 49, still learns again what came since"
    )
    after.publish(50)
    after.sender.step()
    before.receiver.look()
    before.server.look()
    assert before.problem() == ""
    assert before.server.current is not None
    assert before.server.current.info.learned_events == 500


def test_a_state_that_was_put_back_is_served_after_a_minute(tmp_path: Path) -> None:
    board = InMemoryBoard()
    before = Pair(tmp_path / "before", board, generation=4)
    before.publish(50)
    before.step()
    after = Pair(tmp_path / "after", board, generation=5)
    after.publish(7)
    served = []

    for _ in range(8):
        after.sender.step()
        before.receiver.look()
        before.server.look()
        served.append(before.version)
        before.wait(10.0)
        after.wait(10.0)

    assert served == [50] * 6 + [7] * 2
    assert before.problem() == ""


def test_a_new_owner_that_dies_before_it_has_caught_up_is_told_and_never_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    board = InMemoryBoard()
    before = Pair(tmp_path / "before", board, generation=4)
    before.publish(50)
    before.step()
    after = Pair(tmp_path / "after", board, generation=5)
    after.publish(40)
    after.sender.step()
    before.receiver.look()
    found: list[Found] = []
    read = InMemoryBoard.read

    def counted(*arguments: Any) -> Found | None:
        one = read(*arguments)
        found.extend([] if one is None else [one])
        return one

    monkeypatch.setattr(InMemoryBoard, "read", counted)
    for _ in range(10):
        before.wait(0.9)
        before.receiver.look()
    assert not found  # the same announcement is not read again and again
    for _ in range(10):
        before.wait(10.0)
        before.receiver.look()
        before.server.look()
        assert before.version == 50
        assert "version 50 is served: nothing is heard of its learner's host for " in before.problem()

    last = Pair(tmp_path / "last", board, generation=6)
    last.publish(50)
    last.sender.step()
    before.receiver.look()
    assert before.problem() == ""


def test_owners_that_end_again_and_again_hold_no_version_back_for_ever(tmp_path: Path) -> None:
    board = InMemoryBoard()
    before = Pair(tmp_path / "before", board, generation=4)
    before.publish(50)
    before.step()
    served = []

    for generation in range(5, 13):
        after = Pair(tmp_path / str(generation), board, generation=generation)
        after.publish(40)
        after.sender.step()
        before.receiver.look()
        before.server.look()
        served.append(before.version)
        before.wait(20.0)

    assert served == [50] * 3 + [40] * 5


def test_a_shard_that_has_moved_is_no_trouble_of_the_host_it_moved_from(tmp_path: Path) -> None:
    board = InMemoryBoard()
    for generation, name in ((4, "before"), (5, "after")):
        folder = tmp_path / name / "m~3"
        show(FilePublisher(folder, noted={GENERATION: generation}), generation)
        health = Health("relay", "m~3")
        sender = ModelSender("m~3", folder, board, "i", health)
        assert sender.step()
        if generation == 4:
            before, before_health = sender, health
    before._sent_at = 0.0

    assert not before.step()

    assert before_health.now().well
    found = board.newest("m~3")
    assert found is not None
    assert found.generation == 5


def test_what_an_ended_learner_has_left_is_not_announced(tmp_path: Path) -> None:
    """Another host may have gone on since, from what this one has saved."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    pair = Pair(tmp_path, InMemoryBoard())
    pair.publish(9)
    announced = make_announcement(pair.source / ANNOUNCEMENT)
    newest = newest_slot(announced[:])
    assert newest is not None
    left = VersionInfo(9, 0, 0.0, 1.0, 1.0, ended.pid)
    write_slot(announced, Slot(newest.number + 1, newest.file, left))

    pair.step()

    assert pair.version is None


def test_a_learner_that_begins_anew_is_followed(pair: Pair) -> None:
    pair.publish(100)
    pair.step()

    shutil.rmtree(pair.source)
    pair.publisher, pair.sender = pair.learner(), pair.new_sender()
    pair.publish(1)
    pair.step()

    assert pair.version == 1


@pytest.mark.parametrize("damage", ["cut", "changed", "replaced", "another"])
def test_a_damaged_version_is_never_served_and_told(pair: Pair, damage: str) -> None:
    pair.publish(1)
    pair.step()
    pair.publish(2)
    content = (pair.source / "2.safetensors").read_bytes()
    harmed = {
        "cut": content[:-9],
        "changed": content[:-9] + b"x" * 9,
        "replaced": b"x" * len(content),
        "another": (pair.source / "1.safetensors").read_bytes(),
    }[damage]
    sha256 = {} if damage == "replaced" else {"sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)}
    order = pair.board.newest("m")
    assert order is not None

    offered(pair, harmed, *order._replace(sequence=order.sequence + 1), version=2, **sha256)
    pair.receiver.look()
    pair.server.look()

    assert pair.version == 1
    assert "is damaged" in pair.problem()
    pair.sender.step()
    pair.publish(3)
    pair.wait(1.0)
    pair.step()
    assert pair.version == 3
    assert pair.problem() == ""


def test_a_refused_version_is_told_once(pair: Pair) -> None:
    offered(pair, b"no state", 1, 1, 1)

    with capture_logs() as told:
        for _ in range(20):
            pair.receiver.look()
            pair.wait(1.0)

    assert len(told) == 1
    assert "is damaged" in pair.problem()
    assert pair.version is None


def test_a_state_that_names_files_of_a_host_is_refused(pair: Pair, tmp_path: Path) -> None:
    reference = {"path": "/etc/passwd", "first": 0, "end": 1, "deaths": 0}
    write_state(State({"values": np.ones(3)}, {"memory": {"window": reference}}), tmp_path / "state")

    offered(pair, (tmp_path / "state").read_bytes(), 1, 1, 1)
    pair.step()

    assert pair.version is None
    assert "refers to files" in pair.problem()


def test_a_version_that_was_made_under_other_settings_is_refused(pair: Pair) -> None:
    pair.receiver = pair.new_receiver("other")
    pair.publish(1)
    pair.step()

    assert pair.version is None
    assert "other settings" in pair.problem()


def test_a_receiver_that_starts_again_goes_on_where_it_was(pair: Pair) -> None:
    pair.publish(1)
    pair.step()
    before = (pair.target / ANNOUNCEMENT).read_bytes()

    pair.receiver = pair.new_receiver()
    pair.receiver.look()

    assert (pair.target / ANNOUNCEMENT).read_bytes() == before
    pair.publish(2)
    pair.step()
    assert pair.version == 2


def test_an_older_owner_is_refused_after_a_restart_of_receiver_and_store(tmp_path: Path) -> None:
    pair = Pair(tmp_path, InMemoryBoard(), generation=5)
    pair.publish(20)
    pair.step()

    pair.board = InMemoryBoard()
    pair.receiver = pair.new_receiver()
    offered(pair, (pair.source / "1.safetensors").read_bytes(), 4, 9, 9, version=99)
    pair.receiver.look()
    pair.server.look()

    assert pair.version == 20


def test_a_deleted_folder_of_published_versions_is_filled_again(pair: Pair) -> None:
    pair.publish(1)
    pair.step()

    shutil.rmtree(pair.target)
    pair.receiver.look()

    assert published(pair.target).look()


def test_what_was_received_is_not_sent_on(pair: Pair) -> None:
    pair.publish(1)
    pair.step()
    onwards = ModelSender("m", pair.target, InMemoryBoard(), "i", Health())

    assert not onwards.step()


def test_what_a_learner_publishes_where_versions_were_received_before_is_sent(pair: Pair) -> None:
    pair.publish(1)
    pair.step()
    board = InMemoryBoard()
    onwards = ModelSender("m", pair.target, board, "i", Health())

    show(FilePublisher(pair.target), 5)

    assert onwards.step()
    found = board.read("m", None)
    assert found is not None
    assert found.announced.version == 5


def test_append_times_arrive_before_the_version_and_once(tmp_path: Path) -> None:
    pair = Pair(tmp_path, InMemoryBoard(), there=Clock(HOUR))
    pair.publish(1)
    pair.step()
    ring, reader = cohort_writer(pair.source), cohort_reader(pair.target)
    for number in (2, 3):
        ring.append(number, pair.here() - 0.5, 10, 10 * number)
        pair.publish(number)
        pair.step()
        pair.step()

    found = [Cohort(*entry) for _, entry in reader.newer(0)]  # type: ignore[arg-type]
    assert [(one.version, one.records) for one in found] == [(2, 10), (3, 10)]
    assert [pair.there() - one.appended for one in found] == pytest.approx([4.5, 2.5], abs=0.01)


def test_a_silent_learner_is_told_and_its_last_version_served(pair: Pair) -> None:
    pair.publish(1)
    pair.step()
    assert pair.problem() == ""

    pair.wait(60.0)
    pair.receiver.look()

    assert pair.problem() == "degraded: version 1 is served: nothing is heard of its learner's host for 61 s"
    pair.step()
    assert pair.problem() == ""


def test_a_large_version_arrives_and_what_changed_of_it_alone_travels(tmp_path: Path) -> None:
    objects = Objects(f"file:{tmp_path / 'objects'}")
    pieces = Pieces(objects)
    pair = Pair(tmp_path, ObjectBoard(objects, pieces))
    large = np.random.default_rng(0).standard_normal(1 << 20)
    for number in (1, 2):
        values = State({"large": large, "values": np.full(10, float(number))})
        predictor = Filled(values)
        predictor.state = lambda values=values: values  # type: ignore[method-assign,misc]
        pair.publisher.publish(predictor, version=number, learned_events=0, event_time=0.0)  # type: ignore[arg-type]
        pair.step()
        assert pair.version == number

    assert pieces.sent_bytes < 1.5 * large.nbytes


@contextmanager
def running(pair: Pair, board: Callable[[], VersionBoard]) -> Iterator[tuple[HealthRegistry, HealthRegistry]]:
    """Both ends in their threads, each with its own connection."""
    registries = HealthRegistry(), HealthRegistry()
    sender = Sender(pair.source.parent, board(), lambda name: "i", registries[0])
    receiver = Receiver(pair.target.parent, board(), lambda: {"m": "i"}, registries[1])
    pair.server.start()
    sender.start()
    receiver.start()
    try:
        yield registries
    finally:
        sender.close()
        receiver.close()
        pair.server.close()


def part(registry: HealthRegistry) -> ComponentHealth:
    return next(one for one in registry.report() if (one.component, one.model) == ("relay", "m"))


def in_real_time(folder: Path) -> Pair:
    pair = Pair(folder, InMemoryBoard())
    pair.publisher = FilePublisher(pair.source)
    return pair


def test_servers_answer_while_redis_is_away_and_catch_up(tmp_path: Path) -> None:
    server = RedisServer(tmp_path)
    server.start()
    pair = in_real_time(tmp_path)
    try:
        with running(pair, lambda: RedisBoard(server.url)) as (here, there):
            pair.publish(1)
            until("it to arrive", lambda: pair.version == 1)
            server.stop()
            pair.publish(2)
            until("both to tell", lambda: not part(here).well and not part(there).well)
            assert "version 1 is served" in part(there).reason
            assert pair.version == 1
            server.start()  # empty
            until("the newest to arrive", lambda: pair.version == 2)
            until("both to be well", lambda: part(here).well and part(there).well)
    finally:
        server.stop()


class Failing(BaseHTTPRequestHandler):
    """Answers 500 to everything."""

    def answer(self) -> None:
        self.rfile.read(int(self.headers.get("content-length") or 0))
        self.send_response(500)
        self.send_header("content-length", "0")
        self.end_headers()

    do_GET = do_PUT = do_DELETE = do_POST = do_HEAD = answer  # noqa: N815 - as the server calls them

    def log_message(self, *arguments: object) -> None: ...


@contextmanager
def away(store: S3Server, how: str) -> Iterator[None]:
    """No store listens there, or one that fails."""
    store.stop()
    if how == "refused":
        yield
    else:
        port = int(store.endpoint.rpartition(":")[2])
        with ThreadingHTTPServer(("127.0.0.1", port), Failing) as failing:
            serving = threading.Thread(target=failing.serve_forever, args=(0.01,))
            serving.start()
            yield
            failing.shutdown()
            serving.join()
    store.start()


@pytest.mark.parametrize("how", ["refused", "500"])
def test_servers_answer_while_the_object_store_is_away_and_catch_up(tmp_path: Path, how: str) -> None:
    pair = in_real_time(tmp_path)

    def board() -> VersionBoard:
        objects = Objects(store.url, retry_seconds=0.2)
        return ObjectBoard(objects, Pieces(objects))

    with s3() as store, running(pair, board) as (here, there):
        pair.publish(1)
        until("it to arrive", lambda: pair.version == 1)
        with away(store, how):
            pair.publish(2, 100_000)
            until("both to tell", lambda: not part(here).well and not part(there).well)
            assert pair.version == 1
        until("the newest to arrive", lambda: pair.version == 2)
        until("both to be well", lambda: part(here).well and part(there).well)


def test_a_model_that_is_published_later_is_sent_as_well(tmp_path: Path) -> None:
    board = InMemoryBoard()
    pair = in_real_time(tmp_path)
    with running(pair, lambda: board):
        pair.publish(1)
        until("it to arrive", lambda: pair.version == 1)
        other = FilePublisher(pair.source.parent / "n")
        other.publish(filled(1), version=1, learned_events=0, event_time=0.0)  # type: ignore[arg-type]
        until("the other one to be announced", lambda: board.newest("n"))


def test_what_was_published_last_is_sent_before_the_sender_ends(tmp_path: Path) -> None:
    board = InMemoryBoard()
    pair = in_real_time(tmp_path)
    with running(pair, lambda: board):
        pair.publish(1)
        until("it to be announced", lambda: board.newest("m"))
        for number in range(2, 50):
            pair.publish(number)

    found = board.read("m", None)
    assert found is not None
    assert found.announced.version == 49


def test_of_two_processes_of_a_host_one_sends(tmp_path: Path) -> None:
    pair = in_real_time(tmp_path)
    pair.publish(1)
    first, second = InMemoryBoard(), InMemoryBoard()
    with running(pair, lambda: first):
        until("it to be announced", lambda: first.newest("m"))
        waiting = Sender(pair.source.parent, second, lambda name: "i", HealthRegistry())
        waiting.start()
        order = first.newest("m")
        until("the first one to go on", lambda: first.newest("m") != order)
        assert second.newest("m") is None
    until("the second one to take over", lambda: second.newest("m"))
    waiting.close()


def test_poison_on_the_board_writes_nothing_outside_the_folder(tmp_path: Path, redis_url: str) -> None:
    client = redis.Redis.from_url(redis_url)
    client.flushdb()
    pair = Pair(tmp_path / "a", RedisBoard(redis_url))
    known = {path: path.stat().st_size for path in tmp_path.rglob("*")}
    for name, record in {
        "m": json.dumps({"model": "../../x"}).encode(),
        "../../x": b"{}",
        "/tmp/x": b"{}",
    }.items():
        client.hset(f"thalweg:version:{name}", mapping={"record": record, "content": b"x" * 1000, "generation": 9})
        client.publish("thalweg:versions", name)
    pair.receiver.look()

    assert "is none" in pair.problem()
    there = {path for path in tmp_path.rglob("*") if path not in known}
    assert all(path.is_relative_to(pair.target) for path in there - set(pair.target.parents))


def test_a_board_that_is_away_is_named(pair: Pair) -> None:
    pair.board = RedisBoard("redis://127.0.0.1:1/0")

    with pytest.raises(BoardUnavailable, match="redis://127"):
        pair.new_receiver().look()


def test_the_sender_is_no_faster_than_the_store(pair: Pair) -> None:
    """Between two versions it leaves as much time as sending the last one took."""
    slow = pair.board.offer

    def offer(announced: Announced, content: Callable[[], bytes]) -> None:
        pair.wait(3.0)
        slow(announced, content)

    pair.board.offer = offer  # type: ignore[method-assign]
    pair.publish(1)
    pair.sender.step()

    assert pair.sender._not_before - pair.here.ticks >= 3.0
