"""The error memory learner: its contract, and what a user relies on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from thalweg.memory.snapshots.state import State
from thalweg.models.contract.learner import Learner, LearnerContext, ParamsError
from thalweg.models.contract.testing import LearnerContract
from thalweg.models.error_memory.learner import ErrorMemory
from thalweg.proto.event import Batch, NumberLabels, Places
from thalweg.proto.records import Partition
from thalweg.proto.schema import InputError, TensorSpec

INPUTS = {
    "user": TensorSpec("user", "int64", ()),
    "item": TensorSpec("item", "int64", ()),
    "fields": TensorSpec("fields", "int64", (2,)),
    "numeric": TensorSpec("numeric", "float32", (3,)),
}
SMALL: dict[str, Any] = {"dim": 4, "hidden": "8-4", "train_batch": 8, "centre_events": 10, "neighbours": 5}


def events(count: int, seed: int = 0, start: int = 0, flip: bool = False) -> Batch:
    """Items of even number are liked, the odd are not; flipped, the other way round."""
    generator = np.random.default_rng([seed, start])
    user, item = generator.integers(0, 12, count), generator.integers(0, 9, count)
    taste = (item % 2 == 0) != flip
    label = generator.random(count) < np.where(taste, 0.9, 0.1)
    return Batch(
        {
            "user": user,
            "item": item,
            "fields": generator.integers(0, 5, (count, 2)),
            "numeric": generator.standard_normal((count, 3)).astype(np.float32),
        },
        NumberLabels(label[:, None].astype(np.float64)),
        np.ones(count),
        start + np.arange(count, dtype=np.float64),
        [f"e-{start + number}" for number in range(count)],
        [f"u{number}" for number in user],
        Places.of(Partition("clicks", 2), range(start, start + count)),
    )


def learner(**params: Any) -> ErrorMemory:
    return ErrorMemory(LearnerContext(inputs=INPUTS, params={**SMALL, **params}, seed=3))


class Contract(LearnerContract):
    merges_exactly = False
    params: dict[str, Any] = {}  # noqa: RUF012

    def new(self) -> Learner:
        return learner(**self.params)

    def other(self) -> Learner:
        wider = {**INPUTS, "numeric": TensorSpec("numeric", "float32", (4,))}
        return ErrorMemory(LearnerContext(inputs=wider, params={**SMALL, **self.params}, seed=3))

    def batches(self) -> list[Batch]:
        return [events(count, start=100 * number) for number, count in enumerate((13, 7, 1, 20, 9))]


class TestDefault(Contract):
    pass


class TestTurns(Contract):
    """Hypotheses of a turn, with entries that go before their time."""

    params = {"turn_events": 10, "per_key": 2, "memory_bytes": 6000}  # noqa: RUF012


@pytest.mark.slow
class TestKeyView(Contract):
    params = {"views": "user+item+key", "per_key": 4, "ttl_seconds": 250.0}  # noqa: RUF012


@pytest.mark.slow
class TestCells(Contract):
    params = {"combine": "fixed", "search": "cells", "cells": 6, "probes": 2}  # noqa: RUF012


@pytest.mark.slow
class TestInPlace(Contract):
    """The memory in a mapped file, which published versions only refer to."""

    params = {"views": "user+item+key", "per_key": 4, "turn_events": 10}  # noqa: RUF012

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.folder = tmp_path

    def new(self) -> Learner:
        made = learner(**self.params)
        made.place(self.folder / str(len(list(self.folder.iterdir()))))
        return made

    def test_a_published_state_does_not_hold_the_memory(self) -> None:
        made = learner(**self.params)
        made.place(self.folder)
        made.learn(events(50))

        assert not [name for name in made.predictor().state().tensors if name.startswith("entry.")]

    def test_only_the_file_of_the_run_before_is_kept(self) -> None:
        for _ in range(4):
            learner().place(self.folder)

        assert sorted(path.name for path in self.folder.iterdir()) == ["memory-3.slots", "memory-4.slots"]


@pytest.mark.slow
class TestAsPublished(Contract):
    params = {"combine": "fixed", "network": "deepfm"}  # noqa: RUF012


@pytest.mark.slow
class TestSketch(Contract):
    params = {"memory": "sketch", "sketch_events": 15, "half_life_seconds": 50.0, "network": "mlp"}  # noqa: RUF012
    gauges_left_out = frozenset({"memory_evictions"})


@pytest.mark.slow
class TestSlots(Contract):
    params = {"slot_events": 16, "warm_events": 5, "distillation": 0.3, "combine": "fixed"}  # noqa: RUF012


@pytest.mark.slow
class TestTurnsInSlots(Contract):
    params = {"slot_events": 16, "warm_events": 5, "turn_events": 6}  # noqa: RUF012


class TestNetworkAlone(Contract):
    params = {"memory": "none"}  # noqa: RUF012
    gauges_left_out = frozenset({"memory_entries", "memory_evictions", "memory_bytes"})


def run(made: ErrorMemory, batches: list[Batch]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores and base scores as they stood before each batch was learned, and labels."""
    scores, bases, labels = [], [], []
    for batch in batches:
        answers = made.predictor().predict(batch.inputs)
        scores.append(answers["score"])
        bases.append(answers["base_score"])
        labels.append(batch.labels.values[:, 0])
        made.learn(batch)
    return np.concatenate(scores), np.concatenate(bases), np.concatenate(labels)


def log_loss(scores: np.ndarray, labels: np.ndarray) -> float:
    held = scores.clip(1e-6, 1 - 1e-6)
    return float(-np.mean(labels * np.log(held) + (1 - labels) * np.log(1 - held)))


def auc(scores: NDArray[np.float64], labels: NDArray[np.float64]) -> float:
    ones, zeros = scores[labels > 0.5], scores[labels <= 0.5]
    return float((ones[:, None] > zeros).mean() + 0.5 * (ones[:, None] == zeros).mean())


def test_a_taste_that_flips_is_followed_by_the_memory_before_the_network_follows() -> None:
    made = learner(combine_memory=500.0, view_events=20, view_prior=2.0)
    run(made, [events(16, start=16 * number) for number in range(120)])

    scores, bases, labels = run(made, [events(16, start=16 * number, flip=True) for number in range(120, 135)])

    assert log_loss(scores[80:], labels[80:]) < 0.6 * log_loss(bases[80:], labels[80:])


def clicks(count: int, start: int, turned: bool = False, items: int = 60, shift: int = 0) -> Batch:
    """Many items, each liked or not; the item table turned over, each the other way round."""
    generator = np.random.default_rng([7, start])
    item = generator.integers(0, items, count)
    label = generator.random(count) < np.where((item % 2 == 0) != turned, 0.85, 0.15)
    fixed = {"fields": np.zeros((count, 2), np.int64), "numeric": np.zeros((count, 3), np.float32)}
    return Batch(
        {"user": generator.integers(0, 300, count), "item": item + shift, **fixed},
        NumberLabels(label[:, None].astype(np.float64)),
        np.ones(count),
        start + np.arange(count, dtype=np.float64),
    )


def test_an_item_table_turned_over_is_followed_sooner_by_hypotheses_and_as_well_once_the_network_has_learned_it() -> (
    None
):
    losses, ranks = {}, {}
    for every in (50, 0):
        made = learner(turn_events=every, row_rate=0.3)
        run(made, [clicks(50, start) for start in range(0, 3000, 50)])
        scores, _, labels = run(made, [clicks(50, start, turned=True) for start in range(3000, 4000, 50)])
        losses[every] = [log_loss(scores[part], labels[part]) for part in (slice(0, 400), slice(600, 1000))]
        ranks[every] = auc(scores[:400], labels[:400])  # the log loss of either is held by the rate

    assert ranks[50] > ranks[0] + 0.08
    assert losses[50][0] < losses[0][0]
    assert losses[50][1] < losses[0][1] + 0.01


def test_items_that_all_get_new_ids_are_answered_as_without_hypotheses_of_a_turn() -> None:
    losses = {}
    for every in (50, 0):
        made = learner(turn_events=every, row_rate=0.3)
        run(made, [clicks(50, start) for start in range(0, 2000, 50)])
        scores, _, labels = run(made, [clicks(50, start, shift=1000) for start in range(2000, 3000, 50)])
        losses[every] = log_loss(scores, labels)

    assert losses[50] < losses[0] + 0.005


def test_hypotheses_are_opened_after_the_same_labels_however_the_log_is_cut() -> None:
    starts = []
    every = events(200)
    for size in (1, 7, 60, 200):
        made = learner(turn_events=30)
        for at in range(0, 200, size):
            made.learn(every[at : at + size])
        starts.append(made.state().tensors["turns.starts"].tolist())

    assert starts == [[30, 60, 90, 120, 150, 180]] * 4


def test_without_hypotheses_of_a_turn_an_entry_is_as_wide_as_it_was() -> None:
    state = learner(turn_events=0).state()

    assert not [name for name in state.tensors if name.startswith("turns.") or name in ("ring.evidence", "ring.turned")]


def test_the_compensation_is_what_the_memory_added() -> None:
    made = learner(combine="fixed", strength=0.5)
    run(made, [events(16, start=16 * number) for number in range(10)])

    answers = made.predictor().predict(events(30, seed=1).inputs)

    np.testing.assert_allclose(answers["score"] - answers["base_score"], answers["compensation"], atol=1e-6)
    assert (np.abs(answers["compensation"]) > 0.01).any()
    assert ((answers["score"] >= 0) & (answers["score"] <= 1)).all()


@pytest.mark.parametrize("params", [{}, {"combine": "fixed"}, {"memory": "sketch"}])
def test_without_a_memory_yet_the_base_score_stands(params: dict[str, Any]) -> None:
    answers = learner(**params).predictor().predict(events(20).inputs)

    np.testing.assert_array_equal(answers["score"], answers["base_score"])


def test_ids_never_seen_before_are_answered_and_tables_stay_bounded() -> None:
    made = learner(table_rows=20, memory="none")
    for number in range(10):
        batch = events(16, start=16 * number)
        batch.inputs["user"][:] += 1000 * number  # type: ignore[index]
        made.learn(batch)

    assert made.gauges()["embedding_rows"] <= 4 * 20
    strange = dict(events(5).inputs)
    strange["user"] = np.array([-(2**63), 2**63 - 1, -1, 10**15, 0])
    assert np.isfinite(made.predictor().predict(strange)["score"]).all()


def test_labels_that_are_no_clicks_and_numbers_that_are_none_are_passed_over_and_counted() -> None:
    made, same = learner(), learner()
    good = events(16)
    bad = events(4, start=50)
    bad.labels.values[:2, 0] = [2.0, -0.1]
    bad.inputs["numeric"][2:] = [[np.nan] * 3, [0, np.inf, 0]]  # type: ignore[index]
    for batch in (good, bad):
        made.learn(batch)
    same.learn(good)

    assert made.gauges()["skipped_events"] == 4
    np.testing.assert_array_equal(
        made.predictor().predict(good.inputs)["score"], same.predictor().predict(good.inputs)["score"]
    )
    answers = made.predictor().predict(bad.inputs)
    assert np.isnan(answers["score"][2:]).all()
    assert np.isfinite(answers["score"][:2]).all()


def test_it_says_which_entries_moved_a_score() -> None:
    made = learner(views="user+item+key")
    for number in range(5):
        made.learn(events(16, start=16 * number))
    asked = events(1, seed=9)
    user, item = int(asked.inputs["user"][0]), int(asked.inputs["item"][0])

    (told,) = made.predictor().explain(asked.inputs, most=3)

    by_id = {}
    for number in range(5):
        batch = events(16, start=16 * number)
        by_id |= dict(zip(batch.ids, zip(batch.inputs["user"], batch.inputs["item"], batch.labels.values[:, 0])))
    assert {entry["view"] for entry in told} == {"user", "item", "key"}
    assert {(entry["topic"], entry["partition"], f"e-{entry['offset']}") for entry in told} == {
        ("clicks", 2, entry["id"]) for entry in told
    }
    for entry in told:
        its_user, its_item, label = by_id[entry["id"]]
        assert entry["label"] == label
        assert entry["view"] == "key" or (its_user, its_item)[entry["view"] == "item"] == (
            item if entry["view"] == "item" else user
        )
    weights = [entry["weight"] for entry in told if entry["view"] == "key"]
    assert weights == sorted(weights, reverse=True)


def test_a_slot_ends_with_an_empty_memory_warmed_by_events_the_network_has_not_seen() -> None:
    made = learner(slot_events=32, warm_events=6, combine="fixed")
    made.learn(events(31))
    assert made.gauges()["memory_entries"] == 31
    before = made.predictor().predict(events(4, seed=5).inputs)["base_score"]

    made.learn(events(1, start=31))

    assert made.gauges()["memory_entries"] == 6
    assert (made.predictor().predict(events(4, seed=5).inputs)["base_score"] != before).all()


def test_a_network_that_is_frozen_moves_no_more_but_the_memory_goes_on() -> None:
    made = learner(freeze_after=32)
    run(made, [events(16, start=16 * number) for number in range(4)])
    asked = events(30, seed=5).inputs
    before = made.predictor().predict(asked)

    run(made, [events(16, start=16 * number) for number in range(4, 10)])

    after = made.predictor().predict(asked)
    np.testing.assert_array_equal(after["base_score"], before["base_score"])
    assert (after["score"] != before["score"]).any()


def test_how_events_are_cut_into_micro_batches_does_not_change_what_the_network_learns() -> None:
    whole, pieces = learner(memory="none"), learner(memory="none")
    every = events(64)
    whole.learn(every)
    for start in range(0, 64, 5):
        pieces.learn(every[start : start + 5])

    asked = events(20, seed=4).inputs
    np.testing.assert_array_equal(whole.predictor().predict(asked)["score"], pieces.predictor().predict(asked)["score"])


@pytest.mark.parametrize(
    ("params", "key", "message"),
    [
        ({"network": "dlrm"}, "network", "expected one of dcnv2, deepfm, mlp, got 'dlrm'"),
        ({"hidden": "64-x"}, "hidden", "expected multiples of 4 joined by -, as in 64-32, got '64-x'"),
        ({"memory_bytes": 20}, "memory_bytes", "room for one entry, got 20"),
        ({"views": "user+shop"}, "views", "expected some of user, item, key joined by +, got 'user+shop'"),
        ({"memory": "sketch", "views": "user"}, "views", "expected key alone with memory = sketch, got 'user'"),
        ({"combine": "fixed", "views": "user"}, "views", "expected key among them with combine = fixed, got 'user'"),
        ({"slot_events": 10, "warm_events": 10}, "warm_events", "expected fewer than slot_events, 10, got 10"),
        ({"sketch_bits": 40}, "sketch_bits", "expected 1 to 20, got 40"),
    ],
)
def test_parameters_that_do_not_fit_are_named(params: dict[str, Any], key: str, message: str) -> None:
    with pytest.raises(ParamsError) as caught:
        learner(**params)

    assert message in caught.value.mistakes[key]


def test_a_search_of_an_earlier_version_says_what_it_is_now() -> None:
    with pytest.raises(ParamsError) as caught:
        learner(views="key", search="faiss_gpu")

    told = caught.value.mistakes["search"]
    assert "got 'faiss_gpu'" in told
    assert told.endswith('on a GPU memories are searched with the model\'s device = "cuda" and search = "auto"')


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"user": INPUTS["user"]}, "inputs.item: missing; expected int64"),
        ({**INPUTS, "shop": INPUTS["item"]}, "inputs.shop: unknown; this learner takes user, item, fields, numeric"),
        ({**INPUTS, "user": TensorSpec("user", "float32", ())}, r"inputs.user: expected int64 \[\], got float32"),
        ({**INPUTS, "fields": TensorSpec("fields", "int64", ())}, r"inputs.fields: expected int64 \[count\]"),
    ],
)
def test_inputs_that_do_not_fit_are_named(inputs: dict[str, TensorSpec], message: str) -> None:
    with pytest.raises(ParamsError, match=message):
        ErrorMemory(LearnerContext(inputs=inputs, params={}, seed=0))


def test_a_state_of_other_parameters_is_refused() -> None:
    with pytest.raises(ValueError, match="state of other parameters: dim: expected 5, got 4"):
        learner(dim=5).restore(learner().state())


def test_a_state_of_before_there_were_hypotheses_of_a_turn_is_refused_with_both_values() -> None:
    old = learner(turn_events=0).state()
    del old.meta["identity"]["features"]

    with pytest.raises(ValueError, match="features: expected 18, got none; turn_events: expected 250, got none"):
        learner().restore(old)


def test_class_labels_are_refused_by_name() -> None:
    from thalweg.proto.event import ClassLabels

    batch = events(2)
    wrong = Batch(batch.inputs, ClassLabels(np.zeros(2, np.int32), ("a",)), batch.weights, batch.times)

    with pytest.raises(InputError, match="expected a number from 0 to 1, got ClassLabels"):
        learner().learn(wrong)


def test_ids_of_any_length_are_kept_apart() -> None:
    made = learner()
    batch = events(2)
    long = ["x" * 60 + "1", "x" * 60 + "2"]
    made.learn(Batch(batch.inputs, batch.labels, batch.weights, batch.times, long, None))

    window = State(made.state().tensors).tensors["ring.id"]

    assert len({bytes(row) for row in window}) == 2
