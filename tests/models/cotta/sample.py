"""CoTTA as the tests of the service run it."""

from __future__ import annotations

import time

import numpy as np

from tests.samples import Sample
from thalweg.proto.event import Batch, ClassLabels


def photos(count: int, first: int = 0, seed: int = 0) -> Batch:
    """Noise, said to be one of two animals."""
    random = np.random.default_rng(seed + first)
    images = random.random((count, 1, 8, 8), dtype=np.float32)
    labels = ClassLabels((images.mean(axis=(1, 2, 3)) > 0.5).astype(np.int32), ("cat", "dog"))
    ids = [f"e{first + i}" for i in range(count)]
    return Batch({"image": images}, labels, np.ones(count), np.full(count, time.time()), ids)


SAMPLE = Sample(
    configuration="""
learner = "cotta"
inputs.image = { shape = [1, 8, 8], dtype = "float32" }
[model.params]
model = "tests.models.small_networks:convolutional"
classes = "cat,dog,owl,eel"
adapt_batch = 8
follow_batch = 4
""",
    events=photos,
    accuracy=0.0,  # noise is no animal
)
