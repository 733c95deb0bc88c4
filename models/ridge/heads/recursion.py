"""Heads that are fresh after every event: inverses carried along by Woodbury steps, all decays at once.

Source: Zhuang et al. (arXiv:2405.17779), the recursive update of R and W. Ours differs: the inverse of each decay is
R - Vᵀ V, where V holds the steps since R was last formed, so that an event reads R once and writes one row of V; R is
formed from a factorisation again, often while events are few (the error of a recursion arises where R = I/γ is still
large), then after D events at most.
Events fade, γ does not. A recursion fades both: between two factorisations γ is multiplied by λ for each event, but
never below LEAST of it. Sums are not touched by that: events wait here, and are added to them together.
Cost: M (D² + 2 k D + D C) an event and M decays, k ≤ HELD steps since R was formed. State: 8 M D (D + HELD) bytes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.blas import dgemm
from scipy.linalg.lapack import dpotri, dpotrs

from thalweg.models.ridge.heads.solve import Penalty, factorise
from thalweg.models.ridge.statistics import Rows, Statistics
from thalweg.proto.schema import Array

Floats = NDArray[np.float64]
HELD = 64
"""Most steps kept apart from R, and most events that wait."""
LEAST = 0.5
"""A decay's inverse is factorised anew before γ has faded below this share: at λ = 0.97 after 22 events."""
LARGEST = 1e8
"""A step that divides by more than this loses half of the digits: then heads are solved from the sums."""


def lasts(decay: float) -> int:
    """Events after which γ has faded to LEAST."""
    return 1 << 40 if decay == 1.0 else int(math.log(LEAST) / math.log(decay))


class Recursion:
    """R (M, D, D) and the steps since it was formed; `active` between `begin` and `stop`."""

    def __init__(self, size: int, decays: Sequence[float]) -> None:
        """Not active.

        Args:
            size: Features, D.
            decays: λ of each of M decays.
        """
        self._size, self._decays = size, np.array(decays)
        self.most = min(HELD, *map(lasts, decays))
        """Events that can be added at once."""
        self._lasts = [lasts(decay) for decay in decays]
        self._inverse: Floats | None = None  # R, (M, D, D)
        self._steps: Floats = np.zeros((len(decays), 0, size))  # V, (M, most, D); the first `_made` rows are in use
        self._made = 0
        self._ages: NDArray[np.int64] = np.zeros(len(decays), np.int64)  # (M,): events since it was factorised
        self._features: Floats = np.zeros((0, size))
        self._targets: Floats = np.zeros((0, 0))
        self._weights: Floats = np.ones(0)
        self.waiting = 0
        """Events that are in the heads and not yet in the sums; at most `most`."""

    @property
    def active(self) -> bool:
        """Whether there are inverses."""
        return self._inverse is not None

    def begin(
        self, members: Sequence[Statistics], gamma: Callable[[Statistics], Penalty], constant: int | None
    ) -> Floats:
        """Factorise, keep the inverses, and return W (M, D, C); all events must be in the sums."""
        M, D = len(members), self._size
        self._inverse, self._steps = np.empty((M, D, D)), np.zeros((M, self.most, D))
        self._features = np.zeros((self.most, D))
        self._targets, self._weights = np.zeros((self.most, members[0].columns)), np.ones(self.most)
        self._made = self.waiting = 0
        return np.array([self._form(number, member, gamma(member), constant) for number, member in enumerate(members)])

    @cached_property
    def _below(self) -> NDArray[np.bool_]:
        return np.tri(self._size, k=-1, dtype=bool)

    def stop(self) -> None:
        """Forget the inverses; no event may wait."""
        self._inverse = None

    def has_room(self, events: int) -> bool:
        """Whether this many more events can be added before the inverses must be renewed."""
        return self._made + events <= self.most

    def add(self, rows: Rows, errors: Floats, heads: Floats) -> bool:
        """Add n events, n ≤ the room there is, to the heads W (M, D, C), in place; they wait to be added to the sums.

        Args:
            rows: The events.
            errors: Their targets less what each head predicts, (M, n, C).
            heads: W.

        Returns:
            False if rounding has left an inverse indefinite: the heads must be solved from the sums.
        """
        n, first = len(rows.features), self.waiting
        last = self.waiting = first + n
        self._features[first:last], self._targets[first:last] = rows.features, rows.targets
        self._weights[first:last] = 1.0 if rows.weights is None else rows.weights
        done = self._one(rows, errors, heads) if n == 1 else self._several(rows, errors, heads)
        self._made += n
        self._ages += n
        return done

    def _one(self, rows: Rows, errors: Floats, heads: Floats) -> bool:
        assert self._inverse is not None
        h, made = rows.features[0], self._made
        M, D = len(heads), self._size
        P = (self._inverse.reshape(M * D, D) @ h).reshape(M, D)
        if made:
            steps = self._steps[:, :made]
            P -= np.matmul((steps @ h)[:, None], steps)[:, 0]
        weight = self._decays ** -(self._ages + 1.0)  # (M,): of this event, where the first ones weigh 1
        if rows.weights is not None:
            weight *= rows.weights[0]
        capacity = 1.0 + weight * (P @ h)
        for one in capacity.tolist():
            if not 0.0 < one < LARGEST:
                return False
        gain = weight / capacity
        np.multiply(P, np.sqrt(gain)[:, None], out=self._steps[:, made])
        P *= gain[:, None]
        heads += P[:, :, None] * errors
        return True

    def _several(self, rows: Rows, errors: Floats, heads: Floats) -> bool:
        assert self._inverse is not None
        H, made, n = rows.features, self._made, len(rows.features)
        weight = self._decays[:, None] ** -(self._ages[:, None] + np.arange(1.0, n + 1.0))  # (M, n)
        if rows.weights is not None:
            weight *= rows.weights
        root = np.sqrt(weight)[:, :, None]
        P = H @ self._inverse  # (M, n, D)
        if made:
            steps = self._steps[:, :made]
            P -= np.matmul(H @ steps.swapaxes(1, 2), steps)
        P *= root
        capacity = np.matmul(P, (root * H).swapaxes(1, 2))  # (M, n, n)
        capacity[:, np.arange(n), np.arange(n)] += 1.0
        if not capacity.max() < LARGEST:
            return False
        try:
            factor = np.linalg.cholesky(capacity)
        except np.linalg.LinAlgError:
            return False
        solved = np.linalg.solve(factor, np.concatenate([P, root * errors], axis=2))
        steps = self._steps[:, made : made + n]
        steps[:] = solved[:, :, : self._size]
        heads += np.matmul(steps.swapaxes(1, 2), solved[:, :, self._size :])
        return True

    def grow(self, columns: int) -> None:
        """Add columns of targets up to `columns`."""
        if self.active and columns > self._targets.shape[1]:
            self._targets = np.pad(self._targets, ((0, 0), (0, columns - self._targets.shape[1])))

    def take(self, *, classes: bool) -> Rows | None:
        """The events that wait, which wait no longer; None: there are none. Valid until the next `add`.

        Args:
            classes: Targets are one-hot.
        """
        if not (n := self.waiting):
            return None
        self.waiting = 0
        weights, targets = self._weights[:n], self._targets[:n]
        codes = targets.argmax(axis=1).astype(np.int32) if classes else None
        return Rows(self._features[:n], targets, None if (weights == 1.0).all() else weights, codes)

    def renew(
        self,
        members: Sequence[Statistics],
        heads: Floats,
        gamma: Callable[[Statistics], Penalty],
        constant: int | None,
        most: int,
    ) -> None:
        """Make room: form R of each decay by the steps made, or by a factorisation where it would not last.

        Args:
            members: All sums; no event may wait.
            heads: W (M, D, C); changed in place where it is solved.
            gamma: Gives the ridge coefficient.
            constant: Index of the constant feature.
            most: Events after which inverses are factorised anew, if γ would allow more.
        """
        assert self._inverse is not None
        for number, member in enumerate(members):
            if self._ages[number] + self.most > min(self._lasts[number], most):
                heads[number] = self._form(number, member, gamma(member), constant)
            elif self._made:
                steps = self._steps[number, : self._made].T  # transposed arrays are in Fortran order: all is in place
                dgemm(-1.0, steps, steps, beta=1.0, c=self._inverse[number].T, trans_b=1, overwrite_c=1)
        self._made = 0

    def _form(self, number: int, member: Statistics, gamma: Penalty, constant: int | None) -> Floats:
        assert self._inverse is not None
        factor = factorise(member.gram, gamma, constant)
        head, _ = dpotrs(factor, member.cross, lower=0)
        if not np.isfinite(head).all():
            raise FloatingPointError("the sums of the ridge are not finite")
        inverse, _ = dpotri(factor, lower=0, overwrite_c=1)
        np.copyto(inverse, inverse.T.copy(), where=self._below)  # the triangle that LAPACK leaves undefined
        self._inverse[number] = inverse
        self._ages[number] = 0
        return np.asarray(head)

    # State

    def tensors(self) -> Mapping[str, Array]:
        """Tensors for `state()`; none unless active."""
        if self._inverse is None:
            return {}
        n = self.waiting
        return {
            "inverse": self._inverse,
            "steps": self._steps[:, : self._made],
            "ages": self._ages,
            "features": self._features[:n],
            "targets": self._targets[:n],
            "weights": self._weights[:n],
        }

    def restore(self, tensors: Mapping[str, Array]) -> None:
        """Restore from `tensors()`; copies."""
        self._inverse, self._made, self.waiting = None, 0, 0
        if "steps" not in tensors:
            return
        M, D = len(self._decays), self._size
        self._inverse, self._ages = np.array(tensors["inverse"]), np.array(tensors["ages"])
        self._made, self.waiting = tensors["steps"].shape[1], len(tensors["features"])
        self._steps = np.zeros((M, self.most, D))
        self._steps[:, : self._made] = tensors["steps"]
        n = self.waiting
        self._features, self._weights = np.zeros((self.most, D)), np.ones(self.most)
        self._targets = np.zeros((self.most, tensors["targets"].shape[1]))
        self._features[:n], self._targets[:n], self._weights[:n] = (
            tensors["features"],
            tensors["targets"],
            tensors["weights"],
        )
