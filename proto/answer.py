"""What was answered to an event: kept while its label is awaited, so that the label grades what was served.

Classes go by name, for the codes of one version are not those of another. Of many classes only the highest scores are
kept, and one that stands for each of the others, so that an answer is small whatever the number of classes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from thalweg.proto.rejected import Refused
from thalweg.proto.schema import Array, Schema

if TYPE_CHECKING:
    from thalweg.proto import thalweg_pb2

MOST_SCORES = 32
"""Scores that are kept: all of up to so many classes."""


class Answer(NamedTuple):
    """One row of a model's outputs: a label with scores, numbers, or the probability of a 1."""

    version: int
    """The state that answered."""
    label: str | None = None
    """The class; None: none was known, or the answer is no class."""
    classes: tuple[str, ...] = ()
    """Those with the highest scores."""
    scores: tuple[float, ...] = ()
    """Theirs."""
    rest: float = 0.0
    """That of each other class known then: an equal part of what remained of probabilities, else the least kept."""
    known: int = 0
    """How many classes were known."""
    value: tuple[float, ...] = ()
    """K numbers."""
    score: float | None = None

    @classmethod
    def of(
        cls,
        version: int,
        outputs: Mapping[str, Array],
        classes: Sequence[str],
        schema: Schema,
        *,
        probabilities: bool,
    ) -> Answer | None:
        """The first row of outputs; None where there is none, or nothing in it that `read` would take.

        Args:
            version: The state that answered.
            outputs: Named arrays, each (N, ...).
            classes: Names behind the codes of `label` and the columns of `scores`.
            schema: Of the events it answers to.
            probabilities: Whether that is what `scores` are.
        """
        if schema.label == "number":
            answer = cls._of_numbers(version, outputs)
            return None if answer is None or answer._problem(schema) else answer
        if "label" not in outputs or not len(outputs["label"]):
            return None
        code = int(outputs["label"][0])
        label = classes[code] if code >= 0 else None
        if "scores" not in outputs:
            return cls(version, label)
        return cls(version, label, *_highest(outputs["scores"][0], classes, probabilities))

    @classmethod
    def _of_numbers(cls, version: int, outputs: Mapping[str, Array]) -> Answer | None:
        if "value" in outputs and len(outputs["value"]):
            return cls(version, value=tuple(outputs["value"][0].tolist()))
        if "score" in outputs and len(outputs["score"]):
            return cls(version, score=float(outputs["score"][0]))
        return None

    def write(self, message: thalweg_pb2.Answer) -> None:
        """Put it into an empty message."""
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

    @classmethod
    def read(cls, message: thalweg_pb2.Answer, schema: Schema) -> Answer | None:
        """What a message says; None where there was no answer.

        Raises:
            Refused: It is none to an event of this schema.
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
        )
        if problem := answer._problem(schema):
            raise Refused("malformed", f"served: {problem}")
        return answer

    def _problem(self, schema: Schema) -> str:
        """Why it cannot have been an answer to an event of this schema; nothing where it can."""
        if self.version < 0:
            return f"expected a state_version of at least 0, got {self.version}"
        if len(self.classes) != len(self.scores):
            return f"expected a score for each of {len(self.classes)} classes, got {len(self.scores)}"
        if len(self.classes) > min(MOST_SCORES, self.known):
            most = min(MOST_SCORES, self.known)
            return f"expected scores of at most {most} classes, {self.known} being known, got {len(self.classes)}"
        if len(set(self.classes)) != len(self.classes):
            return "one of the classes stands twice"
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
    """What is kept of scores (C,): classes, their scores, that of each other class, and C."""
    known = len(scores)
    if known <= MOST_SCORES:
        return tuple(classes[:known]), tuple(scores.tolist()), 0.0, known
    places = np.argpartition(-scores, MOST_SCORES - 1)[:MOST_SCORES]
    kept = tuple(scores[places].tolist())
    rest = max(0.0, 1.0 - sum(kept)) / (known - MOST_SCORES) if probabilities else min(kept)
    return tuple([classes[place] for place in places.tolist()]), kept, rest, known
