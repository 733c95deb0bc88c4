"""Published versions: seen by another process without a lock, never torn, whatever happens to the publisher."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from tests.services.processes import PATIENCE, until
from thalweg.memory.snapshots.state import State
from thalweg.proto.schema import Array, Inputs, TensorSpec
from thalweg.proto.task import CLASSIFICATION
from thalweg.stream.health.registry import Health
from thalweg.stream.publication.announcement import ANNOUNCEMENT
from thalweg.stream.publication.file_channel import FilePublisher, FileSubscriber
from thalweg.stream.publication.live_folder import live_folder
from thalweg.stream.publication.ports import VersionInfo


class Filled:
    """A predictor whose every number is the same: a torn one would show."""

    task = CLASSIFICATION
    inputs: Mapping[str, TensorSpec] = {}
    outputs: Mapping[str, TensorSpec] = {}

    def __init__(self, state: State) -> None:
        self.values = state.tensors["values"]

    def predict(self, inputs: Inputs) -> Mapping[str, Array]:
        return {}

    def state(self) -> State:
        return State({"values": self.values})


def filled(number: int, size: int = 1000) -> Filled:
    return Filled(State({"values": np.full(size, float(number))}))


def published(folder: Path) -> FileSubscriber:
    return FileSubscriber(folder, Filled)  # type: ignore[arg-type]


def show(publisher: FilePublisher, number: int) -> None:
    publisher.publish(filled(number), version=number, learned_events=10 * number, event_time=5.0)  # type: ignore[arg-type]


def value(watching: FileSubscriber) -> float:
    assert watching.current is not None
    found = watching.current.predictor.values  # type: ignore[attr-defined]
    assert (found == found[0]).all()
    return float(found[0])


def test_a_server_sees_the_newest_version_and_what_it_is(tmp_path: Path) -> None:
    watching = published(tmp_path)
    assert not watching.look()
    publisher = FilePublisher(tmp_path, clock=lambda: 50.0)
    show(publisher, 1)
    show(publisher, 2)
    publisher.confirm(49.0)

    assert watching.look()

    assert value(watching) == 2
    assert watching.current is not None
    assert watching.current.info == VersionInfo(2, 20, 5.0, 50.0, 49.0, os.getpid())
    assert watching.current.info.staleness_seconds(60.0) == 11.0
    assert not watching.look()


def test_confirming_changes_how_fresh_the_version_is_and_not_the_version(tmp_path: Path) -> None:
    publisher, watching = FilePublisher(tmp_path), published(tmp_path)
    show(publisher, 1)
    watching.look()
    before = watching.current

    publisher.confirm(77.0)

    assert watching.look()
    assert before is not None
    assert watching.current is not None
    assert watching.current.predictor is before.predictor
    assert watching.current.info.as_of == 77.0


def test_a_confirmation_alone_wakes_nobody_and_is_seen_at_the_next_look(tmp_path: Path) -> None:
    publisher, watching = FilePublisher(tmp_path), published(tmp_path)
    show(publisher, 1)
    watching.start()
    try:
        until("the version", lambda: watching.current)

        publisher.confirm(77.0)

        assert not watching._notice()
        until("how fresh it is", lambda: watching.current is not None and watching.current.info.as_of == 77.0)
        publisher.confirm(78.0)
        show(publisher, 2)
        until("the next version", lambda: value(watching) == 2)
    finally:
        watching.close()


def test_a_version_in_hand_outlives_its_file(tmp_path: Path) -> None:
    publisher, watching = FilePublisher(tmp_path), published(tmp_path)
    show(publisher, 1)
    watching.look()
    held = watching.current

    for number in range(2, 20):
        show(publisher, number)

    assert held is not None
    assert (held.predictor.values == 1).all()  # type: ignore[attr-defined]
    assert len(list(tmp_path.glob("*.safetensors"))) <= 3


def test_a_new_publisher_goes_on_where_the_last_one_stopped(tmp_path: Path) -> None:
    watching = published(tmp_path)
    first = FilePublisher(tmp_path)
    show(first, 7)
    first.close()
    (tmp_path / ".9.safetensors.1234").write_bytes(b"half")

    second = FilePublisher(tmp_path)
    watching.look()
    assert value(watching) == 7
    show(second, 8)

    assert watching.look()
    assert value(watching) == 8
    assert not list(tmp_path.glob(".*safetensors*"))


@pytest.mark.parametrize("slot", [0, 1])
@pytest.mark.parametrize("cut", range(0, 80, 7))
def test_a_half_written_announcement_leaves_the_other_one_standing(tmp_path: Path, slot: int, cut: int) -> None:
    publisher = FilePublisher(tmp_path)
    show(publisher, 1)
    show(publisher, 2)
    content = bytearray((tmp_path / "announcement").read_bytes())
    content[128 * slot + cut : 128 * slot + 80] = os.urandom(80 - cut)
    (tmp_path / "announcement").write_bytes(content)
    watching = published(tmp_path)

    assert watching.look()

    assert value(watching) in (1, 2)


def test_a_version_that_cannot_be_used_leaves_the_one_before(tmp_path: Path) -> None:
    publisher, watching = FilePublisher(tmp_path), published(tmp_path)
    show(publisher, 1)
    watching.look()
    show(publisher, 2)
    newest = max(tmp_path.glob("*.safetensors"), key=lambda path: int(path.stem))
    newest.write_bytes(b"garbage")

    assert not watching.look()

    assert value(watching) == 1


@pytest.mark.slow(3)
def test_thousands_of_versions_leave_no_file_and_no_map_behind(tmp_path: Path) -> None:
    publisher, watching = FilePublisher(tmp_path), published(tmp_path)

    def held() -> tuple[int, int]:
        maps = Path("/proc/self/maps").read_text().count(str(tmp_path))
        return len(list(Path("/proc/self/fd").iterdir())), maps

    for number in range(100):
        show(publisher, number)
        watching.look()
    before = held()
    for number in range(100, 10_000):
        show(publisher, number)
        watching.look()

    assert held() == before


def test_a_version_that_nobody_can_make_anything_of_leaves_the_one_before_and_the_watch_goes_on(tmp_path: Path) -> None:
    def build(state: State) -> Filled:
        if (state.tensors["values"] == 2).all():
            raise AttributeError("another release wrote this")
        return Filled(state)

    publisher, watching = FilePublisher(tmp_path), FileSubscriber(tmp_path, build)  # type: ignore[arg-type]
    show(publisher, 1)
    watching.start()
    show(publisher, 2)
    assert watching.current is not None
    assert watching.current.info.version == 1

    show(publisher, 3)

    assert watching.wait_for(3, 20) is watching.current
    assert value(watching) == 3
    watching.close()


def test_whatever_looking_for_versions_raises_the_watch_goes_on_and_it_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    health, look, calls = Health("subscriber"), FileSubscriber.look, list[int]()

    def failing(watching: FileSubscriber) -> bool:
        calls.append(1)
        if len(calls) < 4:
            raise PermissionError("not yours")
        return look(watching)

    monkeypatch.setattr(FileSubscriber, "look", failing)
    watching = FileSubscriber(tmp_path, Filled, health=health)  # type: ignore[arg-type]
    watching.start()
    publisher = FilePublisher(tmp_path)
    show(publisher, 1)

    assert watching.wait_for(1, PATIENCE) is not None
    assert health.now().restarts == 2
    watching.close()
    publisher.close()


def test_waiting_for_a_version_ends_when_it_comes_or_the_time_is_over(tmp_path: Path) -> None:
    publisher, watching = FilePublisher(tmp_path), published(tmp_path)
    assert watching.wait_for(1, 0.01) is None
    watching.start()
    show(publisher, 1)
    assert watching.wait_for(1, 20) is not None

    late = watching.wait_for(2, 0.01)

    assert late is not None
    assert late.info.version == 1
    watching.close()


def test_when_the_folder_on_memory_was_emptied_a_new_publisher_is_found(tmp_path: Path) -> None:
    folder = tmp_path / "live"
    watching = published(folder)
    show(FilePublisher(folder), 7)
    watching.start()
    assert value(watching) == 7

    shutil.rmtree(folder)
    assert value(watching) == 7  # what is mapped is still there
    show(FilePublisher(folder), 1)

    deadline = time.monotonic() + PATIENCE
    while value(watching) != 1:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    watching.close()


@pytest.mark.parametrize("gone", ["emptied", "deleted", "its parent deleted", "the announcement deleted"])
@pytest.mark.parametrize("then", ["publish", "confirm"])
def test_a_publisher_whose_folder_is_gone_publishes_anew_and_servers_follow(
    tmp_path: Path, gone: str, then: str
) -> None:
    folder = tmp_path / "memory" / "m"
    folder.parent.mkdir()
    publisher, watching = FilePublisher(folder), published(folder)
    show(publisher, 1)
    watching.start()
    assert value(watching) == 1

    if gone == "emptied":
        for path in folder.iterdir():
            path.unlink()
    elif gone == "the announcement deleted":
        (folder / ANNOUNCEMENT).unlink()
    else:
        shutil.rmtree(folder if gone == "deleted" else folder.parent)
    if then == "publish":
        show(publisher, 2)
    publisher.confirm(77.0)

    newcomer = published(folder)
    assert newcomer.look()
    assert value(newcomer) == (2 if then == "publish" else 1)
    assert newcomer.current is not None
    assert newcomer.current.info.as_of == 77.0
    until("the new folder", lambda: watching.current is not None and watching.current.info.as_of == 77.0)
    watching.close()
    newcomer.close()


def test_a_publisher_whose_folder_in_shared_memory_is_gone_makes_it_again_and_private(tmp_path: Path) -> None:
    live = live_folder(tmp_path / "state")
    publisher = FilePublisher(live / "m")
    show(publisher, 1)

    shutil.rmtree(live.resolve())
    show(publisher, 2)

    newcomer = published(live / "m")
    assert newcomer.look()
    assert value(newcomer) == 2
    assert live.resolve().stat().st_mode & 0o777 == 0o700
    newcomer.close()
    publisher.close()
    shutil.rmtree(live.resolve())


def test_a_predictor_that_names_files_of_the_folder_is_asked_for_anew(tmp_path: Path) -> None:
    publisher = FilePublisher(tmp_path / "m", moved=lambda: filled(3))  # type: ignore[arg-type, return-value]
    show(publisher, 1)
    shutil.rmtree(tmp_path / "m")
    show(publisher, 2)
    watching = published(tmp_path / "m")

    assert watching.look()
    assert value(watching) == 3
    watching.close()


def test_whichever_byte_of_what_is_published_is_flipped_no_other_values_are_served(tmp_path: Path) -> None:
    publisher = FilePublisher(tmp_path)
    publisher.publish(filled(1, 5), version=1, learned_events=10, event_time=5.0)  # type: ignore[arg-type]
    publisher.publish(filled(2, 5), version=2, learned_events=20, event_time=5.0)  # type: ignore[arg-type]
    publisher.close()
    running = published(tmp_path)
    running.look()

    for file in (ANNOUNCEMENT, "2.safetensors"):
        content = (tmp_path / file).read_bytes()
        for at in range(len(content)):
            flipped = content[:at] + bytes([content[at] ^ 1 << at % 8]) + content[at + 1 :]
            if file != ANNOUNCEMENT:
                (tmp_path / file).unlink()  # the server that runs has mapped the whole one
            (tmp_path / file).write_bytes(flipped)
            newcomer = published(tmp_path)
            newcomer.look()
            if newcomer.current is not None:
                version = newcomer.current.info.version
                assert (version in (1, 2), value(newcomer)) == (True, version), (file, at)
                assert newcomer.current.info.learned_events == 10 * version, (file, at)
            newcomer.close()
            running.look()
            assert value(running) == 2, (file, at)
        (tmp_path / file).write_bytes(content)
    running.close()


PUBLISHER = """
import sys
from pathlib import Path
from tests.stream.publication.test_file_channel import show
from thalweg.stream.publication.announcement import ANNOUNCEMENT
from thalweg.stream.publication.file_channel import FilePublisher
publisher = FilePublisher(Path(sys.argv[1]))
number = 0
while True:
    number += 1
    show(publisher, number)
"""


@pytest.mark.slow(3)
def test_while_another_process_publishes_and_is_killed_every_answer_is_of_one_version(tmp_path: Path) -> None:
    watching = published(tmp_path)
    watching.start()
    seen: list[float] = []
    for _ in range(3):
        process = subprocess.Popen([sys.executable, "-c", PUBLISHER, str(tmp_path)])
        seen_now: set[float] = set()
        deadline = time.monotonic() + PATIENCE
        while len(seen_now) < 50 and time.monotonic() < deadline:
            if watching.current is not None:
                seen_now.add(value(watching))
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert len(seen_now) >= 50
        seen.append(value(watching))
    watching.close()

    assert len(seen) == 3


def test_the_announcement_has_its_space_before_anything_is_announced(tmp_path: Path) -> None:
    publisher = FilePublisher(tmp_path / "m")
    publisher.close()

    (announcement,) = (tmp_path / "m").iterdir()
    info = announcement.stat()
    assert info.st_blocks * 512 >= info.st_size > 0  # a hole in it would be SIGBUS where the memory is full
