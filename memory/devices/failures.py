"""Failures of a device: it has no room left, or it has gone. No event is at fault, and no other model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

_OF_TORCH = ("OutOfMemoryError", "AcceleratorError")
_BEGINNINGS = ("CUDA error", "CUDA out of memory", "CUDA driver error", "cuDNN error", "HIP error", "NCCL error")
_LIBRARIES = ("CUBLAS_STATUS_", "CUDNN_STATUS_", "CUSOLVER_STATUS_")


class DeviceFailed(RuntimeError):
    """A device has no room for a model, or has failed; the message names it."""


def is_failure(error: BaseException) -> bool:
    """Whether an error, or the one behind it, is that of a device and not of what was computed."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, DeviceFailed) or _is_torchs(seen):
            return True
        seen = seen.__cause__
    return False


@contextmanager
def device_failures() -> Iterator[None]:
    """What a device fails at in here is raised as DeviceFailed."""
    try:
        yield
    except Exception as error:
        if isinstance(error, DeviceFailed) or not is_failure(error):
            raise
        raise DeviceFailed(told(error)) from error


def told(error: BaseException) -> str:
    """The first line of a device's error: what follows are hints for those who write programs."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _is_torchs(error: BaseException) -> bool:
    kind = type(error)
    if kind.__module__.partition(".")[0] == "torch" and kind.__name__ in _OF_TORCH:
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and (
        text.startswith(_BEGINNINGS) or any(library in text for library in _LIBRARIES)
    )
