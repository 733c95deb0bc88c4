"""What a key-value bottleneck publishes: the frozen codes, and how the fetched values vote."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from thalweg.memory.snapshots.state import State
from thalweg.memory.vectors.key_tables import Backend
from thalweg.models.bottleneck.codes import Codes
from thalweg.models.bottleneck.first_answers import FirstAnswers
from thalweg.models.bottleneck.gradient import GradientVotes
from thalweg.models.bottleneck.mixed.votes import MixedVotes
from thalweg.models.bottleneck.softmax import softmax
from thalweg.models.bottleneck.votes import CountVotes
from thalweg.models.parts.input_columns import InputColumns
from thalweg.proto.schema import Array, Inputs, TensorSpec
from thalweg.proto.task import CLASSIFICATION, Task

_CHUNK = 256
_NUMBERS = 1 << 20
"""Rows predicted at a time, and votes of them: bounds the memory of a request with many rows or classes."""

Votes: TypeAlias = MixedVotes | CountVotes | GradientVotes

_KINDS: Mapping[str, type[MixedVotes] | type[CountVotes] | type[GradientVotes]] = {
    "mixed": MixedVotes,
    "counts": CountVotes,
    "gradient": GradientVotes,
}
_TASK = CLASSIFICATION.with_probabilities()


class BottleneckPredictor:
    """Predicts `label` and `scores` (probabilities); a row that is not finite gets label -1 and NaN.

    Args:
        columns: The inputs.
        codes: None until the keys are learned.
        votes: Of the values.
        classes: Names of the K columns.
        search: As in the learner's parameters.
        events: Events learned.
        first: Answers until the keys are learned; None: no class is known then.
    """

    def __init__(
        self,
        columns: InputColumns,
        codes: Codes | None,
        votes: Votes,
        classes: Sequence[str],
        search: Backend,
        events: int,
        first: FirstAnswers | None = None,
    ) -> None:
        self._columns, self._codes, self._votes = columns, codes, votes
        self._classes = tuple(classes)
        self._search = search
        self._events, self._first = events, first

    @property
    def inputs(self) -> Mapping[str, TensorSpec]:
        return self._columns.specs

    @property
    def task(self) -> Task:
        return _TASK

    @property
    def outputs(self) -> Mapping[str, TensorSpec]:
        return {"label": TensorSpec("label", "bytes", ()), "scores": TensorSpec("scores", "float32", (-1,))}

    @property
    def classes(self) -> tuple[str, ...]:
        return self._classes

    @property
    def properties(self) -> Mapping[str, str]:
        return {"scores": "probabilities", "events_in_values": str(self._events)}

    def predict(self, inputs: Inputs) -> Mapping[str, Array]:
        rows = self._columns.gather(inputs)
        n, classes = len(rows), len(self._classes)
        scores = np.zeros((n, classes), dtype=np.float32)
        label = np.full(n, -1, dtype=np.int32)
        if (self._codes is None and self._first is None) or not classes or not n:
            return {"label": label, "scores": scores}
        heads = 1 if self._codes is None else self._codes.search.keys.shape[0]
        step = max(1, min(_CHUNK, _NUMBERS // (classes * heads)))
        for start in range(0, n, step):
            part = slice(start, start + step)
            scores[part] = softmax(self.logits(rows[part])) if self._first is None else self._first.scores(rows[part])
        label[:] = scores.argmax(axis=1)
        if rows.dtype.kind == "f":
            broken = ~np.isfinite(rows).all(axis=1)
            label[broken], scores[broken] = -1, np.nan
        return {"label": label, "scores": scores}

    def logits(self, rows: Array) -> NDArray[np.float64]:
        """(N, K) float64, of gathered inputs (N, F); requires keys."""
        assert self._codes is not None
        return self._votes.logits(self._codes, rows)

    def state(self) -> State:
        tensors = dict(self._votes.tensors())
        if self._codes is not None:
            tensors |= self._codes.tensors()
        elif self._first is not None:
            tensors |= self._first.tensors()
        return State(
            tensors,
            {
                "inputs": [[spec.name, spec.dtype, list(spec.shape)] for spec in self._columns.specs.values()],
                "classes": list(self._classes),
                "settings": {"search": self._search, **self._votes.settings()},
                "events": self._events,
            },
        )

    @classmethod
    def of(cls, state: State) -> BottleneckPredictor:
        """The predictor of a `state()`; maps of a file are used in place."""
        meta, tensors = state.meta, state.tensors
        columns = InputColumns({name: TensorSpec(name, dtype, tuple(shape)) for name, dtype, shape in meta["inputs"]})
        settings = meta["settings"]
        search: Backend = settings["search"]
        codes = Codes.of(tensors, search) if "keys" in tensors else None
        votes = _KINDS[settings.get("values", "gradient")].of(tensors, settings)
        first = FirstAnswers.of(tensors, len(meta["classes"]))
        return cls(columns, codes, votes, meta["classes"], search, meta["events"], first)
