"""The ring beside the published versions: what is appended is read once and in order, and what was missed is known."""

from __future__ import annotations

import struct
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from thalweg.stream.publication.ring import RingReader, RingWriter

ENTRY = struct.Struct("<qd")


def writer(folder: Path, at: float = 50.0) -> RingWriter:
    return RingWriter(folder / "ring", ENTRY, 4, lambda: at)


def reader(folder: Path) -> RingReader:
    return RingReader(folder / "ring", ENTRY, 4)


def test_entries_are_read_in_order_and_those_that_are_new_only(tmp_path: Path) -> None:
    writing, reading = writer(tmp_path), reader(tmp_path)
    writing.append(1, 0.5)
    writing.append(2, 0.25)

    found = list(reading.newer(0))
    writing.append(3, 0.0)

    assert [values for _, values in found] == [(1, 0.5), (2, 0.25)]
    assert [values for _, values in reading.newer(found[-1][0])] == [(3, 0.0)]


@given(appended=st.lists(st.integers(0, 9), max_size=6))
def test_a_slow_reader_gets_the_newest_and_sees_by_their_numbers_what_it_missed(
    tmp_path_factory: object, appended: list[int]
) -> None:
    folder: Path = tmp_path_factory.mktemp("ring")  # type: ignore[attr-defined]
    writing, reading, number, expected = writer(folder), reader(folder), 0, 0
    for count in appended:
        for _ in range(count):
            writing.append(expected, 0.0)
            expected += 1
        found = list(reading.newer(number))
        assert [values[0] for _, values in found] == list(range(expected - min(count, 4), expected))
        if found and number:
            assert found[0][0] - number - 1 == count - len(found)
        number = found[-1][0] if found else number


def test_before_there_is_a_file_there_is_nothing_to_read(tmp_path: Path) -> None:
    assert not list(reader(tmp_path / "none").newer(0))


def test_a_file_that_was_deleted_is_created_again_with_higher_numbers(tmp_path: Path) -> None:
    writing, reading = writer(tmp_path), reader(tmp_path)
    writing.append(1, 0.0)
    ((before, _),) = reading.newer(0)
    (tmp_path / "ring").unlink()
    again = writer(tmp_path, 60.0)  # the clock has gone on meanwhile
    again.append(2, 0.0)

    ((after, values),) = reading.newer(before)

    assert after > before
    assert values == (2, 0.0)


def test_the_writer_goes_on_when_its_file_is_deleted(tmp_path: Path) -> None:
    writing = writer(tmp_path)
    writing.append(1, 0.0)
    (tmp_path / "ring").unlink()

    writing.append(2, 0.0)

    assert [values for _, values in reader(tmp_path).newer(0)] == [(2, 0.0)]


def test_a_second_writer_continues_the_numbers_of_the_first(tmp_path: Path) -> None:
    first = writer(tmp_path)
    first.append(1, 0.0)
    first.close()
    writer(tmp_path, 10.0).append(2, 0.0)  # its clock was set back

    numbers = [number for number, _ in reader(tmp_path).newer(0)]

    assert numbers == [numbers[0], numbers[0] + 1]


def test_a_damaged_entry_is_left_out(tmp_path: Path) -> None:
    writing = writer(tmp_path)
    writing.append(1, 0.0)
    writing.append(2, 0.0)
    content = bytearray((tmp_path / "ring").read_bytes())
    at = content.index(struct.pack("<qd", 1, 0.0))
    content[at] ^= 0xFF
    (tmp_path / "ring").write_bytes(content)

    assert [values for _, values in reader(tmp_path).newer(0)] == [(2, 0.0)]
