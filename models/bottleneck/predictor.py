"""What a key-value bottleneck publishes: the frozen codes, the values, which pairs have been fetched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thalweg.memory.snapshots.state import State
from thalweg.memory.vectors.key_tables import Backend
from thalweg.models.bottleneck.codes import Codes
from thalweg.models.parts.input_columns import InputColumns
from thalweg.proto.schema import Array, Inputs, TensorSpec
from thalweg.proto.task import CLASSIFICATION, Task

Floats = NDArray[np.float64]
_CHUNK = 256
"""Rows predicted at a time: bounds the memory of a request with many rows."""

_TASK = CLASSIFICATION.with_probabilities()


class BottleneckPredictor:
    """Predicts `label` and `scores` (probabilities); a row that is not finite gets label -1 and NaN.

    Args:
        columns: The inputs.
        codes: None until the keys are learned: then no class is known.
        values: (C, M, K) float32.
        fetched: (C, M): pairs fetched in learning.
        classes: Names of the K columns.
        settings: top_k, mask_unfetched, search, as in the learner's parameters.
        events: Events learned.
    """

    def __init__(
        self,
        columns: InputColumns,
        codes: Codes | None,
        values: Array,
        fetched: NDArray[np.bool_],
        classes: Sequence[str],
        settings: Mapping[str, Any],
        events: int,
    ) -> None:
        self._columns, self._codes, self._values, self._fetched = columns, codes, values, fetched
        self._classes = tuple(classes)
        self._settings = dict(settings)
        self._events = events
        self._all_fetched = bool(fetched.all())

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
        if self._codes is None or not classes or not n:
            return {"label": label, "scores": scores}
        for start in range(0, n, _CHUNK):
            part = slice(start, start + _CHUNK)
            scores[part] = softmax(self.logits(rows[part]))
        label[:] = scores.argmax(axis=1)
        if rows.dtype.kind == "f":
            broken = ~np.isfinite(rows).all(axis=1)
            label[broken], scores[broken] = -1, np.nan
        return {"label": label, "scores": scores}

    def logits(self, rows: Array) -> Floats:
        """Mean vote of the heads, (N, K) float64, of gathered inputs (N, F); requires keys."""
        assert self._codes is not None
        queries, ids = self._codes.ids(rows, self._settings["top_k"])
        if self._settings["mask_unfetched"] and not self._all_fetched:
            ids = self._codes.search.nearest_usable(queries, ids, self._fetched)
        heads = self._values.shape[0]
        votes = self._values[np.arange(heads)[:, None, None], ids.transpose(1, 0, 2)].astype(np.float64)
        # one head after another, so that a row's sum has the same bits whatever the other rows
        total = np.add.reduce(np.ascontiguousarray(votes.transpose(0, 2, 1, 3)).reshape(-1, *votes[0, :, 0].shape))
        logits: Floats = total / heads
        return logits

    def state(self) -> State:
        tensors: dict[str, Array] = {"values": self._values, "fetched": self._fetched}
        if self._codes is not None:
            tensors |= self._codes.tensors()
        return State(
            tensors,
            {
                "inputs": [[spec.name, spec.dtype, list(spec.shape)] for spec in self._columns.specs.values()],
                "classes": list(self._classes),
                "settings": self._settings,
                "events": self._events,
            },
        )

    @classmethod
    def of(cls, state: State) -> BottleneckPredictor:
        """The predictor of a `state()`; maps of a file are used in place."""
        meta, tensors = state.meta, state.tensors
        columns = InputColumns({name: TensorSpec(name, dtype, tuple(shape)) for name, dtype, shape in meta["inputs"]})
        backend: Backend = meta["settings"]["search"]
        codes = Codes.of(tensors, backend) if "keys" in tensors else None
        return cls(
            columns, codes, tensors["values"], tensors["fetched"], meta["classes"], meta["settings"], meta["events"]
        )


def softmax(logits: Floats) -> Floats:
    """Probabilities (N, K), K ≥ 1."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities: Floats = powers / powers.sum(axis=1, keepdims=True)
    return probabilities
