"""The worker threads of a server: few, since they share one interpreter; a waiting call does not occupy one."""

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
    """A thread pool whose calls can declare that they wait, and which measures the time that calls queue.

    Threads that compute share the interpreter lock, so more than a few of them only compete for it. Threads that
    wait do not: each is replaced by another thread.

    Args:
        count: Number of calls that run at once.
        name: Prefix of the threads' names.
        most_waiting: Number of calls that may wait in addition; further ones keep their thread.
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
        """How long the present call queued for its thread; 0 on a thread outside the pool."""
        return getattr(self._here, "queued", 0.0)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """While active, another call may run in place of the one on this thread.

        Has no effect on a thread outside the pool, within another `waiting`, and when the maximum number of calls
        wait. After the wait the call continues at once, beside the others, and one thread less is used afterwards.
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
                raise RuntimeError(f"{self._name}: cannot submit a call after shutdown")
            self._tasks.put(task)
            if self._idle:
                self._idle -= 1  # an idle thread takes it
            else:
                self._start_one()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Accept no more calls; submitted ones still run unless cancelled."""
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
        """Whether one more call may wait; if so, one more thread may run."""
        with self._lock:
            if not self._may_wait:
                return False
            self._may_wait -= 1
            self._allowed += 1
            if not self._tasks.empty():
                self._start_one()
            return True

    def _start_one(self) -> None:
        """Start one more thread if allowed; the caller holds the lock."""
        if len(self._threads) < self._allowed:
            self._started += 1
            thread = threading.Thread(target=self._serve, name=f"{self._name}-{self._started}", daemon=True)
            self._threads.add(thread)
            thread.start()

    def _serve(self) -> None:
        while (task := self._next()) is not None:
            self._run(task)
            del task  # its result may be large, and the next task may be long in coming

    def _next(self) -> _Task | None:
        """The next task for this thread; None: the thread ends."""
        with self._lock:
            if len(self._threads) > self._allowed:  # a call that waited has returned
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
