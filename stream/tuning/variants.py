"""Variants of one model that differ in their parameters: all learn each event, the best one so far answers.

Sources: see `lead.py` for the comparison; Li, Jamieson et al. and others compare settings in rounds of data that is
kept, which a stream does not offer. Ours: the variant that leads of late answers; none is stopped, so that another one
may be the best later.
State: that of all variants, at most 63 losses of each, and 2 V + 5 numbers for each of V.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TypeVar, cast

import numpy as np

from thalweg.memory.snapshots.state import State, under
from thalweg.models.contract.capabilities import Forgetting, OnDevice, Wrapper, capability, predict_batch
from thalweg.models.contract.gauges import GaugeSpec, GaugeValue
from thalweg.models.contract.learner import Learner, Predictor
from thalweg.proto.event import Batch
from thalweg.proto.schema import Schema
from thalweg.proto.task import task_of
from thalweg.stream.comparison.bounds import STEP, Bounds
from thalweg.stream.comparison.losses import LossOfEvents, range_of
from thalweg.stream.tuning.lead import Lead

C = TypeVar("C")

_WORST = float(np.finfo(np.float64).max)  # a state is finite
_META = "tune"
_LOSSES, _LEAD = "tune/losses", "tune/lead/"
ANSWERING = GaugeSpec(name="tune_answering", help="1 for the variant that answers, else 0", labels=("variant",))
LOSS = GaugeSpec(
    name="tune_loss",
    help="Mean loss of each variant over about the last 1,000 events: share of wrong answers, Brier score, or error",
    labels=("variant",),
)
SHARE = GaugeSpec(name="tune_share", help="Share of the events that the variant answered", labels=("variant",))
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
        self._lead = Lead(len(learners), Bounds(*range_of(self._task)))
        self._waiting = np.zeros((len(learners), 0))  # losses that are not compared yet

    @property
    def schema(self) -> Schema:
        return self._learners[0].schema

    @property
    def best(self) -> int:
        """The number of the variant that answers."""
        return self._lead.best

    @property
    def losses(self) -> dict[str, float]:
        """By variant, its mean loss of late; the root of a squared one. NaN before the first comparison."""
        found = self._lead.losses
        return dict(zip(self._names, (np.sqrt(found) if self._task.name == "regression" else found).tolist()))

    @property
    def shares(self) -> dict[str, float]:
        """By variant, the share of events that it answered."""
        return dict(zip(self._names, self._lead.shares.tolist()))

    @property
    def gauges_declared(self) -> Sequence[GaugeSpec]:
        return (*self._learners[0].gauges_declared, ANSWERING, LOSS, SHARE, CHANGES)

    def gauges(self) -> Mapping[str, GaugeValue]:
        answering: Mapping[tuple[str, ...], float] = {
            (name,): float(number == self.best) for number, name in enumerate(self._names)
        }
        own: dict[str, GaugeValue] = {ANSWERING.name: answering, CHANGES.name: float(self._lead.changes)}
        for spec, values in ((LOSS, self.losses), (SHARE, self.shares)):
            own[spec.name] = {(name,): value for name, value in values.items() if not math.isnan(value)}
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
        if self._waiting.shape[1] >= STEP:
            self._compare()

    def state(self) -> State:
        states = [learner.state() for learner in self._learners]
        tensors = {
            f"{number}/{name}": tensor for number, one in enumerate(states) for name, tensor in one.tensors.items()
        }
        tensors |= {_LEAD + name: tensor for name, tensor in self._lead.tensors().items()}
        meta = {str(number): one.meta for number, one in enumerate(states)}
        return State({**tensors, _LOSSES: self._waiting}, {**meta, _META: {"variants": list(self._names)}})

    def restore(self, state: State) -> None:
        own = state.meta.get(_META)
        if own is None or own["variants"] != list(self._names):
            raise ValueError(f"expected a state of the variants {', '.join(self._names)}")
        for number, learner in enumerate(self._learners):
            learner.restore(State(under(f"{number}/", state.tensors), state.meta[str(number)]))
        self._waiting = np.array(state.tensors[_LOSSES])
        self._lead = Lead(len(self._learners), Bounds(*range_of(self._task)))
        if lead := under(_LEAD, state.tensors):
            self._lead.restore(lead)
        else:  # of a version that compared otherwise: its choice stands until another one leads
            self._lead.best, self._lead.changes = (int(own["comparison"][name]) for name in ("champion", "promotion"))

    def _compare(self) -> None:
        whole = self._waiting.shape[1] // STEP * STEP
        for first in range(0, whole, STEP):
            self._lead.add(self._waiting[:, first : first + STEP])
        self._waiting = self._waiting[:, whole:].copy()


class _ForgettingOfAll:
    def __init__(self, every: Sequence[Forgetting]) -> None:
        self._every = every

    def raise_forgetting(self, factor: float, events: int) -> None:
        """That of each variant."""
        for one in self._every:
            one.raise_forgetting(factor, events)
