"""The mark of a stopped model is there for the next process; a damaged one costs another attempt, nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from thalweg.proto.records import Partition
from thalweg.stream.journal.entries import BlockEntry, Range, Skip
from thalweg.stream.quarantine.stop import FileStopMark, Stop

T = Partition("t", 0)
ENTRY = BlockEntry(8, (Range(T, 70, 79, 10),), 64, (Skip(T, 71, None, "ValueError: \N{SNOWMAN}"),))


@pytest.mark.parametrize("entry", [None, ENTRY])
def test_a_mark_survives_a_restart(tmp_path: Path, entry: BlockEntry | None) -> None:
    stop = Stop(7, "11 of the newest 90 events could not be learned, more than 10 %", "ValueError: no", 1.5, entry)
    FileStopMark(tmp_path / "stopped.json").write(stop)

    assert FileStopMark(tmp_path / "stopped.json").read() == stop


def test_a_removed_mark_is_gone_and_removing_it_twice_is_no_error(tmp_path: Path) -> None:
    mark = FileStopMark(tmp_path / "stopped.json")
    mark.write(Stop(7, "", "", 0.0))

    mark.clear()
    mark.clear()

    assert mark.read() is None
    assert list(tmp_path.iterdir()) == []


def test_a_mark_damaged_anywhere_is_no_mark_or_the_same(tmp_path: Path) -> None:
    path, stop = tmp_path / "stopped.json", Stop(7, "what", "cause", 1.5, ENTRY)
    FileStopMark(path).write(stop)
    whole = path.read_bytes()

    for at in range(len(whole)):
        path.write_bytes(whole[:at])
        assert FileStopMark(path).read() in (None, stop)
    path.write_bytes(b"[" * 100_000)
    assert FileStopMark(path).read() is None


def test_a_mark_that_cannot_be_written_raises_nothing(tmp_path: Path) -> None:
    FileStopMark(tmp_path / "missing" / "stopped.json").write(Stop(7, "", "", 0.0))
