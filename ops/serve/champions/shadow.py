"""Shadow copies: some requests to an alias are answered by its challengers as well, and nobody sees those answers.

They show what a challenger does with the traffic: whether it answers as the champion, how long it takes, whether it
fails. A copy is taken after the champion has answered, waits in a bounded queue, and is the first thing to be shed. One
thread of low priority computes them, in at most a tenth of its time.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import NamedTuple, TypeAlias

import numpy as np

from thalweg.models.contract.learner import Predictor
from thalweg.ops.serve.bounds.pieces import input_bytes, rows_of
from thalweg.ops.serve.by_key.keys import ROUTE
from thalweg.ops.serve.models import ServedModel
from thalweg.proto.schema import Array, Inputs
from thalweg.proto.task import task_of
from thalweg.proto.tensors import check_inputs
from thalweg.stream.health.registry import Health, HealthRegistry
from thalweg.stream.health.supervised import SupervisedThread

Told: TypeAlias = Callable[[str, str, str, float], None]
"""Of a copy: the alias, the model, the outcome, and the seconds it took."""
OUTCOMES = ("agreed", "differed", "answered", "failed", "unready", "shed")
"""Same label; another label; an answer that is no label; an error; no version yet; dropped because others waited, or a
row is too large.
"""

_MOST_WAITING = 64
_MOST_BYTES = 1 << 20  # of a copy; of a larger request its first rows are one
_SHARE_OF_TIME = 0.1
_NICE = 10
_LOOK_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 5.0


class _Copy(NamedTuple):
    model: ServedModel
    """The champion under the alias's name."""
    predictor: Predictor
    inputs: Inputs
    outputs: Mapping[str, Array]


class Shadow:
    """Computes the copies of all aliases of a server.

    Args:
        registry: Where its thread reports its health.
        most_waiting: Copies that wait at most; further ones are shed.
    """

    def __init__(self, registry: HealthRegistry, most_waiting: int = _MOST_WAITING) -> None:
        self.told: Told = lambda alias, model, outcome, seconds: None
        """Hears of every copy; must be quick."""
        self._waiting: deque[_Copy] = deque()
        self._most_waiting = most_waiting
        self._owed: dict[str, float] = {}
        self._go, self._stopping = threading.Event(), threading.Event()
        self._registry = registry
        self._thread: SupervisedThread | None = None

    def offer(
        self, model: ServedModel, share: float, predictor: Predictor, inputs: Inputs, outputs: Mapping[str, Array]
    ) -> None:
        """A request to an alias was answered; called on its thread, and never waits.

        Args:
            model: Who answered, under the alias's name.
            share: Of how many requests a copy is taken.
            predictor: What answered.
            inputs: Those of the request, some perhaps of challengers alone.
            outputs: The answer.
        """
        owed = self._owed.get(model.name, 0.0) + share  # two threads may count one request: it is a sample
        if owed < 1.0 - 1e-9:
            self._owed[model.name] = owed
            return
        self._owed[model.name] = owed - 1.0
        beginning = None if len(self._waiting) >= self._most_waiting else _beginning(inputs, outputs)
        if beginning is None:
            for other in model.others:
                self.told(model.name, other.name, "shed", 0.0)
            return
        self._waiting.append(_Copy(model, predictor, *beginning))
        self._go.set()

    @property
    def waiting(self) -> list[_Copy]:
        """The copies that wait, the oldest first."""
        return list(self._waiting)

    def start(self) -> None:
        """Start computing copies."""
        health = self._registry.register("shadow")
        self._thread = SupervisedThread(lambda: self._run(health), health, "shadow")
        self._thread.start()

    def close(self) -> None:
        """Stop; copies that wait are dropped."""
        self._stopping.set()
        self._go.set()
        if self._thread is not None:
            self._thread.stop()
            self._thread.join()

    def compute_waiting(self) -> float:
        """Compute the copies that wait; the seconds that took."""
        began = time.perf_counter()
        while not self._stopping.is_set():
            try:
                copy = self._waiting.popleft()
            except IndexError:
                break
            for other in copy.model.others:
                self._compute(copy, other)
        return time.perf_counter() - began

    def _run(self, health: Health) -> None:
        with suppress(OSError, AttributeError):  # of this thread alone, where the system can
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
        while not self._stopping.is_set():
            health.running()
            if self._go.wait(_LOOK_SECONDS):
                self._go.clear()
                took = self.compute_waiting()
                self._stopping.wait(min(_LONGEST_PAUSE_SECONDS, took * (1.0 / _SHARE_OF_TIME - 1.0)))

    def _compute(self, copy: _Copy, other: ServedModel) -> None:
        began = time.perf_counter()
        outcome = "failed"
        with suppress(Exception):  # whatever a challenger does, the champion has answered
            outcome = _outcome(copy, other)
        self.told(copy.model.name, other.name, outcome, time.perf_counter() - began)


def _beginning(inputs: Inputs, outputs: Mapping[str, Array]) -> tuple[Inputs, Mapping[str, Array]] | None:
    """The first rows of a request and its answer, as many as may wait; None where one row alone is too large."""
    rows = rows_of(inputs)
    if rows == 0:
        return inputs, outputs
    size = input_bytes(inputs, rows) + input_bytes(outputs, rows)
    if size * rows <= _MOST_BYTES:
        return inputs, outputs
    if not (most := _MOST_BYTES // size):
        return None
    return _first(inputs, most), _first(outputs, most)


def _first(arrays: Mapping[str, Array], rows: int) -> Mapping[str, Array]:
    """Copies, which keep nothing of the others."""
    return {name: np.array(array[:rows]) for name, array in arrays.items()}


def _outcome(copy: _Copy, other: ServedModel) -> str:
    served = other.versions.newest
    if served is None or other.untrained(served):
        return "unready"
    specs = other.schema.inputs
    inputs: Inputs = {name: one for name, one in copy.inputs.items() if name in specs}
    inputs = inputs if other.fit is None else other.fit(inputs, None)
    check_inputs(specs, inputs)
    if other.keys is not None:
        keyed = copy.inputs if ROUTE in copy.inputs else other.keys.read(copy.inputs, None, None)
        inputs = {**inputs, ROUTE: keyed[ROUTE]}
    outputs = served.predictor.predict(inputs)
    task = task_of(copy.predictor)
    if task.label != "class" or task.answer not in copy.outputs or task.answer not in outputs:
        return "answered"
    ours = _names(copy.predictor.classes, copy.outputs[task.answer])
    theirs = _names(served.predictor.classes, outputs[task.answer])
    return "agreed" if ours == theirs else "differed"


def _names(classes: tuple[str, ...], labels: Array) -> list[str]:
    known = np.asarray(labels).ravel().tolist()
    return [classes[one] if isinstance(one, int) and 0 <= one < len(classes) else str(one) for one in known]
