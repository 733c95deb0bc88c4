"""Numbers of options that are none are refused before anything is done."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from thalweg.ops.cli.main import app


@pytest.mark.parametrize("number", ["inf", "nan"])
@pytest.mark.parametrize(
    ("command", "option"),
    [
        (["scale", "plan", "no.toml"], "--rate"),
        (["scale", "plan", "no.toml", "--rate", "1"], "--seconds"),
        (["produce", "no.toml", "--topic", "t", "--input", "no.jsonl"], "--rate"),
        (["produce", "no.toml", "--topic", "t", "--input", "no.jsonl"], "--time-unit"),
        (["replay", "no.toml", "--model", "m", "--input", "no.jsonl"], "--time-unit"),
        (["demo"], "--seconds"),
    ],
)
def test_infinity_and_nan_are_refused_with_what_was_expected(command: list[str], option: str, number: str) -> None:
    done = CliRunner().invoke(app, [*command, option, number], env={"COLUMNS": "200"})

    assert done.exit_code == 2
    assert f"Invalid value for '{option}'" in done.output
    if number == "inf":  # the lower limit may have refused nan before
        assert "expected a finite number, got inf" in done.output


def test_a_rate_beyond_what_can_be_counted_is_refused() -> None:
    done = CliRunner().invoke(app, ["scale", "plan", "no.toml", "--rate", "1e300"], env={"COLUMNS": "200"})

    assert done.exit_code == 2
    assert "expected at most 1e+15 events/s, got 1e+300" in done.output
