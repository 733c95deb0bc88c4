"""Labels that a file's replay holds back are late to the learner, too, as they are in a service."""

from __future__ import annotations

import numpy as np

from thalweg.proto.event import Batch, ClassLabels
from thalweg.stream.learn.micro_batches.late import LateLabels


def events(first: int, count: int) -> Batch:
    numbers = np.arange(first, first + count, dtype=np.float32)[:, None]
    return Batch({"x": numbers}, ClassLabels(np.zeros(count, np.int32), ("a",)), np.ones(count), np.zeros(count))


def test_what_is_learned_late_says_so_and_what_is_learned_at_once_does_not() -> None:
    at_once, late = LateLabels(0), LateLabels(3)

    assert [batch.served for batch in at_once.after(events(0, 2))] == [None]
    assert [*late.after(events(0, 2))] == []
    assert [batch.served for batch in late.after(events(2, 3))] == [(None, None)]
    (last,) = late.rest()
    assert last.served == (None, None, None)
    assert last.inputs["x"].ravel().tolist() == [2, 3, 4]
