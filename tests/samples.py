"""What the tests of the service need of every learner, found by its name: a configuration, and events to learn from.

A learner brings its own as `SAMPLE`: in `tests/models/test_NAME.py`, or in `tests/models/NAME/sample.py` where its
tests fill a folder. Whatever goes through all built-in learners then goes through it, too.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

import numpy as np

from thalweg.models.contract.registry import PREFIXES
from thalweg.proto.event import Batch, ClassLabels

FEATURES = 4
_MODELS = Path(__file__).parent / "models"


class Events(Protocol):
    """Makes `count` events with the ids `e{first}` and following; the same for the same arguments, but for times."""

    def __call__(self, count: int, first: int = 0, seed: int = 0) -> Batch: ...


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A learner as a service runs it."""

    configuration: str
    """TOML of a `[[model]]` from its `learner` on: inputs and parameters, small enough for a test."""
    events: Events
    accuracy: float = 0.8
    """What it reaches at least, of a few hundred such events; 0 where they teach it nothing."""


def sample(name: str) -> Sample:
    """That of the learner of this name.

    Raises:
        LookupError: Its tests bring none.
    """
    if name.partition(":")[0] in PREFIXES:  # of an estimator of another library
        samples: dict[str, Sample] = import_module("tests.models.adapters.sample").SAMPLES
        if name not in samples:
            raise LookupError(f"learner {name!r} brings no sample: expected it in tests/models/adapters/sample.py")
        return samples[name]
    of_folder = (_MODELS / name).is_dir()
    place = f"tests.models.{name}.sample" if of_folder else f"tests.models.test_{name}"
    if not (of_folder or (_MODELS / f"test_{name}.py").exists()) or find_spec(place) is None:
        raise LookupError(f"learner {name!r} brings no sample: expected SAMPLE in {place}")
    found = getattr(import_module(place), "SAMPLE", None)
    if not isinstance(found, Sample):
        raise LookupError(
            f"learner {name!r} brings no sample: expected a Sample called SAMPLE in {place}, got {found!r}"
        )
    return found


def events(count: int, first: int = 0, seed: int = 0) -> Batch:
    """Of three classes that a linear model tells apart, at `features` (FEATURES,)."""
    random = np.random.default_rng(seed + first)
    codes = random.integers(0, 3, count).astype(np.int32)
    features = random.normal(0, 0.3, (count, FEATURES)).astype(np.float32)
    features[np.arange(count), codes] += 1
    ids = [f"e{first + i}" for i in range(count)]
    return Batch(
        {"features": features}, ClassLabels(codes, ("a", "b", "c")), np.ones(count), np.full(count, time.time()), ids
    )
