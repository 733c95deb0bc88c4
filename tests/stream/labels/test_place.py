"""The joiner's position: whichever byte of its file is flipped, a position that was saved is read."""

from __future__ import annotations

from pathlib import Path

from thalweg.memory.exchange.commands import StoreError
from thalweg.proto.records import Partition
from thalweg.stream.labels.place import Place, PlaceKeeper, read_place, write_place
from thalweg.stream.labels.waiting import WaitingLabels

FIRST = Place({Partition("labels", 0): 123, Partition("t", 1): 7}, {"labels": "i"})
PARTITION = Partition("labels", 0)
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


class Shared:
    """A store that all joiners of a model reach, or not."""

    def __init__(self) -> None:
        self.content: bytes | None = None
        self.away = False

    def load(self) -> bytes | None:
        if self.away:
            raise StoreError("away")
        return self.content

    def save(self, content: bytes) -> None:
        if self.away:
            raise StoreError("away")
        self.content = content


def keeper(tmp_path: Path, host: str, shared: Shared) -> PlaceKeeper:
    (tmp_path / host).mkdir(exist_ok=True)
    return PlaceKeeper(tmp_path / host / "joined.json", lambda: 0.0, shared)


def took(one: PlaceKeeper, offset: int) -> None:
    one.end[PARTITION] = offset
    one.save(WaitingLabels())


def test_who_goes_on_on_another_host_begins_where_the_former_one_was(tmp_path: Path) -> None:
    shared = Shared()
    former = keeper(tmp_path, "former", shared)
    took(former, 5)

    other = keeper(tmp_path, "other", shared)
    other.fetch()

    assert other.end == {PARTITION: 5}
    took(other, 9)
    took(former, 6)  # stopped for long, and going on
    back = keeper(tmp_path, "former", shared)
    back.fetch()
    assert back.end == {PARTITION: 9}


def test_a_position_that_the_store_has_lost_or_damaged_is_that_of_the_host(tmp_path: Path) -> None:
    shared = Shared()
    former = keeper(tmp_path, "former", shared)
    took(former, 5)
    for content in (None, b"", b"{", b'{"offsets": []}', (shared.content or b"").replace(b"5", b"7", 1)):
        shared.content = content
        again = keeper(tmp_path, "former", shared)
        again.fetch()
        assert again.end == {PARTITION: 5}, content


def test_a_position_that_the_store_did_not_take_is_saved_once_it_does(tmp_path: Path) -> None:
    shared = Shared()
    former = keeper(tmp_path, "former", shared)
    shared.away = True
    took(former, 5)
    assert shared.content is None
    shared.away = False
    former.save(WaitingLabels())

    other = keeper(tmp_path, "other", shared)
    other.fetch()
    assert other.end == {PARTITION: 5}


def test_what_was_read_of_a_topic_before_it_was_created_again_counts_for_nothing(tmp_path: Path) -> None:
    shared = Shared()
    former = keeper(tmp_path, "former", shared)
    former.identify({PARTITION.topic: "old"})
    took(former, 50)
    other = keeper(tmp_path, "other", shared)
    other.fetch()
    other.forget(PARTITION.topic)
    other.identify({PARTITION.topic: "new"})
    took(other, 3)

    again = keeper(tmp_path, "former", shared)
    again.fetch()

    assert (again.end, again.log_identity) == ({PARTITION: 3}, {PARTITION.topic: "new"})
