"""The sums of ridge on a GPU: Gram, cross-moments and Cholesky factor in float64, resident there.

A micro-batch sends its features once, for all decays, and a vector of weights for each; a solve brings the head back.
Nothing is sent per event. What is small stays with the processor: class weights and moments, the mixture, predictors.
Two triangular solves, not `cholesky_solve`, whose bits depend on the stream.
State: as of `Statistics`, and the Gram whole: 8 D² bytes a decay, twice more while it is solved.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thalweg.memory.devices.device import Device
from thalweg.memory.torch_setup import Tensor, torch
from thalweg.models.ridge.heads.solve import Penalty, larger, penalty_of, scaled_penalty
from thalweg.models.ridge.statistics import TINY, Rows, Statistics
from thalweg.proto.schema import Array

Floats = NDArray[np.float64]


def statistics_on(device: Device) -> Callable[..., Statistics]:
    """Makes `DeviceStatistics`, which share what is sent of each micro-batch; arguments as of `Statistics`."""
    sent = _Sent(device)

    def make(size: int, columns: int, **wanted: Any) -> Statistics:
        return DeviceStatistics(sent, size, columns, **wanted)

    return make


class _Sent:
    """The latest rows that were sent: the sums of several decays add the same ones."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self._rows: Rows | None = None
        self._there: tuple[Tensor, Tensor] | None = None

    def there(self, rows: Rows) -> tuple[Tensor, Tensor]:
        """Features (n, D) and targets (n, C)."""
        if self._there is None or self._rows is not rows:
            self._rows, self._there = rows, (self.device.put(rows.features), self.device.put(rows.targets))
        return self._there


class DeviceStatistics(Statistics):
    """`Statistics` whose Gram and cross-moments are on a device; `gram` and `cross` bring a copy back."""

    def __init__(self, sent: _Sent, size: int, columns: int, **wanted: Any) -> None:
        """Sums without events; arguments as of `Statistics`. Raises DeviceFailed if there is no room for them."""
        self._sent, self._device = sent, sent.device
        self._host: tuple[Floats, Floats] | None = None
        super().__init__(size, columns, **wanted)

    def _begin_sums(self, size: int, columns: int) -> None:
        self._gram = self._device.zeros(size, size, dtype=torch.float64)  # (D, D), symmetric
        self._cross = self._device.zeros(size, columns, dtype=torch.float64)  # (D, C)

    # As arrays

    @property
    def gram(self) -> Floats:
        """A copy, except within `on_host`."""
        return self._fetched_gram().T if self._host is None else self._host[0]

    @gram.setter
    def gram(self, array: Floats) -> None:
        assert self._host is not None, "only within on_host"
        self._host = array, self._host[1]

    @property
    def cross(self) -> Floats:
        """A copy, except within `on_host`."""
        return self._fetched_cross().T if self._host is None else self._host[1]

    @cross.setter
    def cross(self, array: Floats) -> None:
        assert self._host is not None, "only within on_host"
        self._host = self._host[0], array

    @property
    def columns(self) -> int:
        return int(self._cross.shape[1])

    @contextmanager
    def on_host(self) -> Iterator[None]:
        self._host = np.array(self._fetched_gram()).T, np.array(self._fetched_cross()).T
        try:
            yield
        finally:
            assert self._host is not None
            (gram, cross), self._host = self._host, None
            self._take(gram.T, cross.T)

    def _fetched_gram(self) -> Array:
        """(D, D), C order: the lower triangle, which is the upper one in Fortran order."""
        return self._device.fetch(self._gram.tril())

    def _fetched_cross(self) -> Array:
        """(C, D), C order."""
        return self._device.fetch(self._cross.T.contiguous())

    def _take(self, gram: Array, cross: Array) -> None:
        """Become these, as `_fetched_…`; a triangle that is not used may hold anything."""
        low = self._device.put(np.ascontiguousarray(gram)).tril()
        self._gram.copy_(low + low.tril(-1).T)
        self._grow_cross(len(cross) - self.columns)
        self._cross.copy_(self._device.put(np.ascontiguousarray(cross)).T)

    def _grow_cross(self, more: int) -> None:
        if more == 0:
            return
        wider = self._device.zeros(self.size, self.columns + more, dtype=torch.float64)
        kept = min(self.columns, self.columns + more)
        wider[:, :kept] = self._cross[:, :kept]
        self._device.reserve(-self._cross.nbytes)
        self._cross = wider

    # Solving

    def penalty(self, gamma: float | str, constant: int | None) -> Penalty:
        if self.presence is None or constant is None:
            return gamma if not isinstance(gamma, str) else penalty_of(gamma, self._diagonal(self._gram), constant)
        sums: Floats = self._device.fetch(self._gram[:, constant].contiguous())
        return scaled_penalty(gamma, self._diagonal(self._gram), sums, self.presence, self.origin)

    def solve(self, gamma: Penalty, constant: int | None) -> Floats:
        return self.from_zero(self._solved(self._gram, self._cross, gamma, constant))

    def _solved(self, gram: Tensor, cross: Tensor, gamma: Penalty, constant: int | None) -> Floats:
        """As `heads.solve.solve`, of a symmetric Gram (D, D)."""
        factor = self._factorised(gram, gamma, constant)
        half = torch.linalg.solve_triangular(factor, cross, upper=False)
        head: Floats = self._device.fetch(torch.linalg.solve_triangular(factor.T, half, upper=True))
        if not np.isfinite(head).all():
            raise FloatingPointError("the sums of the ridge are not finite")
        return head

    def _factorised(self, gram: Tensor, gamma: Penalty, constant: int | None) -> Tensor:
        """As `heads.solve.factorise`; the lower factor."""
        corner = 0.0 if constant is None else self._device.number(gram[constant, constant])
        extra, first = gamma, True
        while True:
            penalised = gram.clone()
            diagonal = penalised.diagonal()
            diagonal += self._device.put(extra) if isinstance(extra, np.ndarray) else extra
            if constant is not None and corner > 0 and first:
                penalised[constant, constant] = corner * (1 + 1e-12)
            factor: Tensor
            factor, info = torch.linalg.cholesky_ex(penalised)
            if self._device.number(info) == 0:
                return factor
            extra, first = larger(extra, self._diagonal(gram)), False
            if not np.isfinite(extra).all():
                raise FloatingPointError("the sums of the ridge are not finite")

    def _diagonal(self, gram: Tensor) -> Floats:
        found: Floats = self._device.fetch(gram.diagonal().contiguous())
        return found

    # Events

    def _accumulate(self, rows: Rows, weights: Floats | None, fade: float, sign: float) -> None:
        features, targets = self._sent.there(rows)
        weighted = self._counted(rows.features)
        if self.origin is not None:
            features = features - self._device.put(self.origin)
        if weights is not None:
            root = np.sqrt(weights)[:, None]
            there = self._device.put(root)
            features, targets = features * there, targets * there
            if self.class_grams is not None:
                weighted = weighted * root
        self._gram.addmm_(features.T, features, beta=fade, alpha=sign)
        self._cross.addmm_(features.T, targets, beta=fade, alpha=sign)
        self._accumulate_presence(rows.features, weights, fade, sign)
        if rows.codes is not None:
            self._accumulate_classes(rows, rows.codes, weighted, weights, fade, sign)

    def _sums(self) -> list[Floats]:
        found = (self.presence, self.class_m2, self.class_weight, *(self.class_grams or ()))
        return [array for array in found if array is not None]

    def fade(self, share: float) -> None:
        self._gram.mul_(share)
        self._cross.mul_(share)
        super().fade(share)

    def drop_tiny(self) -> None:
        for each in (self._gram, self._cross):
            each.masked_fill_(each.abs() < TINY, 0.0)
        super().drop_tiny()

    def merge(self, other: Statistics) -> None:
        self.grow(other.columns)
        with self.on_host():
            super().merge(other)

    def from_feature(self, first: int) -> Statistics:
        other = Statistics(0, 0)
        other.gram = self._device.fetch(self._gram[first:, first:].tril().contiguous()).T
        other.cross = self._device.fetch(self._cross[first:].T.contiguous()).T
        return other

    def reorder(self, order: NDArray[np.int64], columns: int) -> None:
        raise NotImplementedError("only the sums of another worker are reordered, and these are on the processor")

    # State

    def tensors(self) -> Mapping[str, Array]:
        with self._as_views():
            return dict(super().tensors())

    @contextmanager
    def _as_views(self) -> Iterator[None]:
        """As `on_host`, to be looked at."""
        self._host = self._fetched_gram().T, self._fetched_cross().T
        try:
            yield
        finally:
            self._host = None

    def restore(self, tensors: Mapping[str, Array]) -> None:
        small = {name: array for name, array in tensors.items() if name not in ("gram", "cross")}
        self._restore_small(small)
        self._take(tensors["gram"], tensors["cross"])
