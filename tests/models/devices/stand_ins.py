"""Devices that stand in for a GPU where there is none.

`Processor` computes with real numbers on every path of a GPU: the battery holds there, and results are those of the
processor. On torch's device `meta` tensors have shapes and no numbers. `pretended` is an accelerator of torch's fake
tensors: a tensor that is made on the wrong device, or read without the seam, fails there as it would on a GPU.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch._subclasses import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from thalweg.memory.devices.device import Device
from thalweg.memory.devices.names import CPU
from thalweg.memory.snapshots.state import State
from thalweg.proto.schema import Array

REAL = os.environ.get("THALWEG_GPU") == "1"
"""Whether `Processor` gives way to a real GPU: `make gpu` runs these tests so."""
KIND = "a GPU that is not there"


class StandIn(Device):
    """A device of another name than the processor's."""

    def __init__(self, where: str, budget_bytes: int = 0) -> None:
        super().__init__("cuda:0", budget_bytes)
        self.where = torch.device(where)

    def described(self) -> str:
        return KIND

    def _apart(self) -> AbstractContextManager[Any]:
        return nullcontext()

    def _recorded(self, run: Callable[[], tuple[Tensor, ...]]) -> tuple[Callable[[], None], tuple[Tensor, ...]]:
        found = tuple(each.clone() for each in run())

        def replay() -> None:
            for one, other in zip(found, run(), strict=True):
                one.copy_(other)

        return replay, found


class Processor(StandIn):
    """Its memory is that of the processor, and shared with no array."""

    def __init__(self, budget_bytes: int = 0) -> None:
        super().__init__("cpu", budget_bytes)

    def _copied(self, array: Array) -> Tensor:
        return torch.from_numpy(array.copy())

    def _fetched(self, tensor: Tensor) -> Array:
        found: Array = tensor.numpy().copy()
        return found

    def _placed(self, module: torch.nn.Module) -> torch.nn.Module:
        return module


class Imagined(StandIn):
    """Tensors have shapes and no numbers; what comes back is 1 where it is a float, and else 0."""

    def _copied(self, array: Array) -> Tensor:
        dtype = torch.from_numpy(np.empty(0, dtype=array.dtype)).dtype
        return torch.empty(array.shape, dtype=dtype, device=self.where)

    def _fetched(self, tensor: Tensor) -> Array:
        assert tensor.device.type == self.where.type, f"read from {tensor.device}, expected {self.where}"
        kind = torch.empty(0, dtype=tensor.dtype, device=CPU)
        fill = 1 if kind.is_floating_point() else 0
        return np.full(tuple(tensor.shape), fill, dtype=str(kind.dtype).removeprefix("torch."))

    def _placed(self, module: torch.nn.Module) -> torch.nn.Module:
        def there(each: Tensor) -> Tensor:
            return torch.empty(each.shape, dtype=each.dtype, device=self.where)

        for one in module.modules():
            for name, parameter in one._parameters.items():
                if parameter is not None:
                    one._parameters[name] = torch.nn.Parameter(there(parameter), requires_grad=False)
            one._buffers = {name: None if each is None else there(each) for name, each in one._buffers.items()}
        return module


def _uploaded(device: StandIn, module: torch.nn.Module) -> torch.nn.Module:
    return device._placed(module)


StandIn._uploaded = _uploaded  # type: ignore[method-assign]  # there is no stream beside others


@contextmanager
def instead_of_a_gpu(kind: type[StandIn], *arguments: str) -> Iterator[None]:
    """Whoever opens a GPU gets one of these."""
    if REAL and kind is Processor:
        yield
        return

    def opened(name: str = CPU, budget_bytes: int = 0) -> Device:
        return Device() if name == CPU else kind(*arguments, budget_bytes=budget_bytes)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Device, "open", staticmethod(opened))
        yield


@contextmanager
def pretended() -> Iterator[None]:
    """Whoever opens a GPU gets fake tensors of an accelerator; real ones must not meet them."""
    if REAL:
        pytest.skip("torch knows one accelerator in a process, and this one has a real one")
    setting_up = pytest.importorskip("torch.utils.backend_registration")
    if not hasattr(setting_up, "_setup_privateuseone_for_python_backend"):
        pytest.skip("this torch cannot pretend an accelerator")
    if torch._C._get_privateuse1_backend_name() != "pretended":
        setting_up._setup_privateuseone_for_python_backend("pretended")
    # gradients in this thread: the engine may have begun before the device was there, and then has no thread for it
    with (
        torch.autograd.set_multithreading_enabled(False),
        _Made(),
        instead_of_a_gpu(Imagined, "pretended"),
        warnings.catch_warnings(),
    ):
        warnings.filterwarnings("ignore", "Accessing the data pointer of FakeTensor")  # torch's own copying does
        yield


class _FakeTensors(FakeTensorMode):
    """Copies of its tensors are its tensors."""

    def __deepcopy__(self, memo: object) -> _FakeTensors:
        return self


class _Made(TorchDispatchMode):
    """Tensors that are made on the pretended device are fake ones; those of the processor stay real."""

    def __init__(self) -> None:
        super().__init__()
        self._fake = _FakeTensors(allow_non_fake_inputs=False)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        device = (kwargs or {}).get("device")
        if device is not None and torch.device(device).type == "pretended":
            with self._fake:
                return func(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def gpu(budget_bytes: int = 0) -> Device:
    """A GPU, or what stands in for it."""
    return Device.open("cuda", budget_bytes) if REAL else Processor(budget_bytes)


def kind_of_gpu() -> str:
    """What a learner on it says that it computed on."""
    return gpu().described()


def assert_same_state(got: State, wanted: State) -> None:
    """Assert equal states, to the bit where the same processor computed both."""
    if not REAL:
        assert got.sha256() == wanted.sha256()
        return
    assert got.tensors.keys() == wanted.tensors.keys()
    for name, array in wanted.tensors.items():
        assert got.tensors[name].shape == array.shape, name
        if array.dtype.kind == "f":  # Adam and Adagrad make steps of rounding errors where a gradient is 0
            size = max(float(np.abs(array).max(initial=0.0)), 0.5)
            np.testing.assert_allclose(got.tensors[name], array, rtol=0.1, atol=0.1 * size, err_msg=name)


def first_and_others(variants: list[dict[str, Any]]) -> list[Any]:
    """Parameters of a test: the first variant, and the others for the whole suite alone."""
    return [variants[0], *(pytest.param(one, marks=pytest.mark.slow) for one in variants[1:])]
