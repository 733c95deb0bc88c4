"""Small micro-batches that are evaluated together: hundreds of one event cost little more than one.

Each was predicted before it was learned; what is gathered are those predictions. Figures and alarms are the same up to
the order of sums, because they do not depend on how a stream is cut.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from thalweg.memory.snapshots.state import State
from thalweg.models.contract.learner import Predictor
from thalweg.proto.event import Batch, join
from thalweg.proto.schema import Array, Inputs, TensorSpec
from thalweg.proto.task import Task, task_of

TOGETHER = 512
"""Events of smaller micro-batches that are evaluated together, at least, of a stream that begins …"""
_LATER, _FROM = 1024, 8192
"""… and so many after so many events: then points of the curve lie so far apart, and half as many calls cost half."""
_BYTES = 1 << 20
"""Or so many bytes of inputs: of wide events few cost little more than many."""


def together_after(events: int) -> int:
    """Events that are evaluated together, at least, when so many were seen."""
    return TOGETHER if events < _FROM else _LATER


@dataclass(frozen=True, slots=True)
class Answerer:
    """What grading needs of a predictor, without holding it: learners lend their memory to predictors that are held."""

    task: Task
    classes: tuple[str, ...]
    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]
    properties: Mapping[str, str]

    def predict(self, inputs: Inputs) -> Mapping[str, Array]:
        """Not possible any more."""
        raise RuntimeError("the predictor of a micro-batch that was learned since predicts no more")

    def state(self) -> State:
        """Not possible any more."""
        raise RuntimeError("the predictor of a micro-batch that was learned since has no state any more")


@dataclass(frozen=True, slots=True)
class Together:
    """Micro-batches with predictions by predictors that knew the same classes."""

    batch: Batch
    sizes: tuple[int, ...]
    """Events of each micro-batch."""
    answerer: Answerer
    outputs: Mapping[str, Array]


class Gathered:
    """Micro-batches that wait to be evaluated. Not thread-safe."""

    def __init__(self) -> None:
        self.events = 0
        """Events that wait."""
        self._batches: list[Batch] = []
        self._outputs: list[Mapping[str, Array]] = []
        self._row_bytes = 0
        self._forms: list[tuple[str, tuple[int, ...]]] = []  # names and shapes of the outputs
        self._classes: tuple[str, ...] = ()
        self._answerer: Answerer | None = None

    def fits(self, predictor: Predictor, outputs: Mapping[str, Array]) -> bool:
        """Whether such a micro-batch can wait together with those that wait, or nothing waits."""
        if not self._batches:
            return True
        classes = predictor.classes
        if classes is not self._classes and classes != self._classes:
            return False
        return [(name, column.shape[1:]) for name, column in outputs.items()] == self._forms

    def add(self, batch: Batch, predictor: Predictor, outputs: Mapping[str, Array]) -> None:
        """Let a micro-batch wait that fits."""
        if not self._batches:
            self._classes = predictor.classes
            self._forms = [(name, column.shape[1:]) for name, column in outputs.items()]
            self._row_bytes = sum(column[:1].nbytes for column in batch.inputs.values())
            self._answerer = Answerer(
                task_of(predictor, outputs), self._classes, predictor.inputs, predictor.outputs, predictor.properties
            )
        self._batches.append(batch)
        self._outputs.append(outputs)
        self.events += len(batch)

    def enough(self, together: int) -> bool:
        """Whether as much waits as is worth evaluating together, at least so many events."""
        return self.events >= together or self.events * self._row_bytes >= _BYTES

    def take(self) -> Together | None:
        """Those that wait; None if there are none. None waits then."""
        if not self._batches:
            return None
        batches, outputs, answerer = self._batches, self._outputs, self._answerer
        self.clear()
        assert answerer is not None
        joined = {name: np.concatenate([one[name] for one in outputs]) for name in outputs[0]}
        return Together(join(batches), tuple(map(len, batches)), answerer, joined)

    def clear(self) -> None:
        """Forget what waits."""
        self._batches, self._outputs, self._answerer, self.events = [], [], None, 0
