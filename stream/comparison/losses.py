"""The loss of each labelled event, as models are compared by it.

| task | `auto` | between 0 and 1 |
|---|---|---|
| classes (`classification`, `adaptation`) | zero-one loss, as the accuracy on the page | yes |
| a probability (`scoring`) | Brier score | yes |
| numbers (`regression`) | squared error, mean over the numbers of a label | by `Bounds` |
| the next event (`sequence`) | negative log-likelihood | by `Bounds` |

Of classes also `brier` and `log_loss`, where scores are probabilities: for classes that are rare, or costs that differ.
A prediction that is missing or no number has the worst loss, and so has a class that the model does not know.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from thalweg.memory.vectors.histories import hash_key
from thalweg.models.contract.learner import Predictor
from thalweg.proto.event import Batch, Places
from thalweg.proto.records import Partition
from thalweg.proto.schema import Array
from thalweg.proto.task import Task, task_of
from thalweg.stream.evaluation.grading import ClassNumbers, Graded, finite, fits
from thalweg.stream.evaluation.tasks import grading_of

LossName: TypeAlias = Literal["auto", "zero_one", "brier", "log_loss"]
LEAST_PROBABILITY = 1e-4
"""A log-loss counts no probability as smaller, and is divided by that of this one."""


class NoSuchLoss(ValueError):
    """This task has no such loss."""


@dataclass(frozen=True, slots=True)
class EventLosses:
    """The losses of N labelled events, in the order in which they were learned."""

    partitions: tuple[Partition, ...]
    which: NDArray[np.int32]
    """Indices into `partitions`, (N,)."""
    offsets: NDArray[np.int64]
    """(N,); the events of one record share its offset."""
    losses: NDArray[np.float64]
    """(N,); NaN: the worst."""
    keys: NDArray[np.int64]
    """Hashes of the ids of events with late labels, (N,); -1 for others."""

    def __len__(self) -> int:
        return len(self.losses)


def range_of(task: Task, name: LossName = "auto") -> tuple[float, float]:
    """The lowest and the highest loss that there can be.

    Raises:
        NoSuchLoss: The task has no such loss.
    """
    if name != "auto" and not task.scores:
        raise NoSuchLoss(f"a {task.name} task has no loss {name!r}: expected 'auto'")
    if name in ("brier", "log_loss") and not task.probabilities:
        raise NoSuchLoss(f"loss {name!r} needs scores that are probabilities")
    if task.name == "regression":
        return 0.0, math.inf
    return (0.0, 1.0) if name != "auto" or grading_of(task).bounded else (-math.inf, math.inf)


class LossOfEvents:
    """Computes the losses of one model's predictions. Not thread-safe.

    Args:
        name: Which loss.
        joined_topic: The model's topic of events with late labels.
    """

    def __init__(self, name: LossName = "auto", joined_topic: str = "") -> None:
        self._name = name
        self._joined_topic = joined_topic
        self._numbers = ClassNumbers()

    def of(self, batch: Batch, predictor: Predictor, outputs: Mapping[str, Array]) -> EventLosses | None:
        """The losses of predictions (N, ...) made before the batch was learned; None without labels, or without places
        in a log.
        """
        found = None if batch.places is None else self.labelled(batch, predictor, outputs)
        if found is None or batch.places is None:
            return None
        rows, losses = found
        places = batch.places[rows]
        keys = self._keys(batch, places, rows)
        return EventLosses(places.partitions, places.which, places.offsets, losses, keys)

    def labelled(
        self, batch: Batch, predictor: Predictor, outputs: Mapping[str, Array]
    ) -> tuple[NDArray[np.intp], NDArray[np.float64]] | None:
        """The labelled rows (M,), and their losses (M,), NaN for the worst; None without labels."""
        if batch.labels is None:
            return None
        rows = np.flatnonzero(batch.labels.present)
        if not len(rows):
            return None
        losses = np.full(len(batch), np.nan)
        task = task_of(predictor, outputs)
        if fits(batch, task):
            graded = grading_of(task).grade(batch, predictor, task, outputs, self._numbers)
            if graded is not None:
                losses[graded.rows] = self._losses(task, graded)
        return rows, losses[rows]

    def _keys(self, batch: Batch, places: Places, rows: NDArray[np.intp]) -> NDArray[np.int64]:
        keys = np.full(len(rows), -1, dtype=np.int64)
        late = [number for number, one in enumerate(places.partitions) if one.topic == self._joined_topic]
        if batch.ids is not None and late:
            for row in np.flatnonzero(np.isin(places.which, late)).tolist():
                if (id := batch.ids[rows[row]]) is not None:
                    keys[row] = hash_key(id)
        return keys

    def _losses(self, task: Task, graded: Graded) -> NDArray[np.float64]:
        columns = graded.columns
        if task.name == "regression":
            squared: NDArray[np.float64] = columns["squared"]
            return squared
        if self._name == "zero_one":
            wrong: NDArray[np.float64] = 1.0 - columns["correct"]
            return wrong
        if self._name == "auto":
            return grading_of(task).losses(graded)
        scores, column = columns["scores"], columns["column"]
        known = np.flatnonzero(column >= 0)
        wide = finite(scores).clip(0.0, 1.0)  # (M, C)
        given = np.zeros(len(column))
        given[known] = wide[known, column[known]]
        if self._name == "brier":
            losses = np.minimum(((wide**2).sum(axis=1) - 2.0 * given + 1.0) / 2.0, 1.0)
        else:
            losses = -np.log(given.clip(LEAST_PROBABILITY, 1.0)) / -math.log(LEAST_PROBABILITY)
        return np.where(np.isnan(scores).any(axis=1), np.nan, losses) if scores.shape[1] else losses
