"""Recorded event sequences as streams of many keys, and the closed-form learner that a network has to beat."""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.streams import SHARED
from thalweg.proto.event import Batch, ClassLabels

Floats = NDArray[np.float64]
STACKOVERFLOW_UNIT = 864_000.0
"""Ten days, in seconds: what likelihoods of that stream are told in."""


@dataclass(frozen=True)
class Events:
    """Events of many keys in the order of their times, (N,) each; keys are numbered, times are seconds."""

    keys: NDArray[np.int64]
    times: Floats
    types: NDArray[np.int32]
    unit: float
    """Seconds of the unit that likelihoods are told in."""

    def __len__(self) -> int:
        return len(self.times)

    def batches(self, size: int = 64) -> Iterator[tuple[slice, Batch]]:
        """Micro-batches for a learner."""
        names = tuple(str(kind) for kind in range(int(self.types.max()) + 1))
        told = np.array([str(key).encode() for key in self.keys], dtype=object)
        for start in range(0, len(self), size):
            part = slice(start, start + size)
            labels = ClassLabels(self.types[part], names)
            yield part, Batch({"key": told[part]}, labels, np.ones(len(self.times[part])), self.times[part])

    def first_of_key(self) -> NDArray[np.bool_]:
        """Whether an event is its key's first, (N,)."""
        first = np.zeros(len(self), dtype=bool)
        first[np.unique(self.keys, return_index=True)[1]] = True
        return first


def stackoverflow() -> Events:
    """Badges of users between 2012 and 2014 at their real times."""
    return _merged([(np.array(line["t"]), np.array(line["k"])) for line in _lines("stackoverflow_stream_train")], 1.0)


def train_and_test(name: str, seconds: float, seed: int = 0) -> tuple[Events, NDArray[np.bool_]]:
    """`taobao`, `taxi` or `earthquake`: the train sequences, begun at random one after the other, then the test ones.

    Args:
        seconds: Of the file's time unit.

    Returns:
        The stream, and which of its events are of the test split, (N,).
    """
    generator = np.random.default_rng(seed)
    parts = []
    begin = 0.0
    for split in ("train", "test"):
        sequences = [(np.cumsum(line["dt"]), np.array(line["k"])) for line in _lines(f"{name}_{split}")]
        apart = float(np.mean([times[-1] for times, _ in sequences])) / 20.0  # some twenty at a time
        starts = begin + np.cumsum(generator.exponential(apart, len(sequences)))
        parts.append(_merged([(start + t, k) for start, (t, k) in zip(starts, sequences)], seconds))
        begin = float(parts[-1].times[-1]) / seconds
    train, test = parts
    keys = np.concatenate([train.keys, test.keys + train.keys.max() + 1])
    times, types = np.concatenate([train.times, test.times]), np.concatenate([train.types, test.types])
    return Events(keys, times, types, seconds), np.arange(len(keys)) >= len(train)


def hawkes_with_habits(events: int, keys: int, seed: int = 0) -> Events:
    """Made-up visits: each excites the next, and types follow one another."""
    generator = np.random.default_rng(seed)
    who = generator.integers(0, keys, events)
    times = generator.exponential(1.0, events).cumsum()
    return Events(who, 1e9 + times, ((times.astype(int) + who) % 10).astype(np.int32), 1.0)


def _lines(name: str) -> Iterator[dict[str, list[float]]]:
    with gzip.open(SHARED / "data" / "tpp" / f"{name}.jsonl.gz", "rt") as lines:
        for line in lines:
            yield json.loads(line)


def _merged(sequences: list[tuple[Floats, Floats]], seconds: float) -> Events:
    keys = np.repeat(np.arange(len(sequences)), [len(times) for times, _ in sequences])
    times = np.concatenate([times for times, _ in sequences]) * seconds
    types = np.concatenate([types for _, types in sequences]).astype(np.int32)
    order = np.argsort(times, kind="stable")
    unit = STACKOVERFLOW_UNIT if seconds == 1.0 else seconds
    return Events(keys[order], times[order], types[order], unit)


def closed_form(events: Events, memory: float) -> tuple[Floats, NDArray[np.bool_]]:
    """Markov types and log-normal gaps given the last type, by counts that forget: predict, then learn.

    Args:
        memory: Events of a row after which it forgets to 1/e.

    Returns:
        Log-likelihood (N,) in the stream's unit, NaN for first events of keys; whether the type was wrong, (N,).
    """
    kinds = int(events.types.max()) + 1
    forget = 1.0 - 1.0 / memory
    follows = np.full((kinds, kinds), 0.5)
    count, total, squares = np.ones(kinds), np.full(kinds, -0.5), np.full(kinds, 2.25)
    last: dict[int, tuple[float, int]] = {}
    likelihood, wrong = np.full(len(events), np.nan), np.ones(len(events), dtype=bool)
    for row, (key, time, kind) in enumerate(
        zip(events.keys.tolist(), (events.times / events.unit).tolist(), events.types.tolist())
    ):
        if key in last:
            before, was = last[key]
            log_gap = math.log(max(time - before, 1e-7))
            shares = follows[was] / follows[was].sum()
            mean = total[was] / count[was]
            variance = max(squares[was] / count[was] - mean**2, 1e-3)
            density = -0.5 * (math.log(2 * math.pi * variance) + (log_gap - mean) ** 2 / variance) - log_gap
            likelihood[row], wrong[row] = math.log(shares[kind]) + density, shares.argmax() != kind
            follows[was] *= forget
            follows[was, kind] += 1.0
            count[was] = count[was] * forget + 1.0
            total[was] = total[was] * forget + log_gap
            squares[was] = squares[was] * forget + log_gap**2
        last[key] = (time, kind)
    return likelihood, wrong
