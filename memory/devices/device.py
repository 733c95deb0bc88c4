"""A device that torch computes on, and the one seam through which arrays reach it and come back.

Whatever stays on a device is made by `zeros` or `put`; whatever is read there comes back by `fetch`. Each copy is
counted, so that a test can bound the copies of a micro-batch and see that none is made per event. On the processor
nothing is copied, and the same code computes the same bits as without a device.

On a GPU: deterministic algorithms and no TF32, so that the same GPU and software give the same bits; copies to it
start from two pinned buffers in turn, so that the next one is filled while the last one is under way.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np

from thalweg.memory.devices.failures import DeviceFailed, device_failures, told
from thalweg.memory.devices.names import CPU, numbered, unavailable
from thalweg.memory.torch_setup import Tensor, torch
from thalweg.proto.schema import Array

STAGED_BYTES = 64 << 10
"""Smaller arrays are copied at once: staging them would cost more than it hides."""
PIECE_BYTES = 4 << 20
"""Size of each pinned buffer: a larger array goes in pieces, so that no other copy waits long behind it."""


@dataclass
class Copies:
    """Copies between processor and devices since the process began."""

    to: int = 0
    """Copies to a device."""
    back: int = 0
    """Copies from a device; each waits for what was computed before it."""
    to_bytes: int = 0
    back_bytes: int = 0


COPIES = Copies()
"""Of this process."""

_DEVICES: weakref.WeakSet[Device] = weakref.WeakSet()
"""Those in use, to be found by a tensor that is there."""


class Device:
    """Where the tensors of one model are. One thread keeps tensors there; any may put and fetch.

    Args:
        name: `cpu`, or `cuda:N`.
        budget_bytes: Most bytes that the model may keep there; 0: no limit of its own.
    """

    def __init__(self, name: str = CPU, budget_bytes: int = 0) -> None:
        self.name = numbered(name)
        self.where = torch.device(self.name)
        """For torch's functions that make a tensor."""
        self.kept_bytes = 0
        """Bytes that the model keeps there."""
        self._budget = budget_bytes
        self._owner = threading.get_ident()
        _DEVICES.add(self)
        self._uploading = threading.Lock()
        self._side: tuple[Any, _Staging] | None = None  # for `upload`: a stream, and pinned buffers
        self._first: Any = None  # the stream of answers
        self._staging: _Staging | None = None  # of the thread that opened it: a buffer is filled by one at a time

    def __deepcopy__(self, memo: object) -> Device:
        return self

    @classmethod
    def open(cls, name: str = CPU, budget_bytes: int = 0) -> Device:
        """The device of this name.

        Raises:
            DeviceFailed: It is not there.
        """
        if numbered(name) == CPU:
            return cls()
        if why := unavailable(name):
            raise DeviceFailed(why)
        _set_up_gpus()
        return cls(name, budget_bytes)

    @property
    def is_processor(self) -> bool:
        """Whether it is the processor: then arrays are used in place."""
        return self.name == CPU

    def put(self, array: Array) -> Tensor:
        """An array there; on the processor the tensor shares its memory, so it must be writable and not change."""
        if self.is_processor:
            return torch.from_numpy(array)
        COPIES.to += 1
        COPIES.to_bytes += array.nbytes
        return self._copied(np.asarray(array, order="C"))

    def put_drawn(self, tensor: Tensor) -> Tensor:
        """A tensor there that was drawn on the processor, whose generator gives everywhere the same numbers."""
        return tensor if self.is_processor else self.put(tensor.numpy())

    def place(self, module: torch.nn.Module) -> torch.nn.Module:
        """A module there with all that it holds, which is moved, and within the budget. Raises as `keep`."""
        if self.is_processor:
            return module
        kept = [*module.parameters(), *module.buffers()]
        self.reserve(sum(each.nbytes for each in kept))
        COPIES.to += len(kept)
        COPIES.to_bytes += sum(each.nbytes for each in kept)
        return self._placed(module)

    def upload(self, module: torch.nn.Module) -> torch.nn.Module:
        """As `place`, while others compute there: in pieces on a stream of its own, and nobody waits for it but the
        caller. Any thread, one at a time. Does not count for the budget: what it replaces goes away.
        """
        if self.is_processor:
            return module
        kept = [*module.parameters(), *module.buffers()]
        COPIES.to += len(kept)
        COPIES.to_bytes += sum(each.nbytes for each in kept)
        with device_failures(), self._uploading:
            return self._uploaded(module)

    def keep(self, array: Array) -> Tensor:
        """An array that stays there: copied, and within the budget.

        Raises:
            DeviceFailed: There is no room for it.
        """
        self.reserve(array.nbytes)
        return self.own(array)

    def own(self, array: Array) -> Tensor:
        """An array there, copied: it takes the place of one that is kept."""
        # on the processor cloned: torch aligns its own memory, and other alignments may change the order of summation
        return self.put(np.array(array)).clone() if self.is_processor else self.put(array)

    def zeros(self, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """Zeros that stay there. Raises DeviceFailed if there is no room for them."""
        self.reserve(int(np.prod(shape, dtype=np.int64)) * dtype.itemsize)
        try:
            return torch.zeros(shape, dtype=dtype, device=self.where)
        except RuntimeError as error:
            raise DeviceFailed(f"{self.name}: {told(error)}") from error

    def reserve(self, size: int) -> None:
        """Count bytes that stay there; a negative size gives them back.

        Raises:
            DeviceFailed: They are more than the budget allows.
        """
        if self.is_processor:
            return
        if self._budget and size > 0 and self.kept_bytes + size > self._budget:
            needs = f"{(self.kept_bytes + size) / 1e6:,.0f} MB"
            raise DeviceFailed(
                f"{self.name}: the model needs {needs}, device_bytes allows {self._budget / 1e6:,.0f} MB"
            )
        self.kept_bytes += size

    def fetch(self, tensor: Tensor) -> Array:
        """A tensor as an array; on the processor it shares the tensor's memory."""
        tensor = tensor.detach()
        if self.is_processor:
            found: Array = tensor.numpy()
            return found
        COPIES.back += 1
        COPIES.back_bytes += tensor.nbytes
        return self._fetched(tensor)

    def number(self, tensor: Tensor) -> float:
        """A tensor of one number as that number."""
        return float(self.fetch(tensor))

    def fetch_all(self, tensors: Mapping[str, Tensor]) -> dict[str, Array]:
        """Tensors as arrays by name; of each dtype in one copy. On the processor they share the tensors' memory."""
        if self.is_processor:
            return {name: self.fetch(each) for name, each in tensors.items()}
        found: dict[str, Array] = {}
        for dtype in dict.fromkeys(each.dtype for each in tensors.values()):
            some = {name: each.detach() for name, each in tensors.items() if each.dtype == dtype}
            whole, at = self.fetch(torch.cat([each.reshape(-1) for each in some.values()])), 0
            for name, each in some.items():
                found[name] = whole[at : at + each.numel()].reshape(tuple(each.shape))
                at += each.numel()
        return {name: found[name] for name in tensors}

    def apart(self) -> AbstractContextManager[Any]:
        """In here is computed on a stream of its own, before what others compute there. Its tensors, and those of
        `upload`, may be used in here; those that are computed elsewhere may not be ready.
        """
        return nullcontext() if self.is_processor else self._apart()

    def record(self, run: Callable[[], tuple[Tensor, ...]]) -> tuple[Callable[[], None], tuple[Tensor, ...]]:
        """What computes `run` again, from the same tensors into those of the result; within `apart`.

        Raises:
            RuntimeError: It cannot be recorded, or gives other bits then.
        """
        with torch.no_grad():
            return self._recorded(run)

    # What a device of a test does otherwise

    def _apart(self) -> AbstractContextManager[Any]:
        with self._uploading:
            if self._first is None:
                self._first = torch.cuda.Stream(self.where, priority=-1)  # type: ignore[no-untyped-call]
        return torch.cuda.stream(self._first)

    def _recorded(self, run: Callable[[], tuple[Tensor, ...]]) -> tuple[Callable[[], None], tuple[Tensor, ...]]:
        wanted, stream = run(), torch.cuda.current_stream(self.where)  # the first pass chooses algorithms, takes memory
        graph = torch.cuda.CUDAGraph()
        # others may compute there meanwhile
        with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
            found = run()
        graph.replay()
        for one, other in zip(found, wanted, strict=True):
            if not torch.allclose(one, other, rtol=0, atol=0, equal_nan=True):
                raise RuntimeError("a replayed pass gives other bits")
        return graph.replay, found

    def _copied(self, array: Array) -> Tensor:
        if array.nbytes < STAGED_BYTES or threading.get_ident() != self._owner:
            return torch.from_numpy(array if array.flags.writeable else array.copy()).to(self.where)
        if self._staging is None:
            self._staging = _Staging(self.where)
        return self._staging.copied(array)

    def _placed(self, module: torch.nn.Module) -> torch.nn.Module:
        return module.to(self.where)

    def _uploaded(self, module: torch.nn.Module) -> torch.nn.Module:
        if self._side is None:
            self._side = torch.cuda.Stream(self.where), _Staging(self.where)  # type: ignore[no-untyped-call]
        stream, staging = self._side
        with torch.cuda.stream(stream):
            for one in module.modules():
                for name, parameter in one._parameters.items():
                    if parameter is not None:
                        there = staging.copied(parameter.detach().contiguous().numpy())
                        one._parameters[name] = torch.nn.Parameter(there, requires_grad=False)
                for name, buffer in one._buffers.items():
                    if buffer is not None:
                        one._buffers[name] = staging.copied(buffer.contiguous().numpy())
        stream.synchronize()  # this stream alone: answers go on meanwhile
        return module

    def _fetched(self, tensor: Tensor) -> Array:
        found: Array = tensor.cpu().numpy()
        return found

    def described(self) -> str:
        """The kind of GPU and the software, on which the bits of a state depend; empty on the processor."""
        if self.is_processor:
            return ""
        software = f"torch {torch.__version__}, CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}"  # type: ignore[no-untyped-call]
        return f"{torch.cuda.get_device_name(self.where)}, {software}"


def beside(drawn: Tensor, like: Tensor) -> Tensor:
    """A tensor that was drawn on the processor, where another one is."""
    if like.device.type == CPU:
        return drawn
    for one in list(_DEVICES):
        if not one.is_processor and one.where in (like.device, torch.device(like.device.type)):
            return one.put_drawn(drawn)
    raise DeviceFailed(f"{like.device}: no model has opened it")


class _Staging:
    """Two pinned buffers in turn, each filled again only when the copy from it has ended."""

    def __init__(self, where: torch.device) -> None:
        self._where = where
        self._buffers = [torch.empty(PIECE_BYTES, dtype=torch.uint8, pin_memory=True) for _ in range(2)]
        self._ended: list[Any] = [torch.cuda.Event() for _ in self._buffers]  # type: ignore[no-untyped-call]
        self._next = 0

    def copied(self, array: Array) -> Tensor:
        """The array there; the copy may still be under way, and what is computed next waits for it."""
        flat = array.reshape(-1).view(np.uint8)
        target = torch.empty(array.nbytes, dtype=torch.uint8, device=self._where)
        for start in range(0, array.nbytes, PIECE_BYTES):
            piece = flat[start : start + PIECE_BYTES]
            buffer, ended = self._buffers[self._next], self._ended[self._next]
            ended.synchronize()  # of this buffer's last copy alone
            buffer[: len(piece)].numpy()[:] = piece
            target[start : start + len(piece)].copy_(buffer[: len(piece)], non_blocking=True)
            ended.record(torch.cuda.current_stream(self._where))
            self._next = 1 - self._next
        dtype = torch.from_numpy(np.empty(0, dtype=array.dtype)).dtype
        return target.view(dtype).reshape(array.shape)


def _set_up_gpus() -> None:
    """Same bits on the same GPU and software, whatever else runs there."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when the first product is computed
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # nothing reads it
    torch.backends.cudnn.benchmark = False
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
