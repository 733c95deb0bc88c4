"""How a memory is read: the features that correct a prediction, and what entries say of a turn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from thalweg.memory.vectors.neighbours import NOBODY, nearest, nearest_in_cells
from thalweg.memory.vectors.resident import ResidentVectors
from thalweg.memory.vectors.sketch import FrozenSketch
from thalweg.memory.vectors.slots import Columns, Seqs
from thalweg.memory.vectors.window import Window
from thalweg.models.error_memory.compensation import Neighbourhood, attend
from thalweg.models.error_memory.inputs import Ids, Numbers, RecommenderInputs
from thalweg.models.error_memory.key_space import KeySpace
from thalweg.models.error_memory.params import Params
from thalweg.models.error_memory.turns import Turns
from thalweg.models.error_memory.views import FIGURES, logit, read_entries, view
from thalweg.models.parts.standardise import scaled
from thalweg.proto.schema import Array

Floats = NDArray[np.float64]
_CLIP = 10.0  # deviations to which a numeric feature is clipped
_KEY_FIGURES = 2
_MOST_NUMBERS = 32  # a step of the combination takes time with the cube of its features
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
    turns: bool
    """Whether hypotheses of a turn are held."""
    numbers: tuple[int, ...] = ()
    """Places of the numeric inputs that a learned combination reads, too: it believes another recommender's score after
    a hundred events, where the network takes thousands."""

    @property
    def features(self) -> int:
        """Features of a learned combination: one, the logit of the base score, those of each view, and numbers."""
        return 2 + sum(_KEY_FIGURES if name == "key" else FIGURES for name in self.views) + len(self.numbers)

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
        if self.turns:
            found |= {"evidence": (np.float32, ()), "turned": (np.float32, ())}
        if "key" in self.views:
            found["vector"] = (np.float32, (key_width,))
        if "key" in self.views and self.search == "cells":
            found["cell"] = (np.uint16, ())
        return found


class Recalled(NamedTuple):
    """What the memory says of N events."""

    features: Floats
    """(N, features), of a learned combination."""
    unturned: Floats
    """(N, features), had nothing turned; the same without hypotheses of a turn."""
    agreement: Floats
    """(N, S), of the events' items since each start of `Turns`."""


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
    turns: Turns | None
    """None: no hypotheses of a turn are held."""
    resident: ResidentVectors | None = None
    """The keys of the window on a device; None: they are searched with the processor."""

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
            backend: Any = reading.search
            seqs, similar = nearest(self.window, "vector", queries, reading.neighbours, backend, resident=self.resident)
        else:
            seqs, similar = nearest_in_cells(
                self.window, "vector", "cell", self.space.middles, queries, reading.neighbours, reading.probes
            )
        labels, bases = (self.window.take(name, np.maximum(seqs, 0)).astype(np.float64) for name in ("label", "base"))
        similar = np.where(self.window.standing(seqs), similar, -np.inf)
        return attend(similar, labels, bases, reading.temperature), seqs

    def recall(self, ids: Ids, numbers: Numbers, hidden: Array, base: Floats, reading: Reading) -> Recalled:
        """Read it for events: ids (N, fields), scaled numbers (N, H), hidden layers (N, h) and base scores (N,)."""
        steep = logit(base)
        found = [np.ones((len(ids), 1)), steep[:, None]]
        unturned = list(found)
        agreement = np.zeros((len(ids), 0))
        for name in reading.views:
            if name == "key":
                near, _ = self.neighbourhood(hidden, reading)
                above = np.where(near.found, near.label - self.mean_label, 0.0)
                found.append(np.stack([near.label - near.base, above], axis=1))
                unturned.append(found[-1])
                continue
            assert self.window is not None
            distinct, inverse = np.unique(ids[:, 0 if name == "user" else 1], return_inverse=True)
            entries = read_entries(self.window, name, distinct, reading.view_events, reading.turns)
            found.append(view(entries, inverse, steep, reading.view_prior, self.mean_label))
            if self.turns is None:
                continue
            without = entries.unturned(self.turns.since)
            unturned.append(view(without, inverse, steep, reading.view_prior, self.mean_label))
            if name == "item":
                assert entries.evidence is not None
                agreement = self.turns.agreement(entries.places, entries.seqs, entries.evidence, len(distinct))[inverse]
        told = numbers[:, list(reading.numbers)].astype(np.float64)
        features = np.concatenate([*found, told], axis=1)
        if self.turns is None:
            return Recalled(features, features, agreement)
        return Recalled(features, np.concatenate([*unturned, told], axis=1), agreement)


def read_numbers(numeric: int, smooth: Sequence[int] | None) -> tuple[int, ...]:
    """Which of so many numeric inputs a learned combination reads: of columns those that are scaled numbers, for a mark
    that came once would weigh much.
    """
    places = tuple(range(numeric)) if smooth is None else tuple(place for place in smooth if place < numeric)
    return places if len(places) <= _MOST_NUMBERS else ()


def scaled_numbers(numbers: Numbers, sound: NDArray[np.bool_], shift: Floats, factor: Floats) -> NDArray[np.float32]:
    """Numeric features in standard deviations from their mean; 0 in rows that are not finite."""
    if not numbers.shape[1]:
        return numbers
    with np.errstate(invalid="ignore", over="ignore"):
        moved = scaled(numbers, shift, factor, _CLIP)
    moved[~sound] = 0.0
    return moved.astype(np.float32)


def identity(params: Params, inputs: RecommenderInputs, reading: Reading, entries: int | None) -> dict[str, Any]:
    """By name; `entries`: how many the memory has room for, None if it holds none."""
    p = params
    found = {name: getattr(p, name) for name in ("network", "dim", "hidden", "cross_layers", "memory")}
    found |= {"fields": inputs.fields, "numeric": inputs.numeric, "views": list(reading.views)}
    found["features"] = reading.features - len(reading.numbers)  # states without their weights are read
    found["cells"] = p.cells if p.search == "cells" else 0
    if p.memory == "sketch":
        found |= {name: getattr(p, name) for name in ("sketch_arrays", "sketch_bits")}
    if entries is not None:
        found["entries"] = entries
    if p.turns:
        found["turn_events"] = p.turn_events
    return found


def differences(wanted: Mapping[str, Any], got: Mapping[str, Any]) -> list[str]:
    """What two identities do not have in common, with both values."""
    names = [name for name in sorted(wanted.keys() | got.keys()) if wanted.get(name) != got.get(name)]
    return [f"{name}: expected {wanted.get(name, 'none')}, got {got.get(name, 'none')}" for name in names]
