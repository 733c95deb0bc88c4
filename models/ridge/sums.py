"""The sums of all decays, and the events that wait to be added to them.

Events wait while heads are updated by Woodbury steps, which need no sums; many are then added by the calls that one
would take. Which events are in the sums is a function of the micro-batches alone: nothing is added because somebody
looks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from thalweg.models.ridge.clocks import ClassClocks
from thalweg.models.ridge.heads.recursion import Recursion
from thalweg.models.ridge.params import Params
from thalweg.models.ridge.rescaled import Rescaling
from thalweg.models.ridge.statistics import Rows, Statistics
from thalweg.proto.schema import Array


class Sums:
    """One `Statistics` per decay, and the `Recursion` whose events wait."""

    def __init__(self, size: int, width: int, params: Params, make: Callable[..., Statistics] = Statistics) -> None:
        """Without events.

        Args:
            size: Features, D.
            width: Inputs, F.
            params: Of the learner.
            make: Makes the sums of a decay: `Statistics`, or the same on a device.
        """
        self._classes = params.task == "classification"
        columns = 0 if self._classes else params.targets
        moments, grams = width if params.balance == "pseudo_features" else 0, params.balance == "reweighted"
        self.members = [
            make(size, columns, decay=decay, moments=moments, class_grams=grams) for decay in params.forgetting
        ]
        self.slowest = self.members[int(np.argmax(params.forgetting))]
        self.recursion = Recursion(size, params.forgetting)
        self.events = 0
        """Events in the sums: those learned less those that wait."""

    @property
    def columns(self) -> int:
        """Targets or classes, C."""
        return self.members[0].columns

    def grow(self, columns: int) -> None:
        """Add columns up to `columns`."""
        self.recursion.grow(columns)
        for member in self.members:
            member.grow(columns)

    def add(self, rows: Rows) -> None:
        """Add events to the sums; none may wait."""
        for member in self.members:
            member.add(rows)
        self.events += len(rows.features)

    def add_waiting(self) -> None:
        """Add the events that wait."""
        if (rows := self.recursion.take(classes=self._classes)) is not None:
            self.add(rows)

    def of_all(self) -> Statistics:
        """The slowest sums, of all events."""
        self.add_waiting()
        return self.slowest

    def settle(self) -> None:
        """Add the events that wait and stop the recursion: from now on events are added at once."""
        self.add_waiting()
        self.recursion.stop()

    def fade(self, share: float) -> None:
        """Multiply the weight of all events so far by this factor."""
        self.settle()
        for member in self.members:
            member.fade(share)

    def rescale(self, rescaling: Rescaling, clocks: ClassClocks | None) -> None:
        """Re-express all sums, and those at the classes' own clocks, under a new scale."""
        self.settle()
        for member in self.members:
            with member.on_host():
                if clocks is not None and member is self.slowest:
                    clocks.rescale(member, rescaling)
                else:
                    rescaling.apply(member)

    def drop_denormals(self, before: int) -> None:
        """Set fully decayed numbers to 0, where that is due since `events` was `before`."""
        if self.events > before:
            for member in self.members:
                member.drop_denormals(before, self.events)

    def tensors(self) -> Mapping[str, Array]:
        """Tensors for `state()`."""
        found = {
            f"{name}.{n}": array for n, member in enumerate(self.members) for name, array in member.tensors().items()
        }
        return found | {f"recursion.{name}": array for name, array in self.recursion.tensors().items()}

    def restore(self, tensors: Mapping[str, Array], learned: int) -> None:
        """Restore from `tensors()`; copies. `learned`: events in all."""
        for n, member in enumerate(self.members):
            member.restore({name: tensors[f"{name}.{n}"] for name in member.tensors()})
        prefix = "recursion."
        self.recursion.restore(
            {name.removeprefix(prefix): array for name, array in tensors.items() if name.startswith(prefix)}
        )
        self.events = learned - self.recursion.waiting
