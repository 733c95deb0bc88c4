"""`check` says what a model takes before it takes it."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from thalweg.ops.config.config import load
from thalweg.ops.config.effective import effective
from thalweg.ops.run.resources.memory_estimate import memory_lines


@pytest.mark.parametrize(("features", "megabytes", "warned"), [(4, "436.0 kB, 1.7 MB", False), (3500, "323", True)])
def test_a_model_of_many_features_is_warned_of(features: int, megabytes: str, warned: bool, tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text(f'[[model]]\nname = "m"\nlearner = "ridge"\ntopic = "t"\ninputs.x = {{ shape = [{features}] }}\n')
    config = load(path)

    with capture_logs() as said:
        lines = list(memory_lines(config))

    assert lines[-1].startswith(f"# m: {megabytes}")
    assert [(one["log_level"], one["model"]) for one in said] == [("warning", "m")] * warned
    assert tomllib.loads(effective(config) + "\n".join(lines)) == tomllib.loads(effective(config))


def test_what_a_wide_table_will_take_is_told_before_it_does(tmp_path: Path) -> None:
    path, columns = tmp_path / "c.toml", "\n".join(f'c{number} = "numeric"' for number in range(1100))
    path.write_text(f'[[model]]\nname = "m"\nlearner = "ridge"\ntopic = "t"\n[model.columns]\n{columns}\n')

    lines = list(memory_lines(load(path)))

    assert lines[-1].startswith(f"# m: {3 * 8 * (2200 + 64 + 1) ** 2 / 1e6:.1f} MB")
