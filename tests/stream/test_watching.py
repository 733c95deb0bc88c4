"""Waiting costs no more for many than for one: a single thread looks, and wakes those whom a change concerns."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.services.processes import until
from thalweg.stream.log.log import Message
from thalweg.stream.log.sqlite import SqliteLog
from thalweg.stream.watching import Watching

MANY = 30


def threads(name: str) -> int:
    return sum(thread.name == name for thread in threading.enumerate())


def test_one_thread_looks_for_all_and_ends_with_the_last() -> None:
    watching, seen = Watching("looks"), [0, 0, 0]

    def look(place: int) -> bool:
        seen[place] += 1
        return False

    looks = [lambda place=place: look(place) for place in range(3)]
    for one in looks:
        watching.add(one)
    until("all to be called", lambda: min(seen) > 2)
    assert threads("looks") == 1

    for one in looks:
        watching.remove(one)
    until("its end", lambda: threads("looks") == 0)
    watching.add(looks[0])
    before = seen[0]
    until("it to go on", lambda: seen[0] > before)
    watching.remove(looks[0])


def test_a_look_that_fails_is_not_called_again_and_the_others_are() -> None:
    watching, failed, seen = Watching("failing"), [0], [0]

    def bad() -> bool:
        failed[0] += 1
        raise ValueError("cannot")

    def good() -> bool:
        seen[0] += 1
        return True

    watching.add(bad)
    watching.add(good)
    until("the good one", lambda: seen[0] > 5)
    watching.remove(good)

    assert failed == [1]


@pytest.fixture
def log(tmp_path: Path) -> Iterator[SqliteLog]:
    made = SqliteLog(tmp_path / "log.db")
    yield made
    made.close()


def test_an_append_wakes_the_readers_of_its_topic_alone(log: SqliteLog, tmp_path: Path) -> None:
    readers = [log.reader([f"t{number}"], {}) for number in range(MANY)]
    looked = [0] * MANY
    for number, reader in enumerate(readers):

        def take(*arguments: object, number: int = number, take: object = reader._take) -> object:
            looked[number] += 1
            return take(*arguments)  # type: ignore[operator]

        reader._take = take  # type: ignore[method-assign, assignment]
    with ThreadPoolExecutor(MANY) as pool:
        waiting = [pool.submit(reader.poll, 60.0) for reader in readers]
        until("all to wait", lambda: len(log._writes._waiting) == MANY)
        assert threads("appends") == 1
        other = SqliteLog(tmp_path / "log.db")  # as the server process does
        other.append("t7", [Message(b"7")])

        (run,) = waiting[7].result()
        assert run.values == (b"7",)
        assert [one.done() for one in waiting] == [number == 7 for number in range(MANY)]
        assert looked == [2 if number == 7 else 1 for number in range(MANY)]
        for number in range(MANY):
            other.append(f"t{number}", [Message(b"end")])
        for number, one in enumerate(waiting):
            assert one.result()[0].values == ((b"7",) if number == 7 else (b"end",))
    other.close()
    for reader in readers:
        reader.close()
