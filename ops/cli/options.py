"""What the commands share: the options that several of them take, and how they begin. It imports nothing heavy."""

from __future__ import annotations

import math
import os
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from thalweg.ops.cli.paths import input_path

if TYPE_CHECKING:
    from thalweg.ops.config.config import Config


class Role(StrEnum):
    """Which processes to run."""

    all = "all"
    learn = "learn"
    serve = "serve"
    standby = "standby"
    follow = "follow"
    monitor = "monitor"


class LogFormat(StrEnum):
    """How to log."""

    console = "console"
    json = "json"


def finite(value: float | None) -> float | None:
    """The value of an option. Raises typer.BadParameter for infinity and nan, which every lower limit lets through."""
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"expected a finite number, got {value}")
    return value


ConfigPath = Annotated[Path, typer.Argument(metavar="CONFIG", help="The TOML file.")]
Form = Annotated[LogFormat, typer.Option("--log-format", help="Format of logs, on standard error.")]
ModelName = Annotated[str, typer.Option("--model", help="The model's name.")]
InputFile = Annotated[
    Path,
    typer.Option(
        "--input",
        parser=input_path,
        metavar="FILE",
        help=".jsonl, .csv, .tsv, also with .gz, .bz2, .xz; .parquet, .arrow; - for standard input.",
    ),
]
LabelColumn = Annotated[
    str, typer.Option("--label", help="The label's column; default: as configured, or label.", show_default=False)
]
TimeColumn = Annotated[
    str | None, typer.Option("--time", help="The time's column; default: as configured, or row i has the time i.")
]
IdColumn = Annotated[str | None, typer.Option("--id", help="The id's column; default: as configured.")]
TimeUnit = Annotated[
    float, typer.Option("--time-unit", min=1e-9, callback=finite, help="Event sequences: seconds per time unit.")
]
Ignored = Annotated[
    str | None, typer.Option("--ignore", help="Columns to skip, separated by commas; default: t,context if there are.")
]
Delimiter = Annotated[
    str, typer.Option("--delimiter", help="CSV: one character between columns, or tab; default: a comma.")
]
Encoding = Annotated[
    str, typer.Option("--encoding", help="Of a text file; default: UTF-8, or what its byte order mark says.")
]
Version = Annotated[int, typer.Argument(min=0, help="The version's number.")]


def log_as(form: LogFormat, **context: str) -> None:
    """Log in this form from now on, with this context in each line."""
    from thalweg.ops.run import logs

    logs.configure(form.value, **context)


def write_private_files() -> None:
    """Make the files that this process writes from now on readable by its own user alone."""
    os.umask(0o077)


def load(path: Path, *, private: bool = True, devices: bool = True, service: bool = True) -> Config:
    """The configuration of a file; `devices` as of `thalweg.ops.config.config.load`.

    `private`: what the command writes from now on, such as state, log and store, is readable by its own user alone.
    `service`: state, log and store are shared with other processes, and are refused where they cannot be.
    """
    if private:
        write_private_files()
    from thalweg.ops.config.config import load as load_config

    loaded = load_config(path) if devices else load_config(path, devices=False)
    if service:
        from thalweg.ops.config.error import ConfigurationError
        from thalweg.ops.config.files.kinds import wrong_kinds
        from thalweg.ops.config.hosts.processes import unshared

        if lines := [f"{path}: {line}" for line in (*unshared(loaded), *wrong_kinds(loaded))]:
            raise ConfigurationError(lines)
    return loaded


def at_state(path: Path) -> Config:
    """The configuration of a command that uses the state folder, or asks the service of this host that does. Raises
    FolderElsewhere if the folder that is there is not the one which that service uses.
    """
    from thalweg.stream.publication.state_before import must_not_be_away

    loaded = load(path)
    must_not_be_away(Path(loaded.service.state_dir))
    return loaded


def answering(path: Path, name: str) -> tuple[Config, str]:
    """The configuration as of `at_state`, and the model that answers under a name."""
    from thalweg.ops.run.successors import answering as of_model

    return of_model(at_state(path), name)
