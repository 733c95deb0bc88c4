"""`thalweg snapshot verify --replay` of states that other software has learned, or that are not what the log makes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.ops.cli.test_snapshot import configured
from thalweg.memory.snapshots.snapshots import FolderSnapshots
from thalweg.models.nearest_mean import NearestMean
from thalweg.ops.cli.snapshot import verify
from thalweg.ops.config.config import load
from thalweg.ops.run.app import model_folder, new_learner, open_configured_log, settings_of
from thalweg.ops.run.failed import Failed
from thalweg.proto.event import Batch
from thalweg.stream.journal.file_journal import FileJournal
from thalweg.stream.learn.processor import Processor
from thalweg.stream.log.log import Message

HERE = {"thalweg": "0.1.0", "code": "here", "numpy": "2.4"}


@contextmanager
def another(software: dict[str, str]) -> Iterator[None]:
    """A version of the software that learns each batch twice."""
    once = NearestMean.learn

    def twice(self: NearestMean, batch: Batch) -> None:
        once(self, batch)
        once(self, batch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("thalweg.stream.learn.fold.learning_software", lambda _: software)
        patch.setattr("thalweg.memory.snapshots.snapshots.software", lambda: software)
        patch.setattr(NearestMean, "learn", twice)
        yield


@contextmanager
def here() -> Iterator[None]:
    """The software that verifies."""
    with pytest.MonkeyPatch.context() as patch:
        for place in ("stream.learn.fold", "ops.cli.verified"):
            patch.setattr(f"thalweg.{place}.learning_software", lambda _: HERE)
        patch.setattr("thalweg.memory.snapshots.snapshots.software", lambda: HERE)
        yield


def learned(folder: Path) -> Path:
    """A configuration, and one more life of its model: three events, and a snapshot."""
    path = configured(folder, None)
    config = load(path, {})
    (model,) = config.model
    log = open_configured_log(config)
    log.append("m.events", [Message(b'{"inputs":{"x":[%d,1]},"label":"%d"}' % (i, i % 2)) for i in range(3)])
    state = model_folder(config, model)
    snapshots = FolderSnapshots(state, 9)
    snapshots.prepare()
    Processor(
        new_learner(model), log, snapshots, settings_of(model, 1 << 20), journal=FileJournal(state / "journal")
    ).run(until_end=True)
    log.close()
    return path


def told(path: Path, capsys: pytest.CaptureFixture[str], failure: str) -> str:
    capsys.readouterr()
    with here(), pytest.raises(Failed, match=failure):
        verify(load(path, {}), "m", None, from_log=True)
    return capsys.readouterr().out


def test_other_software_is_named_with_both_values_and_what_came_later_is_told_of_it_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with another({**HERE, "code": "there"}):
        learned(tmp_path)
    with here():
        path = learned(tmp_path)
    kept = FolderSnapshots(tmp_path / "state" / "m").manifests()
    first = max(one.version for one in kept if one.software["code"] == "there")

    said = told(path, capsys, "were learned by other software and cannot be verified from the log")

    lines = [line for line in said.splitlines() if "another state" in line]
    both = "thalweg 0.1.0 (code there), here 0.1.0 (code here)"
    assert {line.partition(":")[0] for line in lines} >= {str(first), str(kept[-1].version)}
    assert all(f"it was learned by other software (up to version {first}: {both})" in line for line in lines), said
    assert "so this says nothing of the log or the disk" in lines[0]
    assert "is the same as here" not in said


def test_of_libraries_alone_it_is_told_how_far_apart_the_numbers_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with another({**HERE, "numpy": "2.3"}):
        path = learned(tmp_path)

    said = told(path, capsys, "learned by other software")

    assert "numpy 2.3, here 2.4), so this says nothing of the log or the disk; arrays agree to " in said


def test_under_the_same_software_the_log_or_the_disk_is_what_differs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with another(HERE):
        path = learned(tmp_path)

    said = told(path, capsys, "not what (it|they) should be")

    assert "the software is the same as here, as far as manifests tell: the log, the journal or the memory" in said
    assert "other software" not in said
