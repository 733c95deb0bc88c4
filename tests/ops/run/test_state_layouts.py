"""A state of another layout is told as such before it is read, is never restored, and its model gets a successor."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from tests.ops.run.test_successors import _live_folders as _live_folders
from tests.ops.run.test_successors import asked, configuration, learning, saved, serving
from tests.samples import events
from tests.services.processes import until
from thalweg import load as load_model
from thalweg.memory.snapshots.snapshots import FolderSnapshots
from thalweg.models.contract.layouts import AROUND, check_layouts, layouts_of, unread_layouts
from thalweg.models.contract.registry import BUILT_IN
from thalweg.models.ridge.learner import Ridge
from thalweg.ops.cli.produce import messages
from thalweg.ops.cli.snapshot import verify
from thalweg.ops.config.config import Config
from thalweg.ops.notebook.values import FrameError
from thalweg.ops.run.champions.saved_states import changes
from thalweg.ops.run.failed import Failed
from thalweg.ops.run.serving import location_of
from thalweg.ops.serve.aliases import VERSIONS_PER_PROMOTION
from thalweg.ops.serve.models import Models
from thalweg.stream.learn.settings import identity_differences
from thalweg.stream.log.in_memory import InMemoryLog
from thalweg.stream.publication.live_folder import live_folder

TOLD = "state layout 2 of ridge, this version reads 3"


@pytest.fixture
def log() -> InMemoryLog:
    made = InMemoryLog()
    made.append("t", messages(events(40), 1))
    return made


def begun(folder: Path, log: InMemoryLog, monkeypatch: pytest.MonkeyPatch, more: str = "") -> Config:
    """A model that has learned 40 events, under a version of the software that reads another layout."""
    config = configuration(folder, more=more)
    with learning(config, log):
        until("it to learn", lambda: saved(config, "fraud") == 40)
    monkeypatch.setattr(Ridge, "state_version", 3)
    return config


def test_a_layout_that_was_there_when_layouts_were_noted_is_in_no_identity(tmp_path: Path) -> None:
    model = configuration(tmp_path).model[0]

    assert "layouts" not in model.identity()
    assert all(layouts_of(name, AROUND) == {} for name in (*BUILT_IN, "river:river.linear_model.LogisticRegression"))


def test_check_names_the_layout_and_no_parameter(
    tmp_path: Path, log: InMemoryLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = begun(tmp_path, log, monkeypatch)

    told = "\n".join(changes(config))

    assert TOLD in told
    assert "cannot go on" in told
    assert "A successor is built from the log" in told
    assert "params" not in told


def test_the_successor_answers_by_itself_and_still_does_after_a_restart(
    tmp_path: Path, log: InMemoryLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = begun(tmp_path, log, monkeypatch)
    for end in (40, 60):
        with learning(config, log), serving(config) as models:
            until("the successor to learn", lambda end=end: saved(config, "fraud@2") == end)
            until("it to answer", lambda: not models.find("fraud").unready())
            assert asked(models) // VERSIONS_PER_PROMOTION == 0
        log.append("t", messages(events(20, end), 1))

    assert saved(config, "fraud") == 40, "the state of before stays"
    manifest = FolderSnapshots(tmp_path / "state" / "fraud@2").manifests()[-1]
    assert manifest.identity["layouts"] == {"ridge": 3}


def test_the_successor_after_a_second_change_takes_over_from_the_first(
    tmp_path: Path, log: InMemoryLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = begun(tmp_path, log, monkeypatch)
    with learning(config, log), serving(config):
        until("the successor to learn", lambda: saved(config, "fraud@2") == 40)
    monkeypatch.setattr(Ridge, "state_version", 4)
    with learning(config, log), serving(config) as models:
        until("its successor to learn", lambda: saved(config, "fraud@3") == 40)
        until("it to answer", lambda: models.find("fraud").answering.name == "fraud@3")
        assert saved(config, "fraud@2") == 40


def test_a_model_that_refuses_changes_is_blocked_and_told_why(
    tmp_path: Path, log: InMemoryLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = begun(tmp_path, log, monkeypatch, more='on_change = "refuse"')

    with learning(config, log) as registry:
        reason = until(
            "it to be told", lambda: next((one.reason for one in registry.report() if one.component == "learner"), "")
        )

    assert TOLD in reason
    assert "other settings" not in reason
    assert saved(config, "fraud") == 40


def test_of_a_model_that_moves_between_hosts_no_successor_is_promised(
    tmp_path: Path, log: InMemoryLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = begun(tmp_path, log, monkeypatch, more='[model.scale]\nby = "topic"')

    with learning(config, log) as registry:
        reason = until(
            "it to be told", lambda: next((one.reason for one in registry.report() if TOLD in one.reason), "")
        )

    assert "successor" not in reason
    assert "give the model a new name or another state_dir" in reason


def test_neither_servers_nor_notebooks_nor_verification_read_it(
    tmp_path: Path, log: InMemoryLog, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = begun(tmp_path, log, monkeypatch, more='on_change = "refuse"')
    with closing(Models([location_of(config, config.model[0], live_folder(tmp_path / "state"))])) as models:
        models.start()
        model = models.find("fraud")

        assert model.versions.newest is None, "the published version is of the other layout, too"
    with pytest.raises(FrameError, match=TOLD):
        load_model(tmp_path / "state" / "fraud")
    with pytest.raises(Failed, match="made under other settings"):
        verify(config, "fraud", None, from_log=True)
    assert TOLD in capsys.readouterr().out


NEWER = "state revision 2 of ridge, this version reads up to 1"


def test_an_older_version_names_the_newer_revision_and_the_way_back_wherever_it_meets_the_state(
    tmp_path: Path, log: InMemoryLog, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Ridge, "state_revision", 2)
    config = configuration(tmp_path)
    with learning(config, log):
        until("it to learn", lambda: saved(config, "fraud") == 40)
    assert list(changes(config)) == []
    monkeypatch.setattr(Ridge, "state_revision", 1)

    told = "\n".join(changes(config))

    assert NEWER in told
    assert "go back to the version of thalweg that saved it" in told
    with learning(config, log) as registry:
        reason = until(
            "it to be told", lambda: next((one.reason for one in registry.report() if one.component == "learner"), "")
        )
    assert NEWER in reason
    assert saved(config, "fraud") == 40
    with closing(Models([location_of(config, config.model[0], live_folder(tmp_path / "state"))])) as models:
        models.start()
        assert models.find("fraud").versions.newest is None
    with pytest.raises(FrameError, match=NEWER):
        load_model(tmp_path / "state" / "fraud")
    with pytest.raises(Failed, match="cannot be verified from the log"):
        verify(config, "fraud", None, from_log=True)
    assert NEWER in capsys.readouterr().out


def test_of_a_changed_model_whose_state_cannot_be_restored_check_does_not_say_that_it_goes_on(
    tmp_path: Path, log: InMemoryLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Ridge, "state_revision", 2)
    config = configuration(tmp_path)
    with learning(config, log):
        until("it to learn", lambda: saved(config, "fraud") == 40)
    changed = configuration(tmp_path, gamma=2.0)
    assert "  The saved version goes on answering and learning" in "\n".join(changes(changed))
    monkeypatch.setattr(Ridge, "state_revision", 1)

    told = "\n".join(changes(changed))

    assert "params.gamma: was 1.0, is 2.0" in told
    assert "The saved version cannot go on: model 'fraud': the saved state (version " in told
    assert NEWER in told
    assert "goes on answering" not in told
    with learning(changed, log):
        until("the successor to learn", lambda: saved(changed, "fraud@2") == 40)


def test_layouts_are_compared_part_by_part_and_a_learner_that_is_another_has_none() -> None:
    with pytest.raises(ValueError, match="state layout 1 of columns, this version reads 2; state layout 5 of ridge"):
        check_layouts({"layouts": {"ridge": 5}}, {"layouts": {"columns": 2}})
    check_layouts({"layouts": {"ridge": 5}}, {"layouts": {"ridge": 5}})

    assert unread_layouts({}) == []
    assert unread_layouts({"learner": "nearest_mean", "columns": {"x": {}}}) == []
    assert unread_layouts({"learner": "ridge", "layouts": {"ridge": 1}}) == [
        "state layout 1 of ridge, this version reads 2"
    ]
    assert unread_layouts({"learner": "gone", "layouts": {"gone": 2}}) == []
    was = {"learner": "ridge", "layouts": {}}
    assert identity_differences(was, {"learner": "nearest_mean"}) == ['learner: was "ridge", is "nearest_mean"']
