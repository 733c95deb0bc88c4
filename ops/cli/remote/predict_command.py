"""The options of `thalweg predict`; what it does is in `ops/cli/predict.py`, which is imported when it is run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from thalweg.ops.cli.options import Form, LogFormat, ModelName, log_as


def predict(
    target: Annotated[str, typer.Option(help="HOST:PORT of gRPC; https://HOST:PORT for TLS.")],
    model: ModelName,
    explain: Annotated[int, typer.Option(min=0, help="Entries that explain each prediction; 0: none.")] = 0,
    token_file: Annotated[
        Path | None, typer.Option(help="A file with the token on its first line; default: THALWEG_TOKEN.")
    ] = None,
    ca: Annotated[Path | None, typer.Option(help="PEM file of the roots to trust; makes it TLS.")] = None,
    certificate: Annotated[Path | None, typer.Option(help="PEM file of our own certificate, for mutual TLS.")] = None,
    key: Annotated[Path | None, typer.Option(help="PEM file of its key.")] = None,
    log_format: Form = LogFormat.console,
) -> None:
    """One prediction from JSON on standard input, such as {"features": [0.1, 0.2]}."""
    log_as(log_format)
    from thalweg.ops.cli.predict import run, text_of
    from thalweg.ops.cli.remote.target import target_of

    where = target_of(target, token_file, ca, certificate, key)
    run(where, model, text_of(sys.stdin.buffer.read()), explain)
