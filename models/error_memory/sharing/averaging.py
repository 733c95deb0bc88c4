"""The parameters of an error memory that shards of other keys have in common, averaged.

They are the layers of the network, its embedding rows by id, and the weights of the combinations. A row is the mean
over those who have it. Steps of Adam and Adagrad, scales of numbers and entries of the memory stay each shard's own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import reduce
from operator import add

import numpy as np
from numpy.typing import NDArray

from thalweg.memory.snapshots.state import State
from thalweg.models.error_memory.ctr_network import Shape
from thalweg.models.error_memory.slow_model import SlowModel, below
from thalweg.proto.schema import Array

Floats = NDArray[np.float64]
_COMBINATIONS = "weights."
_NETWORK = "network."
_TABLE = "table."


def average(published: Sequence[tuple[State, float]], shape: Shape, combinations: Mapping[str, Floats]) -> State:
    """As `Averageable.average`, of networks of this shape, and of combinations of the shapes of these.

    Returns:
        `weight` is that of all together, `table.F.weights` (n,) those of each row.
    """
    wanted = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(shape).items()}
    for state, _ in published:
        got = dict(state.meta.get("shape") or {})
        got = {key: list(value) if isinstance(value, tuple) else value for key, value in got.items()}
        if got != wanted:
            raise ValueError(f"expected the state of a network {wanted}, got {got or 'none'}")
        _must_be_finite(state, shape.fields)
    first = published[0][0].tensors
    total = _total([weight for _, weight in published])
    found: dict[str, Array] = {"weight": np.array([total])}
    for name in sorted(name for name in first if _is_layer(name)):
        like = combinations.get(name.removeprefix(_COMBINATIONS), first[name])
        arrays = [_of_shape(state.tensors, name, like.shape) for state, _ in published]
        found[name] = _mean(arrays, [weight for _, weight in published])
    for field in range(shape.fields):
        found |= _rows(
            [(below(state.tensors, f"{_NETWORK}{_TABLE}{field}."), weight) for state, weight in published],
            field,
            shape.row_width,
        )
    return State(found, {"shape": wanted})


def mix(slow: SlowModel, combinations: Mapping[str, Floats], others: State, weight: float) -> dict[str, Floats]:
    """As `Averageable.mix`: the network takes its share in place; returns the weights of the combinations.

    Args:
        slow: The network.
        combinations: Weights by name, `plain` and perhaps `unturned`.
        others: Of `average`.
        weight: Of what is there.
    """
    tensors, theirs = others.tensors, float(others.tensors["weight"][0])
    layers = {
        name.removeprefix(_NETWORK): array
        for name, array in tensors.items()
        if _is_layer(name) and name.startswith(_NETWORK)
    }
    slow.mix(
        layers,
        theirs / (weight + theirs),
        [below(tensors, f"{_TABLE}{field}.") for field in range(slow.shape.fields)],
        weight,
    )
    share = theirs / (weight + theirs)
    return {
        name: mine + share * (tensors[_COMBINATIONS + name] - mine) if _COMBINATIONS + name in tensors else mine
        for name, mine in combinations.items()
    }


def _is_layer(name: str) -> bool:
    return name.startswith(_COMBINATIONS) or (name.startswith(_NETWORK) and not name.startswith(_NETWORK + _TABLE))


def _must_be_finite(state: State, fields: int) -> None:
    """Raise ValueError if one number of what is averaged is not: in a mean it would be in all of them."""
    rows = {f"{_NETWORK}{_TABLE}{field}.rows" for field in range(fields)}
    for name, array in state.tensors.items():
        if (_is_layer(name) or name in rows) and not np.isfinite(array).all():
            raise ValueError(f"{name}: expected finite numbers, got {np.count_nonzero(~np.isfinite(array))} others")


def _of_shape(tensors: Mapping[str, Array], name: str, shape: tuple[int, ...]) -> Array:
    if name not in tensors or tensors[name].shape != shape:
        got = tensors[name].shape if name in tensors else "none"
        raise ValueError(f"{name}: expected an array {shape}, got {got}")
    return tensors[name]


def _total(weights: Sequence[float]) -> float:
    """Added one after the other: since Python 3.12 the built-in `sum` rounds otherwise."""
    return reduce(add, weights)


def _mean(arrays: Sequence[Array], weights: Sequence[float]) -> Array:
    total = _total(weights)
    summed = sum(array.astype(np.float64) * (weight / total) for array, weight in zip(arrays, weights))
    found: Array = np.asarray(summed, dtype=arrays[0].dtype)
    return found


def _rows(tables: Sequence[tuple[Mapping[str, Array], float]], field: int, width: int) -> dict[str, Array]:
    """One field's rows (n, width) of all ids, each the mean over those who have it."""
    ids = np.unique(np.concatenate([table["ids"] for table, _ in tables]))
    rows, weights = np.zeros((len(ids), width)), np.zeros(len(ids))
    for table, weight in tables:
        if table["rows"].shape[1] != width:
            raise ValueError(f"embedding rows: expected {width} numbers, got {table['rows'].shape[1]}")
        at = np.searchsorted(ids, table["ids"])
        rows[at] += weight * table["rows"][: len(at)].astype(np.float64)
        weights[at] += weight
    rows /= weights[:, None]
    found = {"ids": ids, "rows": rows.astype(np.float32), "weights": weights}
    return {f"{_TABLE}{field}.{name}": array for name, array in found.items()}
