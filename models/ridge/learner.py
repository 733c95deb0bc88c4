"""Analytic ridge: after every prefix of the stream the head is the ridge solution on that prefix; nothing is forgotten
by accident, and as much as you like on purpose.

Source: Zhuang et al., "Online Analytic Exemplar-Free Continual Learning with Large Models for Imbalanced Autonomous
Driving Task" (arXiv:2405.17779): frozen random ReLU layer, recursive ridge head, pseudo-features for rare classes.
Ours differs (docs/learners/ridge.md counts how): sums G = Σhhᵀ and Q = Σhyᵀ are the state and are solved by Cholesky,
inputs are standardised, events may fade, at several rates at once, the served head being the mixture that did best
lately; class names need not be known, targets may be numbers, events have weights.
Cost: D² multiply-adds an event and decay, D³/6 a solve. State: 8 (D² + 2 D C) bytes a decay, + 8 D F.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from thalweg.memory.snapshots.state import State
from thalweg.models.contract.gauges import CLASSES, SKIPPED_EVENTS, GaugeValue
from thalweg.models.contract.learner import LearnerContext
from thalweg.models.parts.class_bound import EXCESS_EVENTS, ExcessEvents
from thalweg.models.parts.input_columns import InputColumns
from thalweg.models.parts.random_features import FeatureMap
from thalweg.models.parts.selection import Selected, select_classes, select_numbers
from thalweg.models.parts.standardise import Standardiser, scaled
from thalweg.models.ridge.head import Inverse, solve
from thalweg.models.ridge.mixture import Mixture
from thalweg.models.ridge.params import Params
from thalweg.models.ridge.predictor import CHUNK, RidgePredictor
from thalweg.models.ridge.pseudo_features import reweighted_head, rows_needed, seeded_noise, topped_up
from thalweg.models.ridge.refresh import event_cost, interval, recursion_pays, solve_cost
from thalweg.models.ridge.statistics import Rows, Statistics
from thalweg.proto.event import Batch, ClassLabels, NumberLabels
from thalweg.proto.schema import Array, InputError, Schema

Floats = NDArray[np.float64]


class Ridge:
    """The learner `ridge`; parameters in `Params`, obligations in `models/contract/learner.py`.

    Skips events without a label, with a weight that is not positive, with inputs or targets that are not
    finite (or beyond 1e100), or of a class beyond `max_classes`; the last two are counted.
    """

    gauges_declared = (CLASSES, SKIPPED_EVENTS, EXCESS_EVENTS)
    params_type = Params
    # Behind columns numbers are scaled already, and rare categories must not be: divided by its deviation, one that
    # came twice would weigh as much as all others together. A random layer would answer a category or a missing value
    # that never came before with confidence, and wrongly: nothing ever held its weights in that direction.
    defaults_behind_columns: ClassVar = {"standardise": False, "expansion": 0}

    def __init__(self, context: LearnerContext) -> None:
        self.params = p = Params.of(context.params)
        self._columns = InputColumns(context.inputs)
        self._seed = context.seed
        self._classes: dict[str, int] = {}
        self._class_events: NDArray[np.int64] = np.zeros(0, np.int64)  # (C,), without decay
        self._map = FeatureMap.draw(
            self._columns.width, p.expansion, offsets=p.offsets, direct=p.direct, bias=p.bias, seed=context.seed
        )
        self._standardiser = Standardiser(self._columns.width) if p.standardise else None
        self._members = [self._new_statistics(decay) for decay in p.forgetting]
        self._mixture = Mixture(len(p.forgetting), p.mixture_horizon_events, unit_free=p.task == "regression")
        self._inverse = Inverse()
        self._heads: Floats = np.zeros((len(p.forgetting), self._map.size, self._members[0].columns))  # (M, D, C)
        self._learned = 0
        self._since_refresh = 0
        self._head_events = 0
        self._skipped = 0
        self._excess = ExcessEvents("max_classes", p.max_classes)
        self._faded = 0
        self._must_refresh = False
        self._predictor: RidgePredictor | None = None

    @property
    def schema(self) -> Schema:
        if self.params.task == "regression":
            return Schema(self._columns.specs, "number", self.params.targets)
        return Schema(self._columns.specs, "class")

    # Learning

    def learn(self, batch: Batch) -> None:
        inputs, targets, codes, weights, skipped, excess, first_excess = self._take(batch)
        self._skipped += skipped
        self._excess.add(excess, first_excess)
        if len(inputs) == 0:
            return
        for part in self._stretches(len(inputs)):
            some = Rows(
                self._taken(inputs[part]),
                targets[part],
                None if weights is None else weights[part],
                None if codes is None else codes[part],
                inputs[part],
            )
            self._learn(some)
        for member in self._members:
            member.drop_denormals(self._learned, self._learned + len(inputs))
        self._learned += len(inputs)
        self._since_refresh += len(inputs)
        if codes is not None:
            self._class_events += np.bincount(codes, minlength=len(self._class_events))
        if len(self._members) > 1 or self._inverse.inverse is not None:
            self._predictor = None  # the mixture has changed, or the head was updated recursively
        self._refresh_if_due(len(inputs))

    def _learn(self, rows: Rows) -> None:
        if len(self._members) > 1 and self._learned:
            self._mixture.score(rows.features, rows.targets, self._heads)
        for member in self._members:
            member.add(rows)
        if self._inverse.inverse is not None:
            self._grow_heads()
            self._heads[0] = self._inverse.add(rows.features, rows.targets, rows.weights, self._heads[0])

    def _take(self, batch: Batch) -> Selected:
        """The valid labelled events of a batch; registers new classes."""
        inputs = self._columns.gather(batch.inputs)
        if isinstance(batch.labels, NumberLabels) != (self.params.task == "regression") and batch.labels is not None:
            raise InputError(f"labels: expected {self.schema.label}, got {type(batch.labels).__name__}")
        if isinstance(batch.labels, NumberLabels):
            return select_numbers(inputs, batch.labels, batch.weights, self.params.targets)
        if batch.labels is None:
            return Selected(inputs[:0], np.zeros((0, 0)), None, None, 0)
        known = len(self._classes)
        selected = select_classes(inputs, batch.labels, batch.weights, self._classes, self.params.max_classes)
        if len(self._classes) > known:
            for member in self._members:
                member.grow(len(self._classes))
            self._class_events = np.pad(self._class_events, (0, len(self._classes) - known))
            self._must_refresh = True
        return selected

    def _stretches(self, events: int) -> Iterator[slice]:
        for start in range(0, events, CHUNK):  # bounds memory for any micro-batch size
            count = min(CHUNK, events - start)
            parts = [slice(0, count)] if self._standardiser is None else self._standardiser.stretches(count)
            for part in parts:
                yield slice(start + part.start, start + part.stop)

    def _taken(self, inputs: Array) -> Floats:
        """(n, D) features of inputs (n, F), after their scale is updated."""
        if self._standardiser is None:
            return self._features(inputs)
        z, stepped = self._standardiser.take(inputs, self.params.clip)
        self._must_refresh |= stepped
        return self._map.features(z)

    def _features(self, inputs: Array) -> Floats:
        """(n, D) features of inputs (n, F) under the current scale."""
        if self._standardiser is None:
            return self._map.features(inputs.astype(np.float64, copy=False))
        return self._map.features(scaled(inputs, self._standardiser.shift, self._standardiser.factor, self.params.clip))

    def raise_forgetting(self, factor: float, events: int) -> None:
        """Decays all sums at once; their regular decay stays."""
        for member in self._members:
            member.fade(1.0 / factor)
        self._faded += 1
        self._inverse.inverse = None
        if self._learned:
            self.refresh()

    # Heads

    def _refresh_if_due(self, events: int) -> None:
        size, columns = self._map.size, self._members[0].columns
        setting = self.params.refresh_events
        pseudo = 0
        if self.params.balance == "pseudo_features":
            pseudo = max(int(rows_needed(m.class_weight, self.params.pseudo_rows).sum()) for m in self._members)
        cost = solve_cost(size, columns, pseudo, self._map.width)
        due = self._since_refresh >= interval(setting, self._learned, cost, event_cost(size, columns))
        if not (due or self._must_refresh):
            return
        recursive = self._recursion_wanted(events)
        if recursive and self._inverse.inverse is not None and self._inverse.steps < self._inverse_lasts():
            self._grow_heads()  # the Woodbury steps have updated the head
        elif recursive:
            member = self._members[0]
            head = self._inverse.begin(member.gram, member.cross, self.params.gamma, self._map.constant)
            self._heads = np.ascontiguousarray(head[None])
        else:
            self._inverse.inverse = None
            self.refresh()
            return
        self._refreshed()

    def refresh(self) -> None:
        """Solve for new heads from everything learned so far."""
        self._heads = np.array([self._solve(member) for member in self._members])
        self._refreshed()

    def _refreshed(self) -> None:
        self._since_refresh, self._must_refresh, self._head_events = 0, False, self._learned
        self._predictor = None

    def _solve(self, member: Statistics) -> Floats:
        constant = self._map.constant
        if self.params.balance == "reweighted":
            return reweighted_head(member, self.params.gamma, constant)
        if self.params.balance == "pseudo_features":
            noise = seeded_noise(self._seed, self._learned)
            member = topped_up(member, self._features, self.params.pseudo_noise, self.params.pseudo_rows, noise)
        return solve(member.gram, member.cross, self.params.gamma, constant)

    def _recursion_wanted(self, events: int) -> bool:
        p = self.params
        if p.solver == "cholesky" or p.forgetting != (1.0,) or p.balance != "none":
            return False
        fresh = isinstance(p.refresh_events, int) and p.refresh_events <= events
        return p.solver == "recursive" or (fresh and recursion_pays(self._map.size, self._members[0].columns, events))

    def _inverse_lasts(self) -> int:
        """Woodbury steps before the next factorisation: doubling at the start, where the error arises, then D."""
        return max(64, min(self._map.size, self._learned // 2))

    def _grow_heads(self) -> None:
        missing = self._members[0].columns - self._heads.shape[2]
        if missing:
            self._heads = np.pad(self._heads, ((0, 0), (0, 0), (0, missing)))

    def predictor(self) -> RidgePredictor:
        if self._predictor is None:
            head = np.tensordot(self._mixture.weights(), self._heads, 1) if len(self._heads) > 1 else self._heads[0]
            names: list[str] | None = None
            if self.params.task == "classification":
                known = np.flatnonzero(self._class_events[: head.shape[1]] > 0)  # an unlearned class is never predicted
                names = [name for name, code in self._classes.items() if code in set(known.tolist())]
                head = head[:, known]
            s = self._standardiser
            scale = None if s is None else (s.shift, s.factor, self.params.clip)
            self._predictor = RidgePredictor(self._columns, self._map, head.copy(), names, scale, self._head_events)
        return self._predictor

    @classmethod
    def predictor_from(cls, state: State) -> RidgePredictor:
        """The predictor of a `state()`; arrays may be read-only maps of a file."""
        return RidgePredictor.of(state)

    # State

    def state(self) -> State:
        tensors: dict[str, Array] = {"heads": self._heads, "losses": self._mixture.losses}
        tensors["class_events"] = self._class_events
        if self._map.expansion:
            tensors |= {"projection": self._map.projection, "offsets": self._map.offsets}
        for number, member in enumerate(self._members):
            tensors |= {f"{name}.{number}": array for name, array in member.tensors().items()}
        meta: dict[str, Any] = {
            "identity": self._identity(),
            "classes": list(self._classes),
            "learned": self._learned,
            "since_refresh": self._since_refresh,
            "head_events": self._head_events,
            "skipped": self._skipped,
            **({"faded": self._faded} if self._faded else {}),
            **self._excess.meta(),
        }
        if self._standardiser is not None:
            tensors |= {f"scale.{name}": array for name, array in self._standardiser.tensors().items()}
            meta |= {"scale_events": self._standardiser.events, "scale_next": self._standardiser.next_step}
        if self._inverse.inverse is not None:
            tensors["inverse"] = self._inverse.inverse.T
            meta["inverse_steps"] = self._inverse.steps
        return State(tensors, meta)

    def restore(self, state: State) -> None:
        self._check(state)
        tensors, meta = state.tensors, state.meta
        self._classes = {name: code for code, name in enumerate(meta["classes"])}
        self._class_events = np.array(tensors["class_events"])
        self._learned, self._since_refresh = meta["learned"], meta["since_refresh"]
        self._head_events, self._skipped = meta["head_events"], meta["skipped"]
        self._faded = meta.get("faded", 0)
        self._excess.restore(meta)
        self._must_refresh, self._predictor = False, None
        self._heads, self._mixture.losses = np.array(tensors["heads"]), np.array(tensors["losses"])
        if self._map.expansion:
            m = self._map
            arrays = np.array(tensors["projection"]), np.array(tensors["offsets"])
            self._map = FeatureMap(m.width, *arrays, m.direct, m.bias)
        for number, member in enumerate(self._members):
            member.restore({name: tensors[f"{name}.{number}"] for name in member.tensors()})
        if self._standardiser is not None:
            scale = {name: tensors[f"scale.{name}"] for name in self._standardiser.tensors()}
            self._standardiser.restore(scale, meta["scale_events"], meta["scale_next"])
        self._inverse = Inverse()
        if "inverse" in tensors:
            self._inverse.inverse = np.array(tensors["inverse"], order="C").T
            self._inverse.steps = meta["inverse_steps"]

    def merge(self, other: State) -> None:
        """Add the `state()` of another worker that learned other events; the sum is exact.

        Raises:
            ValueError: It has other parameters, or events decay or are standardised: such sums depend on order.
        """
        self._must_be_plain("merge")
        self._check(other)
        theirs = Ridge(LearnerContext(inputs=self._columns.specs, params=self.params.model_dump(), seed=self._seed))
        theirs.restore(other)
        if self._map.expansion and not np.array_equal(theirs._map.projection, self._map.projection):
            raise ValueError("cannot merge: the random layers differ")
        for name in theirs._classes:
            self._classes.setdefault(name, len(self._classes))
        self._class_events = np.pad(self._class_events, (0, len(self._classes) - len(self._class_events)))
        if self.params.task == "classification":
            order = np.array([self._classes[name] for name in theirs._classes], dtype=np.int64)
            np.add.at(self._class_events, order, theirs._class_events)
            self._members[0].grow(len(self._classes))
            theirs._members[0].reorder(order, len(self._classes))
        self._members[0].merge(theirs._members[0])
        self._learned += theirs._learned
        self._skipped += theirs._skipped
        self._excess.events += theirs._excess.events
        self._inverse.inverse = None
        self.refresh()

    def unlearn(self, batch: Batch) -> None:
        """Remove events, exactly (up to rounding) as if they had never been learned.

        Args:
            batch: Events that were learned, with the same inputs, labels and weights.

        Raises:
            ValueError: Events decay or are standardised, or one is of a class that was never learned.
        """
        self._must_be_plain("unlearn")
        if isinstance(batch.labels, ClassLabels):
            strange = sorted(set(batch.labels.names) - set(self._classes))
            if strange:
                raise ValueError(f"cannot unlearn: class {strange[0]!r} was never learned")
        inputs, targets, codes, weights, *_ = self._take(batch)
        self._members[0].subtract(Rows(self._features(inputs), targets, weights, codes, inputs))
        self._learned -= len(inputs)
        if codes is not None:
            self._class_events -= np.bincount(codes, minlength=len(self._class_events))
        self._inverse.inverse = None
        self.refresh()

    def gauges(self) -> Mapping[str, GaugeValue]:
        return {
            "classes": float(len(self._classes)),
            "skipped_events": float(self._skipped),
            "excess_class_events": float(self._excess.events),
        }

    def _must_be_plain(self, verb: str) -> None:
        if self.params.forgetting != (1.0,) or self.params.standardise or self._faded:
            raise ValueError(
                f"cannot {verb}: needs forgetting = 1, never raised, and standardise = false: sums without an order"
            )

    def _new_statistics(self, decay: float) -> Statistics:
        p = self.params
        return Statistics(
            self._map.size,
            p.targets if p.task == "regression" else 0,
            decay=decay,
            moments=self._columns.width if p.balance == "pseudo_features" else 0,
            class_grams=p.balance == "reweighted",
        )

    def _identity(self) -> Mapping[str, Any]:
        """What two states must share: parameters, inputs, seed. JSON-able."""
        inputs = [[spec.name, spec.dtype, list(spec.shape)] for spec in self._columns.specs.values()]
        values = self.params.model_dump() | {"forgetting": list(self.params.forgetting)}
        return {"learner": "ridge", "params": values, "inputs": inputs, "seed": self._seed}

    def _check(self, state: State) -> None:
        mine, theirs = self._identity(), state.meta.get("identity", {})
        for key in mine:
            if mine[key] != theirs.get(key):
                names: Any = key
                if key == "params" and isinstance(theirs.get(key), dict):
                    names = [name for name in mine[key] if mine[key][name] != theirs[key].get(name)]
                raise ValueError(f"the state was made under other parameters: {names} differ")
