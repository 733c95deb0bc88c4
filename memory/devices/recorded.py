"""A network's forward pass that is recorded once on a GPU, and replayed there for every version of its weights.

A network of many small layers is bound by what it takes to start each of them; a CUDA graph starts all at once.
Recording takes the time of some passes, so versions share one record: it has weights of its own, which are those of
the version that asked last. Another version's are copied into them on the device, between two replays.
"""

from __future__ import annotations

import copy
import threading
import weakref
from collections.abc import Callable

import numpy as np
import structlog

from thalweg.memory.devices.device import Device
from thalweg.memory.devices.failures import is_failure, told
from thalweg.memory.torch_setup import Tensor, torch

_RECORDS: weakref.WeakKeyDictionary[Device, tuple[str, Recorded | None]] = weakref.WeakKeyDictionary()
_MAKING = threading.Lock()

log = structlog.get_logger(__name__)

Pass = Callable[[torch.nn.Module, Tensor], tuple[Tensor, ...]]
"""What a module makes of a batch. It must depend on the module's tensors and the batch alone, and draw nothing."""


class Recorded:
    """A pass over batches of one shape. Any thread may ask; one at a time is served.

    Args:
        device: Where the module is.
        module: A version of the network; it is copied. Others must have the same layers and the same shapes.
        run: The pass.
        shape: Of every batch, float32.
    """

    def __init__(self, device: Device, module: torch.nn.Module, run: Pass, shape: tuple[int, ...]) -> None:
        self._turn = threading.Lock()
        with device.apart():
            self._own = copy.deepcopy(module)
            self._holds: weakref.ref[torch.nn.Module] | None = None  # the version whose weights are in `_own`
            self._batch = device.put(np.random.default_rng(0).random(shape, dtype=np.float32))
            self._replay, self._found = device.record(lambda: run(self._own, self._batch))

    def __call__(self, module: torch.nn.Module, batch: Tensor) -> tuple[Tensor, ...]:
        """What the pass makes of a batch with the weights of this version; within `Device.apart`."""
        with self._turn, torch.no_grad():
            if self._holds is None or self._holds() is not module:
                for mine, its in zip(_tensors(self._own), _tensors(module), strict=True):
                    mine.copy_(its)
                self._holds = weakref.ref(module)
            self._batch.copy_(batch)
            self._replay()
            return tuple(each.clone() for each in self._found)


def recorded(key: str, device: Device, module: torch.nn.Module, run: Pass, shape: tuple[int, ...]) -> Recorded | None:
    """The record that versions of one model share on its device, made now if this is the first version, or the first of
    another key: of what the pass depends on beside the weights.

    None if the pass cannot be recorded: then it is computed layer by layer, which gives the same.
    """
    if device.is_processor:
        return None
    with _MAKING:
        known, found = _RECORDS.get(device, ("", None))
        if known != key:
            found = _made(device, module, run, shape)
            _RECORDS[device] = key, found
        return found


def _made(device: Device, module: torch.nn.Module, run: Pass, shape: tuple[int, ...]) -> Recorded | None:
    try:
        return Recorded(device, module, run, shape)
    except Exception as error:  # a layer of a user's may do anything
        why = told(error)
        log.info("answers are computed layer by layer", device=device.name, problem=why, failed=is_failure(error))
        return None


def _tensors(module: torch.nn.Module) -> list[Tensor]:
    return [*module.parameters(), *module.buffers()]
