"""A part that is stuck ends its process, after its bound and a further one."""

from __future__ import annotations

import threading

import pytest

from tests.services.processes import until
from thalweg.stream.health import supervised
from thalweg.stream.health.registry import Health, HealthRegistry
from thalweg.stream.health.supervised import SupervisedThread
from thalweg.stream.health.watchdog import Watchdog, where


class Watched:
    def __init__(self, stuck_seconds: float = 20.0) -> None:
        self.seconds = 0.0
        self.ended: list[str] = []
        self.registry = HealthRegistry(ticks=self.ticks)
        self.dog = Watchdog(self.registry, stuck_seconds, self._end, self.ticks)

    def ticks(self) -> float:
        return self.seconds

    def _end(self, part: Health) -> None:
        self.ended.append(f"{part.component} {part.model}")

    def look(self, seconds: float) -> bool:
        """Once a second, for so long."""
        for _ in range(int(seconds)):
            self.seconds += 1.0
            if self.dog.look():
                return True
        return False


@pytest.fixture
def watched() -> Watched:
    return Watched()


def test_a_part_is_stuck_after_its_bound_and_a_further_one(watched: Watched) -> None:
    watched.registry.register("learner", "a", silent_seconds=10).running()

    assert not watched.look(30)
    assert watched.look(1)
    assert watched.ended == ["learner a"]


def test_one_sign_of_life_begins_both_bounds_anew(watched: Watched) -> None:
    learner = watched.registry.register("learner", "a", silent_seconds=10)
    watched.look(29)
    learner.beat()

    assert not watched.look(30)
    assert watched.look(1)


def test_while_the_process_itself_does_not_run_no_part_is_stuck(watched: Watched) -> None:
    watched.registry.register("learner", "a", silent_seconds=10).running()
    watched.seconds = 3600.0

    assert not watched.dog.look()


def test_a_part_that_stands_still_on_purpose_is_not_stuck(watched: Watched) -> None:
    """Blocked by its settings, it is never heard of again; stopped by its circuit breaker, it says so all the time."""
    watched.registry.register("learner", "blocked", silent_seconds=10).ended("made under other settings")
    stopped = watched.registry.register("learner", "stopped", silent_seconds=10)

    for _ in range(20):
        stopped.failed("stopped by the circuit breaker")
        assert not watched.look(9)


def test_a_part_that_waits_long_for_its_restart_is_not_stuck(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervised, "_FIRST_WAIT_SECONDS", 3600.0)
    health = watched.registry.register("learner", "a", silent_seconds=1)

    def run() -> None:
        raise ValueError("no")

    thread = SupervisedThread(run, health, "learner-a", longest_wait_seconds=3600.0)
    thread.start()
    until("it waits", lambda: health.now().restarts == 1)

    assert not watched.look(100)
    thread.stop()


def test_the_place_where_a_thread_stands_is_found() -> None:
    reached, go = threading.Event(), threading.Event()

    def stuck() -> None:
        reached.set()
        go.wait()

    thread = threading.Thread(target=stuck, name="learner-a")
    thread.start()
    reached.wait()

    assert "threading.py:" in where("learner-a")
    assert where("learner-b") == ""
    go.set()
    thread.join()
