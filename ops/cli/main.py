"""The command line. Exit codes: 0 done, 1 failed, 2 wrong usage or configuration."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from thalweg.memory.proxies import reach_this_machine_directly
from thalweg.memory.started_folder import start_here
from thalweg.ops.cli.options import (
    ConfigPath,
    Delimiter,
    Encoding,
    Form,
    IdColumn,
    Ignored,
    InputFile,
    LabelColumn,
    LogFormat,
    ModelName,
    Role,
    TimeColumn,
    TimeUnit,
    answering,
    at_state,
    finite,
    load,
    log_as,
    write_private_files,
)
from thalweg.ops.cli.process.interpreter import require_the_lock, start_no_threads
from thalweg.ops.cli.process.standard_streams import open_standard_streams, stop_signals
from thalweg.ops.cli.remote.new_token import token
from thalweg.ops.cli.remote.predict_command import predict
from thalweg.ops.cli.snapshot_commands import snapshot
from thalweg.ops.run.stop_request import StopRequest
from thalweg.ops.scale.command import scale

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Online learning as a service: models learn from a log while they serve predictions.",
)


app.command()(token)
app.command()(predict)
app.add_typer(scale, name="scale")
app.add_typer(snapshot, name="snapshot")


def main() -> None:
    """Run the command line."""
    open_standard_streams()
    start_no_threads()
    reach_this_machine_directly()
    with _exit_codes():
        require_the_lock()
        app()


@contextmanager
def _exit_codes() -> Iterator[None]:
    """Report users' mistakes with a message and an exit code, without a traceback."""
    try:
        yield
    except Exception as error:
        from thalweg.ops.run.failed import end_with

        end_with(error)


@app.command()
def serve(
    config: ConfigPath,
    role: Annotated[
        Role,
        typer.Option(
            help="all: the supervised processes of this host, as service.role says; or one of them: learn, serve; "
            "standby: learn, as with service.role = 'standby'; follow and monitor belong to hosts that only serve or "
            "learn."
        ),
    ] = Role.all,
    log_format: Form = LogFormat.console,
    replica: Annotated[int, typer.Option(hidden=True, min=1, help="Which of the servers, from 1.")] = 1,
    learner: Annotated[
        int | None,
        typer.Option(min=1, help="With learn: this one of service.learners processes, from 1; default: all of them."),
    ] = None,
) -> None:
    """Ingest, learn, serve and export metrics until SIGTERM, which drains and saves a snapshot."""
    write_private_files()
    start_here()
    stop = StopRequest()
    for number in stop_signals():  # before the heavy imports: told to stop while starting, we do
        signal.signal(number, lambda *_: stop.set())
    from thalweg.ops.run import heartbeat
    from thalweg.ops.run.learners.shares import ROLE_SETTING, several
    from thalweg.ops.run.resources.open_files import raise_limit
    from thalweg.ops.telemetry.process_health import learner_role

    raise_limit()
    if role is Role.standby:  # before the configuration is read, which is validated for it
        os.environ[ROLE_SETTING] = role
        role = Role.learn
    supervising = role is Role.all or (role is Role.learn and learner is None and several(config))
    server = "server" if replica == 1 else f"server-{replica}"
    names = {
        "all": "supervisor",
        "learn": learner_role(learner or 1),
        "serve": server,
        "follow": "follower",
        "monitor": "monitor",
    }
    log_as(log_format, role="supervisor" if supervising else names[role])
    from thalweg.ops.run.supervisor import die_with_supervisor, supervise

    die_with_supervisor()
    supervised = heartbeat.begin()
    if supervising:
        sys.exit(supervise(config, ["--log-format", log_format.value], stop, serving=role is Role.all))
    from thalweg.ops.config.files.whole import whole_paths

    loaded = whole_paths(load(config, devices=not supervised))
    from thalweg.ops.run.processes import run_learners, run_server

    if role is Role.learn:
        if learner is None and loaded.service.learners > 1:  # the file could not be looked at before
            raise typer.BadParameter("expected --learner, as service.learners is more than 1")
        run_learners(loaded, stop, learner or 1)
    elif role is Role.follow:
        from thalweg.ops.run.relay.following import run_follower

        run_follower(loaded, stop)
    elif role is Role.monitor:
        from thalweg.ops.run.relay.monitor import run_monitor

        run_monitor(loaded, stop)
    else:
        run_server(loaded, stop, replica=replica)


@app.command()
def check(
    config: ConfigPath,
    log_format: Form = LogFormat.console,
    role: Annotated[str, typer.Option(hidden=True, help="For whom; stands in what is logged.")] = "",
) -> None:
    """Validate a configuration: print the effective configuration, the features of columns and what it takes in
    memory, or every mistake at once. Warnings go to standard error."""
    log_as(log_format, **({"role": role} if role else {}))
    if role:
        from thalweg.ops.run.supervisor import die_with_supervisor

        die_with_supervisor()
    from time import time as time_now

    from thalweg.ops.config.access.exposure import exposures, lapsed_certificates
    from thalweg.ops.config.effective import effective
    from thalweg.ops.config.error import ConfigurationError

    loaded = load(config)
    if lapsed := lapsed_certificates(loaded, time_now()):
        raise ConfigurationError([f"{config}: {line}" for line in lapsed])
    print(effective(loaded), end="")
    if not role:  # for a person; a supervisor only asks whether it is valid
        from thalweg.ops.config.files.kinds import not_usable
        from thalweg.ops.config.hosts.surroundings import lost_at_reboot, overlooked_variables
        from thalweg.ops.config.hosts.warnings import host_warnings, without_effect
        from thalweg.ops.run.champions.judges import not_compared
        from thalweg.ops.run.champions.lost import lost_promotions
        from thalweg.ops.run.champions.saved_states import changes
        from thalweg.ops.run.column_features import column_lines, encoder_lines
        from thalweg.ops.run.learners.left_behind import states_left_behind
        from thalweg.ops.run.learners.other_log import left_at_default, other_logs
        from thalweg.ops.run.learners.shares import share_lines
        from thalweg.ops.run.resources.memory_estimate import memory_lines
        from thalweg.ops.run.shards.known import all_passed_over
        from thalweg.ops.run.state_folder import to_begin_anew

        for line in (*share_lines(loaded), *column_lines(loaded), *encoder_lines(loaded), *memory_lines(loaded)):
            print(line)
        sys.stdout.flush()
        saved = (*changes(loaded), *all_passed_over(loaded), *lost_promotions(loaded), *states_left_behind(loaded))
        saved = (*to_begin_anew(loaded), *saved)
        logs = (*left_at_default(loaded), *other_logs(loaded), *lost_at_reboot(loaded), *not_usable(loaded))
        hosts = (*host_warnings(loaded), *without_effect(loaded))
        for line in (
            *overlooked_variables(os.environ, [model.name for model in loaded.model]),
            *exposures(loaded),
            *hosts,
            *logs,
            *saved,
            *not_compared(loaded),
        ):
            # on standard error: whoever reads a pipe is no person
            print(f"warning: {line}" if not line.startswith(" ") else line, file=sys.stderr)


@app.command()
def schema(log_format: Form = LogFormat.console) -> None:
    """Print the JSON Schema of the configuration, for editors."""
    log_as(log_format)
    from thalweg.ops.config.schema import schema as made

    print(json.dumps(made(), indent=2, ensure_ascii=False))


@app.command()
def replay(
    config: ConfigPath,
    model: ModelName,
    input: InputFile,
    report: Annotated[Path | None, typer.Option(help="Folder for report.json and report.png.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Most lines to read.")] = None,
    seed: Annotated[int | None, typer.Option(help="Overrides the model's seed.")] = None,
    frozen_after: Annotated[
        int | None, typer.Option(min=0, help="Events until the baseline is frozen; default: a tenth.")
    ] = None,
    delay: Annotated[int, typer.Option(min=0, help="How many rows late labels become known.")] = 0,
    label: LabelColumn = "",
    time: TimeColumn = None,
    id: IdColumn = None,
    ignore: Ignored = None,
    delimiter: Delimiter = "",
    encoding: Encoding = "",
    time_unit: TimeUnit = 1.0,
    log_format: Form = LogFormat.console,
) -> None:
    """Run a recorded stream through a learner, predict-then-learn, and print its metrics."""
    log_as(log_format)
    from thalweg.ops.cli.mapping import mapping
    from thalweg.ops.cli.replay import run

    loaded = load(config, private=False, service=False)
    run(
        loaded.find(model),
        input,
        mapping(label, time, id, ignore, delimiter, time_unit, encoding),
        report,
        limit,
        seed,
        frozen_after,
        delay,
        loaded.service.max_message_bytes,
    )


@app.command()
def simulate(
    seed: Annotated[int, typer.Option(min=0, help="Determines everything that happens.")],
    steps: Annotated[int, typer.Option(min=1, help="Turns taken before the faults end.")] = 2000,
    seeds: Annotated[int, typer.Option(min=1, help="Simulate this many seeds, from SEED on.")] = 1,
    without: Annotated[list[str] | None, typer.Option(help="A kind of fault that does not happen; repeatable.")] = None,
    trace: Annotated[
        bool, typer.Option("--trace", help="Print the end of the trace also when nothing is found.")
    ] = False,
    log_format: Form = LogFormat.console,
) -> None:
    """Run the whole loop under injected faults in one deterministic thread; exit code 1 if a check fails."""
    log_as(log_format)
    from thalweg.ops.cli.simulate import run

    run(seed, steps, seeds, without or [], trace)


@app.command()
def produce(
    config: ConfigPath,
    topic: Annotated[str, typer.Option(help="Topic to append to: a model's topic or labels_topic.")],
    input: InputFile,
    rate: Annotated[
        float | None, typer.Option(min=0.001, callback=finite, help="Events per second; default: unlimited.")
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Events per record; more than 1: EventBatch records.")] = 1,
    limit: Annotated[int | None, typer.Option(min=1, help="Most lines to read.")] = None,
    label: LabelColumn = "",
    time: TimeColumn = None,
    id: IdColumn = None,
    ignore: Ignored = None,
    delimiter: Delimiter = "",
    encoding: Encoding = "",
    time_unit: TimeUnit = 1.0,
    log_format: Form = LogFormat.console,
) -> None:
    """Append a file of events, or of labels to a labels topic, to the log."""
    log_as(log_format)
    from thalweg.ops.cli.mapping import mapping
    from thalweg.ops.cli.produce import run

    given = mapping(label, time, id, ignore, delimiter, time_unit, encoding)
    run(load(config), topic, input, given, rate, batch, limit)


@app.command()
def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Keep running and print the addresses.")] = False,
    seconds: Annotated[float, typer.Option(min=1.0, callback=finite, help="Duration of the stream in seconds.")] = 20.0,
    log_format: Form = LogFormat.console,
) -> None:
    """Handwritten digits as a drifting stream, learned while they are served."""
    log_as(log_format)
    from thalweg.ops.demo.run import run

    run(keep=keep, seconds=seconds)


@app.command()
def resume(
    config: ConfigPath,
    model: ModelName,
    skip: Annotated[bool, typer.Option("--skip", help="Leave out what fails, however much it is.")] = False,
    log_format: Form = LogFormat.console,
) -> None:
    """Let a model go on that its circuit breaker has stopped; the service must be running."""
    log_as(log_format)
    from thalweg.ops.cli import operator

    operator.resume(*answering(config, model), skip=skip)


@app.command()
def promote(
    config: ConfigPath,
    alias: Annotated[str | None, typer.Option("--alias", help="The alias's name.")] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", help="The model that is to answer under the alias; alone: a model with a successor."),
    ] = None,
    back: Annotated[bool, typer.Option("--back", help="Go back to the champion before.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Also where requests may be refused, or answered as of long ago.")
    ] = False,
    log_format: Form = LogFormat.console,
) -> None:
    """Let a model answer under an alias, or the successor of a changed model under its name; no request is refused."""
    log_as(log_format)
    if alias is None and model is None:
        raise typer.BadParameter("expected --alias and --model, or --model alone for a model with a successor")
    if alias is not None and (model is None) != back:
        raise typer.BadParameter("expected either --model or --back beside --alias")
    from thalweg.ops.cli.promote import promote as run

    run(at_state(config), alias, model, back=back, force=force)


@app.command()
def init(
    origin: Annotated[str, typer.Option("--from", metavar="FILE_OR_TOPIC", help="A file as for replay, or a topic.")],
    log: Annotated[str | None, typer.Option("--log", metavar="URL", help="The log of a topic.")] = None,
    registry: Annotated[
        str | None, typer.Option("--registry", metavar="URL", help="The schema registry of a topic's framed records.")
    ] = None,
    label: Annotated[str | None, typer.Option("--label", help="The label's column; default: guessed.")] = None,
    ignore: Annotated[str, typer.Option("--ignore", help="Columns not to use, separated by commas.")] = "",
    output: Annotated[Path | None, typer.Option("--output", help="A new file; default: standard output.")] = None,
    rows: Annotated[int, typer.Option("--rows", min=1, help="Rows of the sample, at most.")] = 5000,
    delimiter: Delimiter = "",
    encoding: Encoding = "",
    log_format: Form = LogFormat.console,
) -> None:
    """Look at a sample of a stream and write a commented configuration for it."""
    log_as(log_format)
    from thalweg.ops.cli import init as cli_init
    from thalweg.ops.cli.mapping import mapping

    ignored = tuple(name.strip() for name in ignore.split(",") if name.strip())
    given = mapping(delimiter=delimiter, encoding=encoding)
    cli_init.run(
        origin,
        log_url=log,
        label=label,
        ignore=ignored,
        output=output,
        most=rows,
        mapping=given,
        registry_url=registry,
    )
