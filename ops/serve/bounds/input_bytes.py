"""What the inputs of a request take beside its bytes: arrays, objects for texts, and rows that may have no contents."""

from __future__ import annotations

from thalweg.ops.serve.bounds.byte_budget import FREE_BYTES, HELD
from thalweg.ops.serve.bounds.pieces import rows_of
from thalweg.proto.schema import Inputs

LEAST_TEXT_BYTES = 4
"""Of a text in raw contents: its length stands before it."""
_ROW_BYTES, _TEXT_BYTES = 16, 150


def hold_texts(kind: str, count: int) -> None:
    """Hold what so many values of a tensor of this datatype become. Raises TooLarge and QueueFull."""
    if kind == "BYTES" and (held := HELD.get()) is not None:
        held.add(_TEXT_BYTES * count)


def hold_inputs(inputs: Inputs) -> None:
    """Hold what arrays take, and what is kept of each row, however narrow it is. Raises TooLarge and QueueFull."""
    taken = _ROW_BYTES * rows_of(inputs)
    for array in inputs.values():
        taken += array.nbytes + (_TEXT_BYTES * array.size if array.dtype == object else 0)
    if taken > FREE_BYTES and (held := HELD.get()) is not None:
        held.add(taken)
