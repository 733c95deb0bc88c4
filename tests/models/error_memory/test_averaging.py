"""What error memories of other keys have in common, averaged."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from tests.models.error_memory.sample import clicks
from thalweg.memory.snapshots.state import State
from thalweg.models.contract.learner import LearnerContext
from thalweg.models.error_memory.learner import ErrorMemory
from thalweg.proto.event import Batch
from thalweg.proto.schema import TensorSpec

INPUTS = {name: TensorSpec(name, "int64", ()) for name in ("user", "item")}


def taught(seed: int, users: int = 0, count: int = 64, **params: Any) -> ErrorMemory:
    """One that has learned from users of its own, and from items that all have."""
    given = {"dim": 4, "hidden": "8-4", "memory_bytes": 20_000, "train_batch": 8, **params}
    learner = ErrorMemory(LearnerContext(inputs=INPUTS, params=given, seed=0))
    batch = clicks(count, 1000 * seed)
    moved = {**batch.inputs, "user": batch.inputs["user"] + users}
    learner.learn(Batch(moved, batch.labels, batch.weights, batch.times, ids=batch.ids))
    return learner


def published(learner: ErrorMemory) -> State:
    return learner.predictor().state()


def rows_of(state: State, field: int) -> dict[int, np.ndarray[Any, Any]]:
    """Embedding rows by id, of a state of a predictor."""
    ids, rows = (state.tensors[f"network.table.{field}.{name}"] for name in ("ids", "rows"))
    return dict(zip(ids.tolist(), rows))


def test_parameters_become_the_mean_weighted_by_events_and_rows_that_of_those_who_have_them() -> None:
    mine, others = taught(1), [taught(2, 1000), taught(3, 2000)]
    before, theirs = published(mine), [published(one) for one in others]

    mine.mix(mine.average(list(zip(theirs, [30.0, 10.0]))), 60.0)

    after = published(mine)
    for name in ("network.deep.0.weight", "network.out.bias", "weights.plain", "weights.unturned"):
        mean = 0.6 * before.tensors[name] + 0.3 * theirs[0].tensors[name] + 0.1 * theirs[1].tensors[name]
        np.testing.assert_allclose(after.tensors[name], mean, rtol=1e-5, atol=1e-7)
    users, items = rows_of(after, 0), rows_of(after, 1)
    assert users.keys() == rows_of(before, 0).keys()  # nobody else's users get a row here
    for user, row in rows_of(before, 0).items():
        np.testing.assert_array_equal(users[user], row)
    for item, row in rows_of(before, 1).items():
        mean = 0.6 * row + 0.3 * rows_of(theirs[0], 1)[item] + 0.1 * rows_of(theirs[1], 1)[item]
        np.testing.assert_allclose(items[item], mean, rtol=1e-5, atol=1e-7)


def test_equal_parameters_stay_what_they_are_and_what_follows_is_the_same_after_a_restore() -> None:
    one, other = taught(1), taught(9)
    other.restore(one.state())

    one.mix(one.average([(published(other), 5.0)]), 20.0)

    assert published(one).sha256() == published(other).sha256()
    restored = taught(9)
    restored.restore(one.state())
    more = clicks(40, 500)
    for learner in (one, restored):
        learner.learn(more)
    assert one.state().sha256() == restored.state().sha256()


def test_others_of_another_shape_are_refused_and_nothing_changes() -> None:
    mine, wide = taught(1), taught(2, hidden="16-4")
    before = mine.state().sha256()

    with pytest.raises(ValueError, match="expected the state of a network"):
        mine.average([(published(mine), 1.0), (published(wide), 1.0)])
    with pytest.raises(ValueError, match="expected weights"):
        mine.mix(wide.average([(published(wide), 1.0)]), 1.0)

    assert mine.state().sha256() == before


@pytest.mark.parametrize("name", ["network.deep.0.weight", "weights.plain", "network.table.1.rows"])
@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_one_number_that_is_none_keeps_a_state_out_of_the_mean(name: str, number: float) -> None:
    mine, poisoned = taught(1), published(taught(2))
    array = poisoned.tensors[name].copy()
    array.flat[0] = number
    tensors = {**poisoned.tensors, name: array}

    with pytest.raises(ValueError, match=f"{re.escape(name)}: expected finite numbers, got 1 others"):
        mine.average([(published(taught(3)), 1.0), (State(tensors, poisoned.meta), 1.0)])


def test_weights_of_other_combinations_and_a_table_that_is_missing_are_refused() -> None:
    mine, other = taught(1), published(taught(2))
    longer = {**other.tensors, "weights.plain": np.append(other.tensors["weights.plain"], 0.0)}
    without = {name: one for name, one in other.tensors.items() if not name.startswith("network.table.1.")}

    with pytest.raises(ValueError, match=r"weights\.plain: expected"):
        mine.average([(State(longer, other.meta), 1.0)])
    with pytest.raises(LookupError):
        mine.average([(State(without, other.meta), 1.0)])


def test_a_frozen_network_stays_as_it_is() -> None:
    mine = taught(1, freeze_after=8)
    before = published(mine)

    mine.mix(mine.average([(published(taught(2)), 5.0)]), 5.0)

    layers = [name for name in before.tensors if name.startswith("network.")]
    assert all((published(mine).tensors[name] == before.tensors[name]).all() for name in layers)
