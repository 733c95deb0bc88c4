"""Operators' commands to a learner: submitted by a server through the command queue, which waits for the response."""

from __future__ import annotations

from typing import Any

from thalweg.memory.exchange.commands import CommandQueue
from thalweg.ops.serve.errors import DeadlineExceeded, raise_answer


def run_command(commands: CommandQueue, model: str, verb: str, patience_seconds: float, **arguments: Any) -> Any:
    """Submit a command and wait for the learner's response. Raises DeadlineExceeded, or what the learner responded."""
    response = commands.response(commands.submit(model, verb, arguments), patience_seconds)
    if response is None:
        raise DeadlineExceeded(
            f"model {model!r}: its learner did not answer {verb!r} within {patience_seconds:.0f} s; is it running?"
        )
    raise_answer(response)
    return response
