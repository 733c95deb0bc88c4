"""Requests as events: requests are appended to the log, unlabelled, for learners that adapt to their traffic.

Appended in the background, so that no answer waits for the log; the log's order is the order that counts. While the log
is out of reach requests queue up here, to a bound; past it they are dropped and counted.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections import deque
from collections.abc import Mapping

import numpy as np
import structlog

from thalweg.proto.encode import EVENT_BATCH_HEADERS, to_event_batch
from thalweg.proto.event import Batch
from thalweg.proto.schema import Inputs
from thalweg.stream.labels.dropped import Dropped
from thalweg.stream.log.log import Log, LogError, Message

log = structlog.get_logger(__name__)

MOST_QUEUED = 10_000
"""Rows per model that queue for the log; more are dropped."""
_RECORD_BYTES = 256 << 10  # brokers refuse large records, and one that is refused would hold up all others
_IDLE_SECONDS = 0.005
_AGAIN_SECONDS = 1.0


class RequestLog:
    """Records requests of the models that learn from them; any number of threads may call it.

    Args:
        topics: By model, where its events are.
        source: The log.
    """

    def __init__(self, topics: Mapping[str, str], source: Log) -> None:
        self._topics, self._log = dict(topics), source
        self._queues: dict[str, deque[Batch]] = {name: deque() for name in topics}
        self._rows = dict.fromkeys(topics, 0)
        self._lock = threading.Lock()
        self.recorded = dict.fromkeys(topics, 0)
        """Rows in the log so far, by model."""
        self.lost = dict.fromkeys(topics, 0)
        """Rows dropped, by model: the log was out of reach for too long, or they could not be appended."""
        self._dropped = Dropped("requests that cannot become events")
        self._reached = True
        self._some, self._stopping = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def models(self) -> list[str]:
        """Those that learn from their requests."""
        return list(self._topics)

    def degraded(self) -> list[str]:
        """What does not work at the moment, though predictions do."""
        waiting = [] if self._reached else ["the log is out of reach: requests wait to become events"]
        return waiting + self._dropped.degraded()

    def record(self, model: str, inputs: Inputs) -> None:
        """Make events of a request's rows; of a model that does not learn from them nothing."""
        if model not in self._topics:
            return
        rows = len(next(iter(inputs.values()), ()))
        with self._lock:
            if self._rows[model] + rows > MOST_QUEUED:
                self.lost[model] += rows
                return
            self._rows[model] += rows
            stem = uuid.uuid4().hex  # an append whose answer was lost is made again: the id tells
            ids = [f"r-{stem}-{row}" for row in range(rows)]
            now = np.full(rows, time.time())
            whole = Batch(dict(inputs), None, np.ones(rows), now, ids)
            row_bytes = sum(column.nbytes for column in inputs.values()) // max(1, rows)
            self._queues[model].extend(whole.micro_batches(max(1, _RECORD_BYTES // max(1, row_bytes))))
        self._some.set()

    def start(self) -> None:
        """Append from now on."""
        if self._topics:
            self._thread = threading.Thread(target=self._keep_appending, name="request-log", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Append what is queued, once."""
        if self._thread is not None and not self._stopping.is_set():
            self._stopping.set()
            self._some.set()
            self._thread.join()
            for model in self._topics:
                if not self._append(model):
                    log.warning("requests did not become events", model=model, rows=self._rows[model])
                    self.lost[model] += self._rows[model]

    def _keep_appending(self) -> None:
        while not self._stopping.is_set():
            try:
                self._round()
            except Exception:  # the requests of all models pass here: whatever happens to one, the others go on
                log.exception("requests do not become events: trying again")
                self._stopping.wait(_AGAIN_SECONDS)

    def _round(self) -> None:
        self._some.wait(_AGAIN_SECONDS)
        self._some.clear()
        self._stopping.wait(_IDLE_SECONDS)  # what comes together is appended together
        for model in self._topics:
            if not self._append(model):
                self._stopping.wait(_AGAIN_SECONDS)
                self._some.set()

    def _append(self, model: str) -> bool:
        """The queue into the log; whether that went well. What cannot be appended at all is dropped."""
        some = list(self._queues[model])
        if not some:
            return True
        failed: list[Exception] = []
        lost = 0
        messages: list[tuple[int, Message]] = []
        for batch in some:
            try:
                messages.append((len(batch), Message(to_event_batch(batch), headers=EVENT_BATCH_HEADERS)))
            except Exception as error:
                failed.append(error)
                lost += len(batch)
        try:
            lost += self._send(model, messages, failed)
        except LogError as error:
            if self._reached:
                log.warning("requests wait to become events", model=model, problem=str(error))
            self._reached = False
            return False
        rows = sum(map(len, some))
        with self._lock:
            for _ in some:
                self._queues[model].popleft()
            self._rows[model] -= rows
            self.lost[model] += lost
        self._dropped.note(model, failed)
        self.recorded[model] += rows - lost
        self._reached = True
        return True

    def _send(self, model: str, messages: list[tuple[int, Message]], failed: list[Exception]) -> int:
        """Append messages, each of so many rows; how many rows the log fails at, otherwise than by being away."""
        try:
            self._log.append(self._topics[model], [message for _, message in messages])
        except LogError:
            raise
        except Exception as error:
            if len(messages) == 1:
                failed.append(error)
                return messages[0][0]
            return sum(self._send(model, [one], failed) for one in messages)
        return 0
