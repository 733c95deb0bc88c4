"""Several requests to a store at once: each takes a round trip, however little it asks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

AT_ONCE = 4
"""Requests of one caller that are under way."""


def together(calls: Sequence[Callable[[], T]]) -> list[T]:
    """What each call returns, in their order. Those that have not begun when one raises are left out; it returns, or
    raises, when none is under way any more.
    """
    if len(calls) < 2:
        return [call() for call in calls]
    with ThreadPoolExecutor(min(len(calls), AT_ONCE), thread_name_prefix="objects") as pool:
        futures = [pool.submit(call) for call in calls]
        try:
            return [future.result() for future in futures]
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
