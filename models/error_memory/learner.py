"""ReLoop2: a recommender that corrects its predictions by its recent errors.

Source: Zhu et al., "ReLoop2: Building Self-Adaptive Recommendation Models via Responsive Error Compensation Loop", KDD
2023 (arXiv:2306.08808). A slow network learns from the stream; a fast memory stores each label as it arrives and is
read for every prediction. Ours differs (docs/learners/error_memory.md counts how): the memory is read by user and by
item before it is read by key; the weights of its features are learned from labels; the published method is a setting.
Cost per event: one forward and one backward pass of the network, one pass over a column of ids per view, one over all
keys if there is a key view. State: embedding tables, bounded, and the memory's budget.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import structlog
from numpy.typing import NDArray

from thalweg.memory.snapshots.state import State
from thalweg.memory.vectors.histories import hash_key
from thalweg.memory.vectors.key_tables import require_faiss_gpu
from thalweg.memory.vectors.neighbours import cell_of
from thalweg.memory.vectors.ring import Limits, Ring, capacity_for
from thalweg.memory.vectors.sketch import Sketch, draw_hyperplanes
from thalweg.models.contract.gauges import (
    MEMORY_BYTES,
    MEMORY_ENTRIES,
    MEMORY_EVICTIONS,
    SKIPPED_EVENTS,
    GaugeSpec,
    GaugeValue,
)
from thalweg.models.contract.learner import LearnerContext, ParamsError
from thalweg.models.error_memory.ctr_network import Network, Shape
from thalweg.models.error_memory.inputs import INPUT_NAMES, RecommenderInputs
from thalweg.models.error_memory.key_space import KeySpace
from thalweg.models.error_memory.params import Params
from thalweg.models.error_memory.predictor import (
    ID_BYTES,
    ErrorMemoryPredictor,
    Reading,
    Remembered,
    scaled_numbers,
)
from thalweg.models.error_memory.recursive_logistic import RecursiveLogistic
from thalweg.models.parts.learning_rate import LearningRateBoost
from thalweg.models.parts.standardise import Standardiser
from thalweg.proto.event import Batch, NumberLabels
from thalweg.proto.schema import Array, InputError, Schema

log = structlog.get_logger(__name__)

Floats = NDArray[np.float64]
Columns = dict[str, Array]

_HEAVIEST = 1000.0  # larger weights are reduced to this
_REACH = 10.0  # deviations to which a numeric feature is clipped
_PLACE = {"topic": np.int16, "partition": np.int32, "offset": np.int64}
_MOST_TOPICS = 1000
_MEAN_OF = 10_000  # the mean label is that of about this many latest events
EMBEDDING_ROWS = GaugeSpec(name="embedding_rows", help="Ids with a row in an embedding table")


class ErrorMemory:
    """The learner `error_memory`; parameters in `Params`, obligations in `models/contract/learner.py`.

    Labels are numbers from 0 (not clicked, not liked) to 1. Events with other labels, or with numeric features that are
    not finite, are skipped and counted.
    """

    gauges_declared = (SKIPPED_EVENTS, EMBEDDING_ROWS, MEMORY_ENTRIES, MEMORY_EVICTIONS, MEMORY_BYTES)
    params_type = Params
    input_names = INPUT_NAMES

    def __init__(self, context: LearnerContext) -> None:
        self.params = p = Params.of(context.params)
        self._inputs = RecommenderInputs(context.inputs)
        self._seed = context.seed
        shape = Shape(p.network, self._inputs.fields, self._inputs.numeric, p.dim, p.hidden_widths, p.cross_layers)
        self._reading = Reading(
            views=p.view_names,
            combine=p.combine,
            view_events=p.view_events,
            view_prior=p.view_prior,
            neighbours=p.neighbours,
            temperature=p.temperature,
            search=p.search,
            probes=p.probes,
            gamma=p.gamma,
            strength=p.strength,
        )
        self._network = Network(shape, p.table_rows, p.learning_rate, p.row_rate, context.seed)
        self._standardiser = Standardiser(self._inputs.numeric)
        self._combination = RecursiveLogistic(self._reading.untaught, p.combine_prior, p.combine_memory)
        self._ring = self._new_ring() if p.memory == "neighbours" else None
        self._sketch = self._new_sketch(context.seed) if p.memory == "sketch" else None
        self._space: KeySpace | None = None
        self._seen = np.zeros((0, shape.hidden[-1]), dtype=np.float32)  # hidden layers for the key space
        self._mean_label = 0.5
        self._topics: list[str] = []
        self._waiting = self._nothing()
        self._learned = 0
        self._trained = 0
        self._skipped = 0
        self._boost = LearningRateBoost()
        self._predictor: ErrorMemoryPredictor | None = None

    @property
    def schema(self) -> Schema:
        return Schema(self._inputs.specs, "number")

    # Learning

    def learn(self, batch: Batch) -> None:
        events = self._take(batch)
        if not len(events["label"]):
            return
        self._remember(events, self._views_of(events))
        self._wait(events)
        self._learned += len(events["label"])
        self._predictor = None

    def _take(self, batch: Batch) -> Columns:
        """The valid labelled events."""
        ids, numbers = self._inputs.gather(batch.inputs)
        if batch.labels is None:
            return self._nothing()
        if not isinstance(batch.labels, NumberLabels):
            raise InputError(f"labels: expected a number from 0 to 1, got {type(batch.labels).__name__}")
        label = batch.labels.values[:, 0]
        labelled = batch.labels.present & (batch.weights > 0)
        usable = labelled & (label >= 0) & (label <= 1) & np.logical_and.reduce(np.isfinite(numbers), axis=1)
        self._skipped += int((labelled & ~usable).sum())
        rows = np.flatnonzero(usable)
        places: list[int] = rows.tolist()
        names: list[str | None] = [None] * len(rows) if batch.ids is None else [batch.ids[row] for row in places]
        keys: list[str | None] = [None] * len(rows) if batch.keys is None else [batch.keys[row] for row in places]
        users = ids[rows, 0]
        return {
            "ids": ids[rows],
            "numbers": numbers[rows],
            "label": label[rows].astype(np.float32),
            "weight": np.minimum(batch.weights[rows], _HEAVIEST),
            "time": batch.times[rows],
            "key": np.array([0 if key is None else hash_key(key) for key in keys], dtype=np.int64)
            if any(keys)
            else users,
            "id": _fixed(names),
            **self._places(batch, rows),
        }

    def _places(self, batch: Batch, rows: Array) -> Columns:
        """Positions of events: topic (-1 for events that are not from a log), partition, offset."""
        if batch.places is None:
            nowhere = np.full(len(rows), -1)
            return {name: nowhere.astype(dtype) for name, dtype in _PLACE.items()}
        for partition in batch.places.partitions:
            if partition.topic not in self._topics and len(self._topics) < _MOST_TOPICS:
                self._topics.append(partition.topic)
        topics = [self._topics.index(p.topic) if p.topic in self._topics else -1 for p in batch.places.partitions]
        which = batch.places.which[rows]
        return {
            "topic": np.array(topics, dtype=np.int16)[which],
            "partition": np.array([p.number for p in batch.places.partitions], dtype=np.int32)[which],
            "offset": batch.places.offsets[rows],
        }

    def _views_of(self, events: Columns) -> tuple[Floats, Array]:
        """Learn the weights of the memory's features from these events; their base scores and hidden layers."""
        now = self.predictor()
        base, hidden, _ = now.base(events["ids"], events["numbers"])
        if self._reading.combine == "learned" and self._reading.views:
            features = now.features(events["ids"], hidden, base)
            self._combination.learn(features, events["label"].astype(np.float64), events["weight"])
        return base, hidden

    def _remember(self, events: Columns, scored: tuple[Floats, Array]) -> None:
        """Write entries; after the same events were read, never before."""
        base, hidden = scored
        label = events["label"].astype(np.float64)
        share = np.float64(min(1.0, len(label) / _MEAN_OF))
        known = min(self._learned, _MEAN_OF)
        self._mean_label += (label.mean() - self._mean_label) * max(share, len(label) / (known + len(label) + 100))
        if self._ring is not None:
            columns = {name: events[name] for name in ("label", "time", "key", "id", *_PLACE)}
            columns |= {"user": events["ids"][:, 0], "item": events["ids"][:, 1], "base": base}
            self._ring.append(columns | self._key_columns(hidden))
        elif self._sketch is not None and self._space is not None:
            self._sketch.write(self._space.keys(hidden), label, base, events["time"])
        if self._space is None and "key" in self._reading.views:
            self._seen = np.concatenate([self._seen, hidden])
            if len(self._seen) >= self.params.centre_events:
                self._learn_space(self._seen)

    def _key_columns(self, hidden: Array) -> Columns:
        """Keys of entries, and their cells, where configured; zeros before there is a key space."""
        if "key" not in self._reading.views:
            return {}
        in_cells = self._reading.search == "cells"
        if self._space is None:
            return {"vector": np.zeros_like(hidden)} | ({"cell": np.zeros(len(hidden), np.uint16)} if in_cells else {})
        keys = self._space.keys(hidden)
        if self._space.middles is None:
            return {"vector": keys}
        return {"vector": keys, "cell": cell_of(self._space.middles, keys)}

    def _learn_space(self, hidden: Array) -> None:
        """Use this key space from now on."""
        cells = self.params.cells if self._reading.search == "cells" else 0
        self._space = KeySpace.of_rows(hidden, cells, self._seed)
        self._seen = self._seen[:0]

    # The slow model

    def raise_forgetting(self, factor: float, events: int) -> None:
        """The network learns faster; the memory forgets by itself."""
        self._boost.raised(factor, events)

    def _wait(self, events: Columns) -> None:
        """Add events to the waiting ones, and train whenever there are enough."""
        p = self.params
        self._waiting = {name: np.concatenate([self._waiting[name], column]) for name, column in events.items()}
        start = 0
        while len(self._waiting["label"]) - start >= p.step_events:
            step = {name: column[start : start + p.step_events] for name, column in self._waiting.items()}
            if p.slot_events:
                self._train_slot(step)
            else:
                self._train(step)
            start += p.step_events - (p.warm_events if p.slot_events else 0)
        if start:
            self._waiting = {name: column[start:].copy() for name, column in self._waiting.items()}

    def _train(self, events: Columns, teacher: Array | None = None) -> None:
        """One step."""
        p = self.params
        if p.freeze_after and self._trained >= p.freeze_after:
            return
        numbers, everything = events["numbers"], np.ones(len(events["label"]), dtype=np.bool_)
        if self._inputs.numeric:
            for part in self._standardiser.stretches(len(numbers)):
                self._standardiser.take(numbers[part], _REACH)
        scale = self._standardiser.shift, self._standardiser.factor
        self._network.learn(
            events["ids"],
            scaled_numbers(numbers, everything, *scale),
            events["label"],
            events["weight"],
            teacher,
            p.distillation,
            self._boost.mean(len(numbers)),
        )
        self._trained += len(numbers)

    def _train_slot(self, events: Columns) -> None:
        """One pass over all but the newest events; then the memory is cleared and warmed with those."""
        p = self.params
        count = len(events["label"]) - p.warm_events
        before = self._answerer()
        if p.freeze_after and self._trained >= p.freeze_after:
            return
        for start in range(0, count, p.train_batch):
            step = {name: column[start : min(count, start + p.train_batch)] for name, column in events.items()}
            teacher = before.base(step["ids"], step["numbers"])[0] if p.distillation else None
            self._train(step, teacher)
        self._predictor = None
        self._forget_all()
        seen = {name: column[max(0, count - p.centre_events) : count] for name, column in events.items()}
        fresh = {name: column[count:] for name, column in events.items()}
        now = self._answerer()
        if "key" in self._reading.views:
            self._learn_space(now.base(seen["ids"], seen["numbers"])[1])
        if p.warm_events:
            base, hidden, _ = now.base(fresh["ids"], fresh["numbers"])
            self._remember(fresh, (base, hidden))

    def _forget_all(self) -> None:
        """Clear the memory: its keys and errors belong to another network."""
        if self._ring is not None:
            self._ring.clear()
        if self._sketch is not None:
            self._sketch.clear()
        self._space, self._seen = None, self._seen[:0]

    # Predictions and state

    def place(self, folder: Path) -> None:
        """Put the memory into a mapped file there, beside that of the previous run; older files are deleted."""
        if self._ring is None:
            return
        folder.mkdir(parents=True, exist_ok=True)
        numbers = sorted(int(path.stem.rpartition("-")[2]) for path in folder.glob("memory-*.slots"))
        for number in numbers[:-1]:  # servers may still use the newest one
            (folder / f"memory-{number}.slots").unlink(missing_ok=True)
        place = folder / f"memory-{numbers[-1] + 1 if numbers else 1}.slots"
        try:
            self._ring = self._new_ring(place)
        except OSError as error:
            log.warning(
                "no space to share the memory in place: each version copies it", folder=str(folder), problem=str(error)
            )
            return
        self._predictor = None

    def predictor(self) -> ErrorMemoryPredictor:
        if self._predictor is None:
            self._predictor = self._answerer()
        return self._predictor

    def _answerer(self) -> ErrorMemoryPredictor:
        remembered = Remembered(
            None if self._ring is None else self._ring.window(),
            None if self._sketch is None else self._sketch.frozen(),
            self._space,
            self._mean_label,
            tuple(self._topics),
        )
        scale = self._standardiser.shift.copy(), self._standardiser.factor.copy()
        weights = self._combination.weights.copy()
        network = self._network.frozen()
        return ErrorMemoryPredictor(self._inputs, network, scale, remembered, self._reading, weights, self._trained)

    @classmethod
    def predictor_from(cls, state: State) -> ErrorMemoryPredictor:
        """The predictor of a `state()`; arrays may be read-only maps of a file."""
        return ErrorMemoryPredictor.of(state)

    def gauges(self) -> Mapping[str, GaugeValue]:
        found: dict[str, GaugeValue] = {"skipped_events": float(self._skipped)}
        found["embedding_rows"] = float(self._network.ids_kept)
        if self._ring is not None:
            found["memory_entries"] = float(self._ring.entries)
            found["memory_evictions"] = float(self._ring.evicted)
            found["memory_bytes"] = float(self._ring.nbytes)
        if self._sketch is not None:
            found["memory_entries"] = self._sketch.written
            found["memory_bytes"] = float(self._sketch.nbytes)
        return found

    def state(self) -> State:
        tensors: Columns = {f"network.{name}": array for name, array in self._network.tensors().items()}
        tensors |= {f"scale.{name}": array for name, array in self._standardiser.tensors().items()}
        tensors |= {f"combination.{name}": array for name, array in self._combination.tensors().items()}
        tensors |= {f"waiting.{name}": array for name, array in self._waiting.items()}
        if self._ring is not None:
            tensors |= {f"ring.{name}": array for name, array in self._ring.tensors().items()}
        if self._sketch is not None:
            tensors |= {f"sketch.{name}": array for name, array in self._sketch.tensors().items()}
        tensors["seen"] = self._seen
        if self._space is not None:
            tensors |= {f"keys.{name}": array for name, array in self._space.tensors().items()}
        meta = {
            "identity": self._identity(),
            "mean_label": self._mean_label,
            "topics": self._topics,
            "learned": self._learned,
            "trained": self._trained,
            "skipped": self._skipped,
            "scale": [self._standardiser.events, self._standardiser.next_step],
            **self._boost.meta(),
        }
        return State(tensors, meta)

    def restore(self, state: State) -> None:
        tensors, meta = state.tensors, state.meta
        if meta.get("identity") != self._identity():
            raise ValueError(f"state of other parameters: expected {self._identity()}, got {meta.get('identity')}")

        def below(prefix: str) -> Columns:
            return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}

        self._network.restore(below("network."))
        self._standardiser.restore(below("scale."), *meta["scale"])
        self._combination.restore(below("combination."))
        self._waiting = {name: np.array(column) for name, column in below("waiting.").items()}
        if self._ring is not None:
            self._ring.restore(below("ring."))
        if self._sketch is not None:
            self._sketch.restore(below("sketch."))
        self._seen = np.array(tensors["seen"])
        self._space = KeySpace.of({name: np.array(array) for name, array in below("keys.").items()})
        self._mean_label, self._topics = meta["mean_label"], list(meta["topics"])
        self._learned, self._trained, self._skipped = meta["learned"], meta["trained"], meta["skipped"]
        self._boost.restore(meta)
        self._predictor = None

    # Construction

    def _new_ring(self, place: Path | None = None) -> Ring:
        p = self.params
        columns = self._reading.entry_columns(p.hidden_widths[-1])
        try:
            if p.search == "faiss_gpu" and "key" in p.view_names:
                require_faiss_gpu()
        except ValueError as error:
            raise ParamsError({"search": str(error)}) from error
        try:
            capacity = capacity_for(p.memory_bytes, columns)
        except ValueError as error:
            raise ParamsError({"memory_bytes": str(error)}) from error
        return Ring(columns, capacity, Limits(p.ttl_seconds, p.per_key), place=place)

    def _new_sketch(self, seed: int) -> Sketch:
        p = self.params
        planes = draw_hyperplanes(p.sketch_arrays, p.sketch_bits, p.hidden_widths[-1], seed)
        return Sketch(planes, generation_events=p.sketch_events, half_life_seconds=p.half_life_seconds)

    def _nothing(self) -> Columns:
        """Without events."""
        return {
            "ids": np.zeros((0, self._inputs.fields), np.int64),
            "numbers": np.zeros((0, self._inputs.numeric), np.float32),
            "label": np.zeros(0, np.float32),
            "weight": np.zeros(0),
            "time": np.zeros(0),
            "key": np.zeros(0, np.int64),
            "id": np.zeros((0, ID_BYTES), np.uint8),
            **{name: np.zeros(0, dtype) for name, dtype in _PLACE.items()},
        }

    def _identity(self) -> dict[str, Any]:
        p = self.params
        found = {name: getattr(p, name) for name in ("network", "dim", "hidden", "cross_layers", "memory")}
        found |= {"fields": self._inputs.fields, "numeric": self._inputs.numeric, "views": list(self._reading.views)}
        found["cells"] = p.cells if p.search == "cells" else 0
        if p.memory == "sketch":
            found |= {name: getattr(p, name) for name in ("sketch_arrays", "sketch_bits")}
        if self._ring is not None:
            found["entries"] = self._ring.capacity
        return found


def _fixed(names: list[str | None]) -> NDArray[np.uint8]:
    """Event ids as (N, 40) bytes; a longer one keeps its prefix and ends in a hash of the whole."""
    encoded = []
    for name in names:
        raw = b"" if name is None else name.encode()
        if len(raw) > ID_BYTES:
            raw = raw[: ID_BYTES - 17] + b"~" + hashlib.blake2b(raw, digest_size=8).hexdigest().encode()
        encoded.append(raw)
    found = np.array(encoded, dtype=f"S{ID_BYTES}") if encoded else np.zeros(0, dtype=f"S{ID_BYTES}")
    return found.view(np.uint8).reshape(len(names), ID_BYTES)
