"""Operators' commands to a learner: submitted by a server through the command queue, which waits for the response."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from thalweg.memory.exchange.commands import CommandQueue
from thalweg.ops.serve.by_key.predictor import KeyedPredictor
from thalweg.ops.serve.errors import DeadlineExceeded, FailedPrecondition, NotReady, raise_answer
from thalweg.ops.serve.models import ServedModel
from thalweg.stream.shards.names import shard_name


def command(commands: CommandQueue, model: ServedModel, verb: str, patience_seconds: float, **arguments: Any) -> int:
    """Let the learner of a served model run a command, or those of its shards; the version by the model's own number.

    Raises:
        FailedPrecondition: The shards of the model cannot do it together.
        NotReady: Those of a model by key have published nothing yet.
        Others: As `run_command`.
    """
    name = model.answering.name
    shards = _shards(model)
    if shards is None:
        return int(run_command(commands, name, verb, patience_seconds, **arguments)["version"])
    if verb != "snapshot":
        raise FailedPrecondition(
            f"model {model.name!r} has [model.scale]: each of its shards has snapshots of its own; expected the {verb} "
            f"of one of them: `thalweg snapshot {verb} --model {shard_name(name, shards[0] if shards else 0)}`"
        )
    if not shards:
        raise NotReady(f"model {model.name!r}: none of its shards has published a version yet")
    asked = [commands.submit(shard_name(name, number), verb, arguments) for number in shards]
    deadline = time.monotonic() + patience_seconds
    version = 0
    for number, id in zip(shards, asked):
        version += int(
            _answered(commands, id, shard_name(name, number), verb, max(0.0, deadline - time.monotonic()))["version"]
        )
    return version


def _shards(model: ServedModel) -> Sequence[int] | None:
    """The numbers of the shards whose versions a served model is put together or merged of; None: it has none."""
    served = model.answering.versions.newest
    if model.keys is None:
        return None if served is None or not served.shards else sorted(served.shards)
    if served is None or not isinstance(served.predictor, KeyedPredictor):
        return ()
    return range(len(served.predictor.versions))


def run_command(commands: CommandQueue, model: str, verb: str, patience_seconds: float, **arguments: Any) -> Any:
    """Submit a command and wait for the learner's response. Raises DeadlineExceeded, or what the learner responded."""
    return _answered(commands, commands.submit(model, verb, arguments), model, verb, patience_seconds)


def _answered(commands: CommandQueue, id: str, model: str, verb: str, patience_seconds: float) -> Any:
    """The response to a command that was submitted."""
    response = commands.response(id, patience_seconds)
    if response is None:
        raise DeadlineExceeded(
            f"model {model!r}: its learner did not answer {verb!r} within {patience_seconds:.0f} s; is it running?"
        )
    raise_answer(response)
    return response
