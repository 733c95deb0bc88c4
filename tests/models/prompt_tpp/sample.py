"""The point process as the tests of the service run it."""

from __future__ import annotations

import numpy as np

from tests.samples import Sample
from thalweg.proto.event import Batch, ClassLabels


def visits(count: int, first: int = 0, seed: int = 0) -> Batch:
    """Of keys that do three things in turn."""
    random = np.random.default_rng(seed + first)
    key = random.integers(0, 15, count)
    moment = first + np.arange(count, dtype=np.float64)
    kind = ((moment // 15).astype(np.int32) + key.astype(np.int32)) % 3
    ids = [f"e{first + i}" for i in range(count)]
    keys = np.array([f"k{number}".encode() for number in key], dtype=object)
    return Batch({"key": keys}, ClassLabels(kind, ("a", "b", "c")), np.ones(count), 1e9 + moment, ids)


SAMPLE = Sample(
    configuration="""
learner = "prompt_tpp"
inputs.key = { shape = [], dtype = "bytes" }
[model.params]
width = 8
time_width = 4
window = 8
unit_gaps = 20
train_batch = 8
prompts = 4
chosen = 2
keys = 12
""",
    events=visits,
    accuracy=0.3,  # of keys that had to go nothing is foreseen
)
