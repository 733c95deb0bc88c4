"""Blocks: cut from what the log has, found again exactly from what the journal says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thalweg.proto.event import Partition
from thalweg.stream.blocks import Block, HistoryLost, Replay, gather
from thalweg.stream.journal import BlockEntry, Range
from thalweg.stream.log import MemoryLog, Message


def log_of(count: int) -> MemoryLog:
    log = MemoryLog(clock=lambda: 5.0)
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


def test_a_block_waits_for_company_no_longer_than_it_may() -> None:
    reader = log_of(3).reader(["t"], {})
    times = iter([0.0, 0.04, 0.06, 99.0])

    block = gather(
        reader, batch_records=64, batch_seconds=0.05, idle_seconds=1, max_bytes=1 << 20, clock=lambda: next(times)
    )

    assert values(block) == [b"0", b"1", b"2"]


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


def test_waiting_for_a_log_that_is_out_of_reach_can_be_given_up() -> None:
    entry = BlockEntry(1, (Range(Partition("t", 0), 0, 9, 10),), 64)

    assert Replay(log_of(3).reader(["t"], {}), poll_seconds=0.001).block(entry, give_up=lambda: True) is None
