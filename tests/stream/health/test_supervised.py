import threading

import pytest

from tests.services.processes import until
from thalweg.stream.health.registry import Health
from thalweg.stream.health.supervised import SupervisedThread


def test_a_part_that_raises_is_run_again_and_counted() -> None:
    health, runs, stop = Health("joiner", "digits"), list[int](), threading.Event()

    def run() -> None:
        runs.append(1)
        if len(runs) < 3:
            raise ValueError("no")
        health.running()
        stop.wait()

    thread = SupervisedThread(run, health, "join-digits")
    thread.start()
    until("the part runs", lambda: "restarted" in health.now().reason)
    stop.set()

    assert thread.join(60)
    assert health.now().restarts == 2
    assert health.now().state == "stopped"


def test_between_two_runs_it_is_failed_with_the_error() -> None:
    health = Health("joiner")

    def run() -> None:
        raise ValueError("the reason")

    thread = SupervisedThread(run, health, "joiner")
    thread.start()
    until("it was restarted", lambda: health.now().restarts >= 2)
    found = health.now()
    thread.stop()

    assert thread.join(60)
    assert (found.state, found.reason) == ("failed", "ValueError: the reason")


@pytest.mark.parametrize("kind", [SystemExit, BaseException])
def test_whatever_a_part_raises_its_thread_does_not_end_unseen(kind: type[BaseException]) -> None:
    health, runs = Health("learner"), list[int]()

    def run() -> None:
        runs.append(1)
        if len(runs) == 1:
            raise kind("as a plug-in may")

    thread = SupervisedThread(run, health, "learner")
    thread.start()

    assert thread.join(60)
    assert (len(runs), health.now().restarts) == (2, 1)


def test_an_error_that_a_restart_cannot_help_ends_it_for_good() -> None:
    health, ends = Health("learner"), list[BaseException | None]()

    def run() -> None:
        raise LookupError("made under other settings")

    thread = SupervisedThread(run, health, "learner", hopeless=(LookupError,), ended=ends.append)
    thread.start()

    assert thread.join(60)
    assert [str(error) for error in ends] == ["made under other settings"]
    assert (health.now().state, health.now().restarts) == ("failed", 0)


def test_a_part_that_returns_is_stopped_and_not_run_again() -> None:
    health, runs, ends = Health("learner"), list[int](), list[BaseException | None]()
    thread = SupervisedThread(lambda: runs.append(1), health, "learner", ended=ends.append)
    thread.start()

    assert thread.join(60)
    assert (runs, ends, health.now().state) == ([1], [None], "stopped")


def test_a_thread_that_was_never_started_has_ended() -> None:
    assert SupervisedThread(lambda: None, Health(), "nothing").join()
