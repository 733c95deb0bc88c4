"""The embedded log: as every log, durable, shared by processes, bounded by retention."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.stream.log.battery import LogBattery, drain, offsets, values
from thalweg.proto.records import Partition
from thalweg.stream.log import sqlite as sqlite_log
from thalweg.stream.log.log import Gap, Log, LogError, Message, Retention
from thalweg.stream.log.sqlite import SqliteLog


@pytest.fixture
def log(tmp_path: Path) -> Iterator[SqliteLog]:
    log = SqliteLog(tmp_path / "log.db")
    yield log
    log.close()


class TestSqliteLog(LogBattery):
    @pytest.fixture
    def log(self, log: SqliteLog) -> Log:
        return log


def test_what_was_appended_is_there_for_the_next_process(tmp_path: Path) -> None:
    first = SqliteLog(tmp_path / "log.db")
    first.append("t", [Message(b"0")])
    first.close()

    second = SqliteLog(tmp_path / "log.db")
    reader = second.reader(["t"], {})

    assert values(drain(reader, 1)) == [b"0"]
    reader.close()
    second.close()


APPENDER = """
import sys
from thalweg.stream.log.log import Message
from thalweg.stream.log.sqlite import SqliteLog
log = SqliteLog(sys.argv[1])
for i in range(100):
    landed = log.append("t", [Message(f"{sys.argv[2]} {i} {j}".encode()) for j in range(5)])
    assert [a.offset - landed[0].offset for a in landed] == list(range(5))
log.close()
"""


@pytest.mark.slow
def test_appends_of_several_processes_lose_and_double_nothing(tmp_path: Path, log: SqliteLog) -> None:
    writers = [
        subprocess.Popen([sys.executable, "-c", APPENDER, str(tmp_path / "log.db"), name]) for name in ("a", "b", "c")
    ]
    reader = log.reader(["t"], {})

    runs = drain(reader, 1500)

    assert [writer.wait() for writer in writers] == [0, 0, 0]
    assert offsets(runs) == list(range(1500))
    assert sorted(v.decode() for v in values(runs) if v) == sorted(
        f"{name} {i} {j}" for name in "abc" for i in range(100) for j in range(5)
    )
    reader.close()


@pytest.mark.parametrize(
    ("retention", "kept"),
    [(Retention(records=30), 30), (Retention(bytes=1000), 10), (Retention(seconds=20), 20), (Retention(), 100)],
)
def test_retention_deletes_the_oldest_and_offsets_go_on(tmp_path: Path, retention: Retention, kept: int) -> None:
    log = SqliteLog(tmp_path / "log.db", retention, clock=lambda: 99.0)
    log.append("t", [Message(bytes(100), time=float(i)) for i in range(100)])

    log.sweep()

    bounds = log.bounds("t")[Partition("t", 0)]
    assert bounds[1] == 100
    assert abs(bounds[1] - bounds[0] - kept) <= 1
    assert log.append("t", [Message(b"next")])[0].offset == 100
    log.close()


def test_offsets_are_not_given_again_when_everything_was_deleted(tmp_path: Path) -> None:
    log = SqliteLog(tmp_path / "log.db", Retention(seconds=1), clock=lambda: 1e9)
    log.append("t", [Message(b"0", time=0.0), Message(b"1", time=0.0)])
    log.sweep()

    assert log.bounds("t") == {Partition("t", 0): (2, 2)}
    assert log.append("t", [Message(b"2")])[0].offset == 2
    log.close()


def test_a_reader_that_retention_overtook_says_what_is_gone_and_goes_on(tmp_path: Path) -> None:
    log = SqliteLog(tmp_path / "log.db", Retention(records=4))
    log.append("t", [Message(str(i).encode()) for i in range(10)])
    reader = log.reader(["t"], {Partition("t", 0): 1})
    log.sweep()

    assert values(drain(reader, 4)) == [b"6", b"7", b"8", b"9"]
    assert reader.gaps() == [Gap(Partition("t", 0), 2, 5)]
    assert reader.gaps() == []
    reader.close()
    log.close()


def test_a_place_that_is_no_place_for_a_log_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x" * 5000)

    with pytest.raises(LogError, match="cannot create its folder"):
        SqliteLog(tmp_path / "file" / "log.db")
    with pytest.raises(LogError, match=r"log .*file: .*not a database"):
        SqliteLog(tmp_path / "file")
    with pytest.raises(LogError, match="cannot be opened"):
        SqliteLog(tmp_path)


def test_a_log_that_cannot_be_written_says_so(tmp_path: Path, log: SqliteLog) -> None:
    log._connection.execute("PRAGMA max_page_count = 10")  # a disk that is full

    with pytest.raises(LogError, match="full"):
        log.append("t", [Message(bytes(100_000))])

    assert log.bounds("t") == {}


def test_a_poll_stops_at_the_bytes_it_was_told_however_large_the_records_are(log: SqliteLog) -> None:
    log.append("t", [Message(bytes(100))] * 10 + [Message(bytes(50_000))] * 10)
    reader = log.reader(["t"], {})

    polls = [len(offsets(reader.poll(0, 500, 60_000))) for _ in range(6)]

    assert polls == [12, 2, 2, 2, 2, 0]
    reader.close()


OPENER = """
import sys
from thalweg.stream.log.log import Message
from thalweg.stream.log.sqlite import SqliteLog
log = SqliteLog(sys.argv[1])
log.append("t", [Message(b"0")])
log.close()
"""


@pytest.mark.slow
def test_processes_that_open_a_new_log_at_the_same_moment_all_succeed(tmp_path: Path) -> None:
    path = tmp_path / "new" / "log.db"

    openers = [subprocess.Popen([sys.executable, "-c", OPENER, str(path)]) for _ in range(6)]

    assert [opener.wait() for opener in openers] == [0] * 6
    log = SqliteLog(path)
    assert log.bounds("t") == {Partition("t", 0): (0, 6)}
    log.close()


KILLED = """
import sys
from thalweg.stream.log.log import Message
from thalweg.stream.log.sqlite import SqliteLog
log = SqliteLog(sys.argv[1])
while True:
    landed = log.append("t", [Message(bytes(5000)) for _ in range(3)])
    print(landed[-1].offset, flush=True)
"""


def test_a_killed_writer_leaves_what_it_was_told_is_there_and_whole_appends_only(
    tmp_path: Path, log: SqliteLog
) -> None:
    writer = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path / "log.db")], stdout=subprocess.PIPE)
    assert writer.stdout is not None
    for _ in range(20):
        writer.stdout.readline()
    writer.kill()
    told = [int(line) for line in writer.stdout.read().split()]
    writer.stdout.close()
    writer.wait()

    bounds = log.bounds("t")[Partition("t", 0)]

    assert bounds[1] > max([59, *told])
    assert bounds[1] % 3 == 0
    assert log.append("t", [Message(b"next")])[0].offset == bounds[1]


def test_a_gap_is_named_also_when_retention_strikes_while_a_reader_looks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = SqliteLog(tmp_path / "log.db", Retention(records=4))
    log.append("t", [Message(str(i).encode()) for i in range(10)])
    reader = log.reader(["t"], {Partition("t", 0): 1})
    plain = sqlite_log._bounds

    def bounds_then_sweep(*arguments: Any) -> Any:
        found = plain(*arguments)
        monkeypatch.undo()
        log.sweep()
        return found

    monkeypatch.setattr(sqlite_log, "_bounds", bounds_then_sweep)

    assert values(drain(reader, 4)) == [b"6", b"7", b"8", b"9"]
    assert reader.gaps() == [Gap(Partition("t", 0), 2, 5)]
    reader.close()
    log.close()


def test_an_append_that_is_on_disk_is_no_failure_when_retention_cannot_delete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = SqliteLog(tmp_path / "log.db", Retention(records=10))

    def refuse(*_: object) -> None:
        raise sqlite3.OperationalError("database is locked")

    monkeypatch.setattr(log, "_sweep", refuse)

    assert len(log.append("t", [Message(b"0")] * 1000)) == 1000
    monkeypatch.undo()
    log.append("t", [Message(b"0")] * 1000)
    assert log.bounds("t") == {Partition("t", 0): (1990, 2000)}
    log.close()


def test_a_reader_waits_out_a_file_that_cannot_be_read_for_a_while(tmp_path: Path, log: SqliteLog) -> None:
    log.append("t", [Message(b"0")])
    reader = log.reader(["t"], {})
    log._connection.execute("ALTER TABLE t1 RENAME TO away")

    assert reader.poll(0.01) == []
    assert not reader.reached()
    log._connection.execute("ALTER TABLE away RENAME TO t1")

    assert values(drain(reader, 1)) == [b"0"]
    assert reader.reached()
    reader.close()


def test_a_damaged_file_is_an_error_with_its_path(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    log = SqliteLog(path)
    log.append("t", [Message(bytes(3000)) for _ in range(50)])
    log.close()  # the last to close: all is in the file now
    with path.open("r+b") as file:
        file.seek(10 * 4096)
        file.write(b"\xff" * 100_000)
    log = SqliteLog(path)
    reader = log.reader(["t"], {})

    with pytest.raises(LogError, match=r"log .*log\.db: cannot be read: .*malformed"):
        reader.poll(0)

    reader.close()
    log.close()


def test_an_idle_reader_gets_a_record_that_another_process_appends(tmp_path: Path, log: SqliteLog) -> None:
    log.append("t", [Message(b"0")])
    reader = log.reader(["t"], {}, "latest")
    opener = subprocess.Popen([sys.executable, "-c", OPENER, str(tmp_path / "log.db")])

    assert offsets(drain(reader, 1)) == [1]

    assert opener.wait() == 0
    reader.close()


@settings(max_examples=30)
@given(
    appends=st.lists(st.tuples(st.sampled_from("ab"), st.integers(1, 5)), max_size=12),
    polls=st.lists(st.tuples(st.integers(1, 6), st.integers(1, 3000)), min_size=1, max_size=30),
)
def test_however_it_is_polled_every_record_comes_once_and_in_order(
    appends: list[tuple[str, int]], polls: list[tuple[int, int]]
) -> None:
    with TemporaryDirectory() as folder:
        log = SqliteLog(Path(folder) / "log.db")
        reader = log.reader(["a", "b"], {})
        sent: dict[str, list[bytes]] = {"a": [], "b": []}
        got: dict[str, list[bytes | None]] = {"a": [], "b": []}
        for number, (name, count) in enumerate(appends):
            content = [f"{number} {i}".encode() * 50 for i in range(count)]
            sent[name] += content
            log.append(name, [Message(value) for value in content])
            for run in reader.poll(0, *polls[number % len(polls)]):
                got[run.partition.topic] += run.values

        while runs := reader.poll(0):
            for run in runs:
                got[run.partition.topic] += run.values

        assert got == sent
        assert not any(reader.lag().values())
        reader.close()
        log.close()
