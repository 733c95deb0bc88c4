"""`thalweg token`: a new token, printed once, and the line of the token file that holds its hash."""

from __future__ import annotations

import os
import secrets
import sys
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


def _checked(file: Path | None, line: str) -> None:
    """Append a line to a token file, or print it on standard error. Raises Failed if the file would be of no use.

    The file is replaced by a rename, because a service may read it at any time.
    """
    from thalweg.ops.run.failed import Failed
    from thalweg.ops.serve.access.tokens import TokensUnusable, parse_tokens

    known = file.read_text() if file is not None and file.exists() else ""
    content = known + ("\n" if known and not known.endswith("\n") else "") + line + "\n"
    try:
        parse_tokens(content, str(file or "the line"))
    except TokensUnusable as error:
        raise Failed(str(error)) from error
    if file is None:
        print(line, file=sys.stderr)
        return
    beside = file.with_name(f".{file.name}.{os.getpid()}")
    beside.touch(0o600, exist_ok=False)
    beside.write_text(content)
    beside.replace(file)
