"""The threads that answer calls: how many run, and what becomes of those that wait."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, wait

import pytest

from thalweg.ops.serve.grpc_api.workers import Workers

WAIT = 30


@pytest.fixture(params=[1, 2])
def count(request: pytest.FixtureRequest) -> int:
    """Calls that run at once."""
    return int(request.param)


@pytest.fixture
def pool(count: int) -> Iterator[Workers]:
    """Of so many threads, beside which 3 may wait."""
    with Workers(count, "test", most_waiting=3) as pool:
        yield pool


class Busy:
    """Calls that tell when they run, until they may end."""

    def __init__(self, pool: Workers) -> None:
        self.pool = pool
        self.running = threading.Semaphore(0)
        self.end = threading.Event()
        self.most = self.now = 0
        self._lock = threading.Lock()

    def compute(self) -> None:
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)
        self.running.release()
        assert self.end.wait(WAIT)
        with self._lock:
            self.now -= 1

    def waits(self, seen: threading.Semaphore, until: threading.Event) -> str:
        with self.pool.waiting():
            seen.release()
            assert until.wait(WAIT)
        return "waited"


def submit_waiting(pool: Workers, number: int, until: threading.Event) -> list[Future[str]]:
    """So many calls, all of which wait already."""
    seen = threading.Semaphore(0)
    calls = [pool.submit(Busy(pool).waits, seen, until) for _ in range(number)]
    for _ in range(number):
        assert seen.acquire(timeout=WAIT)
    return calls


def test_no_more_calls_run_at_once_than_there_are_threads(pool: Workers, count: int) -> None:
    busy = Busy(pool)
    calls = [pool.submit(busy.compute) for _ in range(10)]
    for _ in range(count):
        assert busy.running.acquire(timeout=WAIT)

    assert not any(call.done() for call in calls)
    assert sum(call.running() for call in calls) == count
    busy.end.set()

    assert not wait(calls, WAIT).not_done
    assert busy.most == count


def test_those_who_wait_take_no_thread_from_those_who_compute(pool: Workers, count: int) -> None:
    over, busy = threading.Event(), Busy(pool)
    waiting = submit_waiting(pool, 3, over)

    computing = [pool.submit(busy.compute) for _ in range(10)]
    for _ in range(count):
        assert busy.running.acquire(timeout=WAIT)
    assert sum(call.running() for call in computing) == count

    over.set()
    assert [call.result(WAIT) for call in waiting] == ["waited"] * 3  # they go on beside the others
    assert not any(call.done() for call in computing)
    busy.end.set()
    assert not wait(computing, WAIT).not_done
    assert busy.most == count  # and left no more threads than there were


def test_calls_that_were_queued_before_the_wait_began_run_during_it() -> None:
    with Workers(1, "test", most_waiting=1) as pool:
        begin, over = threading.Event(), threading.Event()

        def first() -> None:
            assert begin.wait(WAIT)
            with pool.waiting():
                assert over.wait(WAIT)

        waiting = pool.submit(first)
        queued = pool.submit(lambda: "answer")
        begin.set()

        assert queued.result(WAIT) == "answer"
        assert not waiting.done()
        over.set()


def test_what_waits_beyond_the_bound_holds_its_thread(pool: Workers, count: int) -> None:
    over, seen = threading.Event(), threading.Semaphore(0)
    waiting = submit_waiting(pool, 3 + count, over)

    more = pool.submit(Busy(pool).waits, seen, over)

    assert not more.running()
    over.set()
    assert not wait([*waiting, more], WAIT).not_done


def test_a_wait_within_a_wait_and_one_elsewhere_change_nothing(pool: Workers) -> None:
    def twice() -> str:
        with pool.waiting(), pool.waiting():
            return "both"

    with pool.waiting():  # on a thread that is none of the pool's
        assert [pool.submit(twice).result(WAIT) for _ in range(10)] == ["both"] * 10
    submit_waiting(pool, 3, over := threading.Event())  # so as many may still wait as before

    assert pool.submit(lambda: "answer").result(WAIT) == "answer"
    over.set()


def test_a_wait_that_fails_gives_its_place_back(pool: Workers) -> None:
    def fails() -> None:
        with pool.waiting():
            raise LookupError("nothing came")

    for _ in range(10):
        with pytest.raises(LookupError, match="nothing came"):
            pool.submit(fails).result(WAIT)
    submit_waiting(pool, 3, over := threading.Event())

    assert pool.submit(lambda: "answer").result(WAIT) == "answer"
    over.set()


def test_a_call_knows_how_long_it_was_queued() -> None:
    with Workers(1, "test") as pool:
        begin, before = threading.Event(), time.perf_counter()
        pool.submit(begin.wait, WAIT)
        second = pool.submit(lambda: pool.queue_seconds)
        since = time.perf_counter()
        until = time.perf_counter()
        begin.set()

        assert until - since < second.result(WAIT) < time.perf_counter() - before
        assert pool.queue_seconds == 0  # on a thread that is none of the pool's


def test_after_the_end_no_call_is_taken_and_all_threads_are_gone() -> None:
    pool = Workers(2, "ending", most_waiting=2)
    calls = [pool.submit(lambda: "answer") for _ in range(20)]

    pool.shutdown()

    assert all(call.result(0) == "answer" for call in calls)
    assert not any(thread.name.startswith("ending") for thread in threading.enumerate())
    with pytest.raises(RuntimeError, match="ending"):
        pool.submit(print)


def test_what_is_cancelled_at_the_end_does_not_run() -> None:
    pool = Workers(1, "test")
    busy = Busy(pool)
    first = pool.submit(busy.compute)
    assert busy.running.acquire(timeout=WAIT)
    queued = [pool.submit(print, "never") for _ in range(3)]

    pool.shutdown(wait=False, cancel_futures=True)
    busy.end.set()

    assert first.result(WAIT) is None
    assert all(call.cancelled() for call in queued)
