"""Recent statistics of batch-norm inputs: moments of single rows, balanced over the predicted classes.

A bounded memory of rows; when full, the oldest row of the most frequent class is evicted (after the memory of RoTTA,
Yuan, Xie and Li, CVPR 2023, which stores inputs; ours stores their moments). A run of one class evicts only rows of
that class, so it does not look like drift. No class has more than half as many rows again as its share, also while
there is room: equal inputs, black ones say, are a few rows. Rows missing to a full memory count as the source.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from thalweg.memory.devices.device import Device
from thalweg.models.cotta.target_norm import Moments
from thalweg.models.parts.torch_setup import Tensor, torch
from thalweg.proto.schema import Array


class TargetStatistics:
    """One thread uses it.

    Args:
        source: Moments (C,) of each layer in the source.
        rows: Most rows, R; 0: always the source's moments.
        most: Most rows of a class; 0: no limit.
        device: Where moments are; None: with the processor.
    """

    def __init__(self, source: Moments, rows: int, most: int = 0, device: Device | None = None) -> None:
        self._device = device or Device()
        self._source, self._rows, self._most = dict(source), rows, most or rows
        self._kept = {
            name: (self._device.zeros(rows, len(mean)), self._device.zeros(rows, len(mean)))
            for name, (mean, _) in source.items()
        }
        self._classes = np.full(rows, -1, dtype=np.int64)
        self._ages = np.zeros(rows, dtype=np.int64)  # when each was added, counted in rows
        self._seen = 0

    @property
    def follows(self) -> bool:
        """Whether there is anything to store."""
        return self._rows > 0 and bool(self._source)

    @property
    def empty(self) -> bool:
        """Whether no row is stored."""
        return not (self._classes >= 0).any()

    @property
    def moments(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Current mean and mean square (C,) of each layer."""
        count = int(np.count_nonzero(self._classes >= 0))
        if not count:
            return dict(self._source)
        share = count / self._rows
        return {
            name: (
                self._source[name][0].lerp(mean.sum(0) / count, share),
                self._source[name][1].lerp(square.sum(0) / count, share),
            )
            for name, (mean, square) in self._kept.items()
        }

    def take(self, moments: Moments, classes: Sequence[int]) -> None:
        """Add rows: moments (N, C) of each layer, and the predicted class of each; finite ones only."""
        finite = torch.stack([torch.isfinite(one).all(1) for pair in moments.values() for one in pair]).all(0)
        row_of: dict[int, int] = {}  # by place: the latest
        for row, (kind, sound) in enumerate(zip(classes, self._device.fetch(finite).tolist())):
            if not sound:
                continue
            place = self._place(kind)
            row_of[place] = row
            self._classes[place], self._ages[place] = kind, self._seen
            self._seen += 1
        if not row_of:
            return
        places, rows = self._device.put(np.array([[*row_of], [*row_of.values()]], dtype=np.int64))
        for name, pair in moments.items():
            for kept, each in zip(self._kept[name], pair):
                kept.index_copy_(0, places, each.index_select(0, rows))

    def _place(self, kind: int) -> int:
        free = np.flatnonzero(self._classes < 0)
        mine = self._classes == kind
        if len(free) and np.count_nonzero(mine) < self._most:
            return int(free[0])
        if len(free):
            return int(np.flatnonzero(mine)[self._ages[mine].argmin()])
        kinds, counts = np.unique(self._classes, return_counts=True)
        most = kinds[counts == counts.max()]
        leaving = np.isin(self._classes, [kind] if kind in most else most)
        return int(np.flatnonzero(leaving)[self._ages[leaving].argmin()])

    def clear(self) -> None:
        """Reset to the source."""
        self._classes[:] = -1
        for mean, square in self._kept.values():
            mean.zero_()
            square.zero_()

    def tensors(self) -> dict[str, Array]:
        """Everything, for a snapshot."""
        found: dict[str, Array] = {"classes": self._classes, "ages": self._ages, "seen": np.array([self._seen])}
        kept = {f"mean.{name}": mean for name, (mean, _) in self._kept.items()}
        return found | self._device.fetch_all(kept | {f"square.{name}": each for name, (_, each) in self._kept.items()})

    def restore(self, tensors: Mapping[str, Array]) -> None:
        """Become the one whose `tensors()` these are."""
        self._classes, self._ages = np.array(tensors["classes"]), np.array(tensors["ages"])
        self._seen = int(tensors["seen"][0])
        self._kept = {
            name: (self._device.own(tensors[f"mean.{name}"]), self._device.own(tensors[f"square.{name}"]))
            for name in self._kept
        }
