"""Names of devices, and why one cannot be used here, in plain words.

Nothing here imports torch unless a GPU is named, or a driver of one is loaded: a service without GPUs does not pay for
them. GPUs are counted by the driver's management library, which leaves a process fit to be forked.
"""

from __future__ import annotations

import os
import re
from importlib.util import find_spec
from pathlib import Path

CPU, AUTO, CUDA = "cpu", "auto", "cuda"
FORM = r"^(auto|cpu|cuda(:(0|[1-9][0-9]{0,2}))?)$"
EXPECTED = "auto, cpu, cuda or cuda:N"

_DRIVERS = (Path("/dev/nvidiactl"), Path("/dev/dxg"), Path("/dev/kfd"))
"""A file of each driver that torch can use: NVIDIA's, that of Windows beneath Linux, AMD's."""


def is_device(name: str) -> bool:
    """Whether this is the name of a device, or `auto`."""
    return re.fullmatch(FORM[1:-1], name) is not None


def numbered(name: str) -> str:
    """The name with its number: `cuda` is `cuda:0`."""
    return f"{CUDA}:0" if name == CUDA else name


def unavailable(name: str) -> str:
    """Why a model cannot compute on a device here; empty if it can.

    Args:
        name: `cpu`, `cuda` or `cuda:N`.
    """
    if name == CPU:
        return ""
    if find_spec("torch") is None:
        return f"{name!r} needs torch, which is not installed: pip install torch"
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")  # else a look at the GPUs makes a fork of us unfit
    import torch

    if torch.version.cuda is None and torch.version.hip is None:
        return f"{name!r} needs a torch that is built for GPUs; torch {torch.__version__} is built for the processor"
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if not count:
        return f"{name!r} needs a GPU and its driver; torch {torch.__version__} finds none here"
    number = int(numbered(name).partition(":")[2])
    if number >= count:
        have = f"cuda:0 to cuda:{count - 1}" if count > 1 else "cuda:0"
        return f"expected {have}, got {name!r}: there {'are' if count > 1 else 'is'} {count} GPU{'s' * (count > 1)}"
    return ""


def usable_gpu() -> str:
    """The GPU that `auto` may take, `cuda:0`; empty if there is none."""
    if not any(path.exists() for path in _DRIVERS):
        return ""
    first = numbered(CUDA)
    return "" if unavailable(first) else first
