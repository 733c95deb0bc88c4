"""Alarms on their way to the log, which may be slow."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from tests.stream.drift.test_news import ended
from thalweg.memory.snapshots.state import State
from thalweg.stream.drift.alarm_outbox import AlarmOutbox, alarms_topic
from thalweg.stream.drift.digest import Digest, Digests
from thalweg.stream.health.registry import HealthRegistry
from thalweg.stream.log.in_memory import InMemoryLog
from thalweg.stream.log.log import LogError, Message

PATIENCE = 60.0


class Held(InMemoryLog):
    """A log that answers when it is let, as a broker does that first creates a topic."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.let = threading.Event(), threading.Event()
        self.problem = ""

    def append(self, topic: str, messages: Sequence[Message]) -> Any:
        self.asked.set()
        assert self.let.wait(PATIENCE)
        if self.problem:
            raise LogError(self.problem)
        return super().append(topic, messages)


def digest() -> Digest:
    (one,) = ended(Digests(events=500, least=100), np.zeros(700))
    return one


def sent(log: InMemoryLog) -> list[str]:
    runs = log.reader([alarms_topic("m")], {}).poll(0.0)
    return [json.loads(value)["id"] for run in runs for value in run.values if value]


def test_a_log_that_is_slow_holds_nobody_up_and_what_waits_is_in_the_state() -> None:
    log = Held()
    box = AlarmOutbox(log, "m")

    box.send([], [digest()])
    assert log.asked.wait(PATIENCE)
    box.send([], [digest()])  # while the first is on its way

    assert len(box.state().meta["digests"]) == 2
    log.let.set()
    box.settle(PATIENCE)
    assert sent(log) == ["m-1-digest", "m-1-digest"]
    assert box.state() == State({}, {"waiting": [], "digests": []})


def test_what_a_log_has_refused_late_is_sent_with_the_next_turn() -> None:
    log = Held()
    log.problem = "not allowed"
    log.let.set()
    box = AlarmOutbox(log, "m")
    box.send([], [digest()])
    box.settle(PATIENCE)
    assert len(box.state().meta["digests"]) == 1

    log.problem = ""
    box.send([])
    box.settle(PATIENCE)

    assert sent(log) == ["m-1-digest"]


def test_alarms_wait_where_no_further_thread_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    log, registry = InMemoryLog(), HealthRegistry()
    box = AlarmOutbox(log, "m", health=registry.register("alarm_outbox", "m"))
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", no_thread)
        box.send([], [digest()])
    box.settle(PATIENCE)

    assert "can't start new thread" in registry.report()[0].reason
    assert len(box.state().meta["digests"]) == 1
    box.send([])
    box.settle(PATIENCE)
    assert sent(log) == ["m-1-digest"]


def no_thread(self: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")
