import os
import signal
import threading

from thalweg.ops.run.stop_request import StopRequest


def test_a_wait_ends_after_its_timeout_and_at_once_when_the_stop_is_requested() -> None:
    stop = StopRequest()

    assert not stop.wait(0.01)
    stop.set()
    stop.set()
    assert stop.wait()
    assert stop.wait(0)
    assert stop.is_set()


def test_all_threads_that_wait_go_on() -> None:
    stop, seen = StopRequest(), list[bool]()
    threads = [threading.Thread(target=lambda: seen.append(stop.wait())) for _ in range(3)]
    for thread in threads:
        thread.start()
    stop.set()
    for thread in threads:
        thread.join()

    assert seen == [True] * 3


def test_a_signal_handler_may_request_it_at_any_moment_of_a_wait() -> None:
    for _ in range(200):
        stop = StopRequest()
        before = signal.signal(signal.SIGUSR1, lambda *_: stop.set())  # noqa: B023 - called within this round
        timer = threading.Timer(0.0005, os.kill, [os.getpid(), signal.SIGUSR1])
        try:
            timer.start()
            while not stop.wait(0.0001):  # a signal may come anywhere in it
                pass
        finally:
            timer.join()
            signal.signal(signal.SIGUSR1, before)

    assert stop.is_set()
