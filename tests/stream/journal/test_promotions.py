"""Promotions are durable, whole or absent, and can be taken back."""

from __future__ import annotations

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from thalweg.stream.journal import promotions as module
from thalweg.stream.journal.promotions import Overtaken, Promotions, before


def test_what_is_promoted_and_taken_back_is_a_line_of_champions(tmp_path: Path) -> None:
    promotions = Promotions(tmp_path / "deep" / "fraud.jsonl")
    (first,) = promotions.settle("a", ["a", "b", "c"])
    assert before([first]) is None

    second = promotions.promote("b", first)
    third = promotions.promote("c", second)
    assert before(promotions.read()) == "b"
    fourth = promotions.go_back("b", third)
    assert before(promotions.read()) == "a"
    promotions.go_back("a", fourth)

    assert [one.champion for one in Promotions(tmp_path / "deep" / "fraud.jsonl").read()] == ["a", "b", "c", "b", "a"]
    assert [one.number for one in promotions.read()] == [0, 1, 2, 3, 4]
    assert before(promotions.read()) is None


def test_of_two_promotions_at_once_the_second_is_told(tmp_path: Path) -> None:
    one, other = Promotions(tmp_path / "p"), Promotions(tmp_path / "p")
    (first,) = one.settle("a", ["a", "b", "c"])

    one.promote("b", first)

    with pytest.raises(Overtaken, match="b was promoted meanwhile"):
        other.promote("c", first)


def test_the_configuration_promotes_only_when_it_names_another_champion(tmp_path: Path) -> None:
    promotions = Promotions(tmp_path / "p")
    (first,) = promotions.settle("a", ["a", "b"])
    promotions.promote("b", first)

    assert promotions.settle("a", ["a", "b"])[-1].champion == "b"  # restarted: whom an operator promoted stays
    assert promotions.settle("c", ["c", "b"])[-1].champion == "c"
    assert promotions.settle("c", ["c", "b"])[-1].number == 2
    promotions.promote("b", promotions.read()[-1])
    assert promotions.settle("c", ["c"])[-1].champion == "c"  # b is gone


def test_a_promotion_cut_off_at_any_byte_is_none_and_the_next_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "p"
    (first,) = Promotions(path).settle("a", ["a", "b"])
    one_line = path.read_bytes()
    Promotions(path).promote("b", first)
    whole = path.read_bytes()

    for end in range(len(one_line), len(whole)):
        path.write_bytes(whole[:end])
        assert Promotions(path).read() == (first,)
        Promotions(path).promote("b", first)
        assert [one.champion for one in Promotions(path).read()] == ["a", "b"]


def test_a_flipped_bit_takes_no_number_twice(tmp_path: Path) -> None:
    path = tmp_path / "p"
    (first,) = Promotions(path).settle("a", ["a", "b"])
    Promotions(path).promote("b", first)
    content = bytearray(path.read_bytes())
    content[-10] ^= 1
    path.write_bytes(content)

    assert Promotions(path).promote("b", first).number == 2


def test_what_a_full_disk_refuses_is_not_promoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    promotions = Promotions(tmp_path / "p")
    (first,) = promotions.settle("a", ["a", "b"])

    def refuse(handle: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(module.os, "fsync", refuse)
        with pytest.raises(OSError, match="No space"):
            promotions.promote("b", first)

    assert Promotions(tmp_path / "p").read() == (first,)


def test_a_damaged_line_is_told_once_whoever_reads_the_file_and_however_often(tmp_path: Path) -> None:
    path = tmp_path / "p"
    (first,) = Promotions(path).settle("a", ["a", "b"])
    Promotions(path).promote("b", first)
    lines = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join([lines[0], lines[1].replace(b'"b"', b'"c"'), b""]))

    with capture_logs() as said:
        reader = Promotions(path)
        reader.settle("a", ["a", "b"])
        Promotions(path).promote("b", reader.read()[-1])
        assert [one.champion for one in reader.read()] == ["a", "b"]
    assert [(line["number"], line["path"]) for line in said] == [(1, str(path))]

    with capture_logs() as said:
        path.write_bytes(path.read_bytes().replace(b'"a"', b'"x"'))
        Promotions(path).read()
    assert [line["number"] for line in said] == [0, 1, 2], "other damage is told"


def test_the_end_of_a_long_history_is_adopted_without_losing_what_came_before_it(tmp_path: Path) -> None:
    theirs, ours = Promotions(tmp_path / "theirs.jsonl"), Promotions(tmp_path / "ours.jsonl")
    theirs.settle("a", ["a", "b"])
    ours.adopt([(tmp_path / "theirs.jsonl").read_bytes()])
    for number in range(6):
        theirs.promote("ab"[number % 2], theirs.read()[-1])
        lines = (tmp_path / "theirs.jsonl").read_bytes().splitlines(keepends=True)

        assert ours.adopt([b"".join(lines[-2:])])  # as other hosts tell of it

    assert ours.read() == theirs.read()
    assert len(ours.read()) == 7


def test_where_two_hosts_promoted_at_once_only_what_both_number_alike_gives_way(tmp_path: Path) -> None:
    theirs, ours = (Promotions(tmp_path / f"{name}.jsonl") for name in ("theirs", "ours"))
    theirs.settle("a", ["a", "b"])
    ours.adopt([(tmp_path / "theirs.jsonl").read_bytes()])
    first = ours.promote("b", ours.read()[-1])
    theirs.promote("a", theirs.read()[-1])
    newest = theirs.promote("b", theirs.read()[-1])
    end = (tmp_path / "theirs.jsonl").read_bytes().splitlines(keepends=True)[-1]

    assert ours.adopt([end])

    assert [one.number for one in ours.read()] == [0, 1, 2]
    assert ours.read()[1:] == (first, newest)
