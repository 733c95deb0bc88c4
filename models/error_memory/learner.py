"""ReLoop2: a recommender that corrects its predictions by its recent errors.

Source: Zhu et al., "ReLoop2: Building Self-Adaptive Recommendation Models via Responsive Error Compensation Loop", KDD
2023 (arXiv:2306.08808). A slow network learns from the stream; a fast memory stores each label as it arrives and is
read for every prediction. Ours differs (docs/learners/error_memory.md counts how): the memory is read by user and by
item before it is read by key; the weights of its features are learned from labels; hypotheses that a share of the items
turned are weighed by all labels; the published method is a setting.
Cost per event: one forward and one backward pass of the network, one pass over a column of ids per view, one over all
keys if there is a key view. State: embedding tables, bounded, and the memory's budget.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import structlog
from numpy.typing import NDArray

from thalweg.memory.devices.device import Device
from thalweg.memory.snapshots.state import State
from thalweg.memory.vectors.neighbours import cell_of
from thalweg.memory.vectors.resident import ResidentVectors
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
from thalweg.models.error_memory.guard import Guard
from thalweg.models.error_memory.inputs import INPUT_NAMES, RecommenderInputs
from thalweg.models.error_memory.intake import PLACE, Columns, Intake, part_of
from thalweg.models.error_memory.key_space import KeySpace
from thalweg.models.error_memory.params import Params
from thalweg.models.error_memory.predictor import ErrorMemoryPredictor
from thalweg.models.error_memory.reading import Reading, Remembered, differences, identity, read_numbers
from thalweg.models.error_memory.recursive_logistic import RecursiveLogistic
from thalweg.models.error_memory.sharing.averaging import average, mix
from thalweg.models.error_memory.sharing.merged import merge_mistakes, merged
from thalweg.models.error_memory.slow_model import SlowModel, below, gains_from_gpu, is_another
from thalweg.models.error_memory.turns import TurnFilter
from thalweg.models.error_memory.views import logit
from thalweg.proto.event import Batch
from thalweg.proto.schema import Array, Schema

log = structlog.get_logger(__name__)

Floats = NDArray[np.float64]

_MEAN_OF = 10_000  # the mean label is that of about this many latest events
EMBEDDING_ROWS = GaugeSpec(name="embedding_rows", help="Ids with a row in an embedding table")


class Scored(NamedTuple):
    """What was known of n events before they were learned, and what their labels say of a turn."""

    base: Floats
    """(n,) scores of the network."""
    hidden: NDArray[np.float32]
    """(n, h) its last hidden layers."""
    evidence: Floats
    """(n,), see `turns`; 0 without hypotheses."""
    turned: Floats
    """(n,) probability that the label was turned."""


class ErrorMemory:
    """The learner `error_memory`; parameters in `Params`, obligations in `models/contract/learner.py`.

    Labels are numbers from 0 (not clicked, not liked) to 1. Events with other labels, or with numeric features that are
    not finite, are skipped and counted.
    """

    gauges_declared = (SKIPPED_EVENTS, EMBEDDING_ROWS, MEMORY_ENTRIES, MEMORY_EVICTIONS, MEMORY_BYTES)
    params_type, state_version, state_revision = Params, 1, 4
    input_names, learns_from = INPUT_NAMES, "labels from 0 (no click, not liked) to 1 and finite numbers"
    takes_device, gains_from_gpu = True, staticmethod(gains_from_gpu)
    defaults_behind_columns: ClassVar = {"number_weights": "zero"}

    def __init__(self, context: LearnerContext) -> None:
        self.params = p = Params.of(context.params)
        self._inputs = RecommenderInputs(context.inputs)
        self._seed, self._intake = context.seed, Intake(self._inputs)
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
            turns=p.turns,
            numbers=read_numbers(self._inputs.numeric, context.smooth),
        )
        device = Device.open(context.device, context.device_bytes)
        self.computed_on = device.described()
        self._slow = SlowModel(p, self._inputs, self._intake.nothing(), context.seed, device)
        self._combination, self._unturned = (
            RecursiveLogistic(self._reading.untaught, p.combine_prior, p.combine_memory) for _ in range(2)
        )
        self._guard = Guard(len(self._reading.numbers), p.combine_memory)
        self._ring = self._new_ring() if p.memory == "neighbours" else None
        there = self._ring is not None and "key" in p.view_names and p.search == "auto" and not device.is_processor
        self._resident = ResidentVectors(device, "vector") if there else None
        self._sketch = self._new_sketch(context.seed) if p.memory == "sketch" else None
        self._space: KeySpace | None = None
        self._seen = np.zeros((0, p.hidden_widths[-1]), dtype=np.float32)  # hidden layers for the key space
        self._turns = TurnFilter() if p.turns else None
        self._mean_label = 0.5
        self._learned = 0
        self._predictor: ErrorMemoryPredictor | None = None

    @property
    def schema(self) -> Schema:
        return Schema(self._inputs.specs, "number")

    # Learning

    def learn(self, batch: Batch) -> None:
        events = self._intake.take(batch)
        for part in self._parts(len(events["label"])):
            self._learn(part_of(events, part))

    def _parts(self, count: int) -> list[slice]:
        """Parts of the next `count` events between which hypotheses of a turn are opened."""
        every = self.params.turn_events if self._turns is not None else count
        if not count:
            return []
        edges = [0, *range(every - self._learned % every, count, every), count]
        return [slice(start, end) for start, end in pairwise(edges)]

    def _learn(self, events: Columns) -> None:
        self._remember(events, self._score(events))
        scale = self._slow.scale
        for step in self._slow.wait(events):
            if self.params.slot_events:
                self._train_slot(step)
            else:
                self._slow.train(step)
        if self._reading.numbers and is_another(self._slow.scale, scale):
            self._combination.forget(len(self._reading.numbers))
            self._unturned.forget(len(self._reading.numbers))
            self._guard.forget_numbers()
        self._learned += len(events["label"])
        if self._turns is not None and self._learned % self.params.turn_events == 0:
            assert self._ring is not None
            if self._turns.open(self._ring.end, self._ring.window().first):
                self._unturned.restore(self._combination.tensors())
        self._predictor = None

    def _score(self, events: Columns) -> Scored:
        """What is known of these events; learns the weights of features and hypotheses from them."""
        now = self.predictor()
        known = now.known(events["ids"], events["numbers"])
        nothing = np.zeros(len(known.base))
        if (recalled := known.recalled) is None:
            return Scored(known.base, known.hidden, nothing, nothing)
        label, evidence, turned = events["label"].astype(np.float64), nothing, nothing
        self._combination.learn(recalled.features, label, events["weight"])
        answers = now.answers(recalled)
        self._guard.learn(now.mixed(answers), known.base, recalled.features, label, events["weight"])
        if self._turns is not None:
            self._turns.compare(answers.turned, answers.plain, label)
            evidence = (2.0 * label - 1.0) * logit(answers.unturned)
            turned = self._turns.learn(recalled.agreement, events["ids"][:, 1], evidence)
            self._unturned.learn(recalled.unturned, label + turned * (1.0 - 2.0 * label), events["weight"])
        return Scored(known.base, known.hidden, evidence, turned)

    def _remember(self, events: Columns, scored: Scored) -> None:
        """Write entries; after the same events were read, never before."""
        base, hidden = scored.base, scored.hidden
        label = events["label"].astype(np.float64)
        share = np.float64(min(1.0, len(label) / _MEAN_OF))
        known = min(self._learned, _MEAN_OF)
        self._mean_label += (label.mean() - self._mean_label) * max(share, len(label) / (known + len(label) + 100))
        if self._ring is not None:
            columns = {name: events[name] for name in ("label", "time", "key", "id", *PLACE)}
            columns |= {"user": events["ids"][:, 0], "item": events["ids"][:, 1], "base": base}
            if self._turns is not None:
                columns |= {"evidence": scored.evidence, "turned": scored.turned}
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
        self._slow.boost.raised(factor, events)

    def average(self, published: Sequence[tuple[State, float]]) -> State:
        return average(published, self._slow.shape, self._combinations())

    def mix(self, others: State, weight: float) -> None:
        weights = mix(self._slow, self._combinations(), others, weight)
        self._combination.weights, self._unturned.weights = weights["plain"], weights["unturned"]
        self._predictor = None

    def _combinations(self) -> dict[str, Floats]:
        return {"plain": self._combination.weights, "unturned": self._unturned.weights}

    def _train_slot(self, events: Columns) -> None:
        """One pass over all but the newest events; then the memory is cleared and warmed with those."""
        p = self.params
        count = len(events["label"]) - p.warm_events
        before = self._answerer()
        if self._slow.frozen:
            return
        for start in range(0, count, p.train_batch):
            step = part_of(events, slice(start, min(count, start + p.train_batch)))
            teacher = before.base(step["ids"], step["numbers"])[0] if p.distillation else None
            self._slow.train(step, teacher)
        self._predictor = None
        self._forget_all()
        seen = part_of(events, slice(max(0, count - p.centre_events), count))
        fresh = part_of(events, slice(count, None))
        now = self._answerer()
        if "key" in self._reading.views:
            self._learn_space(now.base(seen["ids"], seen["numbers"])[1])
        if p.warm_events:
            base, hidden, _ = now.base(fresh["ids"], fresh["numbers"])
            nothing = np.zeros(len(base))
            self._remember(fresh, Scored(base, hidden, nothing, nothing))

    def _forget_all(self) -> None:
        """Clear the memory: its keys and errors belong to another network."""
        if self._ring is not None:
            self._ring.clear()
        if self._sketch is not None:
            self._sketch.clear()
        if self._turns is not None:
            assert self._ring is not None
            self._turns.clear(self._ring.end)
        self._space, self._seen = None, self._seen[:0]

    # Other shards of the same model

    @staticmethod
    def merge_mistakes(params: Params) -> dict[str, str]:
        """Why states under these parameters cannot be merged, by parameter."""
        return merge_mistakes(params)

    def merge(self, other: State) -> None:
        """United by the time of events, the network averaged: see `sharing/merging.py`."""
        if mistakes := merge_mistakes(self.params):
            raise ValueError("cannot merge: " + "; ".join(f"{key}: {text}" for key, text in mistakes.items()))
        if found := differences(self._identity(), other.meta.get("identity") or {}):
            raise ValueError(f"cannot merge a state of other parameters: {'; '.join(found)}")
        ring = None if self._ring is None else self._new_ring()
        self.restore(merged(self.state(), other, self.params, ring))

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
            tuple(self._intake.topics),
            None if self._turns is None else self._turns.reading(),
            self._resident,
        )
        network, scale = self._slow.answering()
        weights = {"plain": self._combination.weights.copy()}
        if self._turns is not None:
            weights["unturned"] = self._unturned.weights.copy()
        trust = self._guard.reading()
        return ErrorMemoryPredictor(
            self._inputs, network, scale, remembered, self._reading, weights, trust, self._slow.trained
        )

    @classmethod
    def predictor_from(cls, state: State) -> ErrorMemoryPredictor:
        """The predictor of a `state()`; arrays may be read-only maps of a file."""
        return ErrorMemoryPredictor.of(state)

    @classmethod
    def predictor_on(cls, state: State, device: Device) -> ErrorMemoryPredictor:
        """The same with its keys on a device; the network computes with the processor."""
        return ErrorMemoryPredictor.of(state).searching_on(device)

    def gauges(self) -> Mapping[str, GaugeValue]:
        found: dict[str, GaugeValue] = {"skipped_events": float(self._intake.skipped)}
        found["embedding_rows"] = float(self._slow.ids_kept)
        if self._ring is not None:
            found["memory_entries"] = float(self._ring.entries)
            found["memory_evictions"] = float(self._ring.evicted)
            found["memory_bytes"] = float(self._ring.nbytes)
        if self._sketch is not None:
            found["memory_entries"] = self._sketch.written
            found["memory_bytes"] = float(self._sketch.nbytes)
        return found

    def state(self) -> State:
        tensors = self._slow.tensors()
        tensors |= {f"combination.{name}": array for name, array in self._combination.tensors().items()}
        tensors |= {f"guard.{name}": array for name, array in self._guard.tensors().items()}
        if self._turns is not None:
            tensors |= {f"turns.{name}": array for name, array in self._turns.tensors().items()}
            tensors |= {f"unturned.{name}": array for name, array in self._unturned.tensors().items()}
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
            "topics": list(self._intake.topics),
            "learned": self._learned,
            "skipped": self._intake.skipped,
            **self._slow.meta(),
        }
        return State(tensors, meta)

    def restore(self, state: State) -> None:
        tensors, meta = state.tensors, state.meta
        if found := differences(self._identity(), meta.get("identity") or {}):
            raise ValueError(f"state of other parameters: {'; '.join(found)}")
        self._slow.restore(tensors, meta)
        self._combination.restore(below(tensors, "combination."))
        self._guard = Guard(len(self._reading.numbers), self.params.combine_memory)
        self._guard.restore(below(tensors, "guard."))
        if self._turns is not None:
            self._turns.restore(below(tensors, "turns."))
            self._unturned.restore(below(tensors, "unturned."))
        if self._ring is not None:
            self._ring.restore(below(tensors, "ring."))
        if self._sketch is not None:
            self._sketch.restore(below(tensors, "sketch."))
        self._seen = np.array(tensors["seen"])
        self._space = KeySpace.of({name: np.array(array) for name, array in below(tensors, "keys.").items()})
        self._mean_label, self._learned = meta["mean_label"], meta["learned"]
        self._intake.topics, self._intake.skipped = list(meta["topics"]), meta["skipped"]
        self._predictor = None

    # Construction

    def _new_ring(self, place: Path | None = None) -> Ring:
        p = self.params
        columns = self._reading.entry_columns(p.hidden_widths[-1])
        try:
            capacity = capacity_for(p.memory_bytes, columns)
        except ValueError as error:
            raise ParamsError({"memory_bytes": str(error)}) from error
        return Ring(columns, capacity, Limits(p.ttl_seconds, p.per_key), place=place)

    def _new_sketch(self, seed: int) -> Sketch:
        p = self.params
        planes = draw_hyperplanes(p.sketch_arrays, p.sketch_bits, p.hidden_widths[-1], seed)
        return Sketch(planes, generation_events=p.sketch_events, half_life_seconds=p.half_life_seconds)

    def _identity(self) -> dict[str, Any]:
        entries = None if self._ring is None else self._ring.capacity
        return identity(self.params, self._inputs, self._reading, entries)
