"""The sums of all decays, and the events that wait to be added to them.

Events wait while heads are updated by Woodbury steps, which need no sums; many are then added by the calls that one
would take. Those of wide tables wait, too (`early/held.py`), and the first of these stand for the sums. Which events
are in the sums is a function of the micro-batches alone: nothing is added because somebody looks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from thalweg.models.parts.half_life import HalfLife
from thalweg.models.parts.random_features import FeatureMap
from thalweg.models.parts.running_scale import Move
from thalweg.models.parts.standardise import Standardiser
from thalweg.models.ridge.clocks import ClassClocks
from thalweg.models.ridge.early.held import TOGETHER, Held, holds
from thalweg.models.ridge.early.statistics import EarlyStatistics
from thalweg.models.ridge.heads.recursion import Recursion
from thalweg.models.ridge.heads.refresh import Schedule
from thalweg.models.ridge.params import Params
from thalweg.models.ridge.rescaled import Rescaling
from thalweg.models.ridge.statistics import Rows, Statistics
from thalweg.models.ridge.targets import Targets
from thalweg.proto.event import Batch
from thalweg.proto.schema import Array


class Sums:
    """One `Statistics` per decay, the `Recursion` whose events wait, and others that do."""

    def __init__(
        self, features: FeatureMap, params: Params, make: Callable[..., Statistics] = Statistics, *, hold: bool = False
    ) -> None:
        """Without events.

        Args:
            features: From inputs to features.
            params: Of the learner.
            make: Makes the sums of a decay: `Statistics`, or the same on a device.
            hold: Events of wide tables wait.
        """
        size, width = features.size, features.width
        self._classes = params.task == "classification"
        columns = 0 if self._classes else params.targets
        moments, grams = width if params.balance == "pseudo_features" else 0, params.balance == "reweighted"

        def made() -> list[Statistics]:
            wanted = {"moments": moments, "class_grams": grams, "presence": params.standardise == "solved"}
            return [make(size, columns, decay=decay, **wanted) for decay in params.forgetting]

        self._made, self._decays = made, params.forgetting
        self._features, self._hold = features, hold and holds(params, features)
        self._held = Held(features, classes=self._classes) if self._hold else None
        self.early = self._hold
        """Whether all events are held, and there are no sums yet."""
        self.members = made() if self._held is None else self._of_held(self._held)
        self.half_life = HalfLife(params.half_life_seconds) if params.half_life_seconds else None
        self.recursion = Recursion(size, params.forgetting)
        self.events = 0
        """Events in the sums: those learned less those that wait."""

    def _of_held(self, held: Held) -> list[Statistics]:
        return [EarlyStatistics(held, decay) for decay in self._decays]

    @property
    def slowest(self) -> Statistics:
        """The one of `members` that forgets most slowly."""
        return self.members[int(np.argmax(self._decays))]

    @property
    def columns(self) -> int:
        """Targets or classes, C."""
        return self.members[0].columns

    def grow(self, columns: int) -> None:
        """Add columns up to `columns`."""
        self.recursion.grow(columns)
        if self._held is not None:
            self._held.grow(columns)
        for member in self.members:
            member.grow(columns)

    def aged(self, batch: Batch) -> Batch:
        """Events that are to be added next, with the weights of their ages; brings the sums to the newest of them."""
        if self.half_life is None or batch.labels is None:
            return batch
        before = self.half_life.time
        share = self.half_life.advance(batch)
        if share != 1.0:
            self.fade(share)
            if self.half_life.vanished(before):
                for member in self.members:
                    member.drop_tiny()
        return self.of_their_age(batch)

    def of_their_age(self, batch: Batch) -> Batch:
        """Events with the weights that they have in the sums now."""
        return batch if self.half_life is None else replace(batch, weights=self.half_life.weights(batch))

    def stretches(self, events: int, most: int, scale: Standardiser | Targets | None) -> Iterator[slice]:
        """Consecutive parts of the next events, to be learned at once: of at most `most` events, under one scale."""
        if events == 1:
            yield slice(0, 1)
            return
        if self.recursion.active:
            most = min(most, self.recursion.most)
        for start in range(0, events, most):  # bounds memory for any micro-batch size
            count = min(most, events - start)
            for part in [slice(0, count)] if scale is None else scale.stretches(count):
                yield slice(start + part.start, start + part.stop)

    def add(self, rows: Rows) -> None:
        """Add events; none may wait for the recursion. Those of wide tables wait until they are many."""
        held = self._held
        if held is None:
            self._add(rows)
            return
        held.add(rows)
        if self.early and held.events > held.first_ones:
            self.begin()
        elif not self.early and held.events >= TOGETHER:
            self.add_waiting()

    def _add(self, rows: Rows) -> None:
        for member in self.members:
            member.add(rows)
        self.events += len(rows.features)

    def begin(self) -> None:
        """From now on there are sums, of all events."""
        if self._held is None:
            return
        if self.early:
            columns = self.columns
            self.early, self.members[:] = False, self._made()
            for member in self.members:
                member.grow(columns)
        self.add_waiting()

    @property
    def waiting(self) -> int:
        """Events that `add_waiting` would add."""
        return self.recursion.waiting + (0 if self._held is None or self.early else self._held.events)

    def add_waiting(self) -> None:
        """Add the events that wait; but for the first ones of a wide table, which stand for the sums."""
        if (rows := self.recursion.take(classes=self._classes)) is not None:
            self._add(rows)
        if self._held is not None and not self.early and self._held.events:
            self._add(self._held.all)
            self._held.clear()

    def due(self, schedule: Schedule, since: int, learned: int) -> bool:
        """Whether to solve for new heads, when so many events were learned since the last solve and in all."""
        if self._held is not None and self.early:
            return self._held.due(self.columns, 2 * len(self.members) + 1, since)
        return schedule.due([member.class_weight for member in self.members], since, learned)

    def of_all(self) -> Statistics:
        """The slowest sums, of all events."""
        self.add_waiting()
        return self.slowest

    def settle(self) -> None:
        """Add the events that wait and stop the recursion: from now on events are added at once."""
        self.add_waiting()
        self.recursion.stop()

    def merge(self, other: Sums, order: NDArray[np.int64] | None, targets: Callable[[], None]) -> None:
        """Add the sums of another worker, both brought to one time.

        Args:
            other: Its sums, on the processor; changed.
            order: The columns here of its classes; None: of numbers.
            targets: Brings the targets in its sums to the origin here.
        """
        for one in (self, other):
            one.begin()
            one.settle()
        if order is not None:
            self.grow(max(self.columns, int(order.max(initial=-1)) + 1))
            other.members[0].reorder(order, self.columns)
        targets()
        if self.half_life is not None and other.half_life is not None:
            mine, theirs = self.half_life.meet(other.half_life)
            self.members[0].fade(mine)
            other.members[0].fade(theirs)
        self.members[0].merge(other.members[0])
        self.events += other.events

    def subtract(self, rows: Rows) -> None:
        """Remove events of one decay that does not forget."""
        self.begin()
        self.settle()
        self.members[0].subtract(rows)
        self.events -= len(rows.features)

    def fade(self, share: float) -> None:
        """Multiply the weight of all events so far by this factor."""
        self.settle()
        if self._held is not None and self.early:
            self._held.fade(share)
            return
        for member in self.members:
            member.fade(share)

    def rescale(self, rescaling: Rescaling, clocks: ClassClocks | None) -> None:
        """Re-express all sums, and those at the classes' own clocks, under a new scale."""
        self.settle()
        if self._held is not None and self.early:
            if clocks is not None:
                clocks.move(rescaling, self._held.means)
            self._held.rescale(rescaling)
            return
        for member in self.members:
            with member.on_host():
                if clocks is not None and member is self.slowest:
                    clocks.rescale(member, rescaling)
                else:
                    rescaling.apply(member)

    def move_moments(self, move: Move) -> None:
        """Re-express the moments of each class, which are those of the inputs before any scale of the learner's own."""
        for member in self.members:
            if member.class_mean is not None and member.class_m2 is not None:
                known = member.class_weight > 0
                moved = member.class_mean[:, move.columns] * move.ratio + move.offset
                member.class_mean[:, move.columns] = np.where(known[:, None], moved, 0.0)
                member.class_m2[:, move.columns] *= np.square(move.ratio)

    def drop_denormals(self, before: int) -> None:
        """Set fully decayed numbers to 0, where that is due since `events` was `before`."""
        if self.events > before:
            for member in self.members:
                member.drop_denormals(before, self.events)

    @property
    def grown_bytes(self) -> int:
        """What the sums of all decays take without any target."""
        return 8 * len(self._decays) * self._features.size**2

    def tensors(self) -> Mapping[str, Array]:
        """Tensors for `state()`."""
        found: dict[str, Array] = {}
        for n, member in enumerate([] if self.early else self.members):
            found |= {f"{name}.{n}": array for name, array in member.tensors().items()}
        if self._held is not None and (self.early or self._held.events):
            found |= {f"held.{name}": array for name, array in self._held.tensors().items()}
        if self.half_life is not None:
            found["brought_to"] = self.half_life.tensor()
        return found | {f"recursion.{name}": array for name, array in self.recursion.tensors().items()}

    def restore(self, tensors: Mapping[str, Array], learned: int) -> None:
        """Restore from `tensors()`; copies. `learned`: events in all."""
        summed, waiting = "gram.0" in tensors, Held(self._features, classes=self._classes)
        waiting.restore(below("held.", tensors))
        self.early = self._hold and not summed
        self._held = waiting if self._hold else None
        self.members[:] = self._of_held(waiting) if self.early else self._made()
        if summed:
            for n, member in enumerate(self.members):
                member.restore({name: tensors[f"{name}.{n}"] for name in member.tensors()})
        if self.half_life is not None:
            self.half_life.restore(tensors["brought_to"])
        self.recursion.restore(below("recursion.", tensors))
        self.events = learned - self.recursion.waiting - waiting.events
        if not self._hold and waiting.events:  # what was written on the processor is read on a device
            for member in self.members:
                member.grow(waiting.columns)
            self._add(waiting.all)


def below(prefix: str, tensors: Mapping[str, Array]) -> dict[str, Array]:
    """The tensors whose names begin so, without that."""
    return {name.removeprefix(prefix): array for name, array in tensors.items() if name.startswith(prefix)}
