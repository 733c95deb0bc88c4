"""Class names in responses: their texts, the output `classes` beside scores, and why a row has no label."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from thalweg.models.contract.learner import Predictor
from thalweg.proto.schema import Array, TensorSpec
from thalweg.proto.task import BY_CLASS

CLASSES = "classes"
"""The output, bytes (N, C): `classes[i][j]` names the class of `probabilities[i][j]`. Given on request only: it is the
same in every row.
"""
_NOTHING_LEARNED = "no class is known: the model has learned no labelled event"
NO_NUMBER = "no prediction: the model has learned no labelled event"
_OUT_OF_RANGE = "no prediction for rows {rows}: their numbers are beyond the model's range"
_MOST_ROWS = 20
_PIECE_VALUES = 16_384


def offered(predictor: Predictor) -> Mapping[str, TensorSpec]:
    """All outputs that a client may ask for, by name: those of the predictor, and `classes` if one has its columns."""
    outputs = predictor.outputs
    if CLASSES in outputs or not any(name in outputs for name in BY_CLASS):
        return outputs
    return {**outputs, CLASSES: TensorSpec(CLASSES, "bytes", (-1,))}


def with_classes(predictor: Predictor, outputs: Mapping[str, Array]) -> Mapping[str, Array]:
    """The outputs (N, ...) and `classes`, as codes (N, C) int32, if the predictor has no output of that name."""
    if CLASSES in outputs:
        return outputs
    rows, columns = len(next(iter(outputs.values()))), np.arange(len(predictor.classes), dtype=np.int32)
    return {**outputs, CLASSES: np.broadcast_to(columns, (rows, len(columns)))}


def why_no_label(predictor: Predictor, outputs: Mapping[str, Array], *, untaught: bool = False) -> str:
    """Why some rows have the label "" (code -1), or numbers that mean nothing; empty if all have an answer."""
    codes = outputs.get("label")
    if untaught:
        return NO_NUMBER
    if codes is None or not len(codes) or codes.dtype != np.int32:
        return ""
    if (codes[0] if len(codes) == 1 else codes.min()) >= 0:
        return ""
    if not predictor.classes:
        return _NOTHING_LEARNED
    rows = np.flatnonzero(codes < 0).tolist()
    shown = ", ".join(map(str, rows[:_MOST_ROWS])) + (", …" if len(rows) > _MOST_ROWS else "")
    return _OUT_OF_RANGE.format(rows=shown)


def looked_up(framed: Sequence[bytes], codes: Array) -> bytes:
    """The texts of some codes, one after the other, in pieces: a list of all of them takes more than they do."""
    if codes.size <= _PIECE_VALUES:
        return b"".join([framed[code] for code in codes.reshape(-1).tolist()])
    found = bytearray()
    for piece in pieces_of(codes):
        found += b"".join([framed[code] for code in piece.tolist()])
    return bytes(found)


def pieces_of(array: Array) -> Iterator[Array]:
    """The values of an array, flat, so many as may be Python's objects at once."""
    flat = array.reshape(-1)
    return (flat[start : start + _PIECE_VALUES] for start in range(0, len(flat), _PIECE_VALUES))
