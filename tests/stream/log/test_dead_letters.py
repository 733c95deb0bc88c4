"""Dead letters: byte for byte with their reason, over every log; where the last run stopped; never lost."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.stream.log.battery import drain
from thalweg.proto.records import Headers, Partition, Records
from thalweg.proto.rejected import Rejected
from thalweg.stream.log.dead_letters import DeadLetters
from thalweg.stream.log.in_memory import InMemoryLog
from thalweg.stream.log.log import Log, LogError, Message, PermanentLogError
from thalweg.stream.log.sqlite import SqliteLog

T0 = Partition("t", 0)
T1 = Partition("t", 1)


def run_of(*values: bytes | None, partition: Partition = T0, first: int = 0, headers: Headers = ()) -> Records:
    count = len(values)
    offsets = range(first, first + count)
    return Records(partition, offsets, [1.5] * count, [b"key"] * count, values, [headers] * count)


def bad(*rows: int) -> list[Rejected]:
    return [Rejected(row, "malformed", "expected JSON") for row in rows]


def kept(log: Log, count: int) -> Records:
    reader = log.reader(["t.dlq"], {})
    (run,) = drain(reader, count)
    reader.close()
    return run


@given(
    value=st.none() | st.binary(),
    key=st.none() | st.binary(),
    headers=st.lists(st.tuples(st.text(), st.binary()), max_size=3),
)
def test_value_key_and_headers_are_the_records_own(
    value: bytes | None, key: bytes | None, headers: list[tuple[str, bytes]]
) -> None:
    log = InMemoryLog()
    records = Records(Partition("t", 3), [41], [1700000000.25], [key], [value], [headers])

    DeadLetters(log, "t", "m").send(records, [Rejected(0, "wrong_shape", "expected (2,), got (3,)", (5, 7))])

    run = kept(log, 1)
    assert (run.values[0], run.keys[0]) == (value, key)
    assert list(run.headers[0]) == [
        *headers,
        ("thalweg-model", b"m"),
        ("thalweg-reason", b"wrong_shape"),
        ("thalweg-detail", b"expected (2,), got (3,)"),
        ("thalweg-topic", b"t"),
        ("thalweg-partition", b"3"),
        ("thalweg-offset", b"41"),
        ("thalweg-time", b"1700000000.25"),
        ("thalweg-rows", b"5,7"),
    ]
    (letter,) = DeadLetters(log, "t").newest(1)
    assert letter.record == Message(value, key, headers, 1700000000.25)
    assert (letter.topic, letter.partition, letter.offset, letter.rows) == ("t", 3, 41, (5, 7))


class _OverEveryLog:
    @pytest.fixture
    def letters(self, log: Log) -> DeadLetters:
        return DeadLetters(log, "t", "m")

    def test_nothing_was_sent_before_anything_was_sent(self, letters: DeadLetters) -> None:
        assert letters.last_sent() == {}
        assert letters.newest(5) == []

    def test_a_person_sees_the_newest_with_their_reasons(self, letters: DeadLetters) -> None:
        letters.send(run_of(b"a", b"b", None, b"d", first=10), bad(0, 2, 3))

        seen = letters.newest(2)

        assert [(one.value, one.key, one.offset) for one in seen] == [(None, b"key", 12), (b"d", b"key", 13)]
        assert {(one.model, one.reason, one.detail, one.topic, one.partition) for one in seen} == {
            ("m", "malformed", "expected JSON", "t", 0)
        }

    def test_the_last_sent_is_the_newest_of_each_partition(self, letters: DeadLetters) -> None:
        letters.send(run_of(b"a", b"b", b"c", first=7), bad(0, 2))
        letters.send(run_of(b"x", partition=T1, first=3), bad(0))
        letters.send(run_of(b"b", first=8), bad(0))  # a redelivery

        assert letters.last_sent() == {T0: 9, T1: 3}

    def test_what_another_model_sent_is_not_what_this_one_sent(self, log: Log, letters: DeadLetters) -> None:
        letters.send(run_of(b"a", first=4), bad(0))
        DeadLetters(log, "t", "ahead").send(run_of(b"b", first=99), bad(0))

        assert letters.last_sent() == {T0: 4}
        assert [one.model for one in letters.newest(9)] == ["m", "ahead"]


class TestInMemory(_OverEveryLog):
    @pytest.fixture
    def log(self) -> Log:
        return InMemoryLog()


class TestEmbedded(_OverEveryLog):
    @pytest.fixture
    def log(self, tmp_path: Path) -> Iterator[Log]:
        log = SqliteLog(tmp_path / "log.db")
        yield log
        log.close()


def test_headers_of_the_record_that_are_called_like_ours_do_not_mislead() -> None:
    letters = DeadLetters(InMemoryLog(), "t", "m")
    theirs = (("thalweg-offset", b"77"), ("thalweg-model", b"x"))

    letters.send(run_of(b"a", first=5, headers=theirs), bad(0))

    assert letters.last_sent() == {T0: 5}
    assert letters.newest(1)[0].record.headers == list(theirs)


def test_letters_somebody_else_put_there_are_shown_and_passed_over() -> None:
    log = InMemoryLog()
    log.append("t.dlq", [Message(b"by hand", headers=(("thalweg-topic", b"t"), ("thalweg-offset", b"x")))])

    assert [one.offset for one in DeadLetters(log, "t").newest(3)] == [-1]
    assert DeadLetters(log, "t", "m").last_sent() == {}


def test_a_look_back_reads_a_bounded_number_of_letters(tmp_path: Path) -> None:
    log = InMemoryLog()
    letters = DeadLetters(log, "t", "m")
    letters.send(run_of(b"old", partition=T1), bad(0))
    letters.send(run_of(*[b"new"] * 1200), bad(*range(1200)))

    assert letters.last_sent() == {T0: 1199}


def test_a_long_detail_is_cut() -> None:
    log = InMemoryLog()

    DeadLetters(log, "t").send(run_of(b"a"), [Rejected(0, "malformed", "é" * 5000)])

    assert dict(kept(log, 1).headers[0])["thalweg-detail"] == ("é" * 1000).encode()


def test_a_letter_that_cannot_be_kept_is_an_error_of_the_callers(tmp_path: Path) -> None:
    log = SqliteLog(tmp_path / "log.db")
    log._connection.execute("PRAGMA max_page_count = 10")  # a disk that is full

    with pytest.raises(LogError, match="full"):
        DeadLetters(log, "t").send(run_of(bytes(100_000)), bad(0))

    log.close()


def test_a_letter_that_is_too_large_keeps_its_beginning_its_hash_and_its_place_and_holds_nothing_up() -> None:
    log = InMemoryLog(max_record_bytes=100_000)
    value = bytes(range(256)) * 1000
    letters = DeadLetters(log, "t", "m")

    letters.send(run_of(b"small", value, b"after", first=40), bad(0, 1, 2))

    small, after, cut = letters.newest(9)
    assert [(one.value, one.offset, one.whole_bytes) for one in (small, after)] == [
        (b"small", 40, None),
        (b"after", 42, None),
    ]
    assert (cut.offset, cut.reason, cut.key) == (41, "malformed", b"key")
    assert cut.value == value[: 64 << 10]
    assert (cut.whole_bytes, cut.sha256) == (len(value), hashlib.sha256(value).hexdigest())
    assert dict(kept(log, 3).headers[2])["thalweg-truncated"] == b"value"
    assert letters.last_sent() == {T0: 42}


def test_a_letter_with_large_headers_or_under_a_small_limit_keeps_what_fits() -> None:
    log = InMemoryLog(max_record_bytes=3000)
    letters = DeadLetters(log, "t", "m")

    letters.send(run_of(b"x" * 5000, headers=[("h", b"y" * 90_000)]), bad(0))

    (cut,) = letters.newest(1)
    assert (cut.value, cut.key, cut.whole_bytes, list(cut.record.headers)) == (b"x" * 1024, b"key", 5000, [])
    assert dict(kept(log, 1).headers[0])["thalweg-truncated"] == b"value,headers"


def test_a_letter_of_which_nothing_fits_is_an_error_that_says_that_waiting_does_not_help() -> None:
    with pytest.raises(PermanentLogError, match="expected records of at most 10 bytes"):
        DeadLetters(InMemoryLog(max_record_bytes=10), "t").send(run_of(bytes(100)), bad(0))
