"""Several requests to a store at once: each takes a round trip, however little it asks."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")

AT_ONCE = 4
"""Requests of one caller that are under way."""


def together(calls: Sequence[Callable[[], T]]) -> list[T]:
    """What each call returns, in their order. Those that have not begun when one raises are left out; it returns, or
    raises, when none is under way any more. The caller's thread takes part, so that nothing is lost but time where no
    further thread can be started.
    """
    waiting, found = iter(range(len(calls))), dict[int, T]()
    failed: list[BaseException] = []
    lock = threading.Lock()

    def work() -> None:
        while not failed:
            with lock:
                number = next(waiting, None)
            if number is None:
                return
            try:
                found[number] = calls[number]()
            except BaseException as error:
                failed.append(error)

    others: list[threading.Thread] = []
    for _ in range(min(len(calls), AT_ONCE) - 1):
        other = threading.Thread(target=work, name="objects", daemon=True)
        try:
            other.start()
        except RuntimeError:
            break
        others.append(other)
    work()
    for other in others:
        other.join()
    if failed:
        raise failed[0]
    return [found[number] for number in range(len(calls))]
