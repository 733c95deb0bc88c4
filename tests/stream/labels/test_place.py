"""The joiner's position: whichever byte of its file is flipped, a position that was saved is read."""

from __future__ import annotations

from pathlib import Path

from thalweg.proto.records import Partition
from thalweg.stream.labels.place import Place, read_place, write_place

FIRST = Place({Partition("labels", 0): 123, Partition("t", 1): 7}, {"labels": "i"})
SECOND = Place({Partition("labels", 0): 456, Partition("t", 1): 8}, {"labels": "i"})


def test_a_position_is_read_as_it_was_saved(tmp_path: Path) -> None:
    place = tmp_path / "joined.json"
    assert read_place(place) == Place()

    write_place(place, FIRST)
    write_place(place, SECOND)

    assert read_place(place) == SECOND


def test_whichever_byte_is_flipped_the_position_or_the_one_before_is_read(tmp_path: Path) -> None:
    place = tmp_path / "joined.json"
    write_place(place, FIRST)
    write_place(place, SECOND)
    content = place.read_bytes()

    for at in range(len(content)):
        place.write_bytes(content[:at] + bytes([content[at] ^ 1 << at % 8]) + content[at + 1 :])
        assert read_place(place) in (FIRST, SECOND), at

    place.unlink()  # as a power cut between the two renames leaves it
    assert read_place(place) == FIRST


def test_the_file_of_an_older_version_is_read(tmp_path: Path) -> None:
    (tmp_path / "joined.json").write_text('[["labels", 0, 123], ["t", 1, 7]]')

    assert read_place(tmp_path / "joined.json") == Place(FIRST.offsets, {})


def test_what_is_no_position_is_the_beginning(tmp_path: Path) -> None:
    for content in ("", "{", "5", '{"offsets": 3}', "[[1]]", "[" * 5000):
        (tmp_path / "joined.json").write_text(content)
        assert read_place(tmp_path / "joined.json") == Place()
