"""A learner for tests of the loop: its state is a hash chain over every micro-batch, so any difference shows.

Another order, another cut into micro-batches, an event twice or left out: each gives another state. It answers with the
number of events it has learned, so a test sees which state gave an answer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np

from thalweg.memory.snapshots.state import State
from thalweg.proto.event import Batch, ClassLabels, NumberLabels
from thalweg.proto.schema import Array, Inputs, Schema, TensorSpec
from thalweg.proto.task import REGRESSION

INPUTS = {"features": TensorSpec("features", "float32", (2,))}


class ChainPredictor:
    outputs: Mapping[str, TensorSpec] = {"value": TensorSpec("value", "float32", (1,))}
    inputs: Mapping[str, TensorSpec] = INPUTS
    task = REGRESSION
    classes: tuple[str, ...] = ()
    properties: Mapping[str, str] = {}

    def __init__(self, events: int) -> None:
        self.events = events

    def predict(self, inputs: Inputs) -> Mapping[str, Array]:
        return {"value": np.full((len(inputs["features"]), 1), self.events, dtype=np.float32)}

    def state(self) -> State:
        return State({"events": np.array([self.events])})


class Chain:
    """The hash chain."""

    schema = Schema(INPUTS, "class")

    def __init__(self) -> None:
        self._hash = bytes(32)
        self._events = 0
        self.learned: list[list[float]] = []

    def learn(self, batch: Batch) -> None:
        content = hashlib.sha256(self._hash + batch.inputs["features"].tobytes() + batch.times.tobytes())
        if isinstance(batch.labels, ClassLabels):
            content.update(repr([batch.labels.names[c] if c >= 0 else None for c in batch.labels.codes]).encode())
        elif isinstance(batch.labels, NumberLabels):
            content.update(batch.labels.values.tobytes())
        self._hash = content.digest()
        self._events += len(batch)
        self.learned.append(batch.inputs["features"][:, 0].tolist())

    def predictor(self) -> ChainPredictor:
        return ChainPredictor(self._events)

    def state(self) -> State:
        return State({"hash": np.frombuffer(self._hash, np.uint8)}, {"events": self._events})

    def restore(self, state: State) -> None:
        self._hash = state.tensors["hash"].tobytes()
        self._events = state.meta["events"]

    gauges_declared = ()

    def gauges(self) -> Mapping[str, float]:
        return {}
