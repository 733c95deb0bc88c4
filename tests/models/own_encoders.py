"""Encoders that tests name by import path: functions and modules as users write them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from thalweg.proto.schema import Array

TOPICS = (b"fraud", b"holiday", b"refund", b"weather")
seen: list[dict[str, Any]] = []
"""What the encoders below were called with."""


def words(title: Array, body: Array) -> Array:
    """By names: how often each topic's word is in a text, twice as much in the title."""
    seen.append({"title": title, "body": body})
    return np.array([[2 * t.count(w) + b.count(w) for w in TOPICS] for t, b in zip(title, body)])


def by_dictionary(given: Mapping[str, Array]) -> list[list[float]]:
    """In one dictionary; a list of lists."""
    seen.append(dict(given))
    return [[float(amount), float(id % 7)] for amount, id in zip(given["amount"], given["id"])]


def one_in_a_dictionary(given: dict[str, Array]) -> Array:
    """Its single input in a dictionary, because the annotation says so."""
    return np.asarray(given["x"]) * 2.0


def whatever(**inputs: Array) -> Array:
    """Any inputs by name."""
    seen.append(inputs)
    return np.stack([np.asarray(one, dtype=np.float64) for one in inputs.values()], axis=1)


def lengths(texts: Array) -> Array:
    """A single input alone; -1 for an empty text, which is a missing value."""
    return np.array([[len(one) or -1, one.count(b" ")] for one in texts], dtype=np.int64)


def factory(scale: float = 1.0, file: str = "") -> Callable[[Array], Array]:
    """Called once, with arguments or without."""
    return lambda x: x * scale


class Buckets:
    """A class, made once with arguments."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __call__(self, id: Array) -> Array:
        return np.eye(self._count, dtype=np.float32)[id % self._count]


def poisoned(texts: Array) -> Array:
    """It raises on one text, and forgets a row after another."""
    if b"poison" in texts.tolist():
        raise KeyError("poison")
    rows = lengths(texts)
    return rows[:-1] if b"short" in texts.tolist() else rows


def padded_to_the_longest(texts: Array) -> Array:
    """What a row gives depends on the longest text beside it."""
    longest = max(map(len, texts))
    return np.array([[longest - len(one)] for one in texts])


def flat(texts: Array) -> Array:
    return np.zeros(len(texts))


def of_texts(texts: Array) -> Any:
    return texts[:, None]


def two_alone(first: Array, second: Array, third: Array) -> Array:
    return first


NUMBER = 3


class Ids(nn.Module):
    """Integers stay integers: a table of embeddings, and numbers beside them."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(10, 3)

    def forward(self, id: torch.Tensor, amount: torch.Tensor) -> torch.Tensor:
        assert id.dtype == torch.int64
        return torch.cat([self.table(id), amount[:, None]], dim=1)


def layered() -> nn.Module:
    """Two layers on eight numbers."""
    return nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 4))
