"""Discrete key-value bottleneck: frozen keys, found by nearest-neighbour search; only the values they fetch learn.

Source: Träuble et al., "Discrete Key-Value Bottleneck", ICML 2023 (arXiv:2207.11240): random projections into C heads,
nearest of M keys in each, mean of the fetched votes.
Ours differs (docs/learners/bottleneck.md lists how): a key holds counts of labels, faded counts, and values learned by
gradient, weighed online; counts alone, and the gradient alone, as published, are choices; heads are projected from
leading components; keys start at samples; classes may come at any time.
Cost per event: F·C·d for the projection, C·M·d for the search, 4·C·K for the values. State: 8·C·M·(d + 2 K) bytes and
the projections, whatever the length of the log.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import structlog
from numpy.typing import NDArray

from thalweg.memory.snapshots.state import State
from thalweg.models.bottleneck.codes import Codes, sha256_of
from thalweg.models.bottleneck.counts import CountValues
from thalweg.models.bottleneck.first_answers import FirstAnswers
from thalweg.models.bottleneck.freezing import frozen_codes, rows_of_file, search_device
from thalweg.models.bottleneck.gradient import GradientValues
from thalweg.models.bottleneck.mixed.values import MixedValues
from thalweg.models.bottleneck.params import KINDS_OF_VALUES, Params
from thalweg.models.bottleneck.predictor import BottleneckPredictor
from thalweg.models.bottleneck.waiting import Waiting
from thalweg.models.contract.gauges import CLASSES, MEMORY_ENTRIES, SKIPPED_EVENTS, GaugeValue
from thalweg.models.contract.learner import LearnerContext
from thalweg.models.parts.class_bound import EXCESS_EVENTS, ExcessEvents, add_classes
from thalweg.models.parts.input_columns import InputColumns, usable_rows
from thalweg.proto.event import Batch, ClassLabels
from thalweg.proto.schema import Array, InputError, Schema

log = structlog.get_logger(__name__)

Floats = NDArray[np.float64]

_VALUES: Mapping[str, type[MixedValues] | type[CountValues] | type[GradientValues]] = {
    "mixed": MixedValues,
    "counts": CountValues,
    "gradient": GradientValues,
}
_CHUNK = 256  # events whose keys are searched together: bounds memory for any micro-batch size
_HEAVIEST = 1000.0  # larger weights are reduced to this: one event must not overflow float32


class Bottleneck:
    """The learner `bottleneck`; parameters in `Params`, obligations in `models/contract/learner.py`.

    Skips events with inputs that are not finite, and labelled ones of a class beyond `max_classes`; both
    are counted. Unlabelled events, and those of weight 0, are used to learn the keys.
    """

    gauges_declared = (CLASSES, MEMORY_ENTRIES, SKIPPED_EVENTS, EXCESS_EVENTS)
    params_type, state_version, state_revision = Params, 1, 1
    takes_device = True
    """Keys are searched there, and found alike to the bit; values stay with the processor. Not measured: never `auto`.
    """

    def __init__(self, context: LearnerContext) -> None:
        self.params = p = Params.of(context.params)
        self._given, self._device = context.params, search_device(context)
        self._columns = InputColumns(context.inputs)
        self._seed = context.seed
        self._classes: dict[str, int] = {}
        self._codes: Codes | None = None
        self._values: MixedValues | CountValues | GradientValues = _VALUES[p.kind](p)
        self._waiting = Waiting.none(self._columns.width)
        self._learned = 0
        self._skipped = 0
        self._excess = ExcessEvents("max_classes", self.params.max_classes)
        self._predictor: BottleneckPredictor | None = None

    @property
    def schema(self) -> Schema:
        return Schema(self._columns.specs, "class")

    # Learning

    def learn(self, batch: Batch) -> None:
        taken = self._take(batch)
        if len(taken):
            self._predictor = None  # before anything changes: what it reads is then copied only if somebody else has it
            self._freeze_from_file()
            self._receive(taken)

    def _receive(self, events: Waiting) -> None:
        """Learn from events, or let them wait until there are enough to learn the keys."""
        if self._codes is None:
            self._waiting = events = self._waiting.joined(events)
            if len(events) < self.params.key_events:
                return
            self._freeze(events.inputs[: self.params.key_events])
            self._waiting = Waiting.none(self._columns.width)
        self._learn(events.labelled())

    def _usable(self, batch: Batch) -> tuple[Array, NDArray[np.bool_], NDArray[np.bool_]]:
        """Inputs (N, F), which rows have usable numbers, and which of those also a label and a weight."""
        inputs = self._columns.gather(batch.inputs)
        if batch.labels is not None and not isinstance(batch.labels, ClassLabels):
            raise InputError(f"labels: expected class, got {type(batch.labels).__name__}")
        mask = usable_rows(inputs)
        usable = np.ones(len(batch), dtype=np.bool_) if mask is None else mask
        if batch.labels is None:
            return inputs, usable, np.zeros(len(batch), dtype=np.bool_)
        return inputs, usable, usable & batch.labels.present & (batch.weights > 0)

    def _take(self, batch: Batch) -> Waiting:
        """The valid events; registers new classes in the order of their first events."""
        inputs, usable, labelled = self._usable(batch)
        codes = np.full(len(batch), -1, dtype=np.int32)
        if isinstance(batch.labels, ClassLabels):
            used, first = np.unique(batch.labels.codes[labelled], return_index=True)
            names = batch.labels.names
            add_classes(
                self._classes, [names[code] for code in used[np.argsort(first)].tolist()], self.params.max_classes
            )
            codes = np.where(labelled, batch.labels.recoded(self._classes), -1).astype(np.int32)
            if (excess := labelled & (codes < 0)).any():
                self._excess.add(int(np.count_nonzero(excess)), names[batch.labels.codes[int(np.argmax(excess))]])
            self._skipped += int((batch.labels.present & (batch.weights > 0) & (codes < 0)).sum())
        return Waiting(inputs[usable].astype(np.float64), codes[usable], np.minimum(batch.weights[usable], _HEAVIEST))

    def _learn(self, events: Waiting) -> None:
        if not len(events):
            return
        assert self._codes is not None
        self._values.grow(int(events.codes.max()) + 1)
        for start in range(0, len(events), _CHUNK):
            part = slice(start, start + _CHUNK)
            _, ids = self._codes.ids(events.inputs[part], self.params.top_k)
            self._values.learn(ids, events.codes[part], events.weights[part])
        self._learned += len(events)

    # Optional capabilities

    @staticmethod
    def merged_defaults(given: Mapping[str, Any]) -> Mapping[str, Any]:
        """The parameters that have another default where shards are merged."""
        return {} if Params.of(given).model_fields_set & KINDS_OF_VALUES else {"values": "counts"}

    @staticmethod
    def merge_mistakes(params: Params) -> dict[str, str]:
        """Why states under these parameters cannot be merged, by parameter."""
        found = {}
        if params.kind != "counts":
            found["values"] = (
                f'{params.kind} values depend on the order of events; expected "counts", nothing forgotten'
            )
        if params.fade < 1:
            found["decay"] = "the order of events between shards is not known; expected 1"
        if not params.key_file:
            found["key_file"] = "each shard would learn other keys from its own first events; expected a .npy file"
        return found

    def raise_forgetting(self, factor: float, events: int) -> None:
        """Counts are divided by `factor`; values of a gradient learn faster. Keys stay frozen."""
        self._predictor = None
        self._values.raise_forgetting(factor, events)

    def merge(self, other: State) -> None:
        """Add what another learner with the same keys has learned; its new classes are appended.

        Raises:
            ValueError: It has other parameters or keys, values are not counts alone or fade, or there are more
                classes than `max_classes`. Nothing was changed.
        """
        mine = self._plain_counts("merge")
        theirs = Bottleneck(LearnerContext(inputs=self._columns.specs, params=self._given, seed=self._seed))
        theirs.restore(other)
        counts = theirs._plain_counts("merge")
        self._freeze_from_file()
        codes = self._codes or theirs._codes
        if codes and theirs._codes and sha256_of(codes.search.keys) != sha256_of(theirs._codes.search.keys):
            raise ValueError("cannot merge: the keys differ; learn them from one key_file")
        together = dict.fromkeys([*self._classes, *theirs._classes])
        if len(together) > self.params.max_classes:
            raise ValueError(f"cannot merge: {len(together)} classes are more than max_classes allows")
        self._predictor = None
        self._classes = {name: code for code, name in enumerate(together)}
        columns = np.array([self._classes[name] for name in theirs._classes], dtype=np.int64)
        learned = columns[: counts.classes]
        mine.grow(int(learned.max(initial=-1)) + 1)
        mine.merge(counts, learned)
        waited, self._waiting = self._waiting, Waiting.none(self._columns.width)
        self._codes = codes
        self._learned += theirs._learned
        self._skipped += theirs._skipped
        self._excess.events += theirs._excess.events
        self._receive(waited.joined(theirs._waiting.recoded(columns)))

    def unlearn(self, batch: Batch) -> None:
        """Continue as if these events had never been learned. A class without events is removed, with its name; the
        keys, which no label has touched, stay as they are.

        Raises:
            ValueError: They cannot have been learned, or values are not counts alone or fade. Nothing was changed.
        """
        counts = self._plain_counts("unlearn")
        inputs, _, labelled = self._usable(batch)
        if not isinstance(batch.labels, ClassLabels) or not labelled.any():
            return
        codes = batch.labels.recoded(self._classes)
        if (labelled & (codes < 0)).any():
            name = batch.labels.names[batch.labels.codes[int(np.argmax(labelled & (codes < 0)))]]
            raise ValueError(f"cannot unlearn: class {name!r} was never learned")
        events = Waiting(
            inputs[labelled].astype(np.float64), codes[labelled], np.minimum(batch.weights[labelled], _HEAVIEST)
        )
        if self._codes is None:
            self._waiting = self._waiting.without(events)
            left = np.bincount(self._waiting.labelled().codes, minlength=len(self._classes)) > 0
        else:
            if (events.codes >= counts.classes).any():
                raise ValueError("cannot unlearn: one of the classes was never learned")
            ids = [
                self._codes.ids(events.inputs[start : start + _CHUNK], self.params.top_k)[1]
                for start in range(0, len(events), _CHUNK)
            ]
            counts.unlearn(np.concatenate(ids), events.codes, events.weights)
            self._learned -= len(events)
            left = counts.events > 0
        self._keep_classes(left)
        self._predictor = None

    def _plain_counts(self, verb: str) -> CountValues:
        """The values, if they are counts whose order does not matter; raises ValueError if not."""
        if not isinstance(self._values, CountValues):
            kind = self.params.kind
            raise ValueError(
                f"cannot {verb}: values = {kind!r} depend on the order of events; counts with decay = 1 do not"
            )
        self._values.must_not_fade(verb)
        return self._values

    def _keep_classes(self, kept: NDArray[np.bool_]) -> None:
        if kept.all() or not isinstance(self._values, CountValues):
            return
        names = [name for name, left in zip(self._classes, kept) if left]
        self._waiting = self._waiting.recoded(np.cumsum(kept) - 1)
        if self._values.classes:
            self._values.select_classes(kept)
        self._classes = {name: code for code, name in enumerate(names)}

    # Keys

    def _freeze_from_file(self) -> None:
        """Learn the keys, if they come from a file and are not there yet: before anything is learned or saved, but not
        while a learner is only made to look at its schema or to be restored, because that takes seconds.
        """
        if not self.params.key_file or self._codes is not None:
            return
        self._freeze(rows_of_file(self.params.key_file, self._columns.width))

    def _freeze(self, rows: Floats) -> None:
        """Learn the keys from unlabelled inputs (N, F), and freeze them."""
        log.info(
            "bottleneck: learning the keys, once, before anything else; this takes seconds (fewer with less key_steps)",
            events=len(rows),
            keys=self.params.heads * self.params.pairs,
            steps=self.params.key_steps,
        )
        self._codes = frozen_codes(self.params, rows, self._seed, self._device)
        log.info("bottleneck: the keys are learned and frozen; labels count from here on", events=len(rows))
        self._predictor = None

    # Predictions and state

    def predictor(self) -> BottleneckPredictor:
        # without keys before the first event: it knows no class, and a learner about to be restored needs none. Until
        # there are keys, the events that wait for them answer
        if self._predictor is None:
            first = FirstAnswers.of_waiting(self._waiting, len(self._classes)) if self._codes is None else None
            names = list(self._classes)[: self._values.classes if first is None else None]
            self._predictor = BottleneckPredictor(
                self._columns, self._codes, self._values.votes(), names, self.params.search, self._learned, first
            )
        return self._predictor

    @classmethod
    def predictor_from(cls, state: State) -> BottleneckPredictor:
        """The predictor of a `state()`; arrays may be read-only maps of a file."""
        return BottleneckPredictor.of(state)

    def gauges(self) -> Mapping[str, GaugeValue]:
        return {
            "classes": float(len(self._classes)),
            "memory_entries": float(np.count_nonzero(self._values.fetched)),
            "skipped_events": float(self._skipped),
            "excess_class_events": float(self._excess.events),
        }

    def state(self) -> State:
        self._freeze_from_file()
        tensors: dict[str, Array] = {**self._values.tensors(), **self._waiting.tensors()}
        meta: dict[str, Any] = {
            "identity": self._identity(),
            "classes": list(self._classes),
            "learned": self._learned,
            "skipped": self._skipped,
            **self._values.meta(),
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
        codes = None
        if "keys" in tensors:
            if sha256_of(tensors["keys"]) != meta["keys_sha256"]:
                raise ValueError("keys are not those that the values were learned with")
            frozen = {name: np.array(tensors[name]) for name in ("shift", "factor", "projection", "keys")}
            codes = Codes.of(frozen, self.params.search, self._device)
        self._codes = codes
        self._values.restore(tensors, meta)
        self._waiting = Waiting.of(tensors)
        self._classes = {name: code for code, name in enumerate(meta["classes"])}
        self._learned, self._skipped = meta["learned"], meta["skipped"]
        self._excess.restore(meta)
        self._predictor = None

    def _identity(self) -> dict[str, Any]:
        p = self.params
        sizes = {"heads": p.heads, "pairs": p.pairs, "key_width": p.key_width, "inputs": self._columns.width}
        if p.kind == "gradient":
            return sizes
        return {"values": p.kind, "top_k": p.top_k, **sizes}
