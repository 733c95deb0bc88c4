"""Frozen keys of many heads on a device: sent once, and the nearest of all heads found by one product.

They are candidates of `key_tables.HeadSearch`, which ranks them by exact distances with the processor: the ids, and so
the state of whoever learns by them, do not depend on the device.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from thalweg.memory.devices.device import Device
from thalweg.memory.torch_setup import torch

Floats = NDArray[np.float64]
Ids = NDArray[np.int64]
_PRODUCTS = 1 << 26  # held at once: 256 MB


class ResidentKeys:
    """Keys (C, M, d) on a device.

    Args:
        device: The device.
        keys: Finite.
        half_norms: (C, M) float32: half the squared length of each key, infinite for one that does not count.

    Raises:
        DeviceFailed: There is no room for them.
    """

    def __init__(self, device: Device, keys: Floats, half_norms: NDArray[np.float32]) -> None:
        self._device = device
        self._keys = device.keep(np.ascontiguousarray(keys.transpose(0, 2, 1), dtype=np.float32))  # (C, d, M)
        self._half_norms = device.keep(half_norms)

    def candidates(self, queries: Floats, count: int) -> tuple[Ids, NDArray[np.float32]]:
        """Ids (B, C, count) of the nearest keys of queries (B, C, d), and their nearness, q · k - k²/2, best first."""
        heads, pairs = self._half_norms.shape
        ids = np.empty((len(queries), heads, count), dtype=np.int64)
        nearness = np.empty((len(queries), heads, count), dtype=np.float32)
        step = max(1, _PRODUCTS // (heads * pairs))
        with np.errstate(over="ignore", invalid="ignore"):
            sent = queries.astype(np.float32)
        for start in range(0, len(queries), step):
            part = slice(start, start + step)
            asked = self._device.put(sent[part]).transpose(0, 1)  # (C, B, d)
            near = torch.baddbmm(self._half_norms[:, None], asked, self._keys, beta=-1.0)
            best = torch.topk(near, count, dim=2)
            found = self._device.fetch(best.indices), self._device.fetch(best.values)
            ids[part], nearness[part] = (each.transpose(1, 0, 2) for each in found)
        return ids, nearness
