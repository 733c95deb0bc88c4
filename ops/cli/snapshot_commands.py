"""The options of `thalweg snapshot`; what it does is in `snapshot.py` and `operator.py`, imported when it is run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from thalweg.ops.cli.options import ConfigPath, Form, LogFormat, ModelName, Version, answering, log_as

snapshot = typer.Typer(no_args_is_help=True, help="Manage the snapshots of a model.")


@snapshot.command("list")
def list_snapshots(config: ConfigPath, model: ModelName, log_format: Form = LogFormat.console) -> None:
    """List the snapshots, oldest first."""
    log_as(log_format)
    from thalweg.ops.cli import snapshot as cli_snapshot

    cli_snapshot.list_versions(*answering(config, model))


@snapshot.command()
def show(
    config: ConfigPath,
    model: ModelName,
    version: Annotated[int | None, typer.Argument(min=0, help="Default: the newest.")] = None,
    log_format: Form = LogFormat.console,
) -> None:
    """Print the manifest of a snapshot."""
    log_as(log_format)
    from thalweg.ops.cli import snapshot as cli_snapshot

    cli_snapshot.show(*answering(config, model), version)


@snapshot.command()
def verify(
    config: ConfigPath,
    model: ModelName,
    version: Annotated[int | None, typer.Argument(min=0, help="Default: all snapshots.")] = None,
    replay: Annotated[bool, typer.Option("--replay", help="Rebuild the state from the log and compare.")] = False,
    log_format: Form = LogFormat.console,
) -> None:
    """Verify every hash; with --replay, rebuild the state from the log and compare."""
    log_as(log_format)
    from thalweg.ops.cli import snapshot as cli_snapshot

    cli_snapshot.verify(*answering(config, model), version, from_log=replay)


@snapshot.command()
def rollback(
    config: ConfigPath,
    version: Version,
    model: ModelName,
    force: Annotated[
        bool, typer.Option("--force", help="Also to a version that has learned too little to answer.")
    ] = False,
    log_format: Form = LogFormat.console,
) -> None:
    """Roll back to a snapshot; the service must be running."""
    log_as(log_format)
    from thalweg.ops.cli import operator

    operator.rollback(*answering(config, model), version, force=force)


@snapshot.command()
def export(
    config: ConfigPath,
    version: Version,
    model: ModelName,
    to: Annotated[Path, typer.Option("--to", help="A folder that does not exist yet.")],
    log_format: Form = LogFormat.console,
) -> None:
    """Verify a snapshot and copy it to a new folder."""
    log_as(log_format)
    from thalweg.ops.cli import snapshot as cli_snapshot

    cli_snapshot.export(*answering(config, model), version, to)
