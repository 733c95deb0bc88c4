"""`thalweg snapshot verify --replay` under the settings of a state, and under others."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from tests.services import warm
from tests.services.processes import PATIENCE as WAIT
from thalweg.memory.snapshots.snapshots import FolderSnapshots, UnknownVersion
from thalweg.ops.cli.snapshot import show, verify
from thalweg.ops.config.config import Config, load
from thalweg.ops.run.app import model_folder, new_learner, open_configured_log, settings_of
from thalweg.ops.run.failed import Failed
from thalweg.stream.journal.entries import RollbackEntry
from thalweg.stream.journal.file_journal import FileJournal
from thalweg.stream.learn.processor import Processor
from thalweg.stream.log.log import Message

CONFIG = """
[log]
url = "sqlite:{folder}/log.db"
[service]
state_dir = "{folder}/state"
[[model]]
name = "m"
learner = "nearest_mean"
topic = "m.events"
inputs.x = {{ shape = [2] }}
snapshots_kept = 9
"""


def learned(folder: Path, *, shrinkage: float | None = None, events: int = 3, more: str = "") -> Path:
    """A configuration, and one more life of its model: some events, a snapshot, and a rollback to version 0."""
    path = configured(folder, shrinkage, more)
    config = load(path, {})
    (model,) = config.model
    log = open_configured_log(config)
    log.append("m.events", [Message(f'{{"inputs":{{"x":[{i},1]}},"label":"{i % 2}"}}'.encode()) for i in range(events)])
    state = model_folder(config, model)
    snapshots = FolderSnapshots(state, 9)
    snapshots.prepare()
    life = Processor(
        new_learner(model), log, snapshots, settings_of(model, 1 << 20), journal=FileJournal(state / "journal")
    )
    life.recover()
    life._change(RollbackEntry(life.version + 1, 0, "operator"))
    life.run(until_end=True)
    log.close()
    return path


def configured(folder: Path, shrinkage: float | None, more: str = "") -> Path:
    path = folder / "thalweg.toml"
    params = "" if shrinkage is None else f"[model.params]\nshrinkage = {shrinkage}\n"
    path.write_text(CONFIG.format(folder=folder) + more + params)
    return path


def verified(path: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "COLUMNS": "200"}
    return warm.run("snapshot", "verify", str(path), "--model", "m", "--replay", timeout=WAIT, env=environment)


OTHERS = "was made under other settings (params.shrinkage: was not given, is 0.5); give the model a new name or another"


@pytest.mark.slow
def test_versions_made_under_other_settings_are_refused_with_what_differs(tmp_path: Path) -> None:
    path = learned(tmp_path)
    good = verified(path)
    assert (good.returncode, good.stderr) == (0, ""), good.stdout
    configured(tmp_path, 0.5)

    done = verified(path)

    lines = done.stdout.splitlines()
    assert done.returncode == 1
    assert lines, done.stderr
    assert all(OTHERS in line for line in lines), done.stdout
    assert "another state" not in done.stdout.replace("another state_dir", "")
    assert "versions were made under other settings" in done.stderr
    assert "Traceback" not in done.stderr


def test_before_anything_is_saved_it_is_said_that_nothing_was_rebuilt(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = learned(tmp_path)
    for manifest in FolderSnapshots(tmp_path / "state" / "m").manifests():
        if manifest.version:
            shutil.rmtree(tmp_path / "state" / "m" / str(manifest.version))

    verify(load(path, {}), "m", None, from_log=True)

    told = capsys.readouterr().out
    assert "0: the state before the first event: there is nothing to rebuild" in told
    assert "nothing that was learned is saved yet" in told


@pytest.mark.parametrize("saved", [False, True])
def test_a_version_with_or_without_a_calibration_is_compared_in_what_both_have(
    saved: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An earlier version wrote states without a calibration, as `probabilities = false` does."""
    texts = {probabilities: f"probabilities = {str(probabilities).lower()}\n" for probabilities in (False, True)}
    path = learned(tmp_path, more=texts[saved])
    configured(tmp_path, None, texts[not saved])

    verify(load(path, {}), "m", None, from_log=True)

    told = capsys.readouterr().out
    assert "not all of it is comparable: it was written with" in told
    assert ("without calibrated probabilities" in told) is not saved
    assert "another state" not in told


def test_beside_a_version_made_under_other_settings_the_others_are_verified(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = learned(tmp_path)
    (tmp_path / "other").mkdir()
    learned(tmp_path / "other", shrinkage=0.5)
    kept = FolderSnapshots(tmp_path / "state" / "m").manifests()
    newest = kept[-1].version
    shutil.rmtree(tmp_path / "state" / "m" / str(newest))
    shutil.copytree(tmp_path / "other" / "state" / "m" / str(newest), tmp_path / "state" / "m" / str(newest))

    with pytest.raises(Failed, match=f"1 of {len(kept)} versions was made under other settings"):
        verify(load(path, {}), "m", None, from_log=True)

    told = capsys.readouterr().out
    assert len(kept) > 1
    for manifest in kept[:-1]:
        assert f"{manifest.version}: ok" in told
    assert f"{newest}: model 'm': the saved state (version {newest}) was made under other settings" in told
    assert "params.shrinkage: was 0.5, is not given" in told


def test_without_a_version_the_newest_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = load(configured(tmp_path, None), {})
    with pytest.raises(Failed, match="model 'm' has no snapshots in"):
        show(config, "m", None)
    learned(tmp_path)
    newest = FolderSnapshots(tmp_path / "state" / "m").manifests()[-1].version
    capsys.readouterr()

    show(config, "m", None)

    assert newest > 0
    assert json.loads(capsys.readouterr().out)["version"] == newest


def lived(folder: Path, keep: int, events: int, rollback_at: int = -1) -> tuple[Config, list[int]]:
    """A service's life, of which so many snapshots are kept, and its version after each event; in place of one of
    these it is rolled back to version 0.
    """
    config = load(configured(folder, None), {})
    (model,) = config.model
    log = open_configured_log(config)
    state = model_folder(config, model)
    snapshots = FolderSnapshots(state, keep)
    snapshots.prepare()
    life = Processor(
        new_learner(model), log, snapshots, settings_of(model, 1 << 20), journal=FileJournal(state / "journal")
    )
    versions = []
    with life.following() as turn:
        for number in range(events):
            if number == rollback_at:
                life._change(RollbackEntry(life.version + 1, 0, "operator"))
            else:
                log.append("m.events", [Message(b'{"inputs":{"x":[%d,1]},"label":"a"}' % number)])
                turn()
            life._saving.save(wait=True)
            versions.append(life.version)
    life._journal.close()
    log.close()
    assert [one.version for one in snapshots.manifests()] == versions[-keep:]
    return config, versions


def test_the_oldest_snapshot_to_which_the_journal_does_not_lead_spoils_no_audit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, _ = lived(tmp_path, 2, 6)

    verify(config, "m", None, from_log=True)

    said = capsys.readouterr().out
    assert "5: not rebuilt: the journal begins after it" in said
    assert "5: ok" in said
    assert "6: rebuilt from version 5" in said
    with pytest.raises(UnknownVersion, match="version 5 cannot be rebuilt"):
        verify(config, "m", 5, from_log=True)


def test_a_rollback_to_a_version_that_is_not_kept_any_more_spoils_no_audit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, versions = lived(tmp_path, 6, 8, rollback_at=3)
    back = versions[3]

    verify(config, "m", None, from_log=True)

    said = capsys.readouterr().out.splitlines()
    for oldest in (versions[2], back):
        assert any(line.startswith(f"{oldest}: not rebuilt: the journal begins after it") for line in said)
        assert f"{oldest}: ok" in said
    for number in range(4, 8):
        assert f"{versions[number]}: ok" in said
        assert any(line.startswith(f"{versions[number]}: rebuilt from version {back}") for line in said)
    verify(config, "m", versions[5], from_log=True)
    with pytest.raises(UnknownVersion, match=f"no snapshot of an older version from {back} on"):
        verify(config, "m", back, from_log=True)


@pytest.mark.parametrize("other", ["an older copy", "another log"])
def test_after_the_log_became_another_one_verify_begins_at_the_version_that_goes_on_in_it(
    other: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, where = configured(tmp_path, None), tmp_path / "log.db"
    a_life(path, 20)
    shutil.copy(where, tmp_path / "old.db")
    a_life(path, 15)
    before = [one.version for one in FolderSnapshots(tmp_path / "state" / "m").manifests()]
    for file in tmp_path.glob("log.db*"):
        file.unlink()
    if other == "an older copy":
        shutil.copy(tmp_path / "old.db", where)
    for _ in range(2):
        a_life(path, 5)
    after = [one.version for one in FolderSnapshots(tmp_path / "state" / "m").manifests() if one.version > before[-1]]

    verify(load(path, {}), "m", None, from_log=True)

    told = capsys.readouterr().out
    for version in (*before[1:], after[0]):
        assert f"{version}: not rebuilt" in told
    assert "or the first one of another log or an older copy of it" in told
    assert len(after) == 3
    for version in after[1:]:
        assert f"{version}: rebuilt from version {after[0]}, " in told
    verify(load(path, {}), "m", after[-1], from_log=True)
    with pytest.raises(UnknownVersion, match=f"{after[0]} cannot be rebuilt: .* the first one of another log"):
        verify(load(path, {}), "m", after[0], from_log=True)


def a_life(path: Path, events: int) -> None:
    """One more life of the model, with so many more events."""
    config = load(path, {})
    (model,) = config.model
    state = model_folder(config, model)
    snapshots = FolderSnapshots(state, 9)
    snapshots.prepare()
    with closing(open_configured_log(config)) as log:
        log.append("m.events", [Message(f'{{"inputs":{{"x":[{i},1]}},"label":"a"}}'.encode()) for i in range(events)])
        Processor(
            new_learner(model), log, snapshots, settings_of(model, 1 << 20), journal=FileJournal(state / "journal")
        ).run(until_end=True)


def test_an_older_copy_of_the_log_that_no_service_has_met_yet_is_named(tmp_path: Path) -> None:
    path = learned(tmp_path)
    where = tmp_path / "log.db"
    kept = {file.name: file.read_bytes() for file in tmp_path.glob("log.db*")}
    learned(tmp_path, events=5)
    for file in tmp_path.glob("log.db*"):
        file.unlink()
    for name, content in kept.items():
        (tmp_path / name).write_bytes(content)

    told = verified(path)

    assert told.returncode == 1
    assert "cannot be rebuilt: m.events/0: the log ends before offset 7" in told.stderr
    assert f"m.events/0 ends before offset 3 in sqlite:{where}, and the state has read up to 7: an older copy of" in (
        " ".join(told.stderr.split())
    )
