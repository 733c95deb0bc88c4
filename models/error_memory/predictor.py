"""What an error memory publishes: the network, the memory at that time, and how the memory corrects the network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thalweg.memory.snapshots.state import State
from thalweg.memory.vectors.neighbours import NOBODY, nearest, nearest_in_cells
from thalweg.memory.vectors.sketch import FrozenSketch
from thalweg.memory.vectors.slots import Columns, Seqs
from thalweg.memory.vectors.window import Window
from thalweg.models.error_memory.compensation import Neighbourhood, attend, compensation
from thalweg.models.error_memory.ctr_network import FrozenNetwork, Shape, sigmoid
from thalweg.models.error_memory.inputs import Ids, Numbers, RecommenderInputs
from thalweg.models.error_memory.key_space import KeySpace
from thalweg.models.error_memory.views import FIGURES, entries_of, logit, view
from thalweg.models.parts.standardise import scaled
from thalweg.proto.schema import Array, Inputs, TensorSpec
from thalweg.proto.task import SCORING, Task

Floats = NDArray[np.float64]
_CLIP = 10.0  # deviations to which a numeric feature is clipped
_KEY_FIGURES = 2
ID_BYTES = 40
"""Bytes stored of an event id."""


@dataclass(frozen=True, slots=True)
class Reading:
    """How the memory is read; a part of the parameters."""

    views: tuple[str, ...]
    combine: str
    view_events: int
    view_prior: float
    neighbours: int
    temperature: float
    search: str
    probes: int
    gamma: float
    strength: float

    @property
    def features(self) -> int:
        """Features of a learned combination: one, the logit of the base score, and those of each view."""
        return 2 + sum(_KEY_FIGURES if name == "key" else FIGURES for name in self.views)

    @property
    def untaught(self) -> Floats:
        """Weights (features,) that leave the base score unchanged."""
        weights = np.zeros(self.features)
        weights[1] = 1.0
        return weights

    def entry_columns(self, key_width: int) -> Columns:
        """The columns of a memory entry, with a key of `key_width` numbers if there is a key view."""
        found: dict[str, Any] = dict.fromkeys(("user", "item", "key"), (np.int64, ()))
        found |= {"label": (np.float32, ()), "base": (np.float64, ()), "time": (np.float64, ())}
        found |= {"id": (np.uint8, (ID_BYTES,)), "topic": (np.int16, ()), "partition": (np.int32, ())}
        found["offset"] = (np.int64, ())
        if "key" in self.views:
            found["vector"] = (np.float32, (key_width,))
        if "key" in self.views and self.search == "cells":
            found["cell"] = (np.uint16, ())
        return found


@dataclass(frozen=True, slots=True)
class Remembered:
    """A memory for reading: entries or a sketch, and its key space."""

    window: Window | None
    sketch: FrozenSketch | None
    space: KeySpace | None
    """Of the keys; None: not known yet, so there are no keys."""
    mean_label: float
    topics: tuple[str, ...]
    """Names behind the column `topic`."""

    def neighbourhood(self, hidden: Array, reading: Reading) -> tuple[Neighbourhood, Seqs]:
        """Nearest by key of hidden layers (N, h), and their entries (N, k), `NOBODY` where there is none."""
        count = len(hidden)
        nobody = np.full((count, 1), NOBODY, dtype=np.int64)
        if self.space is None:
            lonely = np.full((count, 1), -np.inf)
            return attend(lonely, np.zeros((count, 1)), np.zeros((count, 1)), reading.temperature), nobody
        queries = self.space.keys(hidden)
        if self.sketch is not None:
            read = self.sketch.read(queries)
            return attend(read.similarities, read.labels, read.bases, reading.temperature), nobody
        assert self.window is not None
        if self.space.middles is None:
            seqs, similar = nearest(self.window, "vector", queries, reading.neighbours, reading.search)  # type: ignore[arg-type]
        else:
            seqs, similar = nearest_in_cells(
                self.window, "vector", "cell", self.space.middles, queries, reading.neighbours, reading.probes
            )
        labels, bases = (self.window.take(name, np.maximum(seqs, 0)).astype(np.float64) for name in ("label", "base"))
        similar = np.where(self.window.standing(seqs), similar, -np.inf)
        return attend(similar, labels, bases, reading.temperature), seqs

    def features(self, ids: Ids, hidden: Array, base: Floats, reading: Reading) -> Floats:
        """The features of a learned combination, (N, features)."""
        steep = logit(base)
        found = [np.ones((len(ids), 1)), steep[:, None]]
        for name in reading.views:
            if name == "key":
                near, _ = self.neighbourhood(hidden, reading)
                above = np.where(near.found, near.label - self.mean_label, 0.0)
                found.append(np.stack([near.label - near.base, above], axis=1))
            else:
                assert self.window is not None
                column = ids[:, 0] if name == "user" else ids[:, 1]
                latest, prior = reading.view_events, reading.view_prior
                found.append(view(self.window, name, column, steep, latest, prior, self.mean_label))
        return np.concatenate(found, axis=1)


class ErrorMemoryPredictor:
    """Predicts `score`, `base_score` and `compensation`; a row with a number that is not finite gets NaN."""

    def __init__(
        self,
        inputs: RecommenderInputs,
        network: FrozenNetwork,
        scale: tuple[Floats, Floats],
        remembered: Remembered,
        reading: Reading,
        weights: Floats,
        events: int,
    ) -> None:
        self._inputs, self._network, self._scale = inputs, network, scale
        self._remembered, self._reading, self._weights, self._events = remembered, reading, weights, events

    @property
    def inputs(self) -> Mapping[str, TensorSpec]:
        return self._inputs.specs

    @property
    def task(self) -> Task:
        return SCORING

    @property
    def outputs(self) -> Mapping[str, TensorSpec]:
        return {name: TensorSpec(name, "float32", ()) for name in ("score", "base_score", "compensation")}

    @property
    def classes(self) -> tuple[str, ...]:
        return ()

    @property
    def properties(self) -> Mapping[str, str]:
        return {"score": "probability of the label 1", "events_in_network": str(self._events)}

    def predict(self, inputs: Inputs) -> Mapping[str, Array]:
        ids, numbers = self._inputs.gather(inputs)
        base, hidden, sound = self.base(ids, numbers)
        score = self.corrected(ids, hidden, base)
        found = {"score": score, "base_score": base, "compensation": score - base}
        answers = {name: column.astype(np.float32) for name, column in found.items()}
        for column in answers.values():
            column[~sound] = np.nan
        return answers

    def base(self, ids: Ids, numbers: Numbers) -> tuple[Floats, NDArray[np.float32], NDArray[np.bool_]]:
        """Scores of the network (N,), its hidden layers (N, h), and which rows are finite."""
        sound: NDArray[np.bool_] = np.logical_and.reduce(np.isfinite(numbers), axis=1)
        base, hidden = self._network.scores(ids, scaled_numbers(numbers, sound, *self._scale))
        return base, hidden, sound

    def corrected(self, ids: Ids, hidden: Array, base: Floats) -> Floats:
        """Scores (N,) of base scores, corrected by the memory."""
        if not len(ids) or not self._reading.views:
            return base
        if self._reading.combine == "fixed":
            near, _ = self._remembered.neighbourhood(hidden, self._reading)
            return base + compensation(base, near, self._reading.gamma, self._reading.strength)
        return self.combined(self.features(ids, hidden, base))

    def features(self, ids: Ids, hidden: Array, base: Floats) -> Floats:
        """The features of the learned combination."""
        return self._remembered.features(ids, hidden, base, self._reading)

    def combined(self, features: Floats) -> Floats:
        """Scores (N,) by the learned combination; summed so that a row's bits do not depend on the others."""
        return sigmoid((features * self._weights).sum(axis=1))

    def explain(self, inputs: Inputs, most: int = 10) -> list[list[dict[str, Any]]]:
        """The entries behind each row's score, those with the largest weight first.

        Args:
            inputs: As for `predict`.
            most: Entries per row and view.

        Returns:
            Per row, entries with `id`, `view`, `label`, `base_score`, `time` (Unix seconds), their position in the log
            (`topic`, `partition`, `offset`; only of events from a log), and, for the key view, their
            `weight`. A sketch stores no entries, so it returns none.
        """
        ids, numbers = self._inputs.gather(inputs)
        _, hidden, _ = self.base(ids, numbers)
        rows: list[list[dict[str, Any]]] = [[] for _ in range(len(ids))]
        window = self._remembered.window
        if window is None:
            return rows
        for name in self._reading.views:
            if name == "key":
                near, seqs = self._remembered.neighbourhood(hidden, self._reading)
                for row, (mine, weights) in enumerate(zip(seqs, near.weights)):
                    there = mine[mine != NOBODY][:most]
                    rows[row] += _told(
                        window, self._remembered.topics, there, name, weights[mine != NOBODY][:most].tolist()
                    )
            else:
                for row, number in enumerate(ids[:, 0 if name == "user" else 1]):
                    _, mine = entries_of(window, name, np.array([number]), self._reading.view_events)
                    rows[row] += _told(window, self._remembered.topics, mine[::-1][:most], name, None)
        return rows

    def state(self) -> State:
        tensors = {f"network.{name}": array for name, array in self._network.tensors().items()}
        tensors |= {"weights": self._weights, "shift": self._scale[0], "factor": self._scale[1]}
        held = self._remembered
        meta: dict[str, Any] = {
            "inputs": [[spec.name, spec.dtype, list(spec.shape)] for spec in self._inputs.specs.values()],
            "shape": asdict(self._network.shape),
            "reading": asdict(self._reading),
            "mean_label": held.mean_label,
            "topics": list(held.topics),
            "events": self._events,
        }
        if held.space is not None:
            tensors |= {f"keys.{name}": array for name, array in held.space.tensors().items()}
        if held.sketch is not None:
            tensors |= {f"sketch.{name}": array for name, array in held.sketch.tensors().items()}
        if held.window is not None and held.window.table.path is not None:
            meta["window"] = held.window.reference()
        elif held.window is not None:
            tensors |= {f"entry.{name}": array for name, array in held.window.tensors().items()}
        return State(tensors, meta)

    @classmethod
    def of(cls, state: State) -> ErrorMemoryPredictor:
        """The predictor of a `state()`; maps of a file are used in place."""
        meta, tensors = state.meta, state.tensors
        inputs = RecommenderInputs({name: TensorSpec(name, kind, tuple(size)) for name, kind, size in meta["inputs"]})
        shape = _tupled(Shape, meta["shape"])
        reading = _tupled(Reading, meta["reading"])
        entries, sketch = _below(tensors, "entry."), _below(tensors, "sketch.")
        window = Window.of(entries) if entries else None
        if "window" in meta:
            window = Window.at(meta["window"], reading.entry_columns(shape.hidden[-1]))
        remembered = Remembered(
            window,
            FrozenSketch.of(sketch) if sketch else None,
            KeySpace.of(_below(tensors, "keys.")),
            meta["mean_label"],
            tuple(meta["topics"]),
        )
        network = FrozenNetwork.of(shape, _below(tensors, "network."))
        scale = tensors["shift"], tensors["factor"]
        return cls(inputs, network, scale, remembered, reading, tensors["weights"], meta["events"])


def scaled_numbers(numbers: Numbers, sound: NDArray[np.bool_], shift: Floats, factor: Floats) -> NDArray[np.float32]:
    """Numeric features in standard deviations from their mean; 0 in rows that are not finite."""
    if not numbers.shape[1]:
        return numbers
    with np.errstate(invalid="ignore", over="ignore"):
        moved = scaled(numbers, shift, factor, _CLIP)
    moved[~sound] = 0.0
    return moved.astype(np.float32)


def _told(
    window: Window, topics: tuple[str, ...], seqs: Seqs, name: str, weights: list[float] | None
) -> list[dict[str, Any]]:
    names = ("id", "label", "base", "time", "topic", "partition", "offset")
    columns = {column: window.take(column, seqs) for column in names}
    told = []
    for at in np.flatnonzero(window.standing(seqs)).tolist():
        entry: dict[str, Any] = {
            "id": bytes(columns["id"][at]).rstrip(b"\0").decode("utf-8", "replace"),
            "view": name,
            "label": float(columns["label"][at]),
            "base_score": float(columns["base"][at]),
            "time": float(columns["time"][at]),
        }
        if (topic := int(columns["topic"][at])) >= 0:
            place = int(columns["partition"][at]), int(columns["offset"][at])
            entry |= {"topic": topics[topic], "partition": place[0], "offset": place[1]}
        told.append(entry if weights is None else {**entry, "weight": weights[at]})
    return told


def _below(tensors: Mapping[str, Array], prefix: str) -> dict[str, Array]:
    return {name.removeprefix(prefix): array for name, array in tensors.items() if name.startswith(prefix)}


def _tupled(kind: Any, values: Mapping[str, Any]) -> Any:
    """A dataclass from JSON, whose lists were tuples."""
    names = [field.name for field in fields(kind)]
    return kind(**{name: tuple(values[name]) if isinstance(values[name], list) else values[name] for name in names})
