"""Variants of one model that differ in their parameters: all learn each event, the best one so far answers.

Sources: Choe, Ramdas, "Comparing sequential forecasters", Operations Research 2023, for the comparison (see
`stream.comparison.evidence`); Li, Jamieson et al. and others compare settings in rounds of data that is kept, which a
stream does not offer. Ours: a variant answers once the test finds it to be better than the one that does; no variant is
stopped, so that another one may be the best later.
State: that of all variants, at most 64 losses of each, and a few numbers for each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from thalweg.memory.snapshots.state import State
from thalweg.models.contract.capabilities import Forgetting, OnDevice, Wrapper, capability, predict_batch
from thalweg.models.contract.gauges import GaugeSpec, GaugeValue
from thalweg.models.contract.learner import Learner, Predictor
from thalweg.proto.event import Batch
from thalweg.proto.schema import Schema
from thalweg.proto.task import task_of
from thalweg.stream.comparison.block_losses import BlockLosses
from thalweg.stream.comparison.bounds import Bounds
from thalweg.stream.comparison.comparison import Comparison, step
from thalweg.stream.comparison.comparison_file import comparison_from, comparison_table
from thalweg.stream.comparison.losses import LossOfEvents, range_of
from thalweg.stream.comparison.pairing import Pairs

C = TypeVar("C")

ALPHA = 0.05
_TOGETHER = 64  # events that are compared at a time
_WORST = float(np.finfo(np.float64).max)  # a state is finite
_PLACE = "events"
_META = "tune"
_LOSSES = "tune/losses"
ANSWERING = GaugeSpec(name="tune_answering", help="1 for the variant that answers, else 0", labels=("variant",))
CHANGES = GaugeSpec(name="tune_changes", help="How often another variant became the best", kind="counter")


class Variants(Wrapper):
    """The variants as one learner.

    Args:
        learners: At least one, which have learned nothing; the first answers until another one is better.
        names: What tells them apart, for gauges; one each.
    """

    def __init__(self, learners: Sequence[Learner], names: Sequence[str]) -> None:
        self._learners, self._names = list(learners), tuple(names)
        self._task = task_of(learners[0].predictor())
        self._loss = LossOfEvents()
        self._comparison = self._against(0, 0, 0)
        self._waiting = np.zeros((len(learners), 0))  # losses that are not compared yet
        self._seen = 0

    @property
    def schema(self) -> Schema:
        return self._learners[0].schema

    @property
    def best(self) -> int:
        """The number of the variant that answers."""
        return int(self._comparison.champion)

    @property
    def gauges_declared(self) -> Sequence[GaugeSpec]:
        return (*self._learners[0].gauges_declared, ANSWERING, CHANGES)

    def gauges(self) -> Mapping[str, GaugeValue]:
        answering: Mapping[tuple[str, ...], float] = {
            (name,): float(number == self.best) for number, name in enumerate(self._names)
        }
        own: dict[str, GaugeValue] = {ANSWERING.name: answering, CHANGES.name: float(self._comparison.promotion)}
        return {**self._learners[self.best].gauges(), **own}

    def capability(self, kind: type[C]) -> C | None:
        every = [capability(learner, kind) for learner in self._learners]
        if kind is OnDevice:  # all of them compute on the model's device
            return every[0]
        if kind is not Forgetting or any(one is None for one in every):
            return None
        return cast(C, _ForgettingOfAll([cast(Forgetting, one) for one in every]))

    def predictor(self) -> Predictor:
        return self._learners[self.best].predictor()

    def learn(self, batch: Batch) -> None:
        if batch.labels is not None and len(self._learners) > 1:
            found = []
            for learner in self._learners:
                predictor = learner.predictor()
                found.append(self._loss.labelled(batch, predictor, predict_batch(predictor, batch)))
                del predictor  # a learner need not copy what nobody holds
            if found[0] is not None:
                rows = np.array([one[1] for one in found if one is not None])
                rows = np.where(np.isnan(rows), _WORST, rows)
                self._waiting = np.concatenate([self._waiting, rows], axis=1)
        for learner in self._learners:
            learner.learn(batch)
        if self._waiting.shape[1] >= _TOGETHER:
            self._compare()

    def state(self) -> State:
        states = [learner.state() for learner in self._learners]
        tensors = {
            f"{number}/{name}": tensor for number, one in enumerate(states) for name, tensor in one.tensors.items()
        }
        own = {"seen": self._seen, "comparison": comparison_table(self._comparison), "variants": list(self._names)}
        meta = {str(number): one.meta for number, one in enumerate(states)}
        return State({**tensors, _LOSSES: self._waiting}, {**meta, _META: own})

    def restore(self, state: State) -> None:
        own = state.meta.get(_META)
        if own is None or own["variants"] != list(self._names):
            raise ValueError(f"expected a state of the variants {', '.join(self._names)}")
        for number, learner in enumerate(self._learners):
            begin = f"{number}/"
            tensors = {n.removeprefix(begin): one for n, one in state.tensors.items() if n.startswith(begin)}
            learner.restore(State(tensors, state.meta[str(number)]))
        self._waiting, self._seen = np.array(state.tensors[_LOSSES]), own["seen"]
        self._comparison = comparison_from(own["comparison"])

    def _against(self, best: int, promotion: int, groups: int) -> Comparison:
        """The comparison of the others with this variant."""
        others = [str(number) for number in range(len(self._learners)) if number != best]
        fresh = Comparison(str(best), promotion, ALPHA, groups, Bounds(*range_of(self._task)))
        return fresh.with_challengers(others)

    def _compare(self) -> None:
        losses, begin = self._waiting, 0
        self._waiting = np.zeros((len(self._learners), 0))
        while begin < losses.shape[1]:
            blocks = [self._block(row) for row in losses[:, begin:]]
            pairs = {test.challenger: Pairs() for test in self._comparison.tests}
            for name, one in pairs.items():
                one.add(blocks[int(name)], self._comparison.done)
            after, decision = step(self._comparison, blocks[self.best], pairs)
            self._comparison = after
            if decision is None:
                break
            begin += decision.offset + 1
            self._comparison = self._against(int(decision.challenger), after.promotion + 1, after.groups)
        self._comparison = self._comparison.at({})  # every block begins at its own first event
        self._seen += losses.shape[1]

    def _block(self, losses: NDArray[np.float64]) -> BlockLosses:
        count = len(losses)
        which, offsets = np.zeros(count, np.int32), np.arange(count, dtype=np.int64)
        keys = np.full(count, -1, dtype=np.int64)
        return BlockLosses(1, {_PLACE: (-1, count - 1)}, (_PLACE,), which, offsets, losses, keys)


class _ForgettingOfAll:
    def __init__(self, every: Sequence[Forgetting]) -> None:
        self._every = every

    def raise_forgetting(self, factor: float, events: int) -> None:
        """That of each variant."""
        for one in self._every:
            one.raise_forgetting(factor, events)
