"""The request buffer: requests and their predictions are written in the background to the store, where they wait for
their label, without delaying responses.

While the store is unavailable, a bounded number of requests is buffered; further ones are dropped and counted. A label
that arrives before its request is in the store waits for it, so the delay does not matter.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import structlog

from thalweg.memory.exchange.commands import StoreError
from thalweg.memory.exchange.pending import Pending
from thalweg.proto.answer import Answer
from thalweg.proto.bounds.limits import MAX_ID_BYTES
from thalweg.proto.encode import to_events
from thalweg.proto.event import Batch
from thalweg.proto.json_text import is_utf8
from thalweg.proto.schema import InputError, Inputs
from thalweg.stream.health.registry import HealthRegistry
from thalweg.stream.health.supervised import SupervisedThread
from thalweg.stream.labels.dropped import Dropped
from thalweg.stream.labels.record_size import check_fits, row_bytes

log = structlog.get_logger(__name__)

MOST_QUEUED = 10_000
"""Requests per model that are buffered for the store; more are dropped."""
_AT_ONCE = 200
_CHECK_SECONDS = 1.0
_IDLE_SECONDS = 0.005
_SILENT_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class JoinedTopic:
    """Where joined events go."""

    topic: str
    max_record_bytes: Callable[[], int]
    """The largest record that it accepts; called for each request, must not block."""


class RequestBuffer:
    """Buffers requests of all models; any number of threads may call it.

    Args:
        pendings: The store of each model; models that are missing join no labels.
        registry: Where it reports its health, as `request_buffer`, and that of each store, as `request_store`.
        joined: Where the joined events of each model go, for `check_size`; None: their size is not limited.
    """

    def __init__(
        self,
        pendings: Mapping[str, Pending],
        registry: HealthRegistry | None = None,
        joined: Mapping[str, JoinedTopic] | None = None,
    ) -> None:
        registry = registry or HealthRegistry()
        if pendings:
            self._health = registry.register("request_buffer", silent_seconds=_SILENT_SECONDS)
        self._stores = {name: registry.register("request_store", name) for name in pendings}
        self._pendings = pendings
        self._joined = joined or {}
        self._queues: dict[str, deque[tuple[str, float, Inputs, Answer | None, bytes | None]]] = {
            name: deque() for name in pendings
        }
        self._reached = dict.fromkeys(pendings, True)
        self.remembered = dict.fromkeys(pendings, 0)
        """Requests written to the store so far, by model."""
        self.forgotten = dict.fromkeys(pendings, 0)
        """Requests dropped, by model: the store was unavailable for too long, or they could not be written."""
        self._dropped = Dropped("requests that cannot be buffered")
        self._some = threading.Event()
        self._stopping = threading.Event()
        self._thread: SupervisedThread | None = None
        self._checked = 0.0

    @property
    def models(self) -> list[str]:
        """The models whose requests are buffered."""
        return list(self._pendings)

    def reached(self, model: str) -> bool:
        """Whether the store of a model was available at the last attempt."""
        return self._reached[model]

    def dropped(self) -> list[str]:
        """Which requests were dropped recently, and why."""
        return self._dropped.degraded()

    def check(self, event_id: str, inputs: Inputs) -> None:
        """Raise InputError for a request that cannot be buffered: inputs of several rows or none, an id that is empty,
        too long or not valid UTF-8."""
        if not event_id:
            raise InputError("parameter 'event_id': expected an id, got an empty string")
        if not is_utf8(event_id):
            raise InputError(f"parameter 'event_id': expected valid UTF-8, got {event_id!r:.80}")
        if (length := len(event_id.encode())) > MAX_ID_BYTES:
            raise InputError(f"parameter 'event_id': expected at most {MAX_ID_BYTES} bytes, got {length}")
        rows = {len(column) if column.ndim else 0 for column in inputs.values()}
        if rows != {1}:
            raise InputError(f"parameter 'event_id': expected inputs of one row, got {max(rows, default=0)}")

    def check_size(self, model: str, inputs: Inputs) -> None:
        """Raise RecordTooLarge for inputs whose event could never be appended once its label arrives."""
        if (joined := self._joined.get(model)) is not None:
            check_fits(row_bytes(inputs), joined.max_record_bytes(), joined.topic)

    def remember(self, model: str, event_id: str, inputs: Inputs, answer: Answer | None) -> None:
        """Buffer these inputs, of one row, and their prediction until their label arrives.

        Raises:
            InputError: As `check` does.
        """
        self.check(event_id, inputs)
        self.add(model, event_id, inputs, answer)

    def add(self, model: str, event_id: str, inputs: Inputs, answer: Answer | None, key: bytes | None = None) -> None:
        """As `remember`, for a request that `check` has accepted; `key`: of its event, valid UTF-8."""
        queue = self._queues[model]
        if len(queue) >= MOST_QUEUED:
            self.forgotten[model] += 1
            return
        queue.append((event_id, time.time(), dict(inputs), answer, key))
        self._some.set()

    def start(self) -> None:
        """Start to write to the store."""
        if self._pendings:
            self._thread = SupervisedThread(
                self._keep_writing, self._health, "request-buffer", longest_wait_seconds=_CHECK_SECONDS
            )
            self._thread.start()

    def close(self) -> None:
        """Write the buffered requests, what cannot be written is dropped and told; and close the stores."""
        if self._thread is not None and not self._stopping.is_set():
            self._thread.stop()
            self._stopping.set()
            self._some.set()
            self._thread.join()
            for model, queue in self._queues.items():
                while queue and self._write(model):
                    pass
                if queue:
                    log.warning("requests were not buffered: no label will find them", model=model, requests=len(queue))
                    self.forgotten[model] += len(queue)
                    queue.clear()
        for pending in self._pendings.values():
            pending.close()

    def _keep_writing(self) -> None:
        self._checked = time.monotonic()
        while not self._stopping.is_set():
            self._round()
            if problems := self.dropped():
                self._health.degraded("; ".join(problems))
            else:
                self._health.running()

    def _round(self) -> None:
        if self._some.wait(_CHECK_SECONDS):
            self._some.clear()
            self._stopping.wait(_IDLE_SECONDS)  # requests that arrive together are written together
        for model in self._pendings:
            while self._queues[model] and self._write(model):
                self._health.beat()
        if time.monotonic() - self._checked >= _CHECK_SECONDS:
            self._checked = time.monotonic()
            for model in self._pendings:
                if self._check(model) and self._queues[model]:
                    self._some.set()

    def _write(self, model: str) -> bool:
        """Write part of the buffer; returns whether it succeeded. Drops requests that cannot be written at all."""
        queue = self._queues[model]
        some = [queue[index] for index in range(min(_AT_ONCE, len(queue)))]
        if not some:
            return True
        failed: list[Exception] = []
        entries = []
        for id, moment, inputs, answer, key in some:
            try:
                entries.append((id, moment, _event(id, moment, inputs, answer, key)))
            except Exception as error:
                failed.append(error)
        try:
            self._remember(model, entries, failed)
        except StoreError as error:
            self._note(model, False, str(error))
            return False
        for _ in some:
            queue.popleft()
        self.forgotten[model] += len(failed)
        self._dropped.note(model, failed)
        self.remembered[model] += len(some) - len(failed)
        self._note(model, True)
        return True

    def _remember(self, model: str, entries: list[tuple[str, float, bytes]], failed: list[Exception]) -> None:
        """Write entries; those that fail although the store is available are skipped."""
        try:
            self._pendings[model].remember(model, entries)
        except StoreError:
            raise
        except Exception as error:
            if len(entries) == 1:
                failed.append(error)
                return
            for entry in entries:
                self._remember(model, [entry], failed)

    def _check(self, model: str) -> bool:
        try:
            self._pendings[model].check()
        except StoreError as error:
            self._note(model, False, str(error))
            return False
        if self._reached[model] or not self._queues[model]:  # else the next write says whether the store takes it
            self._note(model, True)
        return True

    def _note(self, model: str, reached: bool, problem: str = "") -> None:
        if reached:
            self._stores[model].running()
        else:
            self._stores[model].waiting(f"the store is out of reach, requests and labels wait: {problem}")
        if self._reached[model] == reached:
            return
        self._reached[model] = reached
        if reached:
            log.info("the store is available again", model=model)
        else:
            log.error("the store is unavailable: requests are buffered", model=model, problem=problem)


def _event(id: str, moment: float, inputs: Inputs, answer: Answer | None, key: bytes | None) -> bytes:
    keys = None if key is None else [key.decode()]
    return to_events(Batch(inputs, None, np.ones(1), np.array([moment]), [id], keys, served=[answer]))[0]
