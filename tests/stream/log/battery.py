"""What every log must do, the one in memory and the real ones alike."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from tests.services.processes import PATIENCE as WAIT
from thalweg.proto.records import Partition, Records
from thalweg.stream.log.log import Log, Message, Reader


def drain(reader: Reader, count: int) -> list[Records]:
    """Polls until so many records came."""
    runs: list[Records] = []
    while sum(map(len, runs)) < count:
        more = reader.poll(WAIT)
        assert more, f"only {sum(map(len, runs))} of {count} records came within {WAIT} s"
        runs += more
    return runs


def values(runs: Sequence[Records]) -> list[bytes | None]:
    return [value for run in runs for value in run.values]


def offsets(runs: Sequence[Records]) -> list[int]:
    return [offset for run in runs for offset in run.offsets]


class LogBattery:
    """Derive from it and give a fixture `log`; topics are new in each test and have one partition."""

    @pytest.fixture
    def topic(self) -> str:
        return f"t-{uuid.uuid4().hex[:12]}"

    @pytest.fixture(autouse=True)
    def _readers_are_closed(self, log: Log, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        opened: list[Reader] = []
        plain = log.reader

        def reader(*arguments: Any, **more: Any) -> Reader:
            opened.append(plain(*arguments, **more))
            return opened[-1]

        monkeypatch.setattr(log, "reader", reader)
        yield
        for one in opened:
            one.close()

    def test_records_come_back_in_order_byte_for_byte(self, log: Log, topic: str) -> None:
        messages = [
            Message(b"\x00\xff", key=b"k\x00", headers=(("ce_id", b"\xfe"), ("a", b"")), time=1700000000.25),
            Message(b"two", time=1700000001.5),
            Message(b"", key=b"", time=1700000002.0),
            Message(None, key=b"gone", time=1700000003.0),
        ]
        log.append(topic, messages)

        runs = drain(log.reader([topic], {}), 4)

        assert values(runs) == [b"\x00\xff", b"two", b"", None]
        assert [key for run in runs for key in run.keys] == [b"k\x00", None, b"", b"gone"]
        assert [moment for run in runs for moment in run.times] == [m.time for m in messages]
        headers = [[(name, bytes(content)) for name, content in one] for run in runs for one in run.headers]
        assert headers == [[("ce_id", b"\xfe"), ("a", b"")], [], [], []]

    def test_appending_says_where_the_records_landed(self, log: Log, topic: str) -> None:
        first = log.append(topic, [Message(b"0"), Message(b"1")])
        second = log.append(topic, [Message(b"2")])

        assert [(a.partition, a.offset) for a in first + second] == [(Partition(topic, 0), i) for i in range(3)]
        assert log.bounds(topic) == {Partition(topic, 0): (0, 3)}

    def test_a_reader_goes_on_after_a_position(self, log: Log, topic: str) -> None:
        log.append(topic, [Message(str(i).encode()) for i in range(10)])

        reader = log.reader([topic], {Partition(topic, 0): 6})

        assert values(drain(reader, 3)) == [b"7", b"8", b"9"]
        assert reader.position() == {Partition(topic, 0): 9}
        reader.seek({Partition(topic, 0): 4})
        assert values(drain(reader, 5)) == [b"5", b"6", b"7", b"8", b"9"]
        reader.close()
        reader.close()

    def test_a_reader_at_the_latest_sees_only_what_comes_later(self, log: Log, topic: str) -> None:
        log.append(topic, [Message(b"old")])
        reader = log.reader([topic], {}, "latest")
        assert reader.position() == {Partition(topic, 0): 0}
        log.append(topic, [Message(b"new")])

        assert values(drain(reader, 1)) == [b"new"]

    def test_a_poll_without_records_comes_back_empty(self, log: Log, topic: str) -> None:
        log.append(topic, [Message(b"0")])
        reader = log.reader([topic], {})
        drain(reader, 1)

        assert reader.poll(0.01) == []
        assert sum(reader.lag().values()) == 0

    def test_a_topic_that_comes_into_being_later_is_read(self, log: Log, topic: str) -> None:
        reader = log.reader([topic], {})
        assert reader.poll(0.01) == []
        assert log.bounds(topic) == {}
        log.append(topic, [Message(b"0")])

        assert values(drain(reader, 1)) == [b"0"]

    def test_a_poll_takes_about_as_much_as_it_is_told(self, log: Log, topic: str) -> None:
        log.append(topic, [Message(bytes(1000)) for _ in range(300)])
        reader = log.reader([topic], {})

        few = reader.poll(WAIT, 500, 20_000)
        assert 1 <= len(offsets(few)) <= 300
        rest = drain(reader, 300 - len(offsets(few)))

        assert offsets(few) + offsets(rest) == list(range(300))

    def test_a_record_larger_than_a_poll_still_comes(self, log: Log, topic: str) -> None:
        log.append(topic, [Message(bytes(700_000)), Message(b"after")])
        reader = log.reader([topic], {})

        runs: list[Records] = []
        while sum(map(len, runs)) < 2:
            runs += reader.poll(WAIT, 500, 1000)

        assert [len(value or b"") for value in values(runs)] == [700_000, 5]

    def test_several_topics_are_read_each_in_its_order(self, log: Log, topic: str) -> None:
        other = topic + "-b"
        log.append(topic, [Message(b"a0"), Message(b"a1")])
        log.append(other, [Message(b"b0"), Message(b"b1")])

        runs = drain(log.reader([topic, other], {}), 4)

        for name, wanted in ((topic, [b"a0", b"a1"]), (other, [b"b0", b"b1"])):
            assert values([run for run in runs if run.partition.topic == name]) == wanted

    def test_lag_is_what_was_not_handed_out(self, log: Log, topic: str) -> None:
        log.append(topic, [Message(b"0"), Message(b"1")])
        reader = log.reader([topic], {})
        drain(reader, 2)
        log.append(topic, [Message(b"2"), Message(b"3"), Message(b"4")])

        assert len(drain(reader, 3)) >= 1
        assert reader.lag() == {Partition(topic, 0): 0}

    def test_a_log_at_hand_is_in_reach(self, log: Log, topic: str) -> None:
        log.append(topic, [Message(b"0")])
        reader = log.reader([topic], {})

        drain(reader, 1)

        assert reader.poll(0.01) == []
        assert reader.reached()

    def test_a_position_is_kept_also_before_anything_was_read(self, log: Log, topic: str) -> None:
        log.append(topic, [Message(b"0"), Message(b"1")])

        assert log.reader([topic], {Partition(topic, 0): 0}).position() == {Partition(topic, 0): 0}

    def test_a_topic_keeps_its_identity(self, log: Log, topic: str) -> None:
        log.append(topic, [Message(b"0")])
        identity = log.identity(topic)

        log.append(topic, [Message(b"1")])

        assert log.identity(topic) == identity

    def test_appending_nothing_is_nothing(self, log: Log, topic: str) -> None:
        assert log.append(topic, []) == []

    def test_many_records_come_in_runs_of_bounded_length(self, log: Log, topic: str) -> None:
        log.append(topic, [Message(str(i).encode()) for i in range(2500)])
        reader = log.reader([topic], {})

        runs: list[Records] = []
        while sum(map(len, runs)) < 2500:
            more = reader.poll(WAIT, 400)
            assert 1 <= sum(map(len, more)) <= 400
            runs += more

        assert values(runs) == [str(i).encode() for i in range(2500)]
