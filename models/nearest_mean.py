"""Nearest class mean: keeps the mean of every class and their common covariance, and predicts the closest class.

Source: Hayes and Kanan, "Lifelong Machine Learning with Deep Streaming Linear Discriminant Analysis", CVPR Workshops
2020 (arXiv:1909.01520): running class means and one covariance that all classes share. With `covariance = "none"` it
is the nearest mean of Rebuffi et al., "iCaRL", CVPR 2017 (arXiv:1611.07725), section 3.1, without its exemplars.
Differences: sums are those of Chan, Golub and LeVeque (1979), so that events can arrive in any order and batches, be
merged from another learner and be unlearned; the covariance is shrunk towards the variances of the inputs, less so
with more events; events have weights and may decay, by number or by age (`parts/half_life.py`); classes are names, and
new ones may appear at any time. Cost: F² multiply-adds per event and F³ / 3 per version; (C + 1) F and nothing with
`covariance = "none"`. State: 8 (F² + C F) bytes, 8 (C + 1) F with `covariance = "none"`, whatever the length of the
log.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.linalg import cho_factor, cho_solve

from thalweg.memory.snapshots.state import State
from thalweg.models.contract.gauges import CLASSES, SKIPPED_EVENTS, GaugeValue
from thalweg.models.contract.learner import LearnerContext
from thalweg.models.parts.class_bound import EXCESS_EVENTS, ExcessEvents
from thalweg.models.parts.half_life import HalfLife, HalfLifeSeconds
from thalweg.models.parts.input_columns import InputColumns
from thalweg.models.parts.selection import Selected, select_classes
from thalweg.models.parts.settings import Count, NotNegative, Settings, rule
from thalweg.proto.event import Batch, ClassLabels
from thalweg.proto.schema import Array, InputError, Inputs, Schema, TensorSpec
from thalweg.proto.task import CLASSIFICATION, Task

Floats = NDArray[np.float64]
ROWS = 8
"""Rows are padded to a multiple of this before a matrix product: with full tiles of the BLAS kernel, the bits of a row
do not depend on the other rows.
"""
FAR = 1e100
"""Differences from the mean are clipped to ± this, so that their products are finite."""


class Params(Settings):
    """Everything that can be set on `nearest_mean`."""

    covariance: Literal["none", "shared"] = "shared"
    """`shared`: distances take into account how inputs scatter together within the classes, whatever their units.
    `none`: plain Euclidean distance; cheap for any number of inputs, which must then have similar units."""

    shrinkage: NotNegative = 1.0
    """k ≥ 0: before many events came, the scatter within classes is shrunk towards the variances of all events, as if
    k F events of uncorrelated inputs had come as well; their share after n events is k F / (k F + n)."""

    priors: Literal["equal", "frequency"] = "equal"
    """`equal`: the closest class wins. `frequency`: a frequent class wins over one about as close that is rare."""

    decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    """λ per labelled event, 0 < λ ≤ 1; an event k events ago counts λᵏ. 1: no order of events makes a difference."""

    half_life_seconds: HalfLifeSeconds = 0.0
    """Forgetting by event time: an event this many seconds older than the newest counts half, whatever the order in
    which events came. 0: none."""

    max_classes: Count = 1000
    """Events of further classes are skipped and counted, ≥ 1."""

    @rule("half_life_seconds", "decay")
    def _events_are_forgotten_in_one_way(self) -> str | None:
        return f"expected decay = 1 beside it, got {self.decay}" if self.half_life_seconds and self.decay < 1 else None


class NearestMean:
    """The learner `nearest_mean`; parameters in `Params`, contract in `models/contract/learner.py`.

    Skips events without a label, with a weight that is not positive, with inputs that are not finite (or beyond
    1e100), and of classes beyond `max_classes`; the last two are counted.
    """

    params_type, state_version, state_revision = Params, 1, 1
    gauges_declared = (CLASSES, SKIPPED_EVENTS, EXCESS_EVENTS)

    def __init__(self, context: LearnerContext) -> None:
        self.params = Params.of(context.params)
        self._columns = InputColumns(context.inputs)
        width = self._columns.width
        self._classes: dict[str, int] = {}  # by name, in order of first appearance: columns never move
        self._events: NDArray[np.int64] = np.zeros(0, np.int64)  # (C,), not decayed
        self._weight: Floats = np.zeros(0)  # (C,), Σ of decayed weights
        self._mean: Floats = np.zeros((0, width))  # (C, F)
        shape = (width, width) if self.params.covariance == "shared" else (width,)
        self._scatter: Floats = np.zeros(shape)  # Σ w (x - mean)(x - mean)ᵀ within all classes, or its diagonal
        self._skipped = 0
        self._excess = ExcessEvents("max_classes", self.params.max_classes)
        self._faded = 0
        half_life = self.params.half_life_seconds
        self._half_life = HalfLife(half_life) if half_life else None
        self._predictor: NearestMeanPredictor | None = None

    @property
    def schema(self) -> Schema:
        return Schema(self._columns.specs, "class")

    def learn(self, batch: Batch) -> None:
        if self._half_life is not None and (share := self._half_life.advance(batch)) != 1.0:
            self._fade(share)
        selected = self._select(batch, self._classes, self.params.max_classes)
        self._skipped += selected.skipped
        self._excess.add(selected.excess, selected.first_excess)
        if selected.codes is None or not len(selected.codes):
            return
        self._make_room()
        n = len(selected.codes)
        weights = np.ones(n) if selected.weights is None else selected.weights
        if self.params.decay < 1:
            weights = weights * self.params.decay ** np.arange(n - 1, -1, -1.0)
            self._fade(self.params.decay**n)
        self._combine(*self._moments(selected, weights))
        self._events += np.bincount(selected.codes, minlength=len(self._events))

    def _select(self, batch: Batch, classes: dict[str, int], most: int) -> Selected:
        """The events to learn from; new names are added to `classes`."""
        inputs = self._columns.gather(batch.inputs)
        if batch.labels is None:
            return Selected(inputs[:0], np.zeros((0, 0)), None, None, 0)
        if not isinstance(batch.labels, ClassLabels):
            raise InputError(f"labels: expected classes, got {type(batch.labels).__name__}")
        weights = batch.weights if self._half_life is None else self._half_life.weights(batch)
        return select_classes(inputs, batch.labels, weights, classes, most)

    def _make_room(self) -> None:
        more = len(self._classes) - len(self._weight)
        self._events = np.pad(self._events, (0, more))
        self._weight = np.pad(self._weight, (0, more))
        self._mean = np.pad(self._mean, ((0, more), (0, 0)))

    def _moments(self, events: Selected, weights: Floats) -> tuple[Floats, Floats, Floats]:
        """Weight (C,) and mean (C, F) per class of some events, and their scatter around those means."""
        x = events.inputs.astype(np.float64, copy=False)
        member = events.targets.T * weights  # (C, n)
        weight = member.sum(axis=1)
        mean = np.divide(
            member @ x, weight[:, None], out=np.zeros((len(weight), x.shape[1])), where=weight[:, None] > 0
        )
        return weight, mean, self._squares(x - mean[events.codes], weights)

    def _squares(self, rows: Floats, weights: Floats) -> Floats:
        """Σ w r rᵀ (F, F) of rows (n, F), or its diagonal (F,)."""
        if self.params.covariance == "shared":
            return (rows.T * weights) @ rows
        return weights @ (rows * rows)

    def _combine(self, weight: Floats, mean: Floats, scatter: Floats, sign: float = 1.0) -> None:
        """Add or subtract the moments of other events (Chan et al., eq. 2.1, per class)."""
        before, total = self._weight, self._weight + sign * weight
        share = np.divide(sign * weight, total, out=np.zeros_like(total), where=total > 0)
        apart = mean - self._mean  # (C, F)
        self._mean += share[:, None] * apart
        self._scatter += sign * scatter + self._squares(apart, before * share)
        self._weight = total
        self._predictor = None

    def _fade(self, share: float) -> None:
        self._predictor = None
        for sums in (self._weight, self._scatter):
            sums *= share
            sums[np.abs(sums) < 1e-200] = 0.0  # denormal numbers make arithmetic a hundred times slower

    # Optional capabilities

    @staticmethod
    def merge_mistakes(params: Params) -> dict[str, str]:
        """Why sums under these parameters cannot be merged, by parameter."""
        why = "the order of events between shards is not known; expected 1, or half_life_seconds, which forgets by time"
        return {"decay": why} if params.decay < 1 else {}

    def raise_forgetting(self, factor: float, events: int) -> None:
        """Divide the weight of everything learned by `factor`."""
        self._fade(1.0 / factor)
        self._faded += 1

    def merge(self, other: State) -> None:
        """Continue as if the events of another learner had been learned here as well; its new classes are appended.

        Raises:
            ValueError: It was made under other parameters, events decay, or there are more classes than `max_classes`.
        """
        self._must_not_fade("merge")
        theirs = NearestMean(LearnerContext(inputs=self._columns.specs, params=self.params.model_dump()))
        theirs.restore(other)
        theirs._must_not_fade("merge")
        together = dict.fromkeys([*self._classes, *theirs._classes])
        if len(together) > self.params.max_classes:
            raise ValueError(f"cannot merge: {len(together)} classes are more than max_classes allows")
        self._classes = {name: code for code, name in enumerate(together)}
        self._make_room()
        codes = [self._classes[name] for name in theirs._classes]
        weight, mean = np.zeros_like(self._weight), np.zeros_like(self._mean)
        weight[codes], mean[codes] = theirs._weight, theirs._mean
        if self._half_life is not None and theirs._half_life is not None:
            mine, its = self._half_life.meet(theirs._half_life)
            self._fade(mine)
            weight *= its
            theirs._fade(its)
        self._combine(weight, mean, theirs._scatter)
        self._events[codes] += theirs._events
        self._skipped += theirs._skipped
        self._excess.events += theirs._excess.events

    def unlearn(self, batch: Batch) -> None:
        """Continue as if these events had never been learned; a class without events is removed, with its name.

        Raises:
            ValueError: Events decay, or there are more of a class than were learned.
        """
        self._must_not_fade("unlearn")
        classes = dict(self._classes)
        selected = self._select(batch, classes, self.params.max_classes)
        if selected.codes is None:
            return
        taken = np.bincount(selected.codes, minlength=len(classes))
        learned = np.pad(self._events, (0, len(classes) - len(self._events)))
        if (taken > learned).any():
            name = list(classes)[int((taken > learned).argmax())]
            raise ValueError(f"cannot unlearn: of class {name!r} fewer events were learned than are to be unlearned")
        weights = np.ones(len(selected.codes)) if selected.weights is None else selected.weights
        self._combine(*self._moments(selected, weights), sign=-1.0)
        self._events -= taken
        left = self._events > 0
        self._classes = {name: code for code, name in enumerate(np.array([*classes], object)[left])}
        self._events, self._weight, self._mean = self._events[left], self._weight[left], self._mean[left]
        if not left.any():
            self._scatter[...] = 0.0  # removes the remaining rounding errors

    def _must_not_fade(self, verb: str) -> None:
        if self.params.decay < 1 or self._faded:
            raise ValueError(
                f"cannot {verb}: needs decay = 1 (or half_life_seconds instead) and no raised forgetting, so that the "
                "order of events does not matter"
            )

    # Predictions

    def predictor(self) -> NearestMeanPredictor:
        if self._predictor is None:
            centre, head, offset = self._discriminants() if self._classes else (None, None, None)
            names = tuple(self._classes)
            self._predictor = NearestMeanPredictor(self._columns, names, centre, head, offset, int(self._events.sum()))
        return self._predictor

    def _discriminants(self) -> tuple[Floats, Floats, Floats]:
        """Centre (F,), head (F, C) and offset (C,): (x - centre) · head + offset is log p(class | x) up to a constant.

        The log-likelihood of a Gaussian around each mean is linear in x, as all share one covariance.
        """
        n = self._weight.sum() or 1.0
        centre = self._weight @ self._mean / n
        apart = self._mean - centre  # (C, F)
        shared = self.params.covariance == "shared"
        scatter = np.maximum(np.diag(self._scatter) if shared else self._scatter, 0.0) / n  # (F,)
        variance = scatter + self._weight @ (apart * apart) / n  # (F,), of all events, within and between classes
        varies = variance > 1e-20 * centre * centre  # more than the rounding error of a constant input
        share = self.params.shrinkage * len(centre) / (self.params.shrinkage * len(centre) + n)
        if shared:
            unit = np.sqrt(variance, out=np.full_like(variance, np.inf), where=varies)  # constant inputs are ignored
            within_classes = self._scatter / n / unit[:, None] / unit
            head = _solve(within_classes, share, (apart / unit).T) / unit[:, None]
        else:
            common = float(np.mean((1 - share) * scatter + share * variance, where=varies)) if varies.any() else np.inf
            head = np.where(varies, apart, 0.0).T / (common or np.inf)
        offset = -0.5 * np.einsum("cf,fc->c", apart, head)
        if self.params.priors == "frequency":
            offset += np.log(np.maximum(self._weight / n, 1e-300))
        return centre, head, offset

    @classmethod
    def predictor_from(cls, state: State) -> NearestMeanPredictor:
        """Restore a predictor from its `state()`; arrays may be read-only maps of a file."""
        return NearestMeanPredictor.of(state)

    # State

    def state(self) -> State:
        tensors = {"events": self._events, "weight": self._weight, "mean": self._mean, "scatter": self._scatter}
        if self._half_life is not None:
            tensors["brought_to"] = self._half_life.tensor()
        meta = {"classes": list(self._classes), "skipped": self._skipped, "faded": self._faded}
        return State(tensors, {"identity": self._identity(), **meta, **self._excess.meta()})

    def restore(self, state: State) -> None:
        if state.meta.get("identity") != self._identity():
            raise ValueError(f"the state was made under other parameters: {state.meta.get('identity')}")
        tensors, meta = state.tensors, state.meta
        self._classes = {name: code for code, name in enumerate(meta["classes"])}
        self._events, self._weight = np.array(tensors["events"]), np.array(tensors["weight"])
        self._mean, self._scatter = np.array(tensors["mean"]), np.array(tensors["scatter"])
        if self._half_life is not None:
            self._half_life.restore(tensors["brought_to"])
        self._skipped, self._faded, self._predictor = meta["skipped"], meta["faded"], None
        self._excess.restore(meta)

    def gauges(self) -> Mapping[str, GaugeValue]:
        return {
            "classes": float(len(self._classes)),
            "skipped_events": float(self._skipped),
            "excess_class_events": float(self._excess.events),
        }

    def _identity(self) -> dict[str, Any]:
        params = self.params.model_dump()
        if not self.params.half_life_seconds:  # states written before there was one do not say so
            del params["half_life_seconds"]
        return {"learner": "nearest_mean", "params": params, "inputs": _listed(self._columns)}


class NearestMeanPredictor:
    """Predicts `label`, and `scores` that are probabilities; a row with a number that is not finite gets label -1."""

    def __init__(
        self,
        columns: InputColumns,
        classes: tuple[str, ...],
        centre: Floats | None,
        head: Floats | None,
        offset: Floats | None,
        events: int,
    ) -> None:
        """A predictor from `NearestMean._discriminants`; without classes it predicts none."""
        self._columns, self._classes, self._events = columns, classes, events
        self._centre = np.zeros(columns.width) if centre is None else centre
        self._head = np.zeros((columns.width, 0)) if head is None else np.ascontiguousarray(head)
        self._offset = np.zeros(0) if offset is None else offset

    @property
    def inputs(self) -> Mapping[str, TensorSpec]:
        return self._columns.specs

    @property
    def task(self) -> Task:
        return CLASSIFICATION.with_probabilities()

    @property
    def outputs(self) -> Mapping[str, TensorSpec]:
        return {"label": TensorSpec("label", "bytes", ()), "scores": TensorSpec("scores", "float32", (-1,))}

    @property
    def classes(self) -> tuple[str, ...]:
        return self._classes

    @property
    def properties(self) -> Mapping[str, str]:
        return {"scores": "probabilities", "events_in_means": str(self._events)}

    def predict(self, inputs: Inputs) -> Mapping[str, Array]:
        rows = self._columns.gather(inputs)
        n = len(rows)
        if not self._classes or not n:
            return {"label": np.full(n, -1, np.int32), "scores": np.zeros((n, len(self._classes)), np.float32)}
        x = np.zeros((n + -n % ROWS, rows.shape[1]))  # full tiles
        with np.errstate(over="ignore", invalid="ignore"):
            np.subtract(rows, self._centre, out=x[:n])
        np.clip(x, -FAR, FAR, out=x)
        logits = (x @ self._head + self._offset)[:n]  # (N, C)
        logits -= logits.max(axis=1, keepdims=True)
        label = logits.argmax(axis=1).astype(np.int32)
        scores = np.exp(logits)
        scores /= scores.sum(axis=1, keepdims=True)
        if rows.dtype.kind == "f" and not (finite := np.isfinite(rows).all(axis=1)).all():
            label[~finite], scores[~finite] = -1, np.nan
        return {"label": label, "scores": scores.astype(np.float32)}

    def state(self) -> State:
        meta = {"inputs": _listed(self._columns), "classes": list(self._classes), "events": self._events}
        return State({"centre": self._centre, "head": self._head, "offset": self._offset}, meta)

    @classmethod
    def of(cls, state: State) -> NearestMeanPredictor:
        """Restore a predictor from its `state()`."""
        tensors, meta = state.tensors, state.meta
        columns = InputColumns({name: TensorSpec(name, dtype, tuple(shape)) for name, dtype, shape in meta["inputs"]})
        arrays = (tensors["centre"], tensors["head"], tensors["offset"])
        return cls(columns, tuple(meta["classes"]), *arrays, meta["events"])


def _listed(columns: InputColumns) -> list[Any]:
    return [[spec.name, spec.dtype, list(spec.shape)] for spec in columns.specs.values()]


def _solve(matrix: Floats, share: float, right: Floats) -> Floats:
    """((1 - share) M + share I)⁻¹ right; with a larger share of I if rounding or few events make M not positive
    definite.
    """
    while True:
        shrunk = (1 - share) * matrix
        shrunk[np.diag_indices(len(shrunk))] += share
        try:
            return np.asarray(cho_solve(cho_factor(shrunk, overwrite_a=True), right))
        except np.linalg.LinAlgError:
            share = min(1.0, max(1e-12, 10 * share))
