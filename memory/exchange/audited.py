"""A queue of commands whose senders are recorded in the audit log, with what came of each command."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from thalweg.memory.audit import Actor, AuditLog
from thalweg.memory.exchange.commands import Command, CommandQueue, StoreError

_READS = ("standstill",)
"""Commands that change nothing."""


class _Sent(NamedTuple):
    model: str
    verb: str
    arguments: Mapping[str, Any]
    by: Actor


class AuditedCommands:
    """As the queue inside; for those who send commands. Thread-safe.

    Args:
        inner: The queue.
        audit: Where they are recorded.
        who: Who sends a command; called on the thread that submits it.
    """

    def __init__(self, inner: CommandQueue, audit: AuditLog, who: Callable[[], Actor]) -> None:
        self._inner, self._audit, self._who = inner, audit, who
        self._sent: dict[str, _Sent] = {}

    def submit(self, model: str, verb: str, arguments: Mapping[str, Any]) -> str:
        sent = _Sent(model, verb, arguments, self._who())
        try:
            id = self._inner.submit(model, verb, arguments)
        except StoreError as error:
            self._record(sent, {"error": "unavailable", "message": str(error)})
            raise
        if verb not in _READS:
            self._sent[id] = sent
        return id

    def poll(self, model: str) -> list[Command]:
        return self._inner.poll(model)

    def respond(self, id: str, result: Mapping[str, Any]) -> None:
        self._inner.respond(id, result)

    def response(self, id: str, timeout_seconds: float) -> Mapping[str, Any] | None:
        found: Mapping[str, Any] | None = None
        try:
            found = self._inner.response(id, timeout_seconds)
        finally:
            if (sent := self._sent.pop(id, None)) is not None:
                self._record(sent, found)
        return found

    def close(self) -> None:
        self._inner.close()

    def _record(self, sent: _Sent, found: Mapping[str, Any] | None) -> None:
        if found is None:
            outcome, detail = "unanswered", "its learner did not answer in time"
        elif "error" in found:
            outcome, detail = "failed", str(found.get("message", found["error"]))
        else:
            outcome, detail = "done", f"version {found.get('version')}"
        self._audit.record(
            sent.verb,
            sent.by,
            outcome,  # type: ignore[arg-type]
            subject=sent.model,
            arguments=sent.arguments,
            detail=detail,
        )
