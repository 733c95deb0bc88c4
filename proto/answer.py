"""The prediction for an event, stored until its label arrives, so that the label grades what was served.

Classes are stored by name, because codes differ between versions. Of many classes only the highest scores are kept,
and one value that stands for each of the others, so that an answer is small whatever the number of classes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from thalweg.proto.bounds.counted import counted
from thalweg.proto.rejected import Refused
from thalweg.proto.schema import Array, Schema
from thalweg.proto.task import Task

if TYPE_CHECKING:
    from thalweg.proto import thalweg_pb2

MOST_SCORES = 32
"""Maximum number of scores kept: all, for up to this many classes."""


class Answer(NamedTuple):
    """One row of a model's outputs: a label with scores, numbers, or the probability of a 1."""

    version: int
    """The version that made the prediction."""
    label: str | None = None
    """The class; None if none was known, or the prediction is not a class."""
    classes: tuple[str, ...] = ()
    """The classes with the highest scores."""
    scores: tuple[float, ...] = ()
    """The scores of `classes`."""
    rest: float = 0.0
    """The score of every other class known then: an equal share of the remaining probability, otherwise the lowest
    kept.
    """
    known: int = 0
    """Number of classes known."""
    value: tuple[float, ...] = ()
    """K numbers."""
    score: float | None = None
    model: str = ""
    """The successor that answered; empty: the model whose name clients use."""

    @classmethod
    def of(
        cls,
        version: int,
        outputs: Mapping[str, Array],
        classes: Sequence[str],
        schema: Schema,
        task: Task,
    ) -> Answer | None:
        """The first row of outputs; None if there is none, or nothing in it is valid for `read`.

        Args:
            version: The version that made the prediction.
            outputs: Named arrays, each (N, ...).
            classes: Names of the codes of `label` and the columns of `scores`.
            schema: Schema of the events.
            task: Task of the predictor; determines what is kept.
        """
        if not task.remembered or task.answer not in outputs or not len(outputs[task.answer]):
            return None
        given = outputs[task.answer][0]
        if task.remembered == "class":
            label = classes[int(given)] if given >= 0 else None
            answer = cls(version, label)
            if task.scores in outputs:
                answer = cls(version, label, *_highest(outputs[task.scores][0], classes, task.probabilities))
            return answer if schema.label == "class" else None
        numbers = task.remembered == "numbers"
        answer = cls(version, value=tuple(given.tolist())) if numbers else cls(version, score=float(given))
        return None if answer._problem(schema) else answer

    def write(self, message: thalweg_pb2.Answer) -> None:
        """Write it into an empty message."""
        message.state_version = self.version
        if self.label is not None:
            message.label = self.label
        if self.known:
            message.classes.extend(self.classes)
            message.scores.extend(self.scores)
            message.rest, message.known = self.rest, self.known
        if self.value:
            message.value.extend(self.value)
        if self.score is not None:
            message.score = self.score
        if self.model:
            message.model = self.model

    @classmethod
    def read(cls, message: thalweg_pb2.Answer, schema: Schema) -> Answer | None:
        """Read a message; None if it has no answer.

        Raises:
            Refused: It is not a valid answer for this schema.
        """
        if not message.HasField("state_version"):
            return None
        answer = cls(
            message.state_version,
            message.label if message.HasField("label") else None,
            tuple(message.classes),
            tuple(message.scores),
            message.rest,
            message.known,
            tuple(message.value),
            message.score if message.HasField("score") else None,
            message.model,
        )
        if problem := answer._problem(schema):
            raise Refused("malformed", f"served: {problem}")
        return answer

    def _problem(self, schema: Schema) -> str:
        """Why it is not a valid answer for this schema; empty if it is."""
        if self.version < 0:
            return f"expected a state_version of at least 0, got {self.version}"
        if len(self.classes) != len(self.scores):
            return f"expected a score for each of {counted(len(self.classes), 'class')}, got {len(self.scores)}"
        if len(self.classes) > min(MOST_SCORES, self.known):
            most = counted(min(MOST_SCORES, self.known), "class")
            return f"expected scores of at most {most}, {self.known} being known, got {len(self.classes)}"
        if len(set(self.classes)) != len(self.classes):
            return "a class appears twice"
        if schema.label == "class" and (self.value or self.score is not None):
            return "expected a class and its scores, got numbers"
        if schema.label == "number" and (self.label is not None or self.known):
            return "expected numbers, got a class or its scores"
        if self.value and (len(self.value) != schema.label_width or not all(map(math.isfinite, self.value))):
            return f"expected {schema.label_width} finite numbers, got {list(self.value)!r:.80}"
        return ""


def _highest(
    scores: Array, classes: Sequence[str], probabilities: bool
) -> tuple[tuple[str, ...], tuple[float, ...], float, int]:
    """What is kept of scores (C,): classes, their scores, the score of each other class, and C."""
    known = len(scores)
    if known <= MOST_SCORES:
        return tuple(classes[:known]), tuple(scores.tolist()), 0.0, known
    places = np.argpartition(-scores, MOST_SCORES - 1)[:MOST_SCORES]
    kept = tuple(scores[places].tolist())
    rest = max(0.0, 1.0 - sum(kept)) / (known - MOST_SCORES) if probabilities else min(kept)
    return tuple([classes[place] for place in places.tolist()]), kept, rest, known
