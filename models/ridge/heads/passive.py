"""A head that makes the latest event right: for streams whose labels come in runs.

Source: Crammer, Dekel, Keshet, Shalev-Shwartz and Singer, "Online Passive-Aggressive Algorithms", JMLR 7 (2006), PA-I
with C = 1, one against all. Ridge shrinks a head that has seen a dozen events towards nothing, and so turns some events
after a label has; this one turns at the first. Which of both answers is decided by the share each had right lately.
It learns only from micro-batches of few events whose labels are not late: else the run that it would follow is over.
Cost: 2 D C an event. State: 8 D C bytes, none before the first such event.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from thalweg.proto.schema import Array

Floats = NDArray[np.float64]
MOST = 4
"""Events of a micro-batch up to which it learns."""
HORIZON = 200.0
"""Events over which right answers are counted, with exponential decay."""
LEAD = 2.0
"""Right answers that it must be ahead of ridge to answer."""


class PassiveAggressive:
    """One linear head over the features, and whether to believe it."""

    def __init__(self, size: int) -> None:
        """Without events; D features."""
        self._head: Floats = np.zeros((size, 0))  # (D, C), scores of about ± 1
        self._right = [0.0, 0.0]  # of ridge, of this one

    @property
    def columns(self) -> int:
        """Classes, C."""
        return int(self._head.shape[1])

    def learn(
        self, features: Floats, codes: NDArray[np.int32], weights: Floats | None, ridge: Floats, columns: int
    ) -> None:
        """Learn n events, one after the other.

        Args:
            features: (n, D).
            codes: Their classes, (n,).
            weights: (n,), > 0; None: all 1. A weight is the largest step that is taken for an event.
            ridge: Scores of the head that is the alternative, (n, C'), C' ≤ C.
            columns: Classes, C.
        """
        if (more := columns - self.columns) > 0:
            self._head = np.pad(self._head, ((0, 0), (0, more)))
        fade, right = 1.0 - 1.0 / HORIZON, self._right
        for row, (code, beside) in enumerate(zip(codes.tolist(), ridge.tolist())):
            h = features[row]
            scores = (h @ self._head).tolist()  # of few classes: plain numbers take less time than arrays
            right[0] = right[0] * fade + (beside.index(max(beside)) == code)
            right[1] = right[1] * fade + (scores.index(max(scores)) == code)
            losses = [max(score + 1.0, 0.0) for score in scores]
            losses[code] = max(2.0 - (scores[code] + 1.0), 0.0)
            if not any(losses) or not (square := float(h @ h)):
                continue
            most = 1.0 if weights is None else float(weights[row])
            step = [-min(loss / square, most) for loss in losses]
            step[code] = -step[code]
            self._head += h[:, None] * np.array(step)

    def pause(self) -> None:
        """A larger or a late micro-batch was learned: what was right before it counts no longer."""
        self._right = [0.0, 0.0]

    @property
    def believed(self) -> bool:
        """Whether it answers."""
        return self._right[1] > self._right[0] + LEAD

    def head(self, constant: int | None) -> Floats:
        """W (D, C) whose scores are like those of ridge, 1 for the class and 0 for others; a copy."""
        head = self._head / 2.0
        if constant is not None:
            head[constant] += 0.5
        return head

    def tensors(self) -> Mapping[str, Array]:
        """Tensors for `state()`; none before the first event."""
        return {"head": self._head, "right": np.array(self._right)} if self.columns else {}

    def restore(self, tensors: Mapping[str, Array]) -> None:
        """Restore from `tensors()`; copies. A head over other features, as earlier versions had one, begins anew."""
        mine = "head" in tensors and len(tensors["head"]) == len(self._head)
        self._head = np.array(tensors["head"]) if mine else np.zeros((len(self._head), 0))
        self._right = tensors["right"].tolist() if mine else [0.0, 0.0]
