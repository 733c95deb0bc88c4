"""Selects the events of a batch that a supervised learner learns from, with labels as columns."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from thalweg.models.parts.class_bound import add_classes
from thalweg.models.parts.input_columns import usable_rows
from thalweg.proto.event import ClassLabels, NumberLabels
from thalweg.proto.schema import Array, InputError

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


class Selected(NamedTuple):
    """n events, in order."""

    inputs: Array
    """(n, F)."""
    targets: Floats
    """(n, C): one-hot, or numbers."""
    codes: NDArray[np.int32] | None
    """(n,): columns of their classes; None for numbers."""
    weights: Floats | None
    """(n,), > 0; None: all 1."""
    skipped: int
    """Labelled events that were skipped because of their values, or of their class."""
    excess: int = 0
    """Those of them that were skipped because of their class."""
    first_excess: str = ""
    """The class of the first of these."""


def select_numbers(inputs: Array, labels: NumberLabels, weights: Floats, targets: int) -> Selected:
    """Events with K finite targets.

    Raises:
        InputError: Labels have another width.
    """
    if labels.values.shape[1] != targets:
        raise InputError(f"labels: expected (N, {targets}), got {labels.values.shape}")
    wanted = _weighty(labels.present, weights)
    keep: Mask = wanted & (np.abs(labels.values) < 1e100).all(axis=1)
    keep = _finite(keep, inputs)
    values = np.ascontiguousarray(labels.values[keep], dtype=np.float64)
    return Selected(inputs[keep], values, None, _weights(weights[keep]), int(wanted.sum() - keep.sum()))


def select_classes(inputs: Array, labels: ClassLabels, weights: Floats, table: dict[str, int], most: int) -> Selected:
    """Events of a known class; new classes are added to `table` in the order of their events, up to `most`."""
    if len(inputs) == 1 and (column := _known_class(inputs, labels, weights, table)) >= 0:  # as below
        targets = np.zeros((1, len(table)))
        targets[0, column] = 1.0
        return Selected(inputs, targets, np.array([column], np.int32), None, 0)
    plain = _weights(weights)
    if plain is None and len(inputs) and labels.codes.min() >= 0 and usable_rows(inputs) is None:
        codes = labels.recoded(table)
        if codes.min() >= 0:  # the usual case: nothing is new, nothing is left out
            return Selected(inputs, _one_hot(codes, len(table)), codes, None, 0)
    wanted = _weighty(labels.present, weights)
    keep = _finite(wanted, inputs)
    if not all(name in table for name in labels.names):
        used, first = np.unique(labels.codes[keep], return_index=True)
        add_classes(table, [labels.names[code] for code in used[np.argsort(first)].tolist()], most)
    codes = labels.recoded(table)
    beyond = keep & (codes < 0)
    excess = int(np.count_nonzero(beyond))
    first_excess = labels.names[labels.codes[int(np.argmax(beyond))]] if excess else ""
    keep &= codes >= 0
    skipped = int(wanted.sum() - keep.sum())
    if not keep.all():
        inputs, codes, weights = inputs[keep], codes[keep], weights[keep]
    return Selected(inputs, _one_hot(codes, len(table)), codes, _weights(weights), skipped, excess, first_excess)


def _known_class(inputs: Array, labels: ClassLabels, weights: Floats, table: dict[str, int]) -> int:
    """The column of a single event; -1 unless its class is known, its weight 1, and its numbers are usable."""
    code = int(labels.codes[0])
    plain = code >= 0 and weights[0] == 1.0 and usable_rows(inputs) is None
    return table.get(labels.names[code], -1) if plain else -1


def _one_hot(codes: NDArray[np.int32], classes: int) -> Floats:
    targets = np.zeros((len(codes), classes))
    targets[np.arange(len(codes)), codes] = 1.0
    return targets


def _weighty(present: Mask, weights: Floats) -> Mask:
    return np.logical_and(present, (weights > 0) & (weights < 1e100))


def _finite(keep: Mask, inputs: Array) -> Mask:
    usable = usable_rows(inputs)
    return keep.copy() if usable is None else keep & usable


def _weights(weights: Floats) -> Floats | None:
    return None if (weights == 1.0).all() else weights
