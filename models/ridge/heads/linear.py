"""Heads over the inputs alone, beside those over the random layer as well: one more for each decay.

A random layer costs where effects are linear and labels are noisy: its features are so many more directions in which to
fit noise. Where effects are not linear, a linear head knows nothing. So both learn, and the mixture weighs them all by
recent error. Inputs and constant are the last features: the sums of a linear head are a corner of those of all.
Cost: as of features of their own number L = F + 1 in place of D. State: 8 M (L C + L² + L HELD) bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from thalweg.models.ridge.heads.recursion import Recursion
from thalweg.models.ridge.heads.solve import Penalty
from thalweg.models.ridge.statistics import Rows, Statistics
from thalweg.proto.schema import Array

Floats = NDArray[np.float64]
HORIZON, LEAD = 500.0, 2.0
"""As of the `Discriminant`: events over which right answers are counted, and how many more there must be."""
Gamma = Callable[[Statistics], Penalty]


class Linear:
    """W (M, L, C) over the features from `first` on."""

    def __init__(self, size: int, first: int, decays: Sequence[float]) -> None:
        """Not solved.

        Args:
            size: Features, D.
            first: The first of the inputs; random features stand before it.
            decays: λ of each of M decays.
        """
        self.first, self._constant = first, size - first - 1
        self._recursion = Recursion(size - first, decays)
        self.heads: Floats | None = None
        """(M, L, C); None before the first solve."""
        self.losses: Floats = np.zeros(0)
        """(M,): as of the mixture; (0,) before the first solve."""
        self._right = [0.0, 0.0]  # of the mixture of all heads, of these

    def solve(self, members: Sequence[Statistics], gamma: Gamma, losses: Floats) -> None:
        """From the sums, which hold all events.

        `losses`: (M,) of the heads over all features: new ones here count as good as they.
        """
        self._begin(losses)
        self._recursion.stop()
        parts = [member.from_feature(self.first) for member in members]
        self.heads = np.array([one.solve(gamma(one), self._constant) for one in parts])

    def renew(self, members: Sequence[Statistics], gamma: Gamma, most: int, losses: Floats) -> None:
        """Begin Woodbury steps, or make room for more; the sums hold all events.

        `most`: as of `Recursion.renew`. `losses`: as of `solve`.
        """
        self._begin(losses)
        parts = [member.from_feature(self.first) for member in members]
        if self.heads is None or not self._recursion.active:
            self.heads = self._recursion.begin(parts, gamma, self._constant)
            return
        self.heads = self._grown(parts[0].columns)
        self._recursion.renew(parts, self.heads, gamma, self._constant, most)

    def _begin(self, losses: Floats) -> None:
        if not len(self.losses):
            self.losses = losses.copy()

    def count(self, codes: NDArray[np.int32], mixed: Floats, own: Floats) -> None:
        """Count right answers to n events before they are learned.

        Args:
            codes: Their classes (n,).
            mixed: Scores of the mixture of all heads (n, C).
            own: Scores of the mixture of these (n, C).
        """
        fades = (1.0 - 1.0 / HORIZON) ** np.arange(len(codes) - 1, -1, -1)
        fade = (1.0 - 1.0 / HORIZON) ** len(codes)
        for which, scores in enumerate((mixed, own)):
            self._right[which] = self._right[which] * fade + float(fades @ (scores.argmax(axis=1) == codes))

    @property
    def alone(self) -> bool:
        """Whether these alone answer: they were right more often."""
        return self._right[1] > self._right[0] + LEAD

    def errors(self, rows: Rows) -> Floats | None:
        """Targets less what each head predicts, (M, n, C); None before the first solve."""
        if self.heads is None:
            return None
        self.heads = self._grown(rows.targets.shape[1])
        return np.asarray(rows.targets - np.matmul(rows.features[:, self.first :], self.heads))

    def learn(self, rows: Rows, errors: Floats) -> None:
        """One Woodbury step with rows whose errors are known, if there are such steps now."""
        steps = self._recursion
        if self.heads is None or not steps.active:
            return
        steps.grow(rows.targets.shape[1])
        of_inputs = Rows(rows.features[:, self.first :], rows.targets, rows.weights)
        if not steps.has_room(len(rows.features)) or not steps.add(of_inputs, errors, self.heads):
            steps.stop()  # until heads are solved again
        steps.waiting = 0  # the sums are those of all features, to which they are added from there

    def pause(self) -> None:
        """Events are not learned by Woodbury steps now: heads are solved from the sums."""
        self._recursion.stop()

    def add_to(self, head: Floats, weights: Floats) -> None:
        """Add the heads, by weights (M,), to the rows of the inputs in a head (D, C) over all features, in place."""
        if self.heads is not None:
            columns = min(self.heads.shape[2], head.shape[1])
            head[self.first :, :columns] += np.tensordot(weights, self.heads[:, :, :columns], axes=1)

    def _grown(self, columns: int) -> Floats:
        assert self.heads is not None
        missing = columns - self.heads.shape[2]
        return np.pad(self.heads, ((0, 0), (0, 0), (0, missing))) if missing > 0 else self.heads

    def tensors(self) -> Mapping[str, Array]:
        """Tensors for `state()`; none before the first solve."""
        if self.heads is None:
            return {}
        own = {"heads": self.heads, "losses": self.losses, "right": np.array(self._right)}
        return {**own, **{f"steps.{name}": one for name, one in self._recursion.tensors().items()}}

    def restore(self, tensors: Mapping[str, Array]) -> None:
        """Restore from `tensors()`; copies. A state of a version without these heads has none."""
        self.heads, self.losses, self._right = None, np.zeros(0), [0.0, 0.0]
        if "heads" in tensors:
            self.heads, self.losses = np.array(tensors["heads"]), np.array(tensors["losses"])
            self._right = tensors["right"].tolist()
        self._recursion.restore({k.removeprefix("steps."): v for k, v in tensors.items() if k.startswith("steps.")})
