"""Lets all of it run without a GPU: for a test that it runs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

STAND_IN = "THALWEG_GPU_STAND_IN"
"""The environment variable that asks for it."""


@contextmanager
def gpu_or_stand_in() -> Iterator[None]:
    """In here a GPU that is opened is one, or what stands in for it."""
    if not os.environ.get(STAND_IN):
        yield
        return
    from tests.models.devices.stand_ins import Processor, instead_of_a_gpu

    with instead_of_a_gpu(Processor):
        yield
