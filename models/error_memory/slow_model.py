"""The slow model of an error memory: a network that trains every so many events, and the scale of its numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thalweg.memory.devices.device import Device
from thalweg.models.contract.learner import LearnerContext, ParamsError
from thalweg.models.error_memory.ctr_network import FrozenNetwork, Network, Shape
from thalweg.models.error_memory.inputs import RecommenderInputs
from thalweg.models.error_memory.intake import Columns, part_of
from thalweg.models.error_memory.params import Params
from thalweg.models.error_memory.reading import scaled_numbers
from thalweg.models.parts.learning_rate import LearningRateBoost
from thalweg.models.parts.standardise import Standardiser
from thalweg.proto.schema import Array

Floats = NDArray[np.float64]
GPU_EVENTS = 1024
"""Of a step, from which on a GPU is faster for certain: 4,096 were ten times, 256 less than twice (docs/gpu.md)."""
GPU_MEMORY_BYTES = 256 << 20
"""Of a memory with keys, from which on a search on a GPU is: 5 GB were a hundred times; the crossing was not measured.
"""
_FAR = 2.0  # deviations between two scales under which numbers mean something else
_REACH = 10.0  # deviations to which a numeric feature is clipped


class SlowModel:
    """A network, the events that wait for its next step, and the running scale of the numeric features."""

    def __init__(
        self, params: Params, inputs: RecommenderInputs, nothing: Columns, seed: int, device: Device | None = None
    ) -> None:
        self._params = p = params
        self._numeric = inputs.numeric
        zero = p.number_weights == "zero"
        shape = Shape(p.network, inputs.fields, inputs.numeric, p.dim, p.hidden_widths, p.cross_layers, zero)
        self._network = Network(shape, p.table_rows, p.learning_rate, p.row_rate, seed, device)
        self._standardiser = Standardiser(inputs.numeric)
        self._waiting = nothing
        self.boost = LearningRateBoost()
        self.trained = 0
        """Events that the network has learned."""

    @property
    def ids_kept(self) -> int:
        """Rows of all embedding tables."""
        return self._network.ids_kept

    @property
    def frozen(self) -> bool:
        """Whether the network has learned all that it may (`freeze_after`)."""
        return bool(self._params.freeze_after) and self.trained >= self._params.freeze_after

    @property
    def scale(self) -> tuple[Floats, Floats]:
        """Shift and factor of the numbers; copies."""
        return self._standardiser.shift.copy(), self._standardiser.factor.copy()

    def answering(self) -> tuple[FrozenNetwork, tuple[Floats, Floats]]:
        """The network as it predicts now, and the shift and factor of its numbers."""
        return self._network.frozen(), self.scale

    def wait(self, events: Columns) -> Iterator[Columns]:
        """Add events to the waiting ones; yields the events of each step that is due, which the caller has trained."""
        p = self._params
        self._waiting = {name: np.concatenate([self._waiting[name], column]) for name, column in events.items()}
        start = 0
        while len(self._waiting["label"]) - start >= p.step_events:
            yield part_of(self._waiting, slice(start, start + p.step_events))
            start += p.step_events - (p.warm_events if p.slot_events else 0)
        if start:
            self._waiting = {name: column[start:].copy() for name, column in self._waiting.items()}

    def train(self, events: Columns, teacher: Array | None = None) -> None:
        """One step, towards the labels and, with `distillation`, the `teacher`'s probabilities (n,)."""
        if self.frozen:
            return
        p, numbers = self._params, events["numbers"]
        everything = np.ones(len(events["label"]), dtype=np.bool_)
        if self._numeric:
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
            self.boost.mean(len(numbers)),
        )
        self.trained += len(numbers)

    @property
    def shape(self) -> Shape:
        """The architecture of the network."""
        return self._network.shape

    def mix(
        self, layers: Mapping[str, Array], share: float, tables: Sequence[Mapping[str, Array]], weight: float
    ) -> None:
        """As of `Network`; a network that is frozen stays as it is."""
        if not self.frozen:
            self._network.mix(layers, share, tables, weight)

    def tensors(self) -> Columns:
        """Everything, for a snapshot; counters are in `meta`."""
        found: Columns = {f"network.{name}": array for name, array in self._network.tensors().items()}
        found |= {f"scale.{name}": array for name, array in self._standardiser.tensors().items()}
        return found | {f"waiting.{name}": array for name, array in self._waiting.items()}

    def meta(self) -> dict[str, Any]:
        """Counters, for a snapshot."""
        scale = [self._standardiser.events, self._standardiser.next_step]
        return {"trained": self.trained, "scale": scale, **self.boost.meta()}

    def restore(self, tensors: Mapping[str, Array], meta: Mapping[str, Any]) -> None:
        """Become the one whose `tensors()` and `meta()` these are."""
        self._network.restore(below(tensors, "network."))
        self._standardiser.restore(below(tensors, "scale."), *meta["scale"])
        self._waiting = {name: np.array(column) for name, column in below(tensors, "waiting.").items()}
        self.trained = meta["trained"]
        self.boost.restore(meta)


def gains_from_gpu(context: LearnerContext) -> bool:
    """Whether steps are of so many events, or the memory of keys is so large, that a GPU is faster."""
    try:
        p = Params.of(context.params)
    except ParamsError:
        return False
    keys = p.memory == "neighbours" and "key" in p.view_names and p.search == "auto"
    return p.step_events >= GPU_EVENTS or (keys and p.memory_bytes >= GPU_MEMORY_BYTES)


def is_another(scale: tuple[Floats, Floats], before: tuple[Floats, Floats]) -> bool:
    """Whether a scale is so far from the one before that what was learned of numbers under that is worth nothing."""
    (shift, factor), (old_shift, old_factor) = scale, before
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        wider = np.abs(np.log2(factor / old_factor)) > 1.0
        moved = np.abs(shift - old_shift) * factor > _FAR
    return bool((wider | moved).any())


def below(tensors: Mapping[str, Array], prefix: str) -> Columns:
    """The tensors whose names begin so, without that beginning."""
    return {name.removeprefix(prefix): array for name, array in tensors.items() if name.startswith(prefix)}
