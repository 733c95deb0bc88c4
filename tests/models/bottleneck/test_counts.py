"""Values as label counts: no order, exact merging and unlearning, a scale that fits; and hard streams."""

from __future__ import annotations

import atexit
import shutil
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.models.bottleneck.test_learner import INPUTS, SMALL, batch
from thalweg.memory.snapshots.state import State
from thalweg.models.bottleneck.learner import Bottleneck
from thalweg.models.contract.learner import Learner, LearnerContext, ParamsError
from thalweg.models.contract.testing import LearnerContract
from thalweg.proto.event import Batch, ClassLabels, join


@cache
def key_file() -> Path:
    """Keys for all learners here, and for others who import them: there until the process ends."""
    folder = mkdtemp(prefix="thalweg-keys-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = Path(folder) / "keys.npy"
    np.save(path, batch(200, 9).inputs["features"])
    return path


def counting(**params: Any) -> Bottleneck:
    """A learner of counts whose keys are those of a file."""
    given = {**SMALL, "key_file": str(key_file()), "decay": 1.0, **params}
    return Bottleneck(LearnerContext(inputs=INPUTS, params=given, seed=3))


def learned(*batches: Batch, **params: Any) -> Bottleneck:
    learner = counting(**params)
    for one in batches:
        learner.learn(one)
    return learner


def weighted(events: int, seed: int) -> Batch:
    """With weights 1 to 3."""
    made = batch(events, seed)
    return Batch(made.inputs, made.labels, 1.0 + np.arange(events) % 3, made.times)


def of_one(label: str, events: int, seed: int = 0, names: tuple[str, ...] = ("a", "b", "c")) -> Batch:
    """Events of one class."""
    drawn = batch(events * 4 + 20, seed, names)
    assert isinstance(drawn.labels, ClassLabels)
    return drawn[np.flatnonzero(drawn.labels.codes == names.index(label))[:events]]


def right(learner: Learner, events: Batch) -> float:
    """The share that is answered rightly."""
    predictor = learner.predictor()
    assert isinstance(events.labels, ClassLabels)
    wanted = events.labels.recoded({name: code for code, name in enumerate(predictor.classes)})
    return float((predictor.predict(events.inputs)["label"] == wanted).mean())


class TestContractWithKeysOfAFile(LearnerContract):
    """Here merging and unlearning are possible, so that their cases are run and not skipped."""

    def new(self) -> Learner:
        return counting()

    def batches(self) -> list[Batch]:
        return [weighted(30, seed) for seed in range(5)]


@given(seed=st.integers(0, 1000), sizes=st.lists(st.integers(1, 200), min_size=1, max_size=5))
def test_whatever_the_order_and_the_cuts_the_same_is_learned(seed: int, sizes: list[int]) -> None:
    first, rest = batch(30, 0), weighted(600, 1)  # the first thirty fix the order of the classes
    mixed = rest[np.random.default_rng(seed).permutation(600)]
    cut, start = counting(), 0
    cut.learn(first)

    for size in [*sizes, 600]:
        cut.learn(mixed[start : start + size])
        start = min(600, start + size)

    assert cut.state().sha256() == learned(first, rest).state().sha256()


def test_two_learners_merged_are_one_that_learned_both_bit_for_bit() -> None:
    mine, theirs = learned(batch(30, 0), weighted(500, 1)), learned(weighted(700, 2))

    mine.merge(theirs.state())

    assert mine.state().sha256() == learned(batch(30, 0), weighted(500, 1), weighted(700, 2)).state().sha256()


def test_classes_that_only_the_other_knows_are_appended_whatever_their_order() -> None:
    ours, others = of_one("b", 50), join([of_one("c", 50), of_one("a", 50), of_one("b", 50, 1)])
    mine = learned(ours)

    mine.merge(learned(others).state())

    assert mine.predictor().classes == ("b", "c", "a")
    assert mine.state().sha256() == learned(ours, others).state().sha256()


def test_what_is_unlearned_leaves_no_bit_behind_and_an_empty_class_no_name() -> None:
    kept, gone = weighted(150, 1), join([weighted(60, 2), of_one("z", 20, 3, ("z", "b"))])
    learner = learned(kept, gone)

    learner.unlearn(gone)

    assert learner.predictor().classes == learned(kept).predictor().classes
    assert learner.state().sha256() == learned(kept).state().sha256()


def test_a_class_that_was_unlearned_in_the_middle_leaves_the_others_their_counts() -> None:
    a, b, c = (of_one(name, 40) for name in "abc")  # as many rows as the sample holds
    learner = learned(a, b, c)

    learner.unlearn(b)

    assert learner.predictor().classes == ("a", "c")
    assert learner.state().sha256() == learned(a, c).state().sha256()


@pytest.mark.parametrize(
    "never",
    [
        lambda: of_one("c", 10),  # of a known class, but with none of its events
        lambda: of_one("new", 10, 0, ("new", "b")),
        lambda: Batch(weighted(9, 1).inputs, weighted(9, 1).labels, np.full(9, 5.0), np.zeros(9)),
    ],
)
def test_what_was_never_learned_cannot_be_unlearned_and_nothing_changes(never: Any) -> None:
    learner = learned(of_one("a", 60), of_one("b", 60), of_one("c", 1, 8))
    before = learner.state().sha256()

    with pytest.raises(ValueError, match="cannot unlearn"):
        learner.unlearn(never())

    assert learner.state().sha256() == before


def test_events_that_still_wait_for_keys_are_merged_and_unlearned_like_others() -> None:
    early, late = batch(25, 0), batch(25, 1)
    mine, theirs, both = (counting(key_file="", key_events=40) for _ in range(3))
    mine.learn(early)
    theirs.learn(late)
    both.learn(join([early, late]))

    mine.merge(theirs.state())

    assert "keys" in mine.state().tensors
    assert mine.state().sha256() == both.state().sha256()
    theirs.unlearn(late[:10])
    np.testing.assert_array_equal(theirs.state().tensors["waiting.inputs"], late[10:].inputs["features"])
    with pytest.raises(ValueError, match="not among those"):
        theirs.unlearn(late[:1])


def test_learners_with_other_keys_or_an_order_are_not_merged() -> None:
    def streamed(seed: int, **params: Any) -> State:
        made = counting(key_file="", **params)
        made.learn(batch(60, seed))
        return made.state()

    mine = learned(batch(60, 0))

    for state, reason in [
        (streamed(1), "key_file"),
        (streamed(1, values="gradient"), "values"),
        (streamed(1, top_k=2), "top_k"),
        (streamed(1, heads=4), "heads"),
    ]:
        before = mine.state().sha256()
        with pytest.raises(ValueError, match=reason):
            mine.merge(state)
        assert mine.state().sha256() == before
    for params in ({"decay": 0.9}, {"decay": "auto"}, {"values": "gradient"}):
        ordered = learned(batch(60, 0), **params)
        with pytest.raises(ValueError, match="order of events"):
            ordered.merge(ordered.state())
        with pytest.raises(ValueError, match="order of events"):
            ordered.unlearn(batch(60, 0))
    mine.raise_forgetting(2.0, 10)
    with pytest.raises(ValueError, match="raised forgetting"):
        mine.unlearn(batch(60, 0))


def test_a_state_of_the_gradient_is_refused_by_counts_with_both_settings() -> None:
    before = learned(batch(60, 0), values="gradient").state()

    with pytest.raises(ValueError, match=r"expected \{'values': 'counts'.*, got \{'heads': 8"):
        counting().restore(before)


def test_a_state_of_counts_alone_is_refused_by_the_default_with_both_settings_and_read_under_its_own() -> None:
    before = learned(batch(60, 0)).state()

    with pytest.raises(ValueError, match=r"expected \{'values': 'mixed'.*, got \{'values': 'counts'"):
        counting(decay="auto").restore(before)
    again = counting(values="counts", decay="auto")
    again.restore(before)
    assert again.state().sha256() == before.sha256()


@pytest.mark.parametrize(
    ("params", "kind"),
    [
        ({"rate": 0.5}, "gradient"),
        ({"updates": "micro_batch"}, "gradient"),
        ({"label_smoothing": 0.1}, "gradient"),
        ({"values": "gradient"}, "gradient"),
        ({"values": "counts", "rate": 0.5}, "counts"),
        ({"values": "counts"}, "counts"),
        ({"decay": 1.0}, "counts"),
        ({"decay": 0.9}, "counts"),
        ({"decay": "auto"}, "mixed"),
        ({"values": "mixed", "rate": 0.5}, "mixed"),
        ({}, "mixed"),
    ],
)
def test_parameters_choose_the_values_that_they_are_about(params: dict[str, Any], kind: str) -> None:
    names = set(Bottleneck(LearnerContext(inputs=INPUTS, params={**SMALL, **params}, seed=3)).state().tensors)

    assert ("values" in names, "sample.ids" in names, "faded" in names) == (
        kind == "gradient",
        kind == "counts",
        kind == "mixed",
    )


def test_mixed_values_with_one_decay_are_a_mistake() -> None:
    with pytest.raises(ParamsError, match=r'values: expected "counts" with decay = 0.9, got "mixed"'):
        counting(values="mixed", decay=0.9)


def test_the_scale_is_about_the_best_for_events_that_were_never_learned() -> None:
    """Chosen by what was learned alone; the best of a grid is chosen by the very events it is graded on."""
    test = batch(2000, 77)
    assert isinstance(test.labels, ClassLabels)
    for heads in (4, 32):  # more heads are not more independent votes
        learner = learned(batch(1500, 1), heads=heads)
        predictor = learner.predictor()
        columns = test.labels.recoded({name: code for code, name in enumerate(predictor.classes)})
        logits = predictor.logits(test.inputs["features"])

        def loss(factor: float, logits: Any = logits, columns: Any = columns) -> float:
            z = factor * logits  # the classes are equally frequent
            z -= z.max(axis=1, keepdims=True)
            return float((np.log(np.exp(z).sum(axis=1)) - z[np.arange(len(z)), columns]).mean())

        assert loss(1.0) <= 1.06 * min(loss(2.0**power) for power in np.arange(-3, 3.1, 0.25))
        assert min(loss(0.2), loss(5.0)) > 1.1 * loss(1.0)  # it matters


def test_raised_forgetting_lets_new_labels_outvote_the_old_ones() -> None:
    before, after = batch(600, 1), batch(150, 2)
    assert isinstance(after.labels, ClassLabels)
    turned = Batch(
        after.inputs, ClassLabels((after.labels.codes + 1) % 3, after.labels.names), after.weights, after.times
    )
    stubborn, told = learned(before), learned(before)

    told.raise_forgetting(50.0, 100)
    for learner in (stubborn, told):
        learner.learn(turned)

    assert right(told, turned) > 0.8
    assert right(stubborn, turned) < 0.3


def test_counts_that_fade_follow_classes_that_change_places_and_keep_what_is_not_fetched() -> None:
    before, after = join([batch(600, 1), of_one("z", 60, 5, ("z", "y"))]), batch(300, 2)
    assert isinstance(after.labels, ClassLabels)
    turned = Batch(
        after.inputs, ClassLabels((after.labels.codes + 1) % 3, after.labels.names), after.weights, after.times
    )

    fading = learned(before, turned, decay=0.8)

    assert right(fading, turned) > 0.8
    assert right(learned(before, turned), turned) < 0.5


# Streams that are hard on it

FINE = {"heads": 32, "pairs": 64, "key_width": 6}


def test_a_class_alone_for_long_does_not_hide_those_that_come_after() -> None:
    learner = learned(of_one("a", 10_000, 1), **FINE)
    assert right(learner, of_one("a", 100, 2)) == 1.0

    learner.learn(join([of_one("b", 200, 3), of_one("c", 200, 4)]))

    for name in "abc":
        assert right(learner, of_one(name, 100, 5)) > 0.8


def test_a_class_that_returns_after_a_hundred_thousand_events_is_still_known() -> None:
    learner = learned(of_one("a", 100, 1), **FINE)
    others = join([of_one("b", 2000, 2), of_one("c", 2000, 3)])

    for _ in range(25):
        learner.learn(others)

    assert right(learner, of_one("a", 100, 5)) > 0.7


def test_a_thousand_classes_with_one_event_each_are_recognised() -> None:
    generator = np.random.default_rng(0)
    x = generator.normal(size=(1000, 6)).astype("f4")
    names = tuple(f"c{number}" for number in range(1000))
    events = Batch({"features": x}, ClassLabels(np.arange(1000, dtype=np.int32), names), np.ones(1000), np.zeros(1000))
    learner = counting(heads=16, pairs=128)

    for start in range(0, 1000, 50):
        learner.learn(events[start : start + 50])
        learner.predictor().predict(events.inputs)

    assert right(learner, events) > 0.9
    assert np.isfinite(learner.predictor().predict(events.inputs)["scores"]).all()


@pytest.mark.parametrize("value", [0.0, -3.5, 1e20])
def test_constant_columns_answer_with_the_shares_of_the_classes(value: float) -> None:
    learner = counting(key_file="")
    drawn = batch(4000, 1)
    assert isinstance(drawn.labels, ClassLabels)
    codes = np.where(np.arange(4000) % 4 == 0, 1, 0).astype(np.int32)
    same = {"features": np.full((4000, 6), value, dtype=np.float32)}

    learner.learn(Batch(same, ClassLabels(codes, ("often", "seldom")), np.ones(4000), np.zeros(4000)))

    shares = dict(zip(learner.predictor().classes, learner.predictor().predict(same)["scores"][0]))
    assert shares == pytest.approx({"often": 0.75, "seldom": 0.25}, abs=0.02)


def test_ten_thousand_equal_rows_leave_the_answers_for_others_as_they_were() -> None:
    learner = learned(batch(600, 1), **FINE)
    row = of_one("a", 1, 7)
    test = batch(300, 8)
    before = right(learner, test)

    for _ in range(40):
        learner.learn(join([row] * 250))

    assert right(learner, row) == 1.0
    assert right(learner, test) > before - 0.15
    learner.learn(batch(600, 9))  # the sample is of distinct rows: it goes on
    assert right(learner, test) > before - 0.1
