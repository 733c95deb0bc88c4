"""What the experts say of the next event, as published: weights of the networks, counts, and how they are mixed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from thalweg.memory.snapshots.state import State
from thalweg.models.parts.torch_setup import Tensor, torch
from thalweg.models.prompt_tpp.closed_form import Counts, GapTable, MarkovTable, of_noted
from thalweg.models.prompt_tpp.mixing import normalised
from thalweg.models.prompt_tpp.network import UNKNOWN, Past, Ready, TppShape, prepare
from thalweg.models.prompt_tpp.next_event import NextEvent, mixed
from thalweg.proto.schema import Array

Said: TypeAlias = "NextEvent | Ready"
"""The next event of B histories."""


@dataclass(frozen=True)
class Reading:
    """Immutable; any number of threads may use it."""

    networks: Mapping[str, tuple[TppShape, Mapping[str, Array]]]
    """Shapes and weights."""
    members: tuple[str, ...] | None
    """The experts, in order; None: the one network alone."""
    weights: Sequence[Sequence[float]]
    """Of the members, for types and for gaps; then perhaps for the answered type."""
    counting: Mapping[str, tuple[Array, Array]]
    """Of those that count: `MarkovTable.counts` and `GapTable.sums`."""
    _tensors: dict[str, dict[str, Tensor]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name, (_, arrays) in self.networks.items():
            self._tensors[name] = {
                key: torch.from_numpy(a if a.flags.writeable else np.array(a)) for key, a in arrays.items()
            }

    def of_those_that_count(self) -> Reading:
        """The same, with no weight on networks: they have learned nothing yet."""
        assert self.members is not None
        weights = [
            [weight * (name in self.counting) for name, weight in zip(self.members, part)] for part in self.weights
        ]
        return Reading(self.networks, self.members, weights, self.counting)

    def prepared(self, past: Past) -> dict[str, Ready]:
        """The histories as each network encodes them."""
        return {name: prepare(shape, self._tensors[name], past) for name, (shape, _) in self.networks.items()}

    def next_event(self, past: Past, unit: float, prepared: Mapping[str, Ready] | None = None) -> Said:
        """What comes next.

        Args:
            past: Histories; at least one type is known.
            unit: Seconds of the model's unit.
            prepared: The same, encoded; encoded here if None.
        """
        ready = self.prepared(past) if prepared is None else prepared
        if self.members is None:
            return next(iter(ready.values()))
        said = self.each(past, unit, ready)
        return mixed([said[name] for name in self.members], *map(normalised, self.weights))

    def each(self, past: Past, unit: float, ready: Mapping[str, Ready]) -> dict[str, NextEvent]:
        """What each expert says alone, over the known types."""
        known = int((past.markov > UNKNOWN).sum(dim=1).max())  # types are numbered as they come
        last: NDArray[Any] = past.types.gather(1, past.lengths[:, None] - 1)[:, 0].numpy()
        found = {}
        for name, one in ready.items():
            types, parts, _ = one.mixture()
            found[name] = NextEvent(types[:, :known], parts[:, :known])
        for name, (counts, sums) in self.counting.items():
            noted = Counts(MarkovTable(counts), GapTable(sums), 1.0).noted(last)
            types, parts, _ = of_noted(name, noted["types"], noted["gaps"], past, unit)
            found[name] = NextEvent(types[:, :known], parts)
        return found

    def state(self) -> State:
        """From which `of` makes an equal one."""
        alone = self.members is None
        tensors = {
            f"{'network.' if alone else f'expert.{name}.'}{key}": array
            for name, (_, arrays) in self.networks.items()
            for key, array in arrays.items()
        }
        for name, (counts, sums) in self.counting.items():
            tensors |= {f"expert.{name}.types": counts, f"expert.{name}.gaps": sums}
        shapes = {name: asdict(shape) for name, (shape, _) in self.networks.items()}
        if alone:
            return State(tensors, {"shape": next(iter(shapes.values()))})
        return State(tensors, {"shapes": shapes, "members": list(self.members or ()), "weights": self.weights})

    @classmethod
    def of(cls, state: State) -> Reading:
        """From the state of a predictor; arrays are used in place."""
        tensors, meta = state.tensors, state.meta

        def below(prefix: str) -> dict[str, Array]:
            return {name.removeprefix(prefix): array for name, array in tensors.items() if name.startswith(prefix)}

        if "shape" in meta:
            shape = TppShape(**meta["shape"])
            return cls({shape.base: (shape, below("network."))}, None, [], {})
        networks = {name: (TppShape(**shape), below(f"expert.{name}.")) for name, shape in meta["shapes"].items()}
        counting = {
            name: (tensors[f"expert.{name}.types"], tensors[f"expert.{name}.gaps"])
            for name in meta["members"]
            if name not in networks
        }
        return cls(networks, tuple(meta["members"]), meta["weights"], counting)
