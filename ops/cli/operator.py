"""What an operator asks a running learner for, from the command line."""

from __future__ import annotations

from typing import Any

from thalweg.memory.exchange.open import open_commands
from thalweg.ops.config.config import Config
from thalweg.ops.run.failed import Failed
from thalweg.ops.serve.commands import run_command
from thalweg.ops.serve.errors import EXPECTED

_PATIENCE_SECONDS = 30.0


def ask(config: Config, name: str, verb: str, **arguments: Any) -> Any:
    """The response of a model's learner to a command. Raises Failed."""
    config.find(name)
    store = open_commands(config.store.url)
    try:
        return run_command(store, name, verb, _PATIENCE_SECONDS, **arguments)
    except EXPECTED as error:
        raise Failed(str(error)) from error
    finally:
        store.close()


def rollback(config: Config, name: str, version: int) -> None:
    """Roll a model back, and print the new version."""
    done = ask(config, name, "rollback", version=version)
    print(f"{name}: the state is that of version {version} again, as version {done['version']}")


def resume(config: Config, name: str, *, skip: bool) -> None:
    """Let a model go on that its circuit breaker has stopped."""
    done = ask(config, name, "resume", skip=skip)
    how = "without what fails there" if skip else "with what it stopped at"
    print(f"{name}: goes on after version {done['version']}, {how}")
