"""A label is learned once so many later events were predicted, and every label is learned in the end."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from thalweg.proto.event import Batch
from thalweg.stream.learn.micro_batches.late import LateLabels


@given(count=st.integers(1, 60), size=st.integers(1, 9), delay=st.integers(0, 80))
def test_each_event_is_predicted_with_all_labels_but_those_of_so_many_events_before(
    count: int, size: int, delay: int
) -> None:
    events = Batch({}, None, np.ones(count), np.arange(count, dtype=np.float64))
    late, learned, missing = LateLabels(delay), list[float](), list[int]()
    for micro_batch in events.micro_batches(size):
        first = int(micro_batch.times[0])
        missing.append(first - len(learned))
        for known in late.after(micro_batch):
            learned += known.times.tolist()
    for known in late.rest():
        learned += known.times.tolist()

    assert learned == list(range(count))
    for place, absent in enumerate(missing):
        assert min(delay, place * size) <= absent < delay + size
        if size == 1:
            assert absent == min(delay, place)
