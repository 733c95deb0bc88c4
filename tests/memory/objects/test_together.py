"""Several requests at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial

import pytest

from thalweg.memory.objects.together import AT_ONCE, together


def test_requests_are_under_way_at_once_and_answered_in_order() -> None:
    meeting = threading.Barrier(AT_ONCE, timeout=60)

    def ask(number: int) -> int:
        meeting.wait()  # ends only when all of them are here
        return number

    assert together([partial(ask, number) for number in range(AT_ONCE)]) == [*range(AT_ONCE)]
    assert together([lambda: 7]) == [7]
    assert together([]) == []


def test_after_an_error_no_request_is_begun_and_none_is_under_way() -> None:
    under_way, ended = [], []

    def slow(number: int) -> None:
        under_way.append(number)
        time.sleep(0.2)
        ended.append(number)

    def fail() -> None:
        raise ValueError("refused")

    calls: list[Callable[[], None]] = [fail, *(partial(slow, number) for number in range(100))]
    with pytest.raises(ValueError, match="refused"):
        together(calls)
    assert len(under_way) < 20
    assert sorted(ended) == sorted(under_way)


def test_where_no_further_thread_can_be_started_the_caller_asks_one_after_the_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def no_thread(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", no_thread)

    assert together([partial(pow, 2, number) for number in range(9)]) == [2**number for number in range(9)]
