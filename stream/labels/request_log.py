"""The request log: requests are appended to the log as unlabelled events, for learners that adapt to their traffic.

Requests are appended in the background, without delaying responses; the order of the log counts. While the log
is unavailable, a bounded number of rows is buffered; further ones are dropped and counted.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections import deque
from collections.abc import Mapping, Sequence

import numpy as np
import structlog

from thalweg.proto.encode import EVENT_BATCH_HEADERS, to_event_batch
from thalweg.proto.event import Batch
from thalweg.proto.schema import Inputs
from thalweg.stream.health.registry import HealthRegistry
from thalweg.stream.health.supervised import SupervisedThread
from thalweg.stream.labels.dropped import Dropped
from thalweg.stream.labels.record_size import check_fits, row_bytes
from thalweg.stream.log.log import Log, LogError, Message, PermanentLogError
from thalweg.stream.log.refused import append_possible

log = structlog.get_logger(__name__)

MOST_QUEUED = 10_000
"""Rows per model that are buffered for the log; more are dropped."""
_RECORD_BYTES = 256 << 10  # brokers reject large records, and a rejected one would block all others
_IDLE_SECONDS = 0.005
_AGAIN_SECONDS = 1.0
_SILENT_SECONDS = 120.0  # an append may take 35 s before Kafka reports that it failed


class RequestLog:
    """Appends requests of the models that learn from them; any number of threads may call it.

    Args:
        topics: The topic of each model.
        source: The log.
        registry: Where it reports its health, as `request_log`.
    """

    def __init__(self, topics: Mapping[str, str], source: Log, registry: HealthRegistry | None = None) -> None:
        if topics:
            self._health = (registry or HealthRegistry()).register("request_log", silent_seconds=_SILENT_SECONDS)
        self._topics, self._log = dict(topics), source
        self._queues: dict[str, deque[tuple[bytes | None, Batch]]] = {name: deque() for name in topics}
        self._rows = dict.fromkeys(topics, 0)
        self._lock = threading.Lock()
        self.recorded = dict.fromkeys(topics, 0)
        """Rows appended so far, by model."""
        self.lost = dict.fromkeys(topics, 0)
        """Rows dropped, by model: the log was unavailable for too long, or they could not be appended."""
        self._dropped = Dropped("requests that cannot be appended")
        self._problem = ""
        self._permanent = False
        self._some, self._stopping = threading.Event(), threading.Event()
        self._thread: SupervisedThread | None = None

    @property
    def models(self) -> list[str]:
        """The models that learn from their requests."""
        return list(self._topics)

    def dropped(self) -> list[str]:
        """Which requests were dropped recently, and why."""
        return self._dropped.degraded()

    @property
    def restart_helps(self) -> bool:
        """Whether a restart is due if it is failed; else somebody must mend the log (damage, missing permission)."""
        return not (self._problem and self._permanent)

    def check(self, model: str, inputs: Inputs) -> None:
        """Raise RecordTooLarge for inputs that could never be appended; nothing for a model that learns from none."""
        if (topic := self._topics.get(model)) is not None:
            check_fits(row_bytes(inputs), self._log.max_record_bytes(topic), topic)

    def record(self, model: str, inputs: Inputs, keys: Sequence[bytes | None] | None = None) -> None:
        """Queue a request's rows as events; does nothing for a model that does not learn from requests.

        Args:
            model: Its name.
            inputs: By name, each (N, ...).
            keys: The key of each row, (N,), under which its event is appended; None: they have none.
        """
        if model not in self._topics:
            return
        rows = len(next(iter(inputs.values()), ()))
        with self._lock:
            if self._rows[model] + rows > MOST_QUEUED:
                self.lost[model] += rows
                return
            self._rows[model] += rows
            stem = uuid.uuid4().hex  # an append may be retried after its response was lost: the id makes it a duplicate
            ids = [f"r-{stem}-{row}" for row in range(rows)]
            now = np.full(rows, time.time())
            whole = Batch(dict(inputs), None, np.ones(rows), now, ids)
            size = max(1, _RECORD_BYTES // max(1, row_bytes(inputs)))
            self._queues[model].extend(
                (key, part) for key, same in _by_key(whole, keys) for part in same.micro_batches(size)
            )
        self._some.set()

    def start(self) -> None:
        """Start to append."""
        if self._topics:
            self._thread = SupervisedThread(
                self._keep_appending, self._health, "request-log", longest_wait_seconds=_AGAIN_SECONDS
            )
            self._thread.start()

    def close(self) -> None:
        """Append the queued rows once."""
        if self._thread is not None and not self._stopping.is_set():
            self._thread.stop()
            self._stopping.set()
            self._some.set()
            self._thread.join()
            for model in self._topics:
                if not self._append(model):
                    log.warning("requests were not appended", model=model, rows=self._rows[model])
                    self.lost[model] += self._rows[model]

    def _keep_appending(self) -> None:
        while not self._stopping.is_set():
            self._round()
            if self._problem:
                report = self._health.failed if self._permanent else self._health.waiting
                report(f"the log is out of reach, requests wait: {self._problem}")
            elif problems := self.dropped():
                self._health.degraded("; ".join(problems))
            else:
                self._health.running()

    def _round(self) -> None:
        self._some.wait(_AGAIN_SECONDS)
        self._some.clear()
        self._stopping.wait(_IDLE_SECONDS)  # requests that arrive together are appended together
        for model in self._topics:
            if not self._append(model):
                self._stopping.wait(_AGAIN_SECONDS)
                self._some.set()

    def _append(self, model: str) -> bool:
        """Append the queue; returns whether it succeeded. Rows that cannot be appended at all are dropped."""
        some = list(self._queues[model])
        if not some:
            return True
        failed: list[Exception] = []
        lost = 0
        messages: list[tuple[int, Message]] = []
        for key, batch in some:
            try:
                messages.append((len(batch), Message(to_event_batch(batch), key, EVENT_BATCH_HEADERS)))
            except Exception as error:
                failed.append(error)
                lost += len(batch)
        try:
            lost += self._send(model, messages, failed)
        except LogError as error:
            if not self._problem:
                log.warning("requests are buffered: the log is unavailable", model=model, problem=str(error))
            self._problem = str(error) or type(error).__name__
            self._permanent = isinstance(error, PermanentLogError)
            return False
        rows = sum(len(batch) for _, batch in some)
        with self._lock:
            for _ in some:
                self._queues[model].popleft()
            self._rows[model] -= rows
            self.lost[model] += lost
        self._dropped.note(model, failed)
        self.recorded[model] += rows - lost
        self._problem = ""
        return True

    def _send(self, model: str, messages: list[tuple[int, Message]], failed: list[Exception]) -> int:
        """Append messages with these numbers of rows; returns how many rows failed although the log is available."""
        topic = self._topics[model]
        try:
            refused = append_possible(self._log, topic, [message for _, message in messages])
        except LogError:
            raise
        except Exception as error:
            if len(messages) == 1:
                failed.append(error)
                return messages[0][0]
            return sum(self._send(model, [one], failed) for one in messages)
        failed += refused.values()
        return sum(messages[row][0] for row in refused)


def _by_key(batch: Batch, keys: Sequence[bytes | None] | None) -> list[tuple[bytes | None, Batch]]:
    """The events of each key, in their order: a record has one key, and that decides who learns it."""
    if keys is None:
        return [(None, batch)]
    rows: dict[bytes | None, list[int]] = {}
    for row, key in enumerate(keys):
        rows.setdefault(key, []).append(row)
    if len(rows) == 1:
        return [(next(iter(rows)), batch)]
    return [(key, batch.take(np.array(places))) for key, places in rows.items()]
