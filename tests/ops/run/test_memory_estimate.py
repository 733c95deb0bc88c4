"""`check` says what a model takes before it takes it."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from thalweg.ops.config.config import load
from thalweg.ops.config.effective import effective
from thalweg.ops.run.memory_estimate import memory_lines


@pytest.mark.parametrize(("features", "megabytes", "warned"), [(4, "435.9 kB, 1.7 MB", False), (3500, "323", True)])
def test_a_model_of_many_features_is_warned_of(features: int, megabytes: str, warned: bool, tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text(f'[[model]]\nname = "m"\nlearner = "ridge"\ntopic = "t"\ninputs.x = {{ shape = [{features}] }}\n')
    config = load(path)

    with capture_logs() as said:
        lines = list(memory_lines(config))

    assert lines[-1].startswith(f"# m: {megabytes}")
    assert [(one["log_level"], one["model"]) for one in said] == [("warning", "m")] * warned
    assert tomllib.loads(effective(config) + "\n".join(lines)) == tomllib.loads(effective(config))
