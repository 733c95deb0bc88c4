"""The history of each event of a batch just before it occurs: what the stored histories hold, and the events above."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from thalweg.memory.vectors.histories import Histories, hash_key
from thalweg.proto.event import Batch, ClassLabels
from thalweg.proto.schema import Array


class ReadableHistories(Protocol):
    """The latest events of keys."""

    def read(self, keys: Sequence[int]) -> Histories:
        """Of keys, by hash."""

    def tensors(self) -> dict[str, Array]:
        """For a published version."""


def as_it_comes(
    histories: ReadableHistories, batch: Batch, classes: Sequence[str], max_types: int
) -> tuple[Histories, NDArray[np.int64]]:
    """The history of each event of a batch, and its type: -1 for none, from `len(classes)` on for new ones."""
    codes = {name: code for code, name in enumerate(classes)}
    keys = [hash_key(key) for key in batch.inputs["key"]]
    firsts: dict[int, int] = {}
    place = np.array([firsts.setdefault(key, len(firsts)) for key in keys], dtype=np.int64)
    now = histories.read(list(firsts))  # copied, so that it may change below
    kinds = np.full(len(keys), -1, dtype=np.int64)
    pasts = now.take(place)
    labels = batch.labels
    if not isinstance(labels, ClassLabels):
        return pasts, kinds
    for row, (at, code) in enumerate(zip(place.tolist(), labels.codes.tolist())):
        pasts.times[row], pasts.types[row], pasts.lengths[row] = now.times[at], now.types[at], now.lengths[at]
        moment, length = batch.times[row], int(now.lengths[at])
        if code < 0 or not np.isfinite(moment) or batch.weights[row] <= 0:
            continue
        name = labels.names[code]
        if name not in codes and len(codes) < max_types:
            codes[name] = len(codes)
        kinds[row] = kind = codes.get(name, -1)
        if kind < 0 or (length and moment < now.times[at, length - 1]):
            continue
        now.lengths[at] = _append(now.times[at], now.types[at], length, moment, kind)
    return pasts, kinds


def _append(times: NDArray[np.float64], types: NDArray[Any], length: int, moment: float, kind: int) -> int:
    """Add an event to a window in place, at the cost of the oldest if it is full; the new length."""
    if length == len(times):
        times[:-1], types[:-1] = times[1:].copy(), types[1:].copy()
        length -= 1
    times[length], types[length] = moment, kind
    return length + 1


def extended(histories: Histories, moments: NDArray[np.float64], kinds: NDArray[np.int64]) -> Histories:
    """Copies with one more event each, at moments (N,) and of types (N,)."""
    made = Histories(histories.times.copy(), histories.types.copy(), histories.lengths.copy())
    for row, (moment, kind) in enumerate(zip(moments.tolist(), kinds.tolist())):
        made.lengths[row] = _append(made.times[row], made.types[row], int(made.lengths[row]), moment, kind)
    return made
