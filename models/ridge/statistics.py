"""The sufficient statistics of ridge regression: sums over events.

Source: Zhuang et al. (arXiv:2405.17779), who update R = (γI + G)⁻¹ and W instead. Ours keeps the sums
G = Σ w h hᵀ and Q = Σ w h yᵀ: they are better conditioned, decay without wind-up, and add and subtract exactly.
γ is not part of them. Per-class moments are stored as (weight, mean, M2), so that a variance is never a difference of
large numbers (Chan, Golub and LeVeque 1979).
State: 8 (D² + D C) bytes, + 16 C F for class moments, + 8 C D² for class Grams, + 8 D for presence.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.blas import dgemm, dsyrk

from thalweg.models.ridge.heads.scatter import Scatter, ScatterOfSums
from thalweg.models.ridge.heads.solve import Penalty, penalty_of, scaled_penalty, solve
from thalweg.proto.schema import Array

Floats = NDArray[np.float64]
TINY = 1e-200
"""Decayed numbers below this become 0: denormal numbers make arithmetic a hundred times slower."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Events as the statistics need them, n of them, in order."""

    features: Floats
    """(n, D), C order."""
    targets: Floats
    """(n, C): one-hot or numbers."""
    weights: Floats | None = None
    """(n,), > 0; None: all 1."""
    codes: NDArray[np.int32] | None = None
    """(n,): class columns, for class moments and class Grams."""
    inputs: Array | None = None
    """(n, F) before scaling and expansion, for class moments."""


class Statistics:
    """Decayed sums over events: after n events, event i has λ^(n-1-i) times its weight, whatever the micro-batches."""

    def __init__(
        self,
        size: int,
        columns: int,
        *,
        decay: float = 1.0,
        moments: int = 0,
        class_grams: bool = False,
        presence: bool = False,
    ) -> None:
        """Sums without events.

        Args:
            size: Features, D.
            columns: Targets, C, now; `grow` adds more.
            decay: λ per event.
            moments: Inputs, F, whose per-class mean and variance to store; 0: none.
            class_grams: Store one Gram per class.
            presence: Store in how many events each feature is not 0; then heads are those of features divided by their
                deviations, and sums count from the features of the first event: the last feature must be constant.
        """
        self.decay, self.size = decay, size
        self._begin_sums(size, columns)
        self.class_weight: Floats = np.zeros(columns)
        """(C,): Σ of decayed weights."""
        self.class_mean: Floats | None = np.zeros((columns, moments)) if moments else None
        self.class_m2: Floats | None = np.zeros((columns, moments)) if moments else None
        """(C, F): Σ of decayed weighted squared deviations from the class mean."""
        self.class_grams: list[Floats] | None = [self._no_gram() for _ in range(columns)] if class_grams else None
        self.presence: Floats | None = np.zeros(size) if presence else None
        """(D,): Σ of decayed weights of the events in which a feature is not 0."""
        self.origin: Floats | None = None
        """(D,): what features are counted from in Gram and cross-moments, so that a mean far from 0 costs no digits;
        None: 0. That of the constant feature is 0."""
        self._ages: dict[int, Floats] = {}
        self._scratch: Floats = np.empty((0, size))

    gram: Floats
    """(D, D), Fortran order; only the upper triangle is used."""
    cross: Floats
    """(D, C), Fortran order."""

    def _begin_sums(self, size: int, columns: int) -> None:
        self.gram, self.cross = np.zeros((size, size), order="F"), np.zeros((size, columns), order="F")

    @property
    def columns(self) -> int:
        """Targets or classes, C."""
        return int(self.cross.shape[1])

    def grow(self, columns: int) -> None:
        """Add columns up to `columns`. Zeros are exact: a class without events has no cross-moment."""
        more = columns - self.columns
        if more <= 0:
            return
        self._grow_cross(more)
        self.class_weight = np.pad(self.class_weight, (0, more))
        if self.class_mean is not None and self.class_m2 is not None:
            self.class_mean = np.pad(self.class_mean, ((0, more), (0, 0)))
            self.class_m2 = np.pad(self.class_m2, ((0, more), (0, 0)))
        if self.class_grams is not None:
            self.class_grams += [self._no_gram() for _ in range(more)]

    def _grow_cross(self, more: int) -> None:
        self.cross = np.asfortranarray(np.pad(self.cross, ((0, 0), (0, more))))

    # What a device does otherwise (`on_device.py`)

    @contextmanager
    def on_host(self) -> Iterator[None]:
        """In here `gram` and `cross` are arrays that may be changed in place."""
        yield

    def penalty(self, gamma: float | str, constant: int | None) -> Penalty:
        """γ as of `heads.solve.penalty`; with `presence` as of `scaled_penalty`."""
        if self.presence is None or constant is None:
            return penalty_of(gamma, self.gram.diagonal(), constant)
        return scaled_penalty(gamma, self.gram.diagonal(), self.gram[:, constant], self.presence, self.origin)

    def solve(self, gamma: Penalty, constant: int | None) -> Floats:
        """W (D, C) of these sums, as of `heads.solve.solve`."""
        return self.from_zero(solve(self.gram, self.cross, gamma, constant))

    def scatter(self, constant: int | None) -> Scatter:
        """The scatter within classes; `constant`: index of the constant feature."""
        return ScatterOfSums(self.gram, self.cross, self.class_weight, constant)

    def from_zero(self, head: Floats) -> Floats:
        """W (D, C) of features from their origin, as one of features: the intercept takes up the difference."""
        if self.origin is not None:
            head[-1] -= self.origin @ head
        return head

    # Events

    def add(self, rows: Rows) -> None:
        """Add n events."""
        n = len(rows.features)
        if n == 0:
            return
        weights, fade = rows.weights, self.decay**n
        if self.decay != 1.0:
            ages = self._age_weights(n)
            weights = ages if weights is None else ages * weights
        self._accumulate(rows, weights, fade, 1.0)

    def subtract(self, rows: Rows) -> None:
        """Remove n events, exactly (up to rounding) as if they had never been added.

        Raises:
            ValueError: Events decay; their ages would be needed.
        """
        if self.decay != 1.0:
            raise ValueError(
                f"cannot take events away from sums that fade (λ = {self.decay}): their ages are not known"
            )
        self._accumulate(rows, rows.weights, 1.0, -1.0)

    def merge(self, other: Statistics) -> None:
        """Add the sums of another worker over other events."""
        if self.decay != 1.0 or other.decay != 1.0:
            raise ValueError("cannot merge sums that fade: the order of events between workers is not known")
        self.grow(other.columns)
        C = other.columns
        if other.origin is not None:
            if self.origin is None:
                self.origin = other.origin.copy()
            other.count_from(self.origin)
        self.gram += other.gram
        self.cross[:, :C] += other.cross
        if other.class_mean is not None and other.class_m2 is not None:
            self._add_moments(slice(0, C), other.class_weight, other.class_mean, other.class_m2)
        self.class_weight[:C] += other.class_weight
        if self.presence is not None and other.presence is not None:
            self.presence += other.presence
        if self.class_grams is not None and other.class_grams is not None:
            for mine, theirs in zip(self.class_grams, other.class_grams):
                mine += theirs

    def count_from(self, origin: Floats) -> None:
        """Re-express the sums for features (D,) counted from here, in place."""
        assert self.origin is not None
        moved = self.origin - origin
        self.origin = origin.copy()
        if moved.any():
            self.cross += np.outer(moved, self.cross[-1])
            for gram in (self.gram, *(self.class_grams or ())):
                sums = gram[:, -1].copy()  # of the features: the constant is the last in the upper triangle
                gram += np.outer(moved, sums) + np.outer(sums, moved) + sums[-1] * np.outer(moved, moved)

    def reorder(self, order: NDArray[np.int64], columns: int) -> None:
        """Column i becomes column `order[i]` of `columns`."""

        def moved(array: Floats) -> Floats:
            out = np.zeros((columns, *array.shape[1:]))
            out[order] = array
            return out

        self.cross = moved(np.ascontiguousarray(self.cross.T)).T
        self.class_weight = moved(self.class_weight)
        if self.class_mean is not None and self.class_m2 is not None:
            self.class_mean, self.class_m2 = moved(self.class_mean), moved(self.class_m2)
        if self.class_grams is not None:
            grams = [self._no_gram() for _ in range(columns)]
            for place, gram in zip(order.tolist(), self.class_grams):
                grams[place] = gram
            self.class_grams = grams

    def copy(self) -> Statistics:
        """A copy for pseudo-events: Gram, cross-moments and class weights only."""
        other = Statistics(0, 0)
        other.gram, other.cross = self.gram.copy(order="F"), self.cross.copy(order="F")
        other.class_weight, other.origin = self.class_weight.copy(), self.origin
        return other

    def from_feature(self, first: int) -> Statistics:
        """A copy of the Gram and the cross-moments of the features from this one on, to be solved."""
        other = Statistics(0, 0)
        other.gram, other.cross = self.gram[first:, first:].copy(order="F"), self.cross[first:].copy(order="F")
        return other

    def fade(self, share: float) -> None:
        """Multiply the weight of everything added so far by this factor."""
        for array in self._sums():
            array *= share

    def drop_denormals(self, before: int, after: int) -> None:
        """Set fully decayed numbers to 0, each time numbers have decayed by a hundred powers of ten.

        Args:
            before: Events added in all before the last `add`s.
            after: The same after them; when it is due is a function of these counts alone.
        """
        if drops_denormals(self.decay, before, after):
            self.drop_tiny()

    def drop_tiny(self) -> None:
        """Set fully decayed numbers to 0."""
        for array in self._sums():
            array[np.abs(array) < TINY] = 0.0

    def _sums(self) -> list[Floats]:
        """All that decays, to be changed in place."""
        found = (self.gram, self.cross, self.presence, self.class_m2, self.class_weight, *(self.class_grams or ()))
        return [array for array in found if array is not None]

    def _accumulate(self, rows: Rows, weights: Floats | None, fade: float, sign: float) -> None:
        features = self._counted(rows.features)
        if weights is not None:
            root = np.sqrt(weights)[:, None]
            if len(self._scratch) < len(features):
                self._scratch = np.empty_like(features)  # reused: new pages for every batch cost more than the product
            features = np.multiply(features, root, out=self._scratch[: len(features)])
            targets = rows.targets * root
        else:
            targets = rows.targets
        # The transposed views are in Fortran order: BLAS reads and updates in place, nothing is copied.
        self.gram = dsyrk(sign, features.T, beta=fade, c=self.gram, overwrite_c=1)
        self.cross = dgemm(sign, features.T, targets.T, beta=fade, c=self.cross, trans_b=1, overwrite_c=1)
        self._accumulate_presence(rows.features, weights, fade, sign)
        if rows.codes is not None:
            self._accumulate_classes(rows, rows.codes, features, weights, fade, sign)

    def _counted(self, features: Floats) -> Floats:
        """Features (n, D) from their origin."""
        if self.presence is not None and self.origin is None:
            self.origin = features[0].copy()
            self.origin[-1] = 0.0
        return features if self.origin is None else features - self.origin

    def _accumulate_presence(self, features: Floats, weights: Floats | None, fade: float, sign: float) -> None:
        if self.presence is not None:
            ones = np.ones(len(features)) if weights is None else weights
            self.presence = fade * self.presence + sign * (ones @ (features != 0.0))

    def _accumulate_classes(
        self, rows: Rows, codes: NDArray[np.int32], features: Floats, weights: Floats | None, fade: float, sign: float
    ) -> None:
        """Weights, moments and Grams of classes; `features` are those of the rows times the roots of their weights."""
        if fade != 1.0:
            self.class_weight *= fade
        if self.class_mean is not None and self.class_m2 is not None and rows.inputs is not None:
            if fade != 1.0:
                self.class_m2 *= fade
            share, mean, m2 = class_moments(rows.inputs, codes, weights, self.columns)
            self._add_moments(slice(None), sign * share, mean, sign * m2)
        else:
            share = np.bincount(codes, weights, self.columns).astype(np.float64)
        self.class_weight += sign * share
        if self.class_grams is not None:
            for code, gram in enumerate(self.class_grams):
                mine = features[codes == code]
                if len(mine):
                    self.class_grams[code] = dsyrk(sign, mine.T, beta=fade, c=gram, overwrite_c=1)
                elif fade != 1.0:
                    gram *= fade

    def _add_moments(self, part: slice, weight: Floats, mean: Floats, m2: Floats) -> None:
        assert self.class_mean is not None
        assert self.class_m2 is not None
        old = self.class_weight[part]
        total = old + weight
        known = total > 0
        share = np.divide(weight, total, out=np.zeros_like(total), where=known)[:, None]
        delta = mean - self.class_mean[part]
        self.class_mean[part] += delta * share
        self.class_m2[part] += m2 + delta * delta * (old[:, None] * share)
        np.maximum(self.class_m2, 0.0, out=self.class_m2)  # only removal can round below 0

    def _age_weights(self, n: int) -> Floats:
        ages = self._ages.get(n)
        if ages is None:
            if len(self._ages) > 64:
                self._ages.clear()
            ages = self._ages[n] = self.decay ** np.arange(n - 1, -1, -1, dtype=np.float64)
        return ages

    def _no_gram(self) -> Floats:
        return np.zeros((self.size, self.size), order="F")

    def tensors(self) -> Mapping[str, Array]:
        """Views for `state()`: Fortran-order arrays transposed, so that writing them copies nothing."""
        found: dict[str, Array] = {"gram": self.gram.T, "cross": self.cross.T, "class_weight": self.class_weight}
        if self.class_mean is not None and self.class_m2 is not None:
            found |= {"class_mean": self.class_mean, "class_m2": self.class_m2}
        if self.presence is not None:
            found["presence"] = self.presence
            found["origin"] = np.full(self.size, np.nan) if self.origin is None else self.origin
        if self.class_grams is not None:
            found["class_grams"] = np.array([gram.T for gram in self.class_grams]).reshape(-1, self.size, self.size)
        return found

    def restore(self, tensors: Mapping[str, Array]) -> None:
        """Restore `tensors()`; copies, so that they may be maps of a file."""
        self.gram = np.array(tensors["gram"], order="C").T
        self.cross = np.array(tensors["cross"], order="C").T
        self._restore_small(tensors)

    def _restore_small(self, tensors: Mapping[str, Array]) -> None:
        self.class_weight = np.array(tensors["class_weight"])
        if self.presence is not None:
            self.presence, origin = np.array(tensors["presence"]), np.array(tensors["origin"])
            self.origin = None if np.isnan(origin).any() else origin
        if self.class_mean is not None:
            self.class_mean, self.class_m2 = np.array(tensors["class_mean"]), np.array(tensors["class_m2"])
        if self.class_grams is not None:
            self.class_grams = [np.array(gram, order="C").T for gram in tensors["class_grams"]]


def drops_denormals(decay: float, before: int, after: int) -> bool:
    """Whether numbers have decayed by a further hundred powers of ten between these numbers of events."""
    if decay == 1.0:
        return False
    period = math.ceil(-100 / math.log10(decay))
    return before // period != after // period


def class_moments(
    inputs: Array, codes: NDArray[np.int32], weights: Floats | None, columns: int
) -> tuple[Floats, Floats, Floats]:
    """Weight (C,), mean (C, F) and M2 (C, F) per class of (n, F) inputs; zeros for a class without events."""
    member = np.zeros((columns, len(codes)))
    member[codes, np.arange(len(codes))] = 1.0 if weights is None else weights
    weight = member.sum(axis=1)
    x = inputs.astype(np.float64, copy=False)
    mean = np.divide(member @ x, weight[:, None], out=np.zeros((columns, x.shape[1])), where=weight[:, None] > 0)
    away = x - mean[codes]
    return weight, mean, member @ (away * away)
