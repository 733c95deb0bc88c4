"""Large requests in pieces: what a prediction takes to be computed does not grow with the request's rows.

A predictor makes temporary arrays of several times its inputs, and a network of a hundred times. The prediction for a
row does not depend on the rows beside it (`Predictor`; `LearnerContract` holds every learner to that, bit for bit), so
nothing shows where a request was cut.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from thalweg.models.contract.learner import Predictor
from thalweg.proto.schema import Array, Inputs

PIECE_ROWS = 4096
"""Rows of a piece at most."""
_PIECE_BYTES = 1 << 20  # of the inputs and outputs of a piece
_SMALL_ROWS = 64  # of a request that is not measured more closely
_FEW = 8  # rows; a piece has a multiple of it, as networks compute so many at once


def rows_of(inputs: Inputs) -> int:
    """N of inputs that are not validated yet."""
    for array in inputs.values():
        return len(array) if array.ndim else 0
    return 0


def output_bytes(predictor: Predictor) -> int:
    """Of the arrays of one row of outputs."""
    columns = len(predictor.classes)
    return sum(
        width_of(spec.shape, columns) * (4 if spec.dtype == "bytes" else np.dtype(spec.dtype).itemsize)
        for spec in predictor.outputs.values()
    )


def width_of(shape: tuple[int, ...], columns: int) -> int:
    """Values of one row of an output."""
    width = 1
    for size in shape:
        width *= columns if size < 0 else size
    return width


def cut(rows: int, row_bytes: int) -> Iterator[slice]:
    """The pieces of so many rows of this size."""
    most = min(PIECE_ROWS, _PIECE_BYTES // max(1, row_bytes)) // _FEW * _FEW or _FEW
    return (slice(start, start + most) for start in range(0, rows, most))


def predicted(predictor: Predictor, inputs: Inputs, rows: int) -> Mapping[str, Array]:
    """The outputs for inputs of so many rows. Raises as the predictor."""
    if rows <= _FEW or (rows <= _SMALL_ROWS and sum(array.nbytes for array in inputs.values()) <= _PIECE_BYTES):
        return predictor.predict(inputs)
    if any(array.ndim == 0 or len(array) != rows for array in inputs.values()):
        return predictor.predict(inputs)  # which says what is wrong with them
    pieces = list(cut(rows, input_bytes(inputs, rows) + output_bytes(predictor)))
    if len(pieces) == 1:
        return predictor.predict(inputs)
    whole: dict[str, Array] = {}
    for piece in pieces:
        for name, array in predictor.predict(cut_out(inputs, piece)).items():
            if name not in whole:
                whole[name] = np.empty((rows, *array.shape[1:]), array.dtype)
            whole[name][piece] = array
    return whole


def explained(explain: Any, inputs: Inputs, most: int, rows: int) -> list[Any]:
    """What `explain`, as in `Explainer`, says of so many rows."""
    pieces = cut(rows, input_bytes(inputs, rows) if rows else 1)
    return [entry for piece in pieces for entry in explain(cut_out(inputs, piece), most)]


def cut_out(inputs: Inputs, piece: slice) -> Inputs:
    """The inputs of some rows."""
    return {name: array[piece] for name, array in inputs.items()}


def input_bytes(inputs: Inputs, rows: int) -> int:
    """Of one row, on average."""
    return sum(_bytes(array) for array in inputs.values()) // rows


def _bytes(array: Array) -> int:
    """Of an array, with its texts."""
    if array.dtype != object:
        return int(array.nbytes)
    return int(array.nbytes) + sum(len(one) for one in array.reshape(-1).tolist() if one is not None)
