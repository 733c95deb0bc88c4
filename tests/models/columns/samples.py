"""Columns of every kind, and events of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from thalweg.models.columns.settings import columns_of
from thalweg.proto.event import Batch, ClassLabels
from thalweg.proto.rows.column import Column
from thalweg.proto.schema import Array, Inputs

COLUMNS: dict[str, Any] = {
    "amount": "numeric",
    "height": {"kind": "numeric", "missing": "impute"},
    "member": "boolean",
    "country": {"kind": "categorical", "max_categories": 4, "min_events": 2},
    "device": {"kind": "categorical", "max_categories": 3, "min_events": 1, "missing": "impute"},
    "user": {"kind": "hashed", "buckets": 8},
    "comment": {"kind": "text", "buckets": 16},
    "when": {"kind": "datetime", "trend": True},
    "place": {"kind": "list", "length": 2},
    "tags": {"kind": "list", "buckets": 8},
}
ORDER_FREE: dict[str, Any] = {
    "amount": {"kind": "numeric", "scale": False},
    "member": {"kind": "boolean", "scale": False, "missing": "impute"},
    "country": {"kind": "categorical", "categories": ["DE", "FR", "PT"]},
    "user": {"kind": "hashed", "buckets": 8},
    "comment": {"kind": "text", "buckets": 8},
    "when": "datetime",
    "place": {"kind": "list", "length": 2, "scale": False},
    "tags": {"kind": "list", "buckets": 8},
}
"""Features depend on no other event."""


def texts(values: list[str]) -> Array:
    """A column of texts as a batch holds it."""
    found = np.empty(len(values), dtype=object)
    found[:] = [value.encode() for value in values]
    return found


def inputs_of(columns: dict[str, Column], count: int, number: int = 0) -> Inputs:
    """Random values of columns; about one in six is missing."""
    random = np.random.default_rng([number, 7])
    words = ["good", "Bad", "very", "odd", "café", ""]
    made: dict[str, Array] = {}
    for name, column in columns.items():
        if column.dtype == "float64":
            made[name] = random.normal(5.0, 3.0, (count, *column.shape))
            if column.kind == "boolean":
                made[name] = (made[name] > 5.0).astype(np.float64)
            if column.kind == "datetime":
                made[name] = 1.7e9 + 3600.0 * (number * count + np.arange(count)) + made[name]
            made[name][random.random(count) < 1 / 6] = np.nan
        elif column.kind == "list":
            made[name] = texts([f'["{one}", "x"]' if one else "" for one in random.choice(words, count)])
        elif column.kind == "text":
            made[name] = texts([" ".join(random.choice(words, 3)) for _ in range(count)])
        else:
            names = ["DE", "FR", "PT", "", "GB", "US", "a very long name " * 9]
            made[name] = texts(random.choice(names, count, p=[0.3, 0.2, 0.1, 0.1, 0.1, 0.1, 0.1]).tolist())
    return made


def events_of(table: dict[str, Any], count: int = 13, number: int = 0, classes: int = 3) -> Batch:
    """Events with everything that an event may have; the label depends on the columns a little."""
    random = np.random.default_rng(number)
    codes = random.integers(-1, classes, count).astype(np.int32)
    inputs = dict(inputs_of(columns_of(table), count, number))
    if "amount" in inputs:
        inputs["amount"] = inputs["amount"] + 4.0 * codes
    return Batch(
        inputs,
        ClassLabels(codes, tuple("abcd"[:classes])),
        random.uniform(0.5, 2.0, count),
        100.0 * number + np.arange(count),
        [f"e{number}-{row}" for row in range(count)],
        [f"k{row % 3}" for row in range(count)],
    )
