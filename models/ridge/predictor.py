"""What a ridge learner publishes: one head, the feature map, the scale, the class names. Small and immutable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from thalweg.memory.snapshots.state import State
from thalweg.models.parts.input_columns import InputColumns, all_finite
from thalweg.models.parts.random_features import ROWS, FeatureMap
from thalweg.models.parts.standardise import scaled
from thalweg.proto.schema import Array, Inputs, TensorSpec
from thalweg.proto.task import CLASSIFICATION, REGRESSION, Task

Floats = NDArray[np.float64]
MARGIN = 1e-3
"""By how much a class that is away stays below the best of the others where it is not believed."""
CHUNK = 4096
"""Rows learned at a time: bounds the memory of a micro-batch with many rows."""
_TILE = 256
"""Rows of a request expanded at a time: bounds its memory, and stays in the cache of a core."""


class Known(NamedTuple):
    """What is known of classes that no longer come."""

    head: Floats
    """(D, C): log-likelihoods, up to what is the same for all classes."""
    intercept: Floats
    """(C,)."""
    away: NDArray[np.bool_]
    """(C,): the classes that no longer come."""
    threshold: float
    """Lead of one of them over those that still come, by this head, above which it is predicted, where priced."""
    priced: NDArray[np.bool_]
    """(A, P): the pairs, of a class that is away and one that still comes, for which the threshold is not 0."""


class Pattern(NamedTuple):
    """Classes that are away and have a price with the same of those that still come: they left together."""

    away: NDArray[np.int64]
    """Columns of those that are away."""
    priced: NDArray[np.int64]
    """Columns of those that still come and with which they have a price."""
    free: NDArray[np.int64]
    """Of the others."""


def patterns(away: NDArray[np.bool_], priced: NDArray[np.bool_]) -> Sequence[Pattern]:
    """Of pairs (A, P) among classes (C,)."""
    there, here = np.flatnonzero(away), np.flatnonzero(~away)
    found, at = np.unique(priced, axis=0, return_inverse=True)
    return [Pattern(there[at.ravel() == number], here[row], here[~row]) for number, row in enumerate(found)]


def leads(scores: Floats, alike: Sequence[Pattern]) -> Floats:
    """By how much a class that is away leads the others with which it has a price, (N,).

    ∞ where it leads and has a price with none; -∞ where one without a price leads it.

    Args:
        scores: By the head of all that is known, (N, C).
        alike: All patterns.
    """
    found: Floats | None = None
    for away, priced, free in alike:
        best = scores[:, away].max(axis=1)
        lead = best - scores[:, priced].max(axis=1) if len(priced) else np.full(len(best), np.inf)
        if len(free):
            lead[best <= scores[:, free].max(axis=1)] = -np.inf
        found = lead if found is None else np.maximum(found, lead)
    assert found is not None
    return found


class RidgePredictor:
    """Predicts `label` and `scores`, or `value`; a row's prediction has the same bits whatever the other rows.

    While classes are away there are two heads: one of what is asked now, one of all that is known. The second decides
    whether a row is of a class that is away, and then answers it; the first answers all other rows.

    A row with a number that is not finite gets label -1 and NaN scores.
    """

    def __init__(
        self,
        columns: InputColumns,
        feature_map: FeatureMap,
        head: Floats,
        classes: Sequence[str] | None,
        scale: tuple[Floats, Floats, float] | None,
        events: int,
        known: Known | None = None,
    ) -> None:
        """Creates a predictor.

        Args:
            columns: The inputs.
            feature_map: From scaled inputs to features.
            head: W, (D, C) float64.
            classes: Names of the columns of W; None for regression.
            scale: Shift (F,), factor (F,) and clip of inputs; None: not scaled.
            events: Events learned when the head was solved.
            known: The head of all that is known, if it is another.
        """
        self._known, self._columns_now = known, head.shape[1]
        self._patterns: Sequence[Pattern] = () if known is None else patterns(known.away, known.priced)
        self._columns, self._map, self._head, self._scale, self._events = columns, feature_map, head, scale, events
        self._classification = classes is not None
        self._classes = tuple(classes or ())
        expansion, width = feature_map.expansion, feature_map.width
        head = np.ascontiguousarray(head if known is None else np.hstack([head, known.head]))
        self._random = head[:expansion] if expansion else None
        if self._random is not None and feature_map.direct and not self._random.any():
            self._random = None  # no class depends on random features
        self._direct = head[expansion : expansion + width] if feature_map.direct else None
        self._constant = head[-1] if feature_map.bias else None

    @property
    def inputs(self) -> Mapping[str, TensorSpec]:
        return self._columns.specs

    @property
    def task(self) -> Task:
        return CLASSIFICATION if self._classification else REGRESSION

    @property
    def outputs(self) -> Mapping[str, TensorSpec]:
        if self._classification:
            return {
                "label": TensorSpec("label", "bytes", ()),
                "scores": TensorSpec("scores", "float32", (-1,)),
            }
        return {"value": TensorSpec("value", "float64", (self._head.shape[1],))}

    @property
    def classes(self) -> tuple[str, ...]:
        return self._classes

    @property
    def untaught(self) -> bool:
        """See `capabilities.Untaught`."""
        return self._events == 0

    @property
    def properties(self) -> Mapping[str, str]:
        return {"events_in_head": str(self._events)}

    def predict(self, inputs: Inputs) -> Mapping[str, Array]:
        rows = self._columns.gather(inputs)
        n = len(rows)
        with np.errstate(invalid="ignore", over="ignore"):
            if n > _TILE:
                scores = np.concatenate([self._scores(rows[i : i + _TILE]) for i in range(0, n, _TILE)])
            else:
                scores = self._scores(rows)
            if not self._classification:
                return {"value": scores}
            answer = scores.astype(np.float32)  # beyond float32 it is infinite there
        if not self._classes or not n:
            return {"label": np.full(n, -1, dtype=np.int32), "scores": answer}
        codes = answer.argmax(axis=1).astype(np.int32)
        if not all_finite(answer):
            codes[~np.isfinite(answer).all(axis=1)] = -1
        return {"label": codes, "scores": answer}

    def raw_scores(self, rows: Array) -> Floats:
        """h · W in float64, (N, C), of gathered inputs (N, F)."""
        with np.errstate(invalid="ignore", over="ignore"):
            return self._scores(rows)

    def _scores(self, rows: Array) -> Floats:
        n = len(rows)
        z: Floats = np.empty((n + -n % ROWS, rows.shape[1]))  # whole tiles, see ROWS
        z[n:] = 0.0
        if self._scale is None:
            z[:n] = rows
        else:
            scaled(rows, *self._scale, out=z[:n])
        scores: Floats | None = None
        if self._direct is not None:
            scores = z @ self._direct
        if self._random is not None:
            hidden = z @ self._map.projection
            hidden += self._map.offsets
            np.maximum(hidden, 0.0, out=hidden)
            part = hidden @ self._random
            scores = part if scores is None else np.add(scores, part, out=scores)
        assert scores is not None
        if self._constant is not None:
            scores += self._constant
        return scores[:n] if self._known is None else self._chosen(scores[:n], self._known)

    def _chosen(self, scores: Floats, known: Known) -> Floats:
        """Of scores by both heads (N, 2 C), those by the one that answers each row (N, C)."""
        now, away = scores[:, : self._columns_now], known.away
        all_known = scores[:, self._columns_now :] + known.intercept
        best = now[:, ~away].max(axis=1, keepdims=True)
        chosen = now.copy()
        chosen[:, away] = np.minimum(now[:, away], best - MARGIN)  # the label is the class of the highest score
        rows = leads(all_known, self._patterns) >= known.threshold
        if rows.any():
            recalled = all_known[rows]
            recalled -= recalled.max(axis=1, keepdims=True)
            recalled = np.exp(recalled, out=recalled)
            recalled /= recalled.sum(axis=1, keepdims=True)
            limit = recalled[:, away].max(axis=1, keepdims=True) - MARGIN  # likewise, where a threshold is below 0
            recalled[:, ~away] = np.minimum(recalled[:, ~away], limit)
            chosen[rows] = recalled
        return chosen

    def state(self) -> State:
        tensors: dict[str, Array] = {"head": self._head}
        if self._map.expansion:
            tensors |= {"projection": self._map.projection, "offsets": self._map.offsets}
        meta: dict[str, Any] = {
            "inputs": [[spec.name, spec.dtype, list(spec.shape)] for spec in self._columns.specs.values()],
            "classes": list(self._classes) if self._classification else None,
            "direct": self._map.direct,
            "bias": self._map.bias,
            "events": self._events,
            "clip": None,
        }
        if self._known is not None:
            tensors |= {
                "known": self._known.head,
                "intercept": self._known.intercept,
                "away": self._known.away,
                "priced": self._known.priced,
            }
            meta["threshold"] = self._known.threshold
        if self._scale is not None:
            tensors["shift"], tensors["factor"], meta["clip"] = self._scale
        return State(tensors, meta)

    @classmethod
    def of(cls, state: State) -> RidgePredictor:
        """The predictor of a `state()`; maps of a file are used in place."""
        meta, tensors = state.meta, state.tensors
        columns = InputColumns({name: TensorSpec(name, dtype, tuple(shape)) for name, dtype, shape in meta["inputs"]})
        width = columns.width
        feature_map = FeatureMap(
            width,
            tensors.get("projection", np.zeros((width, 0))),
            tensors.get("offsets", np.zeros(0)),
            meta["direct"],
            meta["bias"],
        )
        scale = None if meta["clip"] is None else (tensors["shift"], tensors["factor"], meta["clip"])
        known: Known | None = None
        if "known" in tensors:
            away = tensors["away"].astype(bool)
            every = np.ones(
                (int(away.sum()), int((~away).sum())), bool
            )  # what is absent: a version before had one price
            priced = tensors.get("priced", every).astype(bool)
            intercept = tensors.get("intercept", np.zeros(len(away)))
            known = Known(tensors["known"], intercept, away, meta["threshold"], priced)
        return cls(columns, feature_map, tensors["head"], meta["classes"], scale, meta["events"], known)
