"""What becomes of a call that is refused: it is counted, logged now and then, and recorded with others of its kind."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from thalweg.memory.audit import Actor, AuditLog
from thalweg.ops.serve.bounds.rare_log import RareLog

log = RareLog(structlog.get_logger(__name__))

EVERY_SECONDS = 60.0
"""Between two times that refusals are recorded, but for the first."""
MOST_LINES = 20
"""Recorded at a time, those of most calls; one more has the sum of all others."""
_MOST_KINDS = 1000  # told apart between two times
_OTHERS = Actor("others", "anonymous")


@dataclass(slots=True)
class _Kind:
    """Refusals of one caller, for one reason, of one method or route."""

    first: float
    subject: str
    calls: int = 0


class RefusedCalls:
    """Refused calls on their way to an audit log, counted together: a flood of them takes a few lines a minute, and no
    caller waits for the disk. Thread-safe.

    Args:
        audit: The log. One of its own: what operators did must not be pushed out by calls without rights.
        clock: Seconds.
    """

    def __init__(self, audit: AuditLog, clock: Callable[[], float] = time.monotonic) -> None:
        self._audit, self._clock = audit, clock
        self._lock = threading.Lock()
        self._kinds: dict[tuple[Actor, str, str], _Kind] = {}
        self._beyond = 0
        self._not_before = clock()

    def note(self, by: Actor, why: str, call: str, subject: str = "") -> None:
        """Remember one; returns at once. `subject`: the model that was asked for, if any."""
        with self._lock:
            kind = self._kinds.get((by, why, call))
            if kind is None:
                if len(self._kinds) >= _MOST_KINDS:
                    self._beyond += 1
                    return
                kind = self._kinds[by, why, call] = _Kind(self._clock(), subject)
            kind.calls += 1

    def look(self) -> None:
        """Record what has come, if that is due. Called about once a second."""
        if self._clock() >= self._not_before:
            self.record()

    def record(self) -> None:
        """Record what has come, now."""
        with self._lock:
            kinds, beyond = self._kinds, self._beyond
            self._kinds, self._beyond = {}, 0
        if not kinds:
            return
        self._not_before = self._clock() + EVERY_SECONDS
        most = sorted(kinds.items(), key=lambda one: -one[1].calls)
        for (by, why, call), kind in sorted(most[:MOST_LINES], key=lambda one: one[1].first):
            said = {"call": call, "calls": kind.calls}
            self._audit.record("call", by, "refused", subject=kind.subject, arguments=said, detail=why)
        if rest := sum(kind.calls for _, kind in most[MOST_LINES:]) + beyond:
            why = f"callers, reasons and methods beyond the {MOST_LINES} of most calls"
            self._audit.record("call", _OTHERS, "refused", arguments={"calls": rest}, detail=why)


class Refusals:
    """Tells of refused calls. Thread-safe.

    Args:
        counted: Called with the reason of each: `unauthenticated`, `forbidden`, `host`, `origin`, `rate`.
        calls: Records them; None: nobody does.
    """

    def __init__(self, counted: Callable[[str], None] = lambda reason: None, calls: RefusedCalls | None = None) -> None:
        self._counted, self._calls = counted, calls

    def tell(self, reason: str, by: Actor, why: str, *, peer: str, call: str, **fields: str) -> None:
        """A call was refused.

        Args:
            reason: As it is counted.
            by: Who called.
            why: One of few texts, each of which is logged only now and then.
            peer: The caller's address.
            call: The method or route.
            fields: More for the log line; `model` is the model that was asked for.
        """
        self._counted(reason)
        log.warning(f"refused a call: {why}", call=call, **fields, peer=peer)
        if self._calls is not None:
            self._calls.note(by, why, call, fields.get("model", ""))
