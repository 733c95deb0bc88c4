"""A server's side of traces: the first answer of a version that has learned a record ends that record's way."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import structlog

from thalweg.stream.publication.ports import VersionInfo
from thalweg.stream.traces.context import TraceContext
from thalweg.stream.traces.handed_on import HandedOn, handed_on, trace_reader
from thalweg.stream.traces.spans import Spans

log = structlog.get_logger(__name__)

MOST = 64
"""Records whose first answer is awaited; the oldest give way."""


class AwaitedAnswers:
    """Waits for the first answer of a version in use that has learned a record of a trace.

    `mapped` is called by one thread; `answered` by any.

    Args:
        model: The model's name.
        live: The model's folder in the live folder.
        spans: Records the spans.
        clock: Unix seconds.
    """

    def __init__(self, model: str, live: Path, spans: Spans, clock: Callable[[], float] = time.time) -> None:
        self._model, self._spans, self._clock = model, spans, clock
        self._ring = trace_reader(live)
        self._number = -1  # of the last entry that was read; below 0: what was published before is not known yet
        self._changing = threading.Lock()
        self.awaited: tuple[HandedOn, ...] = ()
        """Replaced as a whole: a request reads it once, and mostly finds it empty."""

    def mapped(self, info: VersionInfo) -> None:
        """A version is in use from now on."""
        try:
            found = list(self._ring.newer(max(0, self._number)))
        except (OSError, ValueError) as error:
            log.debug("traces cannot be read", model=self._model, problem=str(error))
            return
        in_use = [(number, one) for number, values in found if (one := handed_on(values)).version <= info.version]
        first, self._number = self._number < 0, in_use[-1][0] if in_use else max(0, self._number)
        new = [one for _, one in in_use if not first or one.version == info.version]  # others: before this process
        if new:
            with self._changing:
                self.awaited = (*self.awaited, *new)[-MOST:]

    def answered(self, version: int, request: TraceContext | None) -> None:
        """A request was answered by this version. `request`: its own span, if it is recorded."""
        with self._changing:
            done = [one for one in self.awaited if one.version <= version]
            self.awaited = tuple(one for one in self.awaited if one.version > version)
        now = self._clock()
        for one in done:
            attributes: dict[str, str | int | float] = {
                "thalweg.model": self._model,
                "thalweg.version": version,
                "thalweg.first_version": one.version,
            }
            if request is not None:
                attributes["thalweg.request.trace_id"] = f"{request.trace_id:032x}"
                attributes["thalweg.request.span_id"] = f"{request.span_id:016x}"
            self._spans.begin(f"first answer {self._model}", one.context, one.published, attributes=attributes).end(now)

    def close(self) -> None:
        """Release resources; may be called twice."""
        self._ring.close()
