"""Blocks: cut from what the log has, found again exactly from what the journal says."""

from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thalweg.proto.records import Partition, Records
from thalweg.stream.journal.entries import BlockEntry, Range, from_line, to_line
from thalweg.stream.learn.blocks import Block, HistoryLost, Replay, gather
from thalweg.stream.log.in_memory import InMemoryLog
from thalweg.stream.log.log import Message, Reader


def log_of(count: int) -> InMemoryLog:
    log = InMemoryLog(clock=lambda: 5.0)
    log.append("t", [Message(str(i).encode(), key=b"k") for i in range(count)])
    return log


def values(block: Block | None) -> list[bytes | None]:
    assert block is not None
    return [value for run in block.records for value in run.values]


def test_a_block_takes_what_is_there_without_waiting_for_more() -> None:
    reader = log_of(3).reader(["t"], {})

    block = gather(reader, batch_records=3, batch_seconds=60, idle_seconds=60, max_bytes=1 << 20)

    assert values(block) == [b"0", b"1", b"2"]
    assert gather(reader, batch_records=3, batch_seconds=60, idle_seconds=0, max_bytes=1 << 20) is None


def test_what_cannot_be_read_is_no_part_of_a_block_and_a_replay_finds_the_same_blocks() -> None:
    log = log_of(10)
    log.damage("t", 3)
    log.damage("t", 4)
    log.damage("t", 8)
    reader = log.reader(["t"], {})

    blocks = []
    while sum(map(len, blocks)) < 7:
        block = gather(reader, batch_records=4, batch_seconds=60, idle_seconds=60, max_bytes=1 << 20)
        assert block is not None
        blocks.append(block)

    assert [value for block in blocks for value in values(block)] == [b"0", b"1", b"2", b"5", b"6", b"7", b"9"]
    assert [gap.first for gap in reader.gaps()] == [3, 4, 8]
    replay = Replay(log.reader(["t"], {}), 0.0)
    for block in blocks:
        assert replay.block(BlockEntry(1, block.ranges, 4)) == block


def test_a_replay_says_so_when_a_record_that_was_learned_can_no_longer_be_read() -> None:
    log = log_of(6)
    block = gather(log.reader(["t"], {}), batch_records=6, batch_seconds=60, idle_seconds=60, max_bytes=1 << 20)
    assert block is not None
    log.damage("t", 5)

    with pytest.raises(HistoryLost, match="t/0: offsets 5 to 5 cannot be read"):
        Replay(log.reader(["t"], {}), 0.0).block(BlockEntry(1, block.ranges, 6))


class Wire:
    """The log's reader with the moments between: what happens while it waits, and how long it was told to."""

    def __init__(self, log: InMemoryLog, arrive: Callable[[float], object], at_once: int = 500) -> None:
        self.now = 0.0
        self.waits: list[float] = []
        self._reader = log.reader(["t"], {})
        self._arrive = arrive
        self._at_once = at_once
        self.lag = self._reader.lag

    def poll(self, timeout_seconds: float, max_records: int = 500, max_bytes: int = 8 << 20) -> list[Records]:
        self.waits.append(timeout_seconds)
        found = self._reader.poll(0, min(max_records, self._at_once), max_bytes)
        if not found and timeout_seconds > 0:
            self.now += min(timeout_seconds, 0.001)
            self._arrive(self.now)
            found = self._reader.poll(0, min(max_records, self._at_once), max_bytes)
        return found

    def gather(self, batch_records: int, idle_seconds: float = 60.0) -> Block | None:
        return gather(
            self,  # type: ignore[arg-type]  # the three methods that gathering uses
            batch_records=batch_records,
            batch_seconds=0.05,
            idle_seconds=idle_seconds,
            max_bytes=1 << 20,
            clock=lambda: self.now,
        )


def one_of(log: InMemoryLog) -> Callable[[float], object]:
    return lambda now: log.append("t", [Message(f"at {now:.3f}".encode())])


def test_a_record_that_comes_alone_is_not_kept_waiting() -> None:
    log = log_of(0)
    wire = Wire(log, one_of(log))

    block = wire.gather(batch_records=64)

    assert values(block) == [b"at 0.001"]
    assert [wait for wait in wire.waits if wait] == [60.0]  # for the first record, for no other


def test_a_record_in_a_stream_is_taken_together_with_those_that_keep_coming() -> None:
    log = log_of(1)
    wire = Wire(log, one_of(log))

    assert len(wire.gather(batch_records=20) or ()) == 20
    log.append("t", [Message(b"came while the block was learned")])
    started = wire.now
    assert 45 <= len(wire.gather(batch_records=1000) or ()) <= 51
    assert wire.now - started == pytest.approx(0.05, abs=0.002)  # and no longer than it may


def test_a_stream_that_ends_is_waited_for_once() -> None:
    log = log_of(3)
    wire = Wire(log, lambda now: None)

    assert values(wire.gather(batch_records=64)) == [b"0", b"1", b"2"]
    assert len([wait for wait in wire.waits if wait]) == 1


def test_records_that_the_log_is_known_to_have_are_gathered_though_it_hands_them_out_one_by_one() -> None:
    log = log_of(0)
    wire = Wire(log, lambda now: log.append("t", [Message(str(i).encode()) for i in range(5)]), at_once=1)
    plain, turn = wire.poll, iter(range(1000))

    def poll(*arguments: float) -> list[Records]:  # every second time the answer is still under way
        return [] if next(turn) % 2 and len(wire.waits) > 2 else plain(*arguments)  # type: ignore[arg-type]

    wire.poll = poll  # type: ignore[method-assign]

    assert values(wire.gather(batch_records=5)) == [b"0", b"1", b"2", b"3", b"4"]


def test_records_that_are_known_of_and_do_not_come_hold_a_block_up_no_longer_than_they_may() -> None:
    log = log_of(1)
    wire = Wire(log, lambda now: None)
    wire.lag = lambda: {Partition("t", 0): 7}
    plain = wire.poll

    def poll(timeout_seconds: float, *more: int) -> list[Records]:
        wire.now += timeout_seconds
        return plain(0, *more)

    wire.poll = poll  # type: ignore[method-assign]

    assert values(wire.gather(batch_records=64)) == [b"0"]
    assert wire.now == pytest.approx(0.05)


@given(sizes=st.lists(st.integers(1, 9), min_size=1, max_size=8), poll=st.integers(1, 40))
def test_journalled_blocks_are_found_again_however_the_log_hands_them_out(sizes: list[int], poll: int) -> None:
    log = log_of(sum(sizes))
    entries, first = [], 0
    for version, size in enumerate(sizes, 1):
        entries.append(BlockEntry(version, (Range(Partition("t", 0), first, first + size - 1, size),), 64))
        first += size
    reader = log.reader(["t"], {})
    plain = reader.poll
    reader.poll = lambda timeout, *_: plain(0, poll)  # type: ignore[method-assign]

    replay = Replay(reader)
    blocks = [replay.block(entry) for entry in entries]

    assert [value for block in blocks for value in values(block)] == [str(i).encode() for i in range(sum(sizes))]
    assert [block.ranges for block in blocks if block] == [entry.ranges for entry in entries]


def test_records_that_retention_deleted_are_named() -> None:
    log = log_of(20)
    log.delete_before("t", 5)
    entry = BlockEntry(1, (Range(Partition("t", 0), 0, 9, 10),), 64)

    with pytest.raises(HistoryLost, match="t/0: offsets 0 to 4 were deleted by retention"):
        Replay(log.reader(["t"], {Partition("t", 0): -1})).block(entry)


def test_other_records_in_their_place_are_named() -> None:
    entry = BlockEntry(1, (Range(Partition("t", 0), 0, 9, 7),), 64)

    with pytest.raises(HistoryLost, match="journal has 7 records from offset 0 to 9, the log has 10 from 0 to 9"):
        Replay(log_of(20).reader(["t"], {})).block(entry)


def test_other_contents_in_their_place_are_named_also_of_one_record_and_of_keys() -> None:
    def log(*rows: tuple[bytes | None, bytes | None]) -> Reader:
        made = InMemoryLog()
        made.append("t", [Message(value, key=key) for key, value in rows])
        return made.reader(["t"], {})

    def learned(records: Sequence[tuple[bytes | None, bytes | None]]) -> BlockEntry:
        (run,) = log(*records).poll(0.0)
        entry = from_line(to_line(BlockEntry(1, Block((run,)).ranges, 64)))
        assert isinstance(entry, BlockEntry)
        return entry

    rows = [(b"k", b"a"), (None, b"b"), (b"l", None)]

    assert Replay(log(*rows)).block(learned(rows)) is not None
    for others in ([(b"k", b"a"), (None, b"c"), (b"l", None)], [(b"k", b"a"), (b"k", b"b"), (b"l", None)]):
        with pytest.raises(HistoryLost, match=r"t/0: the log has other contents at offsets 0 to 2 .* one of 3 records"):
            Replay(log(*others)).block(learned(rows))
    with pytest.raises(
        HistoryLost, match=r"t/0: the log has other contents at offset 0 than .* the record was changed"
    ):
        Replay(log((b"k", b"b"))).block(learned(rows[:1]))


def test_waiting_for_a_log_that_is_out_of_reach_can_be_given_up() -> None:
    entry = BlockEntry(1, (Range(Partition("t", 0), 0, 9, 10),), 64)

    assert Replay(log_of(3).reader(["t"], {}), poll_seconds=0.001).block(entry, give_up=lambda: True) is None
