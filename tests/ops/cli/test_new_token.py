"""`thalweg token`: what it prints is good for what was asked, and its file never holds a token."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from thalweg.ops.cli.main import app
from thalweg.ops.run.failed import Failed
from thalweg.ops.serve.access.tokens import Tokens


def made(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["token", *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout.strip()


def test_a_token_made_on_the_command_line_has_its_roles_and_only_its_hash_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    first = made("--role", "predict", "--role", "read", "--model", "m", "--name", "ada", "--file", str(file))
    second = made("--role", "operate", "--expires", "2999-01-01", "--file", str(file))

    tokens = Tokens(file)
    identities = [tokens.identity(f"Bearer {token}")[0] for token in (first, second)]

    assert [[(sorted(roles), models) for roles, models in one.grants] for one in identities] == [
        [(["predict", "read"], {"m"})],
        [(["operate"], None)],
    ]
    assert identities[0].name == "ada"
    assert first not in file.read_text()
    assert file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--role", "admin"], "--role: expected one of predict, learn, read, operate, got 'admin'"),
        (["--role", "read", "--name", "a b"], "--name: expected letters, digits, '.', '_' or '-', got 'a b'"),
        (["--role", "read", "--name", "anonymous"], "--name: expected another name than 'anonymous'"),
        (["--role", "read", "--expires", "soon"], "--expires: expected a date or a time in RFC 3339, such as"),
        (["--role", "read", "--expires", "2001-01-01"], "--expires: expected a time to come, got 2001-01-01, which"),
        (["--role", "read", "--model", "a,b"], "--model: expected the name of one model, and the option again"),
        (["--role", "read", "--model", "a b"], "--model: expected the name of one model"),
        (["--role", "read", "--model", ""], "--model: expected the name of one model"),
    ],
)
def test_an_option_that_would_be_of_no_use_is_named_and_nothing_is_written(
    tmp_path: Path, arguments: list[str], text: str
) -> None:
    for more in (["--file", str(tmp_path / "tokens")], []):
        with pytest.raises(Failed) as raised:
            made(*arguments, *more)
        assert str(raised.value).startswith(text)
        assert "line" not in str(raised.value)

    assert not (tmp_path / "tokens").exists()
