"""Requests that are remembered or recorded in the background: one that cannot be does not stop the others."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from structlog.testing import capture_logs

from tests.ops.running import until
from thalweg.memory.exchange.commands import StoreError
from thalweg.memory.exchange.pending import InMemoryPending, SqlitePending
from thalweg.proto.schema import InputError
from thalweg.stream.labels import dropped
from thalweg.stream.labels.request_buffer import JoinedTopic, RequestBuffer
from thalweg.stream.labels.request_log import RequestLog
from thalweg.stream.log.in_memory import InMemoryLog
from thalweg.stream.log.log import Message, RecordTooLarge

GOOD = {"x": np.zeros((1, 2), np.float32)}
NO_TENSOR = {"x": np.zeros((1, 2), np.complex64)}  # nothing on the wire is like it


@pytest.mark.parametrize("id", ["\ud800", "a\udfff", "", "ü" * 513])
def test_an_id_that_cannot_be_kept_is_refused_by_name(id: str) -> None:
    request_buffer = RequestBuffer({"m": InMemoryPending()})

    with pytest.raises(InputError, match=r"parameter 'event_id': expected (an id|valid UTF-8|at most 1024 bytes), got"):
        request_buffer.remember("m", id, GOOD, None)


def test_a_request_that_cannot_be_written_is_dropped_and_said_and_the_others_are_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pendings = {name: SqlitePending(tmp_path / name) for name in ("m", "other")}
    request_buffer = RequestBuffer(pendings)
    for id, inputs in (("a", GOOD), ("b", NO_TENSOR), ("c", GOOD)):
        request_buffer.remember("m", id, inputs, None)
    request_buffer.remember("other", "d", GOOD, None)
    request_buffer.start()
    until("the others", lambda: request_buffer.remembered == {"m": 2, "other": 1})
    request_buffer.remember("m", "e", GOOD, None)
    until("those that come later", lambda: request_buffer.remembered["m"] == 3)

    assert [waiting is not None for waiting in pendings["m"].find("m", ["a", "b", "c", "e"])] == [
        True,
        False,
        True,
        True,
    ]
    assert request_buffer.forgotten == {"m": 1, "other": 0}
    (said,) = request_buffer.dropped()
    assert said.startswith("model 'm': requests that cannot be buffered: 1 since the server started, the last for")
    monkeypatch.setattr(dropped, "SAID_SECONDS", 0.0)
    assert request_buffer.dropped() == []
    request_buffer.close()


class _Picky(InMemoryPending):
    """A store that fails as no store should at one id, and at once at whether it is there."""

    def __init__(self) -> None:
        super().__init__()
        self.checks = 0

    def remember(self, model: str, entries: Sequence[tuple[str, float, bytes]]) -> None:
        if any(id == "bad" for id, _, _ in entries):
            raise ValueError("cannot")
        super().remember(model, entries)

    def check(self) -> None:
        self.checks += 1
        if self.checks == 1:
            raise RuntimeError("surprise")


class _Away(InMemoryPending):
    """A store that can be out of reach."""

    away = False

    def remember(self, model: str, entries: Sequence[tuple[str, float, bytes]]) -> None:
        if self.away:
            raise StoreError("away")
        super().remember(model, entries)


@pytest.mark.parametrize("away", [False, True])
def test_in_the_end_all_that_waits_is_written_or_what_is_lost_is_told(
    monkeypatch: pytest.MonkeyPatch, away: bool
) -> None:
    pending = _Away()
    pending.away = True
    request_buffer = RequestBuffer({"m": pending})
    request_buffer.start()
    ids = [str(number) for number in range(500)]  # more than are written at once
    for id in ids:
        request_buffer.remember("m", id, GOOD, None)
    until("the store to be missed", lambda: not request_buffer.reached("m"))
    monkeypatch.setattr(pending, "close", lambda: None)
    pending.away = away

    with capture_logs() as logged:
        request_buffer.close()

    told = [line for line in logged if line["event"].startswith("requests were not buffered")]
    assert [(line["model"], line["requests"]) for line in told] == ([("m", 500)] if away else [])
    assert request_buffer.forgotten == {"m": 500 if away else 0}
    assert sum(waiting is not None for waiting in pending.find("m", ids)) == (0 if away else 500)


def test_whatever_a_store_raises_the_thread_that_remembers_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("thalweg.stream.labels.request_buffer._CHECK_SECONDS", 0.01)
    pending = _Picky()
    request_buffer = RequestBuffer({"m": pending})
    request_buffer.start()
    until("a check that failed and one after it", lambda: pending.checks > 1)
    for id in ("a", "bad", "c"):
        request_buffer.remember("m", id, GOOD, None)
    until("the good ones", lambda: request_buffer.remembered["m"] == 2)

    assert [waiting is not None for waiting in pending.find("m", ["a", "bad", "c"])] == [True, False, True]
    assert request_buffer.forgotten["m"] == 1
    assert "ValueError: cannot" in request_buffer.dropped()[0]
    request_buffer.close()


class _PickyLog(InMemoryLog):
    """A log that fails as no log should at one record, and at its first append altogether."""

    def __init__(self) -> None:
        super().__init__()
        self.appends = 0

    def append(self, topic: str, messages: Sequence[Message]) -> Any:
        self.appends += 1
        if any(b"unfit" in (message.value or b"") for message in messages):
            raise ValueError("cannot")
        return super().append(topic, messages)


def test_a_request_that_cannot_be_appended_is_dropped_and_said_and_the_others_become_events() -> None:
    log = _PickyLog()
    recording = RequestLog({"m": "m.events", "other": "other.events"}, log)
    # no id of a request, which is hexadecimal, contains it
    bad = {"t": np.array([b"unfit", b"unfit"], dtype=object)}
    for inputs in (GOOD, NO_TENSOR, bad, GOOD):
        recording.record("m", inputs)
    recording.record("other", GOOD)
    recording.start()
    until("the others", lambda: recording.recorded == {"m": 2, "other": 1})
    recording.record("m", GOOD)
    until("those that come later", lambda: recording.recorded["m"] == 3)

    assert recording.lost == {"m": 3, "other": 0}
    (said,) = recording.dropped()
    assert said.startswith("model 'm': requests that cannot be appended: 2 since the server started, the last for")
    recording.close()
    assert sum(len(run) for run in log.reader(["m.events"], {}).poll(0.0)) == 3


def test_whatever_goes_wrong_the_thread_that_records_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("thalweg.stream.labels.request_log._AGAIN_SECONDS", 0.01)
    recording = RequestLog({"m": "m.events"}, InMemoryLog())
    append, calls = recording._append, []

    def failing(model: str) -> bool:
        calls.append(model)
        if len(calls) == 1:
            raise RuntimeError("surprise")
        return append(model)

    monkeypatch.setattr(recording, "_append", failing)
    recording.start()
    recording.record("m", GOOD)
    until("the request to be an event", lambda: recording.recorded["m"] == 1)
    recording.close()


def test_a_row_that_can_never_be_appended_is_refused_when_it_is_asked_and_holds_nothing_up() -> None:
    log = InMemoryLog(max_record_bytes=2000)
    recording = RequestLog({"m": "m.events"}, log)
    large = {"x": np.zeros((2, 500), np.float32)}

    with pytest.raises(RecordTooLarge, match=r"topic 'm.events', at most 2000 bytes, got one of 2000 bytes"):
        recording.check("m", large)
    recording.check("m", GOOD)
    recording.check("another", large)  # which does not learn from requests

    for inputs in (GOOD, large, GOOD):  # the limit may have changed since
        recording.record("m", inputs)
    recording.start()
    until("the others", lambda: recording.recorded == {"m": 2})
    assert recording.lost == {"m": 2}
    recording.close()


def test_a_request_whose_joined_event_could_never_be_appended_is_refused() -> None:
    waiting = RequestBuffer({"m": InMemoryPending()}, joined={"m": JoinedTopic("m.joined", lambda: 2000)})

    with pytest.raises(RecordTooLarge, match=r"topic 'm.joined', at most 2000 bytes, got one of 2000 bytes"):
        waiting.check_size("m", {"x": np.zeros((1, 500), np.float32)})
    with pytest.raises(RecordTooLarge, match="got one of 2000 bytes"):
        waiting.check_size("m", {"t": np.array([b"x" * 2000], dtype=object)})
    waiting.check_size("m", GOOD)
    waiting.check_size("another", {"x": np.zeros((1, 500), np.float32)})
    waiting.close()


def test_rows_of_texts_are_cut_into_records_by_their_length() -> None:
    log = InMemoryLog()
    recording = RequestLog({"m": "m.events"}, log)

    recording.record("m", {"t": np.array([b"x" * 200_000] * 4, dtype=object)})
    recording.start()
    until("the rows", lambda: recording.recorded == {"m": 4})
    recording.close()

    assert [len(run) for run in log.reader(["m.events"], {}).poll(0.0)] == [4]
