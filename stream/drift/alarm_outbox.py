"""Drift alarms as records of the topic `MODEL.alarms`: one when raised, one when ended; and the digests."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Sequence
from time import time

import structlog

from thalweg.memory.snapshots.state import State
from thalweg.stream.drift.alarm import Alarm
from thalweg.stream.drift.digest import Digest
from thalweg.stream.drift.drift import ALARMS_KEPT
from thalweg.stream.health.registry import Health
from thalweg.stream.log.log import Log, LogError, Message
from thalweg.stream.shards.names import family_of

log = structlog.get_logger(__name__)


def alarms_topic(model: str) -> str:
    """The topic of a model's alarms, which its successors and its shards share."""
    return f"{family_of(model)}.alarms"


class AlarmOutbox:
    """Appends one model's alarms and digests to the log, keyed by the model's name, and writes a log line for each.

    While the log rejects them they wait, also over a restart. They are sent in the background: a log that is slow, or
    creates their topic first, holds up no learning. After a crash one may be sent again with the same `id`, which is
    made of model, number and state.
    """

    def __init__(self, log: Log, model: str, clock: Callable[[], float] = time, health: Health | None = None) -> None:
        self._log = log
        self._model = model
        self._clock = clock
        self._waiting: list[Alarm | Digest] = []
        self._lock = threading.Lock()
        self._sending: threading.Thread | None = None
        self._told = ""
        self._health = health or Health("alarm_outbox", model)
        self._health.running()

    def send(self, alarms: Sequence[Alarm], digests: Sequence[Digest] = ()) -> None:
        """Send these, and those that could not be sent before. Does not wait for it."""
        for alarm in alarms:
            self._say(alarm)
        for digest in digests:
            self._say_digest(digest)
        with self._lock:
            self._waiting = [*self._waiting, *alarms, *digests][-2 * ALARMS_KEPT :]
            if not self._waiting or (self._sending is not None and self._sending.is_alive()):
                return
            sending = threading.Thread(target=self._send_all, name=f"alarms-{self._model}", daemon=True)
            self._sending = sending
            try:
                sending.start()
            except RuntimeError as error:  # the system lets this process start no further thread: the next turn tries
                self._sending = None
                self._health.waiting(f"{len(self._waiting)} alarms cannot be sent: {error}")

    def settle(self, seconds: float) -> None:
        """Wait at most so long for those that are being sent."""
        if (sending := self._sending) is not None:
            sending.join(seconds)

    def state(self) -> State:
        """The alarms that wait."""
        waiting = list(self._waiting)
        return State(
            {}, {kind: [one.record() for one in waiting if isinstance(one, of)] for kind, of in _KINDS.items()}
        )

    def restore(self, state: State) -> None:
        """Restore the alarms that waited at a `state()`."""
        self._waiting = [Alarm.of(record) for record in state.meta["waiting"]]
        self._waiting += [Digest.of(record) for record in state.meta.get("digests", ())]  # an older state has none

    def _send_all(self) -> None:
        while sent := self._next():
            messages = [
                Message(json.dumps(_record(self._model, one)).encode(), self._model.encode(), time=self._clock())
                for one in sent
            ]
            try:
                self._log.append(alarms_topic(self._model), messages)
            except (LogError, OSError) as error:
                problem = str(error)
            else:
                problem = ""
            self._sent(sent, problem)
            if problem:
                return

    def _next(self) -> list[Alarm | Digest]:
        with self._lock:
            if not self._waiting:
                self._sending = None
            return list(self._waiting)

    def _sent(self, sent: list[Alarm | Digest], problem: str) -> None:
        with self._lock:
            if not problem:
                self._waiting = [one for one in self._waiting if all(one is not other for other in sent)]
                self._health.running()
                self._told = ""
                return
            if problem != self._told:
                log.error("alarms cannot be sent: waiting", model=self._model, problem=problem)
                self._told = problem
            self._health.waiting(f"{len(self._waiting)} alarms cannot be sent: {problem}")
            self._sending = None

    def _say(self, alarm: Alarm) -> None:
        log.log(
            logging.WARNING if alarm.end is None else logging.INFO,
            "drift" if alarm.end is None else "drift has ended",
            model=self._model,
            number=alarm.number,
            since=alarm.since,
            detector=alarm.detector,
            signal=alarm.signal,
            severity=round(alarm.severity, 3),
            features=[name for name, _ in alarm.features],
        )

    def _say_digest(self, digest: Digest) -> None:
        log.info(
            "movement without news",
            model=self._model,
            number=digest.number,
            start=digest.start,
            end=digest.end,
            detections=sum(times for _, _, times in digest.signals),
            features=[name for name, _ in digest.features],
        )


_KINDS: dict[str, type[Alarm] | type[Digest]] = {"waiting": Alarm, "digests": Digest}


def _record(model: str, one: Alarm | Digest) -> dict[str, object]:
    return alarm_record(model, one) if isinstance(one, Alarm) else digest_record(model, one)


def digest_record(model: str, digest: Digest) -> dict[str, object]:
    """A digest, ready for JSON: `state` is `digest`."""
    return {"id": f"{model}-{digest.number}-digest", "model": model, "state": "digest", **digest.record()}


def alarm_record(model: str, alarm: Alarm) -> dict[str, object]:
    """An alarm, ready for JSON: `state` is `raised` or `ended`."""
    state = "raised" if alarm.end is None else "ended"
    return {"id": f"{model}-{alarm.number}-{state}", "model": model, "state": state, **alarm.record()}
