"""Discrete key-value bottleneck: frozen keys, found by nearest-neighbour search; only the values they fetch learn.

Source: Träuble et al., "Discrete Key-Value Bottleneck", ICML 2023 (arXiv:2207.11240): random projections into C heads,
nearest of M keys in each, mean of the fetched votes, cross-entropy by SGD on the fetched values alone.
Ours differs (docs/learners/bottleneck.md counts how): keys start at samples, steps are scaled so that one pass gives
calibrated probabilities, events are learned one by one whatever the micro-batch, classes may come at any time.
Cost per event: F·C·d for the projection, C·M·d for the search, C·K for the values. State: 4·C·M·(2 d + K) bytes and
the projections, whatever the length of the log.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thalweg.memory.snapshots.state import State
from thalweg.memory.vectors.key_tables import Ids
from thalweg.models.bottleneck.codes import Codes, draw_projection, projected, scale_of, sha256_of
from thalweg.models.bottleneck.key_learning import learn_keys
from thalweg.models.bottleneck.params import Params
from thalweg.models.bottleneck.predictor import BottleneckPredictor, softmax
from thalweg.models.contract.gauges import CLASSES, MEMORY_ENTRIES, SKIPPED_EVENTS, GaugeValue
from thalweg.models.contract.learner import LearnerContext
from thalweg.models.parts.class_bound import EXCESS_EVENTS, ExcessEvents, add_classes
from thalweg.models.parts.input_columns import InputColumns, usable_rows
from thalweg.models.parts.learning_rate import LearningRateBoost
from thalweg.proto.event import Batch, ClassLabels
from thalweg.proto.schema import Array, InputError, Schema

Floats = NDArray[np.float64]

_CHUNK = 256  # events whose keys are searched together: bounds memory for any micro-batch size
_HEAVIEST = 1000.0  # larger weights are reduced to this: one event must not overflow float32
_LARGEST = 1e15  # rows with larger numbers are excluded from the scale


class Bottleneck:
    """The learner `bottleneck`; parameters in `Params`, obligations in `models/contract/learner.py`.

    Skips events with inputs that are not finite, and labelled ones of a class beyond `max_classes`; both
    are counted. Unlabelled events, and those of weight 0, are used to learn the keys.
    """

    gauges_declared = (CLASSES, MEMORY_ENTRIES, SKIPPED_EVENTS, EXCESS_EVENTS)
    params_type = Params

    def __init__(self, context: LearnerContext) -> None:
        self.params = p = Params.of(context.params)
        self._columns = InputColumns(context.inputs)
        self._seed = context.seed
        self._classes: dict[str, int] = {}
        self._codes: Codes | None = None
        self._values = np.zeros((p.heads, p.pairs, 0), dtype=np.float32)
        self._fetches = np.zeros((p.heads, p.pairs), dtype=np.int64)
        self._waiting = Waiting.none(self._columns.width)
        self._learned = 0
        self._skipped = 0
        self._excess = ExcessEvents("max_classes", self.params.max_classes)
        self._boost = LearningRateBoost()
        self._predictor: BottleneckPredictor | None = None

    @property
    def schema(self) -> Schema:
        return Schema(self._columns.specs, "class")

    # Learning

    def learn(self, batch: Batch) -> None:
        taken = self._take(batch)
        if not len(taken.inputs):
            return
        self._freeze_from_file()
        if self._codes is None:
            self._waiting = taken = self._waiting.joined(taken)
            if len(taken.inputs) < self.params.key_events:
                return
            self._freeze(taken.inputs[: self.params.key_events])
            self._waiting = Waiting.none(self._columns.width)
        self._learn(taken.labelled())

    def _take(self, batch: Batch) -> Waiting:
        """The valid events; registers new classes in the order of their first events."""
        inputs = self._columns.gather(batch.inputs)
        if batch.labels is not None and not isinstance(batch.labels, ClassLabels):
            raise InputError(f"labels: expected class, got {type(batch.labels).__name__}")
        codes = np.full(len(batch), -1, dtype=np.int32)
        mask = usable_rows(inputs)
        usable = np.ones(len(batch), dtype=np.bool_) if mask is None else mask
        if batch.labels is not None:
            counts = usable & batch.labels.present & (batch.weights > 0)
            used, first = np.unique(batch.labels.codes[counts], return_index=True)
            names = batch.labels.names
            add_classes(
                self._classes, [names[code] for code in used[np.argsort(first)].tolist()], self.params.max_classes
            )
            codes = np.where(counts, batch.labels.recoded(self._classes), -1).astype(np.int32)
            if (excess := counts & (codes < 0)).any():
                self._excess.add(int(np.count_nonzero(excess)), names[batch.labels.codes[int(np.argmax(excess))]])
            self._skipped += int((batch.labels.present & (batch.weights > 0) & (codes < 0)).sum())
        return Waiting(inputs[usable].astype(np.float64), codes[usable], np.minimum(batch.weights[usable], _HEAVIEST))

    def _learn(self, events: Waiting) -> None:
        if not len(events.inputs):
            return
        assert self._codes is not None
        self._grow(int(events.codes.max()) + 1)
        for start in range(0, len(events.inputs), _CHUNK):
            part = slice(start, start + _CHUNK)
            _, ids = self._codes.ids(events.inputs[part], self.params.top_k)
            self._step(ids, events.codes[part], events.weights[part])
        self._learned += len(events.inputs)
        self._predictor = None

    def _step(self, ids: Ids, codes: NDArray[np.int32], weights: Floats) -> None:
        heads, pairs, classes = self._values.shape
        flat = self._values.reshape(heads * pairs, classes)
        places = (ids + (np.arange(heads) * pairs)[:, None]).reshape(len(ids), -1)  # (n, C·k) rows of `flat`
        smooth = self.params.label_smoothing
        targets = np.full((len(ids), classes), smooth / classes)
        targets[np.arange(len(ids)), codes] += 1.0 - smooth
        rates = self.params.rate * self._boost.of(
            len(ids)
        )  # η/C, and C·η/C² = η/C: the step of a value is `rate` times the error
        if self.params.updates == "event":
            for place, target, step in zip(places, targets, rates * weights):
                logits = flat[place].sum(axis=0, dtype=np.float64) / heads
                flat[place] += (step * (target - softmax(logits[None])[0])).astype(np.float32)
        else:
            logits = flat[places].sum(axis=1, dtype=np.float64) / heads
            error = (rates * weights)[:, None] * (targets - softmax(logits)) / len(ids)
            np.add.at(flat, places.ravel(), np.repeat(error, places.shape[1], axis=0).astype(np.float32))
        np.add.at(self._fetches.reshape(-1), places.ravel(), 1)

    def raise_forgetting(self, factor: float, events: int) -> None:
        """Values learn faster; keys stay frozen."""
        self._boost.raised(factor, events)

    def _grow(self, classes: int) -> None:
        missing = classes - self._values.shape[2]
        if missing > 0:
            self._values = np.pad(self._values, ((0, 0), (0, 0), (0, missing)))

    # Keys

    def _freeze_from_file(self) -> None:
        """Learn the keys, if they come from a file and are not there yet: before anything is learned or saved, but not
        while a learner is only made to look at its schema or to be restored, because that takes seconds.
        """
        if not self.params.key_file or self._codes is not None:
            return
        try:
            rows = np.load(self.params.key_file, allow_pickle=False)
        except (OSError, ValueError) as error:
            raise InputError(f"key_file {self.params.key_file!r}: cannot be read: {error}") from error
        width = self._columns.width
        if rows.ndim != 2 or rows.shape[1] != width or rows.dtype.kind not in "fiub" or not len(rows):
            raise InputError(
                f"key_file {self.params.key_file!r}: expected numbers (N, {width}), got {rows.shape} {rows.dtype}"
            )
        self._freeze(rows.astype(np.float64))

    def _freeze(self, rows: Floats) -> None:
        """Learn the keys from unlabelled inputs (N, F), and freeze them."""
        p = self.params
        with np.errstate(invalid="ignore"):
            sound = rows[(np.abs(rows) < _LARGEST).all(axis=1)]
        if not len(sound):
            raise InputError(f"keys: expected inputs below {_LARGEST:g} to learn from, got none in {len(rows)} rows")
        width = sound.shape[1]
        shift, factor = scale_of(sound) if p.standardise else (np.zeros(width), np.ones(width))
        projection = draw_projection(width, p.heads, p.key_width, self._seed)
        queries = projected(sound, shift, factor, projection).reshape(len(sound), p.heads, p.key_width)
        keys = learn_keys(
            queries,
            p.pairs,
            steps=p.key_steps,
            batch=p.key_batch,
            dead_factor=p.dead_factor,
            generator=np.random.Generator(np.random.PCG64([self._seed, 0x6B657973])),
        )
        tensors = {"shift": shift, "factor": factor, "projection": projection, "keys": keys}
        self._codes = Codes.of(tensors, p.search)
        self._predictor = None

    # Predictions and state

    def predictor(self) -> BottleneckPredictor:
        # without keys before the first event: it knows no class, and a learner about to be restored needs none
        if self._predictor is None:
            settings = {name: getattr(self.params, name) for name in ("top_k", "mask_unfetched", "search")}
            names = list(self._classes)[: self._values.shape[2]]
            self._predictor = BottleneckPredictor(
                self._columns, self._codes, self._values.copy(), self._fetches > 0, names, settings, self._learned
            )
        return self._predictor

    @classmethod
    def predictor_from(cls, state: State) -> BottleneckPredictor:
        """The predictor of a `state()`; arrays may be read-only maps of a file."""
        return BottleneckPredictor.of(state)

    def gauges(self) -> Mapping[str, GaugeValue]:
        return {
            "classes": float(len(self._classes)),
            "memory_entries": float(np.count_nonzero(self._fetches)),
            "skipped_events": float(self._skipped),
            "excess_class_events": float(self._excess.events),
        }

    def state(self) -> State:
        self._freeze_from_file()
        tensors: dict[str, Array] = {"values": self._values, "fetches": self._fetches, **self._waiting.tensors()}
        meta: dict[str, Any] = {
            "identity": self._identity(),
            "classes": list(self._classes),
            "learned": self._learned,
            "skipped": self._skipped,
            **self._boost.meta(),
            **self._excess.meta(),
        }
        if self._codes is not None:
            tensors |= self._codes.tensors()
            meta["keys_sha256"] = sha256_of(self._codes.search.keys)
        return State(tensors, meta)

    def restore(self, state: State) -> None:
        tensors, meta = state.tensors, state.meta
        if meta.get("identity") != self._identity():
            raise ValueError(f"state of other parameters: expected {self._identity()}, got {meta.get('identity')}")
        self._codes = None
        if "keys" in tensors:
            if sha256_of(tensors["keys"]) != meta["keys_sha256"]:
                raise ValueError("keys are not those that the values were learned with")
            frozen = {name: np.array(tensors[name]) for name in ("shift", "factor", "projection", "keys")}
            self._codes = Codes.of(frozen, self.params.search)
        self._values, self._fetches = np.array(tensors["values"]), np.array(tensors["fetches"])
        self._waiting = Waiting.of(tensors)
        self._classes = {name: code for code, name in enumerate(meta["classes"])}
        self._learned, self._skipped = meta["learned"], meta["skipped"]
        self._boost.restore(meta)
        self._excess.restore(meta)
        self._predictor = None

    def _identity(self) -> dict[str, Any]:
        p = self.params
        return {"heads": p.heads, "pairs": p.pairs, "key_width": p.key_width, "inputs": self._columns.width}


class Waiting:
    """Events in order: inputs (n, F) float64, class codes (n,) int32 (-1: none), weights (n,) float64."""

    def __init__(self, inputs: Floats, codes: NDArray[np.int32], weights: Floats) -> None:
        self.inputs, self.codes, self.weights = inputs, codes, weights

    @classmethod
    def none(cls, width: int) -> Waiting:
        """Without events."""
        return cls(np.zeros((0, width)), np.zeros(0, np.int32), np.zeros(0))

    @classmethod
    def of(cls, tensors: Mapping[str, Array]) -> Waiting:
        """The events of a state."""
        return cls(*(np.array(tensors[f"waiting.{name}"]) for name in ("inputs", "codes", "weights")))

    def tensors(self) -> dict[str, Array]:
        """For a state."""
        return {"waiting.inputs": self.inputs, "waiting.codes": self.codes, "waiting.weights": self.weights}

    def joined(self, later: Waiting) -> Waiting:
        """These events, then those."""
        pairs = zip(self.tensors().values(), later.tensors().values())
        return Waiting(*(np.concatenate(pair) for pair in pairs))

    def labelled(self) -> Waiting:
        """Those with a label."""
        known = self.codes >= 0
        return self if known.all() else Waiting(self.inputs[known], self.codes[known], self.weights[known])
