"""Slots of requests: how many run, what becomes of those that wait, and which are refused."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait

import pytest

from tests.services.processes import until
from thalweg.ops.serve.bounds.admission import Admission
from thalweg.ops.serve.errors import QueueFull

WAIT = 30


@pytest.fixture(params=[1, 2])
def count(request: pytest.FixtureRequest) -> int:
    """Requests that are processed at once."""
    return int(request.param)


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(64) as pool:
        yield pool


class Busy:
    """Requests that tell when they are processed, until they may end."""

    def __init__(self, slots: Admission) -> None:
        self.slots = slots
        self.running = threading.Semaphore(0)
        self.end = threading.Event()
        self.most = self.now = 0
        self._lock = threading.Lock()

    def compute(self) -> float:
        with self.slots.slot():
            queued = self.slots.queue_seconds
            with self._lock:
                self.now += 1
                self.most = max(self.most, self.now)
            self.running.release()
            assert self.end.wait(WAIT)
            with self._lock:
                self.now -= 1
        return queued

    def waits(self, over: threading.Event) -> str:
        with self.slots.slot(), self.slots.waiting():
            self.running.release()
            assert over.wait(WAIT)
        return "waited"


def taken(busy: Busy, number: int) -> None:
    for _ in range(number):
        assert busy.running.acquire(timeout=WAIT)


def refused(call: Callable[[], object]) -> bool:
    try:
        call()
    except QueueFull:
        return True
    return False


def test_no_more_requests_are_processed_at_once_than_there_are_slots(count: int, threads: ThreadPoolExecutor) -> None:
    busy = Busy(Admission("requests", count, 20))
    calls = [threads.submit(busy.compute) for _ in range(10)]
    taken(busy, count)

    assert not any(call.done() for call in calls)
    busy.end.set()

    assert not wait(calls, WAIT).not_done
    assert busy.most == count


def test_those_who_wait_for_something_else_hold_no_slot(count: int, threads: ThreadPoolExecutor) -> None:
    over, busy = threading.Event(), Busy(Admission("requests", count, 20))
    waiting = [threads.submit(busy.waits, over) for _ in range(3)]
    taken(busy, 3)

    computing = [threads.submit(busy.compute) for _ in range(10)]
    taken(busy, count)
    over.set()

    assert [call.result(WAIT) for call in waiting] == ["waited"] * 3  # they go on beside the others
    assert not any(call.done() for call in computing)
    busy.end.set()
    assert not wait(computing, WAIT).not_done
    assert busy.most == count  # and left no more slots than there were


def test_a_wait_within_a_wait_one_without_a_slot_and_one_that_fails_change_nothing(threads: ThreadPoolExecutor) -> None:
    slots = Admission("requests", 1, 0)
    for _ in range(10):
        with slots.slot(), slots.waiting(), slots.waiting():
            pass
        with slots.waiting():
            pass
        with pytest.raises(LookupError), slots.slot(), slots.waiting():
            raise LookupError

    busy = Busy(slots)
    call = threads.submit(busy.compute)
    taken(busy, 1)

    assert refused(busy.compute)  # there is still one slot, and it is taken
    busy.end.set()
    assert call.exception(WAIT) is None


def test_one_more_than_may_wait_is_refused_at_once(count: int, threads: ThreadPoolExecutor) -> None:
    reasons: list[str] = []
    slots = Admission("requests", count, 3, refused=reasons.append)
    busy = Busy(slots)
    calls = [threads.submit(busy.compute) for _ in range(count + 3)]
    until("the queue to be full", slots.overloaded, WAIT)

    with pytest.raises(QueueFull, match="overloaded: too many requests are waiting; retry later"):
        busy.compute()

    assert reasons == ["requests"]
    busy.end.set()
    assert not [call for call in calls if call.exception(WAIT)]


class Clock:
    """A clock that tests set."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_queue_that_overflows_is_cut_to_what_is_answered_in_time_until_a_second_without_refusals(
    threads: ThreadPoolExecutor,
) -> None:
    clock = Clock()
    slots = Admission("requests", 1, 20, clock=clock)
    for _ in range(200):  # each takes 1 ms, so that two of them are answered within 2 ms
        with slots.slot():
            clock.now += 0.001
    busy = Busy(slots)
    calls = [threads.submit(busy.compute)]
    taken(busy, 1)
    for number in range(20):
        calls.append(threads.submit(busy.compute))
        until("one more to wait", lambda: len(slots._waiting) == number + 1, WAIT)  # noqa: B023

    assert refused(busy.compute)

    cut = [call for call in calls if call.done()]
    until("the queue to be cut", lambda: len([call for call in calls if call.done()]) == 18, WAIT)
    cut = [call for call in calls if call.done()]
    assert all(isinstance(call.exception(0), QueueFull) for call in cut)
    assert cut == calls[3:]  # the last to come
    assert slots.overloaded()
    clock.now += 1.1
    assert not slots.overloaded()
    busy.end.set()
    assert not [call for call in calls[:3] if call.exception(WAIT)]


def test_while_paused_all_wait_and_afterwards_all_are_answered(count: int, threads: ThreadPoolExecutor) -> None:
    slots = Admission("requests", count, 2)
    busy = Busy(slots)
    busy.end.set()
    slots.pause()
    calls: list[Future[float]] = [threads.submit(busy.compute) for _ in range(10)]
    until("all to wait", lambda: len(slots._waiting) == 10, WAIT)

    slots.resume()

    assert not [call for call in calls if call.exception(WAIT)]
    assert busy.most <= count


def test_a_request_knows_how_long_it_waited(threads: ThreadPoolExecutor) -> None:
    slots = Admission("requests", 1, 5)
    busy, before = Busy(slots), time.perf_counter()
    first = threads.submit(busy.compute)
    taken(busy, 1)
    second = threads.submit(busy.compute)
    until("the second to wait", lambda: bool(slots._waiting), WAIT)
    busy.end.set()

    assert first.result(WAIT) < second.result(WAIT) < time.perf_counter() - before
    assert slots.queue_seconds == 0  # on a thread without a slot
