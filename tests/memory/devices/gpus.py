"""GPUs that are not there: what torch and the driver would say of them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from thalweg.memory.devices import names


def pretend(monkeypatch: pytest.MonkeyPatch, count: int, *, built: str | None = "13.0", driver: bool = True) -> None:
    """Let torch say that it was built for this CUDA (None: for none), and finds so many GPUs."""
    monkeypatch.setattr(names, "_DRIVERS", (Path("/dev/null") if driver else Path("/nowhere"),))
    monkeypatch.setattr(torch.version, "cuda", built)
    monkeypatch.setattr(torch.version, "hip", None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
