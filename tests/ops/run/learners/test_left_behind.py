"""A state whose model was removed or renamed is told; renaming its folder lets the model go on."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.ops.running import service, until
from tests.services.processes import stop
from thalweg.ops.cli.main import app
from thalweg.ops.config.config import load
from thalweg.ops.run.learners.left_behind import states_left_behind

MODEL = """
[[model]]
name = "{name}"
learner = "ridge"
topic = "t"
inputs.features = {{ shape = [4] }}
"""


def lines(folder: Path, *names: str) -> list[str]:
    path = folder / "t.toml"
    path.write_text(f'[service]\nstate_dir = "{folder}/state"\n' + "".join(MODEL.format(name=name) for name in names))
    return list(states_left_behind(load(path, {})))


def test_states_without_a_model_are_named_with_what_may_have_become_of_them(tmp_path: Path) -> None:
    assert lines(tmp_path, "new") == []
    for name in ("old~0", "old~1", "kept", "kept@2", "kept.superseded-3", "live"):
        (tmp_path / "state" / name / ("m" if name == "live" else "journal")).mkdir(parents=True)

    (renamed,) = lines(tmp_path, "new", "kept")
    assert f"{tmp_path}/state/old is the state of 'old', which is no model here; if 'new' is the same" in renamed
    (removed,) = lines(tmp_path, "kept")
    assert removed.endswith("which is no model here; delete it if nobody needs it")
    assert "warning: " + removed[:60] in CliRunner().invoke(app, ["check", str(tmp_path / "t.toml")]).output


@pytest.mark.slow
def test_a_renamed_model_goes_on_with_its_folder(tmp_path: Path) -> None:
    with service(tmp_path) as running:
        running.send(60)
        process = running.start("learn")
        until("it to learn", (tmp_path / "state" / "m" / "1" / "manifest.json").exists)
        assert stop(process) == 0, running.text()
        running.path.write_text(running.path.read_text().replace('name = "m"', 'name = "renamed"'))

        process = running.start("learn")
        until("it to be told", lambda: "if 'renamed' is the same model by another name" in running.text())
        assert stop(process) == 0, running.text()
        state = tmp_path / "state"
        for file in sorted((state / "renamed").rglob("*"), reverse=True):
            file.unlink() if file.is_file() else file.rmdir()
        (state / "renamed").rmdir()
        (state / "m").rename(state / "renamed")
        process = running.start("learn")
        until("it to go on", lambda: "restored" in running.text())

        assert stop(process) == 0, running.text()
        assert running.text().count("is the state of 'm'") == 1
