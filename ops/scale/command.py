"""The options of `thalweg scale`; what it does is in `planned.py`, which is imported when it is run."""

from __future__ import annotations

from typing import Annotated

import typer

from thalweg.ops.cli.options import ConfigPath, Form, LogFormat, finite, load, log_as

scale = typer.Typer(no_args_is_help=True, help="Plan models that several learner processes learn.")


_MOST_RATE = 1e15
"""Events per second: beyond it nothing of a plan could be counted."""


def _countable(rate: float) -> float:
    finite(rate)
    if rate > _MOST_RATE:
        raise typer.BadParameter(f"expected at most {_MOST_RATE:g} events/s, got {rate:g}")
    return rate


@scale.callback()
def _group() -> None:
    """Keeps `plan` a command of a group, though it is the only one."""


@scale.command()
def plan(
    config: ConfigPath,
    rate: Annotated[
        float, typer.Option(min=0.001, callback=_countable, help="Events per second of each model's topic.")
    ],
    partitions: Annotated[int | None, typer.Option(min=1, help="Of the topic; default: proposed.")] = None,
    model: Annotated[list[str] | None, typer.Option("--model", help="Only this model; repeatable.")] = None,
    seconds: Annotated[
        float, typer.Option(min=0.1, callback=finite, help="How long to measure each model, about.")
    ] = 5.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    log_format: Form = LogFormat.console,
) -> None:
    """Measure here what each model costs on made-up events; print the processes, memory and traffic that a rate needs,
    and what limits it. Exit code 1 if the rate cannot be learned as it is configured."""
    log_as(log_format)
    from thalweg.ops.scale.planned import run

    run(load(config, private=False, service=False), model or [], rate, partitions, seconds, as_json=as_json)
