"""The embedded log: as every log, durable, shared by processes, bounded by retention."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import pytest
from crc32c import crc32c
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.services.processes import until
from tests.stream.log.battery import LogBattery, drain, offsets, values
from thalweg.proto.records import Partition, Records
from thalweg.stream.log import sqlite_reader
from thalweg.stream.log.log import Gap, Log, LogError, LogReplaced, Message, Reader, Retention
from thalweg.stream.log.sqlite import SqliteLog
from thalweg.stream.log.sqlite_file import checksum


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
    plain = sqlite_reader.bounds_of

    def bounds_then_sweep(*arguments: Any) -> Any:
        found = plain(*arguments)
        monkeypatch.undo()
        log.sweep()
        return found

    monkeypatch.setattr(sqlite_reader, "bounds_of", bounds_then_sweep)

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


def test_what_lies_in_damaged_pages_is_reported_and_the_rest_is_read(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    log = SqliteLog(path)
    log.append("t", [Message(bytes([i]) * 3000) for i in range(50)])
    log.close()  # the last to close: all is in the file now
    with path.open("r+b") as file:
        file.seek(10 * 4096)
        file.write(b"\xff" * 100_000)
    log = SqliteLog(path)
    log.append("t", [Message(b"new")])
    reader = log.reader(["t"], {})

    runs = until("the end of the log", lambda: _all_until(reader, 50))

    whole = dict(zip(offsets(runs), values(runs)))
    lost = [offset for gap in reader.gaps() for offset in range(gap.first, gap.last + 1)]
    assert 5 < len(whole) < 45
    assert set(range(8)) <= set(whole)  # those before the first damaged page, though one poll would take all
    assert sorted([*whole, *lost]) == list(range(51))
    assert whole.pop(50) == b"new"
    assert all(value == bytes([offset]) * 3000 for offset, value in whole.items())
    reader.close()
    log.close()


def _all_until(reader: Reader, last: int) -> list[Records]:
    runs: list[Records] = []
    while not runs or runs[-1].offsets[-1] < last:
        runs += reader.poll(0)
    return runs


def test_whichever_byte_is_flipped_no_record_is_read_that_was_not_appended(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA page_size = 512")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("VACUUM")
    log = SqliteLog(path)
    appended = [(f"value {i}".encode(), b"key", float(i), [("h", b"x")]) for i in range(12)]
    log.append("t", [Message(value, key, headers, moment) for value, key, moment, headers in appended])
    identity = log.identity("t")
    log.close()
    content = path.read_bytes()
    where = [at for at in range(len(content)) if any(content[max(0, at - 1) : at + 2])]  # not the midst of empty space
    silent = 0

    for at in where:
        path.write_bytes(content[:at] + bytes([content[at] ^ 1 << at % 8]) + content[at + 1 :])
        for beside in ("-wal", "-shm"):
            path.with_name(path.name + beside).unlink(missing_ok=True)
        seen: dict[int, Any] = {}
        lost: set[int] = set()
        reached = True
        try:
            with closing(SqliteLog(path)) as log:
                assert log.identity("t") in (identity, None), at
                with closing(log.reader(["t"], {Partition("t", 0): -1})) as reader:
                    for _ in range(3):
                        for run in reader.poll(0):
                            for row in range(len(run)):
                                assert run.offsets[row] not in seen, at
                                headers = [tuple(one) for one in run.headers[row]]
                                seen[run.offsets[row]] = (run.values[row], run.keys[row], run.times[row], headers)
                    lost = {offset for gap in reader.gaps() for offset in range(gap.first, min(gap.last, 99) + 1)}
                    reached = reader.reached() and bool(log.bounds("t"))
        except LogError:
            reached = False
        for offset, found in seen.items():
            assert found == appended[offset], at
        assert list(seen) == sorted(seen), at
        if reached:
            silent += set(range(12)) != set(seen) | (lost & set(range(12)))

    assert silent == 0


@pytest.mark.parametrize("how", ["deleted", "replaced", "its folder deleted"])
def test_nothing_is_acknowledged_into_a_file_that_is_not_at_the_path(tmp_path: Path, how: str) -> None:
    path = tmp_path / "state" / "log.db"
    log = SqliteLog(path)
    log.append("t", [Message(b"0")])
    reader = log.reader(["t"], {})
    if how == "its folder deleted":
        shutil.rmtree(tmp_path / "state")
    else:
        path.unlink()
    if how == "replaced":
        without_its_newest(path)
        SqliteLog(path).close()

    for operation in (
        lambda: log.append("t", [Message(b"1")]),
        lambda: reader.poll(0),
        lambda: log.reader(["t"], {}),
        lambda: log.identity("t"),
    ):
        with pytest.raises(LogReplaced, match=r"log .*log\.db: the file was (deleted|replaced).* put .*back"):
            operation()
    reader.close()
    log.close()
    assert path.exists() == (how == "replaced")
    if how == "deleted":
        without_its_newest(path)
    with closing(SqliteLog(path)) as new:
        assert new.bounds("t") == {}


def without_its_newest(path: Path) -> None:
    """Delete what SQLite keeps beside a file that was deleted: a log is not begun beside records of another."""
    for ending in ("-wal", "-shm"):
        path.with_name(path.name + ending).unlink(missing_ok=True)


def test_a_file_deleted_during_an_append_is_not_acknowledged(tmp_path: Path) -> None:
    log = SqliteLog(tmp_path / "log.db", clock=lambda: (tmp_path / "log.db").unlink() or 1.0)  # type: ignore[func-returns-value]

    with pytest.raises(LogReplaced, match="deleted"):
        log.append("t", [Message(b"0")])

    log.close()


def test_a_log_of_an_older_version_is_read_and_gets_checksums(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as old:
        old.execute("PRAGMA journal_mode = WAL")
        old.execute(
            "CREATE TABLE topics (id INTEGER PRIMARY KEY, name TEXT UNIQUE NOT NULL, next INTEGER NOT NULL,"
            " bytes INTEGER NOT NULL)"
        )
        old.execute("INSERT INTO topics VALUES (1, 't', 2, 2)")
        old.execute("CREATE TABLE t1 (offset INTEGER PRIMARY KEY, time REAL, key BLOB, value BLOB, headers BLOB)")
        old.execute("INSERT INTO t1 VALUES (0, 5.0, NULL, x'61', NULL), (1, 6.0, NULL, x'62', NULL)")

    log = SqliteLog(path)
    log.append("t", [Message(b"c")])
    reader = log.reader(["t"], {})

    assert values(drain(reader, 3)) == [b"a", b"b", b"c"]
    assert [crc is None for (crc,) in log._connection.execute("SELECT crc FROM t1")] == [True, True, False]
    reader.close()
    log.close()


def test_what_is_acknowledged_is_on_disk(log: SqliteLog) -> None:
    (full,) = log._connection.execute("PRAGMA synchronous").fetchone()  # NORMAL would not flush each commit of a WAL

    assert full == 2


def test_a_small_record_appended_alone_writes_less_than_four_times_its_size_ahead(
    tmp_path: Path, log: SqliteLog
) -> None:
    path = Path(log._connection.execute("PRAGMA database_list").fetchone()[2])
    written_ahead = path.with_name(path.name + "-wal")
    log.append("t", [Message(b"0" * 1300)])  # the topic is made
    before = written_ahead.stat().st_size

    for _ in range(50):
        log.append("t", [Message(b"0" * 1300)])

    assert written_ahead.stat().st_size - before < 4 * 50 * 1300


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


def test_a_reader_that_has_read_all_knows_at_once_what_was_appended_or_deleted_since(log: SqliteLog) -> None:
    part = Partition("t", 0)
    log.append("t", [Message(b"0")])
    reader = log.reader(["t", "later"], {})
    drain(reader, 1)

    assert reader.poll(0) == []
    assert reader.lag() == reader.lag() == {part: 0}  # asked once, remembered
    log.append("t", [Message(b"1"), Message(b"2")])
    assert reader.lag() == {part: 2}
    log.append("later", [Message(b"3")])
    assert reader.lag() == {part: 2, Partition("later", 0): 1}
    drain(reader, 3)
    assert reader.poll(0) == []
    assert set(reader.lag().values()) == {0}
    reader.seek({part: 0})
    assert reader.lag()[part] == 2
    reader.close()


@pytest.mark.parametrize("size", [0, 255, 256, 65_535, 65_536, 300_000])
def test_the_checksum_of_a_row_is_that_of_its_messagepack_however_large_it_is(size: int) -> None:
    row = (
        5,
        1.5,
        b"key",
        bytes(range(256)) * (size // 256) + b"0" * (size % 256),
        msgspec.msgpack.encode([("h", b"x")]),
    )

    assert checksum(*row) == crc32c(msgspec.msgpack.encode(row))


def test_records_that_were_left_behind_without_their_file_are_kept(tmp_path: Path) -> None:
    path, away = tmp_path / "log.db", tmp_path / "away.db"
    log = SqliteLog(path)
    log.append("t", [Message(b"kept")])
    path.rename(away)
    before = (tmp_path / "log.db-wal").read_bytes()
    assert before

    with pytest.raises(LogError, match=r"the file is not there, but records of it are, in log\.db-wal: put it back"):
        SqliteLog(path)

    assert not path.exists()
    assert (tmp_path / "log.db-wal").read_bytes() == before
    away.rename(path)
    log.append("t", [Message(b"and on")])
    log.close()
    again = SqliteLog(path)
    assert values(drain(again.reader(["t"], {}), 2)) == [b"kept", b"and on"]
    again.close()
