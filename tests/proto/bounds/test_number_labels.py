"""A label whose square is no number is refused: no figure that contains it would ever be one again."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from thalweg.proto.columns import LARGEST_LABEL, numbers
from thalweg.proto.decode import Decoder
from thalweg.proto.encode import EVENT_BATCH_HEADERS, to_event_batch
from thalweg.proto.event import Batch, NumberLabels
from thalweg.proto.records import Partition, Records
from thalweg.proto.rejected import Refused
from thalweg.proto.schema import Schema, TensorSpec


@pytest.mark.parametrize("value", [1e151, -1e300, 10**200, "1e200"])
def test_a_label_told_by_itself(value: Any) -> None:
    schema = Schema({}, "number")
    with pytest.raises(Refused, match="1e\\+150 at most"):
        numbers(schema, value)
    assert numbers(schema, 1e150) == [1e150]


def test_labels_of_a_batch() -> None:
    schema = Schema({"x": TensorSpec("x", "float32", (1,))}, "number")
    decoder = Decoder(schema)

    def decoded(value: float) -> list[str]:
        labels = NumberLabels(np.array([[value]]))
        batch = Batch({"x": np.zeros((1, 1), np.float32)}, labels, np.ones(1), np.full(1, 1.7e9), ["a"])
        content = to_event_batch(batch)
        records = Records(Partition("t", 0), [0], [1.7e9], [None], [content], [EVENT_BATCH_HEADERS])
        return [one.reason for one in decoder.decode(records).rejected]

    assert decoded(LARGEST_LABEL) == []
    assert decoded(-1e300) == ["bad_label"]
