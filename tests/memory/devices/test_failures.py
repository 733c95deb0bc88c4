"""What a device fails at is told from what an event is to blame for."""

from __future__ import annotations

import pytest
import torch

from thalweg.memory.devices.failures import DeviceFailed, device_failures


class AcceleratorError(RuntimeError):
    """As newer versions of torch raise it."""


AcceleratorError.__module__ = "torch"


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nhint"),
        AcceleratorError("CUDA error: unspecified launch failure\nhint"),
        RuntimeError("CUDA error: device-side assert triggered"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
    ],
)
def test_a_failure_of_a_device_is_one_line_and_no_events_fault(error: Exception) -> None:
    with pytest.raises(DeviceFailed) as told, device_failures():
        raise error

    assert str(told.value) == str(error).splitlines()[0]
    assert told.value.__cause__ is error


def test_a_failure_behind_another_error_is_found() -> None:
    behind = ValueError("encoder 'm:f' raised OutOfMemoryError: CUDA out of memory")
    behind.__cause__ = torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(DeviceFailed), device_failures():
        raise behind


@pytest.mark.parametrize("error", [ValueError("CUDA error"), RuntimeError("no CUDA error"), KeyError("x")])
def test_other_errors_stay_what_they_are(error: Exception) -> None:
    with pytest.raises(type(error)) as told, device_failures():
        raise error

    assert told.value is error
