"""Alarms of drift as records of the topic `MODEL.alarms`: one when it is raised, one when it ends."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from time import time

from thalweg.models.drift import Alarm
from thalweg.stream.log import Log, Message


def alarms_topic(model: str) -> str:
    """Where the alarms of a model are."""
    return f"{model}.alarms"


class Alarms:
    """Appends one model's alarms to the log, keyed by the model's name.

    After a crash one may be sent again: `id`, made of model, number and state, tells that it is the same.
    """

    def __init__(self, log: Log, model: str, clock: Callable[[], float] = time) -> None:
        self._log = log
        self._model = model
        self._clock = clock

    def send(self, alarms: Sequence[Alarm]) -> None:
        """Keep them. Raises LogError when they could not be kept."""
        messages = [
            Message(json.dumps(alarm_record(self._model, alarm)).encode(), self._model.encode(), time=self._clock())
            for alarm in alarms
        ]
        self._log.append(alarms_topic(self._model), messages)


def alarm_record(model: str, alarm: Alarm) -> dict[str, object]:
    """An alarm as JSON has it: `state` is `raised` or `ended`."""
    state = "raised" if alarm.end is None else "ended"
    return {"id": f"{model}-{alarm.number}-{state}", "model": model, "state": state, **alarm.record()}
