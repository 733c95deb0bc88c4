"""The features of the linear head: scaled inputs, a frozen random ReLU layer, a constant.

Source: Zhuang et al., "Online Analytic Exemplar-Free Continual Learning" (arXiv:2405.17779), the random layer before
the classifier: U(-1/√F, 1/√F), no offset. Added here, each optional: standardised inputs, random offsets inside the
ReLU, the inputs themselves, a constant.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
ROWS = 8
"""Rows are padded to a multiple of this before a matrix product: with full tiles of the BLAS kernel, the bits of a row
do not depend on the other rows (an odd last row goes through another kernel).
"""


@dataclass(frozen=True)
class FeatureMap:
    """Immutable; shared by a learner and its predictors."""

    width: int
    """Inputs per event, F."""

    projection: Floats
    """(F, D) float64; D may be 0."""

    offsets: Floats
    """(D,) float64."""

    direct: bool
    bias: bool

    @classmethod
    def draw(
        cls,
        width: int,
        expansion: int,
        *,
        offsets: bool,
        direct: bool,
        bias: bool,
        seed: int,
        seen: Sequence[int] | None = None,
    ) -> FeatureMap:
        """A random layer from a seed; the same arguments give the same bits.

        `seen`: places of the inputs that the layer sees; None: all, without any there is no layer.
        """
        generator = np.random.Generator(np.random.PCG64([seed, 0x70726F6A]))
        places = np.arange(width) if seen is None else np.array(seen, dtype=np.intp)
        expansion = expansion if len(places) else 0
        bound = 1.0 / np.sqrt(max(len(places), 1))
        projection = np.zeros((width, expansion))
        projection[places] = generator.uniform(-bound, bound, (expansion, len(places))).T  # drawn unit by unit
        inside = generator.uniform(-1.0, 1.0, expansion) if offsets else np.zeros(expansion)
        return cls(width, np.ascontiguousarray(projection), inside, direct or expansion == 0, bias)

    def of(self, projection: Floats, offsets: Floats) -> FeatureMap:
        """The same with another random layer, (F, D) and (D,); copies."""
        return FeatureMap(self.width, np.array(projection), np.array(offsets), self.direct, self.bias)

    @cached_property
    def size(self) -> int:
        """Features per event, D (+ F) (+ 1)."""
        return self.expansion + (self.width if self.direct else 0) + self.bias

    @cached_property
    def expansion(self) -> int:
        """Random features, D."""
        return int(self.projection.shape[1])

    @cached_property
    def constant(self) -> int | None:
        """Index of the constant feature, the last, if there is one."""
        return self.size - 1 if self.bias else None

    def features(self, scaled: Floats) -> Floats:
        """(N, D (+ F) (+ 1)) float64, C order, from (N, F) float64 inputs: random features, inputs, constant. N must be
        a multiple of ROWS if the bits of a row must not depend on the other rows.
        """
        out = np.empty((len(scaled), self.size))
        expansion = self.expansion
        if expansion:
            hidden = scaled @ self.projection  # apart: rows of `out` do not begin where vector instructions want them
            hidden += self.offsets
            np.maximum(hidden, 0.0, out=out[:, :expansion])
        if self.direct:
            out[:, expansion : expansion + self.width] = scaled
        if self.bias:
            out[:, -1] = 1.0
        return out
