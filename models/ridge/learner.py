"""Analytic ridge: after every prefix of the stream the head is the ridge solution on that prefix.

Source: Zhuang et al., "Online Analytic Exemplar-Free Continual Learning with Large Models for Imbalanced Autonomous
Driving Task" (arXiv:2405.17779): frozen random ReLU layer, recursive ridge head, pseudo-features for rare classes.
Ours differs (docs/learners/ridge.md counts how): sums G = Σhhᵀ and Q = Σhyᵀ are the state and are solved by Cholesky;
inputs are standardised, and sums re-expressed when the scale moves; events may fade, at several rates at once, the
served head being the mixture that did best lately, while classes that no longer come are kept at clocks of their own;
class names need not be known, targets may be numbers; few events are learned by Woodbury steps at all decays at once;
the random layer rests where the inputs alone are right as often.
Cost: D² multiply-adds an event and decay, D³/6 a solve. State: 8 (2 D² + 2 D C) bytes a decay, + 8 D F.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thalweg.memory.snapshots.state import State
from thalweg.models.contract.gauges import CLASSES, SKIPPED_EVENTS, GaugeValue
from thalweg.models.contract.learner import LearnerContext
from thalweg.models.parts.class_bound import EXCESS_EVENTS, ExcessEvents
from thalweg.models.parts.input_columns import InputColumns
from thalweg.models.parts.running_scale import Move, RunningScale
from thalweg.models.parts.selection import Selected
from thalweg.models.parts.standardise import scaled
from thalweg.models.ridge.absent import Absent
from thalweg.models.ridge.classes import Classes, select
from thalweg.models.ridge.clocks import PAUSE, pauses_within
from thalweg.models.ridge.heads.inputs_alone import InputsAlone
from thalweg.models.ridge.heads.mixture import mixture_of
from thalweg.models.ridge.heads.pseudo_features import seeded_noise, solved
from thalweg.models.ridge.heads.refresh import Schedule, recursion_lasts
from thalweg.models.ridge.heads.solve import Penalty
from thalweg.models.ridge.identity import VERSION, check, identity
from thalweg.models.ridge.merging import check_plain, merge_mistakes, merged_defaults
from thalweg.models.ridge.params import Params, defaults_behind_columns
from thalweg.models.ridge.placing import feature_map, gains_from_gpu, placed_sums
from thalweg.models.ridge.predictor import CHUNK, RidgePredictor
from thalweg.models.ridge.rescaled import Rescaling
from thalweg.models.ridge.statistics import Rows, Statistics
from thalweg.models.ridge.sums import Sums, below
from thalweg.models.ridge.targets import Targets
from thalweg.proto.event import Batch, ClassLabels
from thalweg.proto.schema import Array, Schema

Floats = NDArray[np.float64]


class Ridge:
    """The learner `ridge`; parameters in `Params`, obligations in `models/contract/learner.py`.

    Skips events without a label, with a weight that is not positive, with inputs or targets that are not
    finite (or beyond 1e100), or of a class beyond `max_classes`; the last two are counted.
    """

    gauges_declared = (CLASSES, SKIPPED_EVENTS, EXCESS_EVENTS)
    params_type, defaults_behind_columns = Params, staticmethod(defaults_behind_columns)
    takes_device, gains_from_gpu, state_version, state_revision = True, staticmethod(gains_from_gpu), VERSION, 3
    merged_defaults, merge_mistakes = staticmethod(merged_defaults), staticmethod(merge_mistakes)

    def __init__(self, context: LearnerContext) -> None:
        self.params = p = Params.of(context.params)
        self._columns = InputColumns(context.inputs)
        numbers = p.task == "regression"
        self.schema = Schema(self._columns.specs, "number", p.targets) if numbers else Schema(self._columns.specs)
        self._context, self._seed = replace(context, params=p.model_dump(), device="cpu"), context.seed
        self._classes = Classes()
        self._map = feature_map(p, self._columns.width, context)
        self._standardiser = RunningScale(self._columns.width) if p.standardise is True else None
        self._targets: Targets | None = None
        if numbers:
            self._targets = Targets(p.targets, None if p.additive else p.target_clip, centred=p.bias)
        make, self.computed_on = placed_sums(context)
        self._sums = Sums(self._map, p, make, hold=not self.computed_on)
        self.grown_bytes = self._sums.grown_bytes  # as of `GrowingState`
        self._schedule = Schedule(p, self._map.size, self._columns.width, on_gpu=bool(self.computed_on))
        self._members, self._recursion = self._sums.members, self._sums.recursion
        forgets = min(p.forgetting) < 1.0 and p.balance == "none" and p.task == "classification"
        self._absent = Absent(self._map.size, self._map.width, max(p.forgetting)) if p.keep_absent and forgets else None
        self._mixture = mixture_of(p, self._map, self._classes)
        self._alone = InputsAlone(p, self._map, self._classes, on_gpu=bool(self.computed_on))
        self._heads: Floats = np.zeros((len(p.forgetting), self._map.size, self._sums.columns))  # (M, D, C)
        self._learned = self._since_refresh = self._head_events = self._skipped = self._faded = 0
        self._excess = ExcessEvents("max_classes", p.max_classes)
        self._must_refresh = False
        self._predictor: RidgePredictor | None = None

    def learn(self, batch: Batch) -> None:
        if self._merged:
            self.refresh()
        inputs, targets, codes, weights, skipped, excess, first_excess = self._take(self._sums.aged(batch))
        self._skipped += skipped
        self._excess.add(excess, first_excess)
        if not (events := len(inputs)):
            return
        summed = self._sums.events
        if self._recursion.active and not self._schedule.recursive(self._sums.columns, events):
            self._sums.settle()
        self._mixture.begin(events, late=batch.served is not None)
        pauses = self._absent is not None and codes is not None and pauses_within(codes)
        scale = self._standardiser or self._targets  # both change after the same events
        for part in self._sums.stretches(events, PAUSE if pauses else CHUNK, scale):
            y = targets[part] if self._targets is None else self._targets.take(targets[part])
            w = None if weights is None else weights[part]
            c = None if codes is None else codes[part]
            self._learn(Rows(self._taken(inputs[part]), y, w, c, inputs[part]), self._learned + part.start)
            self._rescale()
            if self._alone.may_turn(done := self._learned + part.stop):
                self._turn(done, events)
        self._learned += events
        self._since_refresh += events
        if codes is not None:
            self._classes.add(codes)
        if len(self._members) > 1 or self._recursion.active:
            self._predictor = None  # the mixture has changed, or the head was updated recursively
        must = self._must_refresh
        self._refresh_if_due(events)
        if not self._alone.rests:
            self._recall(anyway=must)
        self._sums.drop_denormals(summed)

    def _learn(self, rows: Rows, before: int) -> None:
        if self._alone.involved:
            other = None if self._alone.rests else self._mixture.served(self._heads, self._map.constant)
            self._must_refresh |= self._alone.learn(rows, other, before)
            if other is None:
                return
        recursion = self._recursion
        if recursion.active and not recursion.has_room(len(rows.features)):
            self._renew()
        errors: Floats | None = None
        if recursion.active:
            self._grow_heads()
            errors = rows.targets - np.matmul(rows.features, self._heads)  # (M, n, C)
        if len(self._members) > 1 and self._learned:
            self._mixture.score(rows, self._heads, errors)
        if self._absent is not None and rows.codes is not None and rows.inputs is not None:
            if self._sums.waiting and self._absent.clocks.stores(rows.codes):
                self._sums.add_waiting()
            self._absent.add(rows.inputs, rows.features, rows.codes, self._sums.slowest)
        if errors is None:
            self._sums.add(rows)
        elif not recursion.add(rows, errors, self._heads):
            self._sums.settle()

    def _recall(self, *, anyway: bool) -> None:
        if self._absent is not None and self._absent.update(
            self._sums.of_all, self._features, self._present, self._map.constant, anyway=anyway
        ):
            self._predictor = None

    def _rescale(self) -> None:
        """Re-express all sums if the scale has moved after the last stretch."""
        if self._standardiser is not None and (move := self._standardiser.move) is not None:
            self._re_express(move)
            self._standardiser.move = None

    def _re_express(self, move: Move) -> None:
        clocks = None if self._absent is None else self._absent.clocks
        self._sums.rescale(Rescaling(self._map, move, self.params.clip), clocks)
        if self._alone.answers:
            self._alone.rescale(Rescaling(self._alone.map, move, self.params.clip))

    def inputs_moved(self, move: Move) -> None:  # as of `Rescalable`
        if self.params.standardise is False and self._learned:
            self._re_express(move)
            self._sums.move_moments(move)
            self.refresh()
            self._recall(anyway=True)

    def _take(self, batch: Batch) -> Selected:
        """The valid labelled events of a batch; registers new classes."""
        inputs = self._columns.gather(batch.inputs)
        known = len(self._classes.table)
        selected = select(inputs, batch, self.schema, self._classes.table, self.params.max_classes)
        if (columns := len(self._classes.table)) > known:
            self._classes.grow()
            self._sums.grow(columns)
            if self._absent is not None:
                self._absent.grow(columns)
            self._alone.grow(columns, self._learned)
            self._must_refresh = True
        return selected

    def _taken(self, inputs: Array) -> Floats:
        """(n, D) features of inputs (n, F), after their scale is updated."""
        if self._standardiser is None:
            return self._features(inputs)
        z, stepped = self._standardiser.take(inputs, self.params.clip)
        self._must_refresh |= stepped
        return (self._alone.map if self._alone.rests else self._map).features(z)

    def _features(self, inputs: Array) -> Floats:
        """(n, D) features of inputs (n, F) under the current scale."""
        if self._standardiser is None:
            return self._map.features(inputs.astype(np.float64, copy=False))
        return self._map.features(scaled(inputs, self._standardiser.shift, self._standardiser.factor, self.params.clip))

    def raise_forgetting(self, factor: float, events: int) -> None:
        """Decays all sums at once; their regular decay stays."""
        self._sums.fade(1.0 / factor)
        self._alone.fade(1.0 / factor, self._learned)
        if self._absent is not None:
            self._absent.clocks.fade(1.0 / factor)
        self._faded += 1
        if self._learned:
            self.refresh()

    @property
    def _heads(self) -> Floats:
        """(M, D, C); solved once after several merges."""
        if self._merged:
            self.refresh()
        return self._solved

    @_heads.setter
    def _heads(self, heads: Floats) -> None:
        self._solved, self._merged = heads, False

    def _refresh_if_due(self, events: int) -> None:
        alone = self._alone
        schedule = alone.schedule if alone.rests else self._schedule
        wanted = not alone.rests and schedule.recursive(self._sums.columns, events)
        at_once = self._must_refresh or (wanted and self.params.refresh_events == "auto")
        if not at_once and not self._sums.due(schedule, self._since_refresh, self._learned):
            return
        if not wanted:
            self.refresh()
            return
        if alone.answers:
            alone.solve(self._members, self._learned, anyway=self._must_refresh)
        elif alone.trying:
            alone.dismiss(self._learned)  # a trial is for micro-batches; row by row it would cost too much
        if not self._recursion.active:
            self._heads = self._recursion.begin(self._members, self._gamma, self._map.constant)
            self._mixture.renew(self._members, self._gamma, 0)  # 0: all anew
        elif not self._recursion.has_room(min(events, self._recursion.most)):
            self._renew()
        self._refreshed()

    def _renew(self) -> None:
        self._grow_heads()
        self._sums.add_waiting()
        most = recursion_lasts(self._map.size, self._learned)
        self._recursion.renew(self._members, self._heads, self._gamma, self._map.constant, most)
        self._mixture.renew(self._members, self._gamma, most)

    def refresh(self) -> None:
        """Solve for new heads from everything learned so far."""
        self._sums.settle()
        if self._alone.involved:
            self._alone.solve(self._members, self._learned, anyway=self._must_refresh)
        if not self._alone.rests:
            self._heads = np.array([self._solve(member) for member in self._members])
            self._mixture.solve(self._members, self._sums.slowest, self._gamma, self._map.constant)
        self._refreshed()

    def _turn(self, done: int, events: int) -> None:
        """Begin or end a trial, if that is due after so many events, in a micro-batch of `events`."""
        small = self._schedule.recursive(self._sums.columns, events)
        if self._alone.trying:
            self._sums.settle()
        away = self._absent is not None and self._absent.head is not None
        self._must_refresh |= self._alone.turn(done, self._members, steady=not small and not away)

    def _refreshed(self) -> None:
        self._since_refresh, self._must_refresh, self._head_events = 0, False, self._learned
        self._predictor = None

    def _solve(self, member: Statistics) -> Floats:
        noise = seeded_noise(self._seed, self._learned)
        return solved(member, self.params, self._features, self._gamma(member), self._map.constant, noise)

    def _gamma(self, member: Statistics) -> Penalty:
        return member.penalty(self.params.gamma, -1 if self._map.bias else None)  # the last, of any part of them

    def _grow_heads(self) -> None:
        missing = self._sums.columns - self._heads.shape[2]
        if missing:
            self._heads = np.pad(self._heads, ((0, 0), (0, 0), (0, missing)))

    def predictor(self) -> RidgePredictor:
        if self._predictor is None:
            head = self._present()
            names, known = None, None
            if self._targets is not None and self._map.bias:
                head[-1] += self._targets.origin
            if self.params.task == "classification":
                known = None if self._absent is None else self._absent.known
                seen, names = self._classes.seen(head.shape[1])
                head = head if seen is None else head[:, seen]
            s = self._standardiser
            scale = None if s is None else (s.shift, s.factor, self.params.clip)
            self._predictor = RidgePredictor(self._columns, self._map, head, names, scale, self._head_events, known)
        return self._predictor

    def _present(self) -> Floats:
        """W (D, C) for what is asked now; a copy."""
        alone = self._alone.head(self._sums.columns)
        return self._mixture.served(self._heads, self._map.constant) if alone is None else alone

    @classmethod
    def predictor_from(cls, state: State) -> RidgePredictor:
        """The predictor of a `state()`; arrays may be read-only maps of a file."""
        return RidgePredictor.of(state)

    def state(self) -> State:
        tensors = {"heads": self._heads, **self._mixture.tensors(), "class_events": self._classes.events}
        if self._map.expansion:
            tensors |= {"projection": self._map.projection, "offsets": self._map.offsets}
        tensors |= self._sums.tensors()
        meta: dict[str, Any] = {
            "identity": identity(self.params, self._columns.specs, self._seed),
            "classes": list(self._classes.table),
            "learned": self._learned,
            "since_refresh": self._since_refresh,
            "head_events": self._head_events,
            "skipped": self._skipped,
            **({"faded": self._faded} if self._faded else {}),
            **self._excess.meta(),
        }
        if self._standardiser is not None:
            tensors |= {f"scale.{name}": array for name, array in self._standardiser.tensors().items()}
            meta["scale"] = [self._standardiser.events, self._standardiser.next_step]
        for part, kept in (("targets", self._targets), ("absent", self._absent), ("alone", self._alone)):
            if kept is not None and (counted := kept.meta()) is not None:
                tensors |= {f"{part}.{name}": array for name, array in kept.tensors().items()}
                meta[part] = counted
        return State(tensors, meta)

    def restore(self, state: State) -> None:
        check(identity(self.params, self._columns.specs, self._seed), state.meta.get("identity", {}))
        tensors, meta = state.tensors, state.meta
        self._classes.restore(meta["classes"], tensors["class_events"])
        self._learned, self._since_refresh = meta["learned"], meta["since_refresh"]
        self._head_events, self._skipped = meta["head_events"], meta["skipped"]
        self._faded = meta.get("faded", 0)
        self._excess.restore(meta)
        self._must_refresh, self._predictor = False, None
        self._heads = np.array(tensors["heads"])
        self._mixture.restore(tensors)
        if self._map.expansion:
            self._map = self._map.of(tensors["projection"], tensors["offsets"])
        self._alone.restore(below("alone.", tensors), meta.get("alone"), len(meta["classes"]))
        self._sums.restore(tensors, self._learned - self._alone.rested)
        if self._standardiser is not None:
            self._standardiser.restore(below("scale.", tensors), *meta["scale"])
        if self._targets is not None:
            self._targets.restore(below("targets.", tensors), meta["targets"])
        if self._absent is not None and not self._absent.restore(below("absent.", tensors), meta["absent"]):
            self._recall(anyway=True)

    def merge(self, other: State) -> None:
        """Add the `state()` of another worker that learned other events; the sum is exact. Solved when asked.

        Raises:
            ValueError: Other parameters, too many classes, or sums that depend on order. Nothing was changed.
        """
        theirs = Ridge(self._context)  # on the processor
        theirs.restore(other)
        check_plain("merge", self.params, self._faded + theirs._faded)
        if self._map.expansion and not np.array_equal(theirs._map.projection, self._map.projection):
            raise ValueError("cannot merge: the random layers differ")
        self._classes.check_room(theirs._classes, self.params.max_classes)
        order, mine, its = self._classes.merge(theirs._classes), self._targets, theirs._targets
        self._sums.merge(
            theirs._sums,
            order if mine is None else None,
            lambda: None if mine is None or its is None else mine.merge(its, theirs._members[0]),
        )
        self._learned += theirs._learned
        self._skipped += theirs._skipped
        self._excess.events += theirs._excess.events
        self._merged, self._predictor = True, None

    def unlearn(self, batch: Batch) -> None:
        """Remove events, exactly (up to rounding) as if they had never been learned; with a half-life, of these times.

        Raises:
            ValueError: Events are forgotten by number or standardised, or one is of a class that was never learned.
        """
        check_plain("unlearn", self.params, self._faded)
        if isinstance(batch.labels, ClassLabels):
            self._classes.check_known(batch.labels.names)
        inputs, targets, codes, weights, *_ = self._take(self._sums.of_their_age(batch))
        if self._targets is not None:
            targets = targets - self._targets.origin
        self._sums.subtract(Rows(self._features(inputs), targets, weights, codes, inputs))
        self._learned -= len(inputs)
        if codes is not None:
            self._classes.subtract(codes)
        self.refresh()

    def gauges(self) -> Mapping[str, GaugeValue]:
        classes, excess = float(len(self._classes.table)), float(self._excess.events)
        return {"classes": classes, "skipped_events": float(self._skipped), "excess_class_events": excess}
