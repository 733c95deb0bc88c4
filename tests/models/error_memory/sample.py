"""The error memory as the tests of the service run it."""

from __future__ import annotations

import time

import numpy as np

from tests.samples import Sample
from thalweg.proto.event import Batch, NumberLabels


def clicks(count: int, first: int = 0, seed: int = 0) -> Batch:
    """Of every two items one is liked."""
    random = np.random.default_rng(seed + first)
    user, item = random.integers(0, 20, count), random.integers(0, 10, count)
    labels = random.random(count) < np.where(item % 2, 0.95, 0.05)
    ids = [f"e{first + i}" for i in range(count)]
    return Batch(
        {"user": user, "item": item},
        NumberLabels(labels[:, None].astype(np.float64)),
        np.ones(count),
        np.full(count, time.time()),
        ids,
    )


SAMPLE = Sample(
    configuration="""
learner = "error_memory"
inputs.user = { shape = [], dtype = "int64" }
inputs.item = { shape = [], dtype = "int64" }
[model.params]
dim = 4
hidden = "8-4"
views = "user+item+key"
memory_bytes = 20000
centre_events = 50
train_batch = 8
row_rate = 0.3
""",
    events=clicks,
)
