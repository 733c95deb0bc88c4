"""The threads that answer calls: few, since they share one interpreter, and none is held by a call that only waits."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class _Task(NamedTuple):
    future: Future[Any]
    submitted: float
    call: Callable[[], Any]


class Workers(Executor):
    """A thread pool whose calls can say that they wait, and tell how long they waited for a thread.

    Threads that compute share the interpreter's lock, so more than a few of them only take it from each other. Those
    that wait do not: another thread takes the place of each.

    Args:
        count: Calls that run at once.
        name: Of the threads, with a number behind it.
        most_waiting: Calls that may wait beside those; what waits beyond holds its thread.
    """

    def __init__(self, count: int, name: str, most_waiting: int = 0) -> None:
        self._allowed, self._may_wait = count, most_waiting
        self._name = name
        self._tasks: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._threads: set[threading.Thread] = set()
        self._idle = self._started = 0
        self._closed = False
        self._here = threading.local()

    @property
    def queue_seconds(self) -> float:
        """How long the call that runs on this thread had waited for it; 0 on a thread that is none of these."""
        return getattr(self._here, "queued", 0.0)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """While this lasts another call may run in place of the one on this thread.

        Nothing happens on a thread that is none of these, within another `waiting`, and where as many wait as may.
        When the wait is over the call goes on at once, beside the others, and one thread less serves after it.
        """
        if not (getattr(self._here, "computing", False) and self._make_room()):
            yield
            return
        self._here.computing = False
        try:
            yield
        finally:
            self._here.computing = True
            with self._lock:
                self._allowed -= 1
                self._may_wait += 1

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """As `Executor.submit`. Raises RuntimeError after `shutdown`."""
        future: Future[T] = Future()
        task = _Task(future, time.perf_counter(), lambda: fn(*args, **kwargs))
        with self._lock:
            if self._closed:
                raise RuntimeError(f"{self._name}: expected no calls after the end, got one")
            self._tasks.put(task)
            if self._idle:
                self._idle -= 1  # that one takes it
            else:
                self._start_one()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls; what was submitted still runs, unless it is to be cancelled."""
        with self._lock:
            self._closed = True
            if cancel_futures:
                with suppress(queue.Empty):
                    while (task := self._tasks.get_nowait()) is not None:
                        task.future.cancel()
            self._tasks.put(None)
            threads = list(self._threads)
        for thread in threads if wait else ():
            thread.join()

    def _make_room(self) -> bool:
        """Whether one more may wait; then one more thread may run."""
        with self._lock:
            if not self._may_wait:
                return False
            self._may_wait -= 1
            self._allowed += 1
            if not self._tasks.empty():
                self._start_one()
            return True

    def _start_one(self) -> None:
        """Under the lock: one more thread, if one more is allowed."""
        if len(self._threads) < self._allowed:
            self._started += 1
            thread = threading.Thread(target=self._serve, name=f"{self._name}-{self._started}", daemon=True)
            self._threads.add(thread)
            thread.start()

    def _serve(self) -> None:
        while (task := self._next()) is not None:
            self._run(task)
            del task  # what it answered may be large, and the next may be long in coming

    def _next(self) -> _Task | None:
        """What to run on this thread; None: it ends."""
        with self._lock:
            if len(self._threads) > self._allowed:  # one that waited is back
                self._threads.discard(threading.current_thread())
                return None
            try:
                task = self._tasks.get_nowait()
            except queue.Empty:
                self._idle += 1
                task, idle = None, True
            else:
                idle = False
        if idle:
            task = self._tasks.get()
        if task is None:
            self._tasks.put(None)  # for the next thread
        return task

    def _run(self, task: _Task) -> None:
        self._here.queued = time.perf_counter() - task.submitted
        if not task.future.set_running_or_notify_cancel():
            return
        self._here.computing = True
        try:
            answer = task.call()
        except BaseException as error:
            task.future.set_exception(error)
        else:
            task.future.set_result(answer)
        finally:
            self._here.computing = False
