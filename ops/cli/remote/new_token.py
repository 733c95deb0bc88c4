"""`thalweg token`: a new token, printed once, and the line of the token file that holds its hash."""

from __future__ import annotations

import os
import secrets
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from thalweg.ops.cli.options import Form, LogFormat, log_as

_BYTES = 32


def token(
    role: Annotated[list[str], typer.Option("--role", help="predict, learn, read or operate; repeatable.")],
    model: Annotated[
        list[str] | None, typer.Option("--model", help="A model or alias that it is for; repeatable; default: all.")
    ] = None,
    name: Annotated[str, typer.Option(help="Shown in logs in place of the token.")] = "",
    expires: Annotated[str, typer.Option(help="A date or time in RFC 3339.")] = "",
    file: Annotated[Path | None, typer.Option(help="The token file that its line is appended to.")] = None,
    log_format: Form = LogFormat.console,
) -> None:
    """Make a bearer token: print it once, and the line of the token file that has its hash and its roles."""
    log_as(log_format)
    from thalweg.ops.serve.access.tokens import hashed

    _check(role, model or [], name, expires)
    made = secrets.token_urlsafe(_BYTES)
    options = [
        f"roles={','.join(role)}",
        *([f"models={','.join(model)}"] if model else []),
        *([f"name={name}"] if name else []),
        *([f"expires={expires}"] if expires else []),
    ]
    line = " ".join([hashed(made), *options])
    _checked(file, line)
    print(made)


def _check(roles: list[str], models: list[str], name: str, expires: str) -> None:
    """Raise Failed for an option that makes a line of no use, by its name."""
    from thalweg.ops.run.failed import Failed
    from thalweg.ops.serve.access.roles import ROLES
    from thalweg.ops.serve.access.tokens import expiry, name_fault

    for role in roles:
        if role not in ROLES:
            raise Failed(f"--role: expected one of {', '.join(ROLES)}, got {role!r:.40}")
    for model in models:
        if not model or any(one.isspace() or one == "," for one in model):
            raise Failed(
                f"--model: expected the name of one model, and the option again for another, got {model!r:.80}"
            )
    if name and (fault := name_fault(name)):
        raise Failed(f"--name: {fault}")
    if expires:
        when = expiry(expires)
        if when is None:
            raise Failed(f"--expires: expected a date or a time in RFC 3339, such as 2030-12-31, got {expires!r:.40}")
        if when <= time.time():
            raise Failed(f"--expires: expected a time to come, got {expires}, which has passed")


def _checked(file: Path | None, line: str) -> None:
    """Append a line to a token file, or print it on standard error. Raises Failed if the file would be of no use.

    The file is replaced by a rename, because a service may read it at any time.
    """
    from thalweg.ops.run.failed import Failed
    from thalweg.ops.serve.access.tokens import TokensUnusable, parse_tokens

    if file is None:  # checked by itself
        print(line, file=sys.stderr)
        return
    try:
        known = file.read_text(encoding="utf-8") if file.exists() else ""
    except (OSError, UnicodeDecodeError) as error:
        raise Failed(f"--file: {file} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if not file.parent.is_dir():
        raise Failed(f"--file: {file}: there is no folder {file.parent}")
    content = known + ("\n" if known and not known.endswith("\n") else "") + line + "\n"
    try:
        parse_tokens(content, str(file))
    except TokensUnusable as error:
        raise Failed(str(error)) from error
    beside = file.with_name(f".{file.name}.{os.getpid()}")
    beside.touch(0o600, exist_ok=False)
    beside.write_text(content, encoding="utf-8")
    beside.replace(file)
