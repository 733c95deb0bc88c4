"""What an operator asks a running learner for, from the command line."""

from __future__ import annotations

import time
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from thalweg.memory.audit import audit_log, os_user
from thalweg.memory.exchange.audited import AuditedCommands
from thalweg.memory.exchange.open import is_redis, open_commands
from thalweg.memory.exchange.redis_names import RedisNames
from thalweg.memory.snapshots.snapshots import FolderSnapshots
from thalweg.ops.config.config import Config
from thalweg.ops.run.app import new_learner, open_configured_log
from thalweg.ops.run.failed import Failed
from thalweg.ops.run.relay.store_names import names_in_store
from thalweg.ops.run.shards.known import LIVE, must_be_one
from thalweg.ops.serve.commands import run_command
from thalweg.ops.serve.errors import EXPECTED, DeadlineExceeded
from thalweg.proto.bounds.counted import counted
from thalweg.proto.task import ADAPTATION
from thalweg.stream.log.log import LogError

_PATIENCE_SECONDS = 30.0
_SHORT_SECONDS = 3.0  # where nothing has been heard of a service lately
_SILENT_SECONDS = 15.0  # its processes write their live files about once a second
_MOMENT_SECONDS = 2.0  # for what a resumed model reads next


class NoAnswer(Failed):
    """The learner did not answer in time."""


def ask(config: Config, name: str, verb: str, **arguments: Any) -> Any:
    """The response of a model's learner to a command. Raises Failed; NoAnswer if there is none in time."""
    must_be_one(config, name, elsewhere=True)
    state_dir = Path(config.service.state_dir)
    if config.store.url.startswith("sqlite:") and not state_dir.is_dir():  # and none is made in place of one moved away
        raise NoAnswer(f"no service is running on {state_dir}: there is no such folder; was it moved away, or removed?")
    silent = _silent(config)
    with ExitStack() as stack:
        store = AuditedCommands(
            open_commands(config.store.url, _names(config, stack)),
            audit_log(config.service.state_dir, told=False),
            os_user,
        )
        stack.callback(store.close)
        try:
            return run_command(store, name, verb, _SHORT_SECONDS if silent else _PATIENCE_SECONDS, **arguments)
        except DeadlineExceeded as error:
            raise NoAnswer(f"{silent}: {error}" if silent else f"{error}{_elsewhere(config)}") from error
        except EXPECTED as error:
            raise Failed(str(error)) from error


def _names(config: Config, stack: ExitStack) -> RedisNames | None:
    """The names of the service in a Redis. Raises ConfigurationError where they are another service's."""
    if not is_redis(config.store.url):
        return None
    try:
        source = stack.enter_context(closing(open_configured_log(config)))
    except LogError:  # of a service that runs without it, too
        return RedisNames(config.store.prefix)
    return stack.enter_context(names_in_store(config, source))


def _silent(config: Config) -> str:
    """That no service is running, where none of its processes on this machine has been alive lately; else empty: of
    other hosts, and of one whose live folder is not here, nothing is known.
    """
    if not config.store.url.startswith("sqlite:") or _elsewhere(config):
        return ""
    state_dir = Path(config.service.state_dir)
    alive = False
    try:
        newest = max((one.stat().st_mtime for one in (state_dir / LIVE).iterdir()), default=0.0)
        alive = time.time() - newest <= _SILENT_SECONDS
    except OSError:  # there is no such folder, or a file is just replaced
        alive = (state_dir / LIVE).is_dir()
    return "" if alive else f"no service is running on {state_dir} (one in a container is asked from within)"


def _elsewhere(config: Config) -> str:
    """What to do where the live folder is in the memory of a container, or was before this machine started."""
    live = Path(config.service.state_dir) / LIVE
    if not live.is_symlink() or live.exists():
        return ""
    return f"; {live.readlink()} is not on this machine: if the service runs in a container, run this command there"


def rollback(config: Config, name: str, version: int, *, force: bool = False) -> None:
    """Roll a model back, and print the new version. Raises Failed; without `force` also where no request would be
    answered afterwards.
    """
    if not force and (untrained := _untrained(config, name, version)):
        raise Failed(
            f"{name}: version {version} {untrained}: after a rollback to it, every prediction is refused until so many "
            f"labelled events have come. Expected a version that has learned as many (`thalweg snapshot list CONFIG "
            f"--model {name}` lists them), or --force"
        )
    done = ask(config, name, "rollback", version=version)
    print(f"{name}: the state is that of version {version} again, as version {done['version']}")


def _untrained(config: Config, name: str, version: int) -> str:
    """Why a kept version would give no answer; empty if it would, or is not kept here."""
    model = config.find(name)
    wanted = 0 if model.learn_from_requests else model.ready_after_events
    kept = FolderSnapshots(Path(config.service.state_dir) / name).manifests()
    learned = next((one.events_learned for one in kept if one.version == version), wanted)
    if learned >= wanted or new_learner(model, looked_at=True).predictor().task.name == ADAPTATION.name:
        return ""
    some = "has learned nothing" if not learned else f"has learned {counted(learned, 'event')}"
    return f"{some}, and the model answers after {wanted:,}"


def resume(config: Config, name: str, *, skip: bool) -> None:
    """Let a model go on that its circuit breaker has stopped, and print what comes of it within a moment.

    Raises:
        Failed: It is not stopped, or has stopped again.
    """
    done = ask(config, name, "resume", skip=skip)
    how = "without what fails there" if skip else "with what it stopped at"
    print(f"{name}: tries to go on after version {done['version']}, {how}", flush=True)
    try:
        told = _after_a_moment(config, name)
    except NoAnswer:
        print(f"{name}: is still busy with it after {_PATIENCE_SECONDS:.0f} s; /readyz tells what comes of it")
        return
    if told["reason"]:
        raise Failed(f"{name}: {told['reason']}")
    print(f"{name}: goes on, now at version {told['version']}")


def _after_a_moment(config: Config, name: str) -> Any:
    """How a model stands a moment later; its learner answers when it has tried what it stopped at."""
    end = time.monotonic() + _MOMENT_SECONDS
    while not (told := ask(config, name, "standstill"))["reason"] and time.monotonic() < end:
        time.sleep(0.1)
    return told
