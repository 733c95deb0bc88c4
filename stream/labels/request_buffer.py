"""Requests, and what was answered, that wait for their label: handed to the store in the background, so that no answer
waits for it.

While the store is out of reach requests queue up here, to a bound; past it they are dropped and counted. A label that
comes before its request is in the store waits for it, so nothing depends on how soon this is.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Mapping

import numpy as np
import structlog

from thalweg.memory.exchange.commands import StoreError
from thalweg.memory.exchange.pending import Pending
from thalweg.proto.answer import Answer
from thalweg.proto.encode import to_events
from thalweg.proto.event import Batch
from thalweg.proto.json_text import is_utf8
from thalweg.proto.schema import InputError, Inputs
from thalweg.stream.labels.dropped import Dropped

log = structlog.get_logger(__name__)

MOST_QUEUED = 10_000
"""Requests per model that queue for the store; more are dropped."""
_AT_ONCE = 200
_CHECK_SECONDS = 1.0
_IDLE_SECONDS = 0.005


class RequestBuffer:
    """Remembers requests of all models; any number of threads may call it.

    Args:
        pendings: Where each model's requests wait; models that are missing join no labels.
    """

    def __init__(self, pendings: Mapping[str, Pending]) -> None:
        self._pendings = pendings
        self._queues: dict[str, deque[tuple[str, float, Inputs, Answer | None]]] = {name: deque() for name in pendings}
        self._reached = dict.fromkeys(pendings, True)
        self.remembered = dict.fromkeys(pendings, 0)
        """Requests in the store so far, by model."""
        self.forgotten = dict.fromkeys(pendings, 0)
        """Requests dropped, by model: the store was out of reach for too long, or they could not be written."""
        self._dropped = Dropped("requests that cannot be remembered")
        self._some = threading.Event()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._checked = 0.0

    @property
    def models(self) -> list[str]:
        """Those whose requests are remembered."""
        return list(self._pendings)

    def reached(self, model: str) -> bool:
        """Whether the store of a model answered last time."""
        return self._reached[model]

    def degraded(self) -> list[str]:
        """What does not work at the moment, though predictions do."""
        return [
            f"model {name!r}: the store is out of reach: requests wait to be remembered, labels to be joined"
            for name, reached in self._reached.items()
            if not reached
        ] + self._dropped.degraded()

    def check(self, event_id: str, inputs: Inputs) -> None:
        """Raise InputError for what `remember` would not keep: inputs of more rows or none, an id that is empty or that
        UTF-8 cannot hold."""
        if not event_id:
            raise InputError("parameter 'event_id': expected an id, got an empty text")
        if not is_utf8(event_id):
            raise InputError(f"parameter 'event_id': expected a text that UTF-8 can hold, got {event_id!r:.80}")
        rows = {len(column) if column.ndim else 0 for column in inputs.values()}
        if rows != {1}:
            raise InputError(f"parameter 'event_id': expected inputs of one row, got {max(rows, default=0)}")

    def remember(self, model: str, event_id: str, inputs: Inputs, answer: Answer | None) -> None:
        """Keep these inputs, of one row, and what was answered until their label comes.

        Raises:
            InputError: As `check` does.
        """
        self.check(event_id, inputs)
        queue = self._queues[model]
        if len(queue) >= MOST_QUEUED:
            self.forgotten[model] += 1
            return
        queue.append((event_id, time.time(), dict(inputs), answer))
        self._some.set()

    def start(self) -> None:
        """Write to the store from now on."""
        if self._pendings:
            self._thread = threading.Thread(target=self._keep_writing, name="request-buffer", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Write what is queued, once, and close the stores."""
        if self._thread is not None and not self._stopping.is_set():
            self._stopping.set()
            self._some.set()
            self._thread.join()
            for model in self._pendings:
                self._write(model)
        for pending in self._pendings.values():
            pending.close()

    def _keep_writing(self) -> None:
        self._checked = time.monotonic()
        while not self._stopping.is_set():
            try:
                self._round()
            except Exception:  # the requests of all models pass here: whatever happens to one, the others go on
                log.exception("requests are not remembered: trying again")
                self._stopping.wait(_CHECK_SECONDS)

    def _round(self) -> None:
        if self._some.wait(_CHECK_SECONDS):
            self._some.clear()
            self._stopping.wait(_IDLE_SECONDS)  # what comes together is written together
        for model in self._pendings:
            while self._queues[model] and self._write(model):
                pass
        if time.monotonic() - self._checked >= _CHECK_SECONDS:
            self._checked = time.monotonic()
            for model in self._pendings:
                if self._check(model) and self._queues[model]:
                    self._some.set()

    def _write(self, model: str) -> bool:
        """Some of the queue into the store; whether that went well. What cannot be written at all is dropped."""
        queue = self._queues[model]
        some = [queue[index] for index in range(min(_AT_ONCE, len(queue)))]
        if not some:
            return True
        failed: list[Exception] = []
        entries = []
        for id, moment, inputs, answer in some:
            try:
                entries.append((id, moment, _event(id, moment, inputs, answer)))
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
        """Write entries; those at which the store fails otherwise than by being out of reach are left out."""
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
        self._note(model, True)
        return True

    def _note(self, model: str, reached: bool, problem: str = "") -> None:
        if self._reached[model] == reached:
            return
        self._reached[model] = reached
        if reached:
            log.info("the store answers again", model=model)
        else:
            log.error("the store is out of reach: requests queue up", model=model, problem=problem)


def _event(id: str, moment: float, inputs: Inputs, answer: Answer | None) -> bytes:
    return to_events(Batch(inputs, None, np.ones(1), np.array([moment]), [id], served=[answer]))[0]
