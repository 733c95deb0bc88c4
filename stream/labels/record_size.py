"""Whether a request fits in a record of the log: what could never be appended is refused when it is asked."""

from __future__ import annotations

import numpy as np

from thalweg.proto.schema import Array, Inputs
from thalweg.stream.log.log import RecordTooLarge

_BESIDE_BYTES = 1024  # what a record has beside its inputs: names, shapes, id, times, the prediction
_BESIDE_SHARE = 0.01


def row_bytes(inputs: Inputs) -> int:
    """Bytes of the largest row of these inputs."""
    return sum(map(_largest, inputs.values()))


def check_fits(size: int, most: int, topic: str) -> None:
    """Raise RecordTooLarge if inputs of `size` bytes in one row cannot be a record of this topic.

    `most`: the largest record that the topic accepts.
    """
    if size + size * _BESIDE_SHARE + _BESIDE_BYTES > most:
        raise RecordTooLarge(
            f"inputs: expected rows that fit in a record of topic {topic!r}, at most {most} bytes, got one of {size} "
            "bytes; in Kafka, raise the topic's max.message.bytes",
            (),
        )


def _largest(column: Array) -> int:
    values = np.asarray(column)
    rows = len(values) if values.ndim else 1
    if not rows:
        return 0
    if values.dtype != object:
        return -(-values.nbytes // rows)
    flat = values.reshape(rows, -1)
    return max(sum(len(value) for value in row if isinstance(value, bytes | str)) for row in flat)
