"""Large requests are computed in pieces, and nothing shows where they were cut."""

from __future__ import annotations

import threading
import tomllib
from collections.abc import Mapping

import numpy as np
import pytest

from tests.samples import sample
from thalweg.models.contract.learner import Predictor
from thalweg.ops.config.config import parse
from thalweg.ops.run.app import new_learner
from thalweg.ops.serve.bounds.byte_queue import ByteQueue
from thalweg.ops.serve.bounds.pieces import PIECE_ROWS, cut, predicted
from thalweg.proto.event import Batch
from thalweg.proto.schema import Array, Inputs

ROWS = 2 * PIECE_ROWS + 1003
LEARNERS = ["ridge", "bottleneck", "error_memory", "prompt_tpp", "cotta"]
FEW = 203
"""Rows of a network, which computes them a hundred times slower."""


class Noting:
    """A predictor that notes how many rows it is asked for at once."""

    def __init__(self, inner: Predictor) -> None:
        self._inner = inner
        self.rows: list[int] = []

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)

    def predict(self, inputs: Inputs) -> Mapping[str, Array]:
        self.rows.append(len(next(iter(inputs.values()))))
        return self._inner.predict(inputs)


def taught(name: str, rows: int) -> tuple[Noting, Batch]:
    text = f'[[model]]\nname = "m"\ntopic = "t"\n{sample(name).configuration}'
    learner = new_learner(parse(tomllib.loads(text), "test", {}).model[0])
    learner.learn(sample(name).events(300))
    return Noting(learner.predictor()), sample(name).events(rows, 300)


@pytest.mark.parametrize("name", LEARNERS)
def test_the_answer_in_pieces_is_that_to_all_rows_at_once_bit_for_bit(name: str) -> None:
    predictor, asked = taught(name, FEW if name in ("cotta", "prompt_tpp") else ROWS)
    rows = len(asked)

    whole = predictor.predict(asked.inputs)
    predictor.rows.clear()
    if name in ("cotta", "prompt_tpp"):
        pieces = [
            predictor.predict({one: array[part] for one, array in asked.inputs.items()}) for part in cut(rows, 1 << 14)
        ]
        found = {one: np.concatenate([piece[one] for piece in pieces]) for one in whole}
    else:
        found = dict(predicted(predictor, asked.inputs, rows))

    assert len(predictor.rows) > 1
    assert sum(predictor.rows) == rows
    assert found.keys() == whole.keys()
    for one in whole:
        assert found[one].dtype == whole[one].dtype
        assert found[one].tobytes() == whole[one].tobytes(), one


@pytest.mark.parametrize("row_bytes", [0, 1, 300, 20_000, 10 << 20])
@pytest.mark.parametrize("rows", [0, 1, 8, 9, 4096, 4097, 20_000])
def test_pieces_are_all_rows_in_order_and_bounded_in_rows_and_bytes(rows: int, row_bytes: int) -> None:
    places = list(range(rows))

    pieces = [places[piece] for piece in cut(rows, row_bytes)]

    assert [place for piece in pieces for place in piece] == places
    assert all(len(piece) <= PIECE_ROWS for piece in pieces)
    assert all(len(piece) * row_bytes <= 1 << 20 or len(piece) <= 8 for piece in pieces)


def test_who_puts_more_bytes_into_a_queue_than_it_holds_waits_until_some_are_taken() -> None:
    queue, done = ByteQueue[int](1000, 100), threading.Event()

    def put() -> None:
        for number in range(5):
            queue.put(number, 60)
        done.set()

    thread = threading.Thread(target=put)
    thread.start()

    found = []
    while len(found) < 4:
        found += queue.get(1)
        assert len(queue) <= 1
    assert done.wait(60)
    assert [*found, *queue.get(10)] == [0, 1, 2, 3, 4]
    thread.join()


def test_an_item_that_is_larger_than_a_queue_goes_in_alone_and_closing_lets_go_who_waits() -> None:
    queue = ByteQueue[str](10, 100)
    assert queue.put("large", 1000)
    waited: list[bool] = []
    thread = threading.Thread(target=lambda: waited.append(queue.put("next", 1)))
    thread.start()

    queue.close()
    thread.join(60)

    assert waited == [False]
