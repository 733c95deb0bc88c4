"""Every byte of a small snapshot is flipped in turn, manifests have wrong types, strangers lie in the folder."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from structlog.testing import capture_logs

from thalweg.memory.snapshots import pieces
from thalweg.memory.snapshots.manifest import Manifest, record_sha256
from thalweg.memory.snapshots.snapshots import FolderSnapshots
from thalweg.memory.snapshots.state import DamagedFile, State, read_state, write_state
from thalweg.proto.records import Partition

PARTS = {
    "learner": State({"w": np.arange(5.0), "large": np.arange(64, dtype=np.int32)}, {"classes": ["a", "b"]}),
    "recent_ids": State({"ids": np.arange(3)}),
}


def manifest(version: int, **more: Any) -> Manifest:
    return Manifest(
        model="m",
        version=version,
        parent=version - 1,
        learner="any",
        config_sha256="c" * 64,
        offsets={Partition("t", 0): 10 * version},
        events_learned=10 * version,
        created=1e9,
        metrics={"accuracy": 0.5},
        identity={"learner": "any"},
        log_identity={"t": "i"},
        **more,
    )


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FolderSnapshots:
    """Versions 1 and 2, with pieces."""
    monkeypatch.setattr(pieces, "LARGE_BYTES", 256)
    monkeypatch.setattr(pieces, "PIECE_BYTES", 128)
    monkeypatch.setattr(os, "link", _no_links)  # a flipped byte of a shared piece is damage to both versions
    folder = FolderSnapshots(tmp_path / "m")
    for version in (1, 2):
        folder.save(manifest(version), PARTS)
    return folder


def _no_links(*_: object) -> None:
    raise OSError("no hard links")


def flips(content: bytes) -> list[tuple[int, bytes]]:
    """Each byte with one bit flipped, another bit from byte to byte."""
    return [(at, content[:at] + bytes([content[at] ^ 1 << at % 8]) + content[at + 1 :]) for at in range(len(content))]


@pytest.mark.parametrize("name", ["manifest.json", "state.safetensors", "learner.large.00001.piece"])
def test_whichever_byte_is_flipped_the_older_version_is_used_or_the_newest_is_whole(
    kept: FolderSnapshots, name: str, tmp_path: Path
) -> None:
    file = tmp_path / "m" / "2" / name
    content = file.read_bytes()

    for at, flipped in flips(content):
        file.write_bytes(flipped)
        newest = kept.newest()

        assert newest is not None, at
        assert newest.manifest.version == (1 if (tmp_path / "m" / "2.damaged").exists() else 2), at
        assert newest.manifest.offsets == {Partition("t", 0): 10 * newest.manifest.version}, at
        assert newest.parts["learner"].sha256() == PARTS["learner"].sha256(), at
        assert (tmp_path / "m" / "1").exists(), at
        if newest.manifest.version == 1:
            (tmp_path / "m" / "2.damaged").rename(tmp_path / "m" / "2")
        file.write_bytes(content)


def test_whichever_byte_of_a_state_file_is_flipped_it_is_whole_or_damaged(tmp_path: Path) -> None:
    file = tmp_path / "frozen.safetensors"
    write_state(PARTS["learner"], file)
    content, damaged = file.read_bytes(), 0

    for at, flipped in flips(content):
        file.write_bytes(flipped)
        try:
            assert read_state(file).sha256() == PARTS["learner"].sha256(), at
        except DamagedFile:
            damaged += 1

    assert damaged > 0.9 * len(content)


def test_a_state_file_of_an_older_version_has_no_checksum_and_is_read(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    save_file(
        dict(PARTS["learner"].tensors), tmp_path / "old.safetensors", {"meta": json.dumps({"classes": ["a", "b"]})}
    )

    assert read_state(tmp_path / "old.safetensors").sha256() == PARTS["learner"].sha256()


def test_a_checksum_does_not_depend_on_how_json_orders_keys(tmp_path: Path) -> None:
    write_state(State({}, {"of": {10: "a", 9: "b"}}), tmp_path / "s")

    assert read_state(tmp_path / "s").meta == {"of": {"10": "a", "9": "b"}}


WRONG: list[dict[str, Any]] = [
    {"offsets": [1]},
    {"offsets": {"t": [1]}},
    {"offsets": {"t": {"0": None}}},
    {"offsets": {"t": {"²": 1}}},
    {"version": "2"},
    {"version": -2},
    {"version": 7},
    {"version": True},
    {"events_learned": None},
    {"created": "now"},
    {"files": ["state.safetensors"]},
    {"files": {"state.safetensors": 5}},
    {"files": {"../1/state.safetensors": "0"}},
    {"files": {}},
    {"pieces": {"learner": 5}},
    {"pieces": {"learner": {"large": ["<i4", "x", 1]}}},
    {"pieces": {"other": {}}},
    {"metrics": [1]},
    {"metrics": {"accuracy": "good"}},
    {"identity": 3},
    {"log_identity": {"t": 1}},
    {"software": {"python": 3}},
    {"earlier": 1},
    {"earlier": [{"upto": 1}]},
    {"earlier": [{"upto": 1, "software": {"numpy": 2}}]},
    {"learner": None},
    {"model": ["m"]},
    {"parent": "1"},
]


@pytest.mark.parametrize("wrong", WRONG, ids=repr)
def test_a_manifest_with_a_right_checksum_and_wrong_content_is_set_aside(
    kept: FolderSnapshots, tmp_path: Path, wrong: dict[str, Any]
) -> None:
    file = tmp_path / "m" / "2" / "manifest.json"
    record = {**json.loads(file.read_text()), **wrong}
    del record["manifest_sha256"]
    file.write_text(json.dumps({**record, "manifest_sha256": record_sha256(record)}))

    newest = kept.newest()

    assert newest is not None
    assert newest.manifest.version == 1
    assert (tmp_path / "m" / "2.damaged").is_dir()


def test_what_a_later_version_adds_to_a_manifest_is_ignored(kept: FolderSnapshots, tmp_path: Path) -> None:
    file = tmp_path / "m" / "2" / "manifest.json"
    record = {**json.loads(file.read_text()), "colour": "blue"}
    del record["manifest_sha256"]
    file.write_text(json.dumps({**record, "manifest_sha256": record_sha256(record)}))

    newest = kept.newest()

    assert newest is not None
    assert newest.manifest.version == 2


@pytest.mark.parametrize("name", ["99999", "²", "٣", "007", "2.damaged", "3", ".3.partial", "1" * 40])
@pytest.mark.parametrize("kind", ["file", "folder", "link", "broken link"])
def test_strangers_in_the_folder_stop_no_start_and_no_save(
    kept: FolderSnapshots, tmp_path: Path, name: str, kind: str
) -> None:
    stranger = tmp_path / "m" / name
    makers: dict[str, Callable[[], object]] = {
        "file": lambda: stranger.write_text("x"),
        "folder": stranger.mkdir,
        "link": lambda: stranger.symlink_to("1"),
        "broken link": lambda: stranger.symlink_to("nowhere"),
    }
    makers[kind]()

    kept.prepare()
    newest = kept.newest()
    kept.save(manifest(3), PARTS)

    assert newest is not None
    assert newest.manifest.version == 2
    again = kept.newest()
    assert again is not None
    assert again.manifest.version == 3
    assert 3 in [one.version for one in kept.manifests()]


def test_a_folder_copied_under_another_number_is_not_that_version(kept: FolderSnapshots, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(tmp_path / "m" / "1", tmp_path / "m" / "50")

    newest = kept.newest()

    assert newest is not None
    assert newest.manifest.version == 2


def test_a_damaged_version_that_cannot_be_set_aside_is_passed_over(
    kept: FolderSnapshots, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "m" / "2" / "state.safetensors").unlink()
    monkeypatch.setattr(os, "rename", _no_links)

    newest = kept.newest()

    assert newest is not None
    assert newest.manifest.version == 1


def test_a_version_that_is_deleted_while_it_is_listed_is_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshots = FolderSnapshots(tmp_path)
    snapshots.save(manifest(1), PARTS)
    snapshots.save(manifest(2), PARTS)
    versions = snapshots._versions()
    shutil.rmtree(tmp_path / "1")
    monkeypatch.setattr(snapshots, "_versions", lambda: versions)

    with capture_logs() as told:
        assert [kept.version for kept in snapshots.manifests()] == [2]
        assert told == []
        (tmp_path / "2" / "manifest.json").unlink()
        assert list(snapshots.manifests()) == []
    assert [one["event"] for one in told] == ["snapshot cannot be listed"]
