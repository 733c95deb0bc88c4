"""The nearest mean: the contract, and the closed form however events arrive, merged and unlearned included."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.neighbors import NearestCentroid

from tests.samples import Sample, events
from thalweg.models.contract.learner import Learner, LearnerContext, ParamsError
from thalweg.models.contract.testing import LearnerContract
from thalweg.models.nearest_mean import NearestMean
from thalweg.proto.event import Batch, ClassLabels, NumberLabels
from thalweg.proto.schema import InputError, TensorSpec

Floats = NDArray[np.float64]
WIDTH = 5
INPUTS = {"features": TensorSpec("features", "float32", (WIDTH,))}
NAMES = ("a", "b", "c", "d")
SAMPLE = Sample(
    configuration="""
learner = "nearest_mean"
inputs.features = { shape = [4], dtype = "float32" }
""",
    events=events,
)


def nearest_mean(**params: Any) -> NearestMean:
    return NearestMean(LearnerContext(inputs=INPUTS, params=params))


def batch(events: int, seed: int, classes: Sequence[str] = NAMES[:3], *, weights: bool = False) -> Batch:
    """Correlated inputs far from 0, whose classes overlap."""
    generator = np.random.default_rng(seed)
    codes = generator.integers(0, len(classes), events).astype(np.int32)
    mixed = generator.standard_normal((events, WIDTH)) @ np.random.default_rng(99).standard_normal((WIDTH, WIDTH))
    x = 50 + mixed + 2 * np.eye(WIDTH)[codes]
    return Batch(
        {"features": x.astype(np.float32)},
        ClassLabels(codes, tuple(classes)),
        generator.uniform(0.5, 2, events) if weights else np.ones(events),
        np.arange(events, dtype=np.float64),
    )


class TestContract(LearnerContract):
    params: ClassVar[dict[str, Any]] = {}

    def new(self) -> Learner:
        return nearest_mean(**self.params)

    def other(self) -> Learner:
        return nearest_mean(**{**self.params, "shrinkage": 0.25})

    def batches(self) -> list[Batch]:
        late = batch(9, 7, ("d", "b"))
        return [batch(6, 1), batch(1, 2), batch(17, 3, weights=True), late, batch(30, 5), batch(3, 6).unlabelled()]


class TestContractOfPlainMeans(TestContract):
    params: ClassVar = {"covariance": "none"}


class TestContractWithHalfLife(TestContract):
    params: ClassVar = {"half_life_seconds": 20.0}


class TestContractWithDecay(TestContract):
    params: ClassVar = {"decay": 0.9, "priors": "frequency"}


# However the events come


@given(sizes=st.lists(st.integers(1, 25), min_size=1, max_size=12), seed=st.integers(0, 9))
@pytest.mark.parametrize("covariance", ["none", "shared"])
def test_however_the_log_is_cut_and_ordered_the_sums_are_the_same(covariance: str, sizes: list[int], seed: int) -> None:
    log = batch(sum(sizes), seed, NAMES, weights=True)
    shuffled = log.take(np.random.default_rng(seed).permutation(len(log)))
    whole, parts = nearest_mean(covariance=covariance), nearest_mean(covariance=covariance)
    whole.learn(log)
    start = 0
    for size in sizes:
        parts.learn(shuffled[start : start + size])
        start += size

    assert_same_sums(parts, whole)
    assert_same_answers(parts, whole, log)


@given(sizes=st.lists(st.integers(1, 25), min_size=1, max_size=12))
def test_with_decay_an_event_counts_by_how_many_came_after_it_however_the_log_is_cut(sizes: list[int]) -> None:
    log = batch(sum(sizes), 3, weights=True)
    ages = 0.9 ** np.arange(len(log) - 1, -1, -1.0)
    faded, weighted = nearest_mean(decay=0.9), nearest_mean()
    weighted.learn(replace(log, weights=log.weights * ages))
    start = 0
    for size in sizes:
        faded.learn(log[start : start + size])
        start += size

    assert_same_sums(faded, weighted)


def test_an_event_of_weight_three_is_that_event_three_times() -> None:
    log = batch(20, 1)
    thrice, heavy = nearest_mean(), nearest_mean()
    for _ in range(3):
        thrice.learn(log)
    heavy.learn(replace(log, weights=np.full(20, 3.0)))

    assert_same_answers(heavy, thrice, log)


# The closed form


@pytest.mark.parametrize("shrinkage", [0.0, 0.5, 3.0])
def test_the_scores_are_the_probabilities_of_linear_discriminant_analysis(shrinkage: float) -> None:
    log = batch(300, 1, NAMES)
    x, y = log.inputs["features"].astype(np.float64), labels_of(log).codes
    learner = nearest_mean(shrinkage=shrinkage, priors="frequency")
    for part in log.micro_batches(7):
        learner.learn(part)
    share = shrinkage * WIDTH / (shrinkage * WIDTH + len(log))

    class Shrunk:
        def fit(self, rows: Floats) -> Shrunk:
            self.covariance_ = (1 - share) * np.cov(rows.T, bias=True) + share * np.diag(x.var(axis=0))
            return self

    reference = LinearDiscriminantAnalysis(solver="lsqr", covariance_estimator=Shrunk()).fit(x, y)

    np.testing.assert_allclose(scores(learner, log), reference.predict_proba(x), rtol=0, atol=2e-7)


def test_with_equal_priors_the_closest_class_wins_however_rare_it_is() -> None:
    log = batch(300, 1, NAMES)
    rare = log.take(np.flatnonzero((labels_of(log).codes != 0) | (np.arange(300) % 10 == 0)))
    x, y = rare.inputs["features"].astype(np.float64), labels_of(rare).codes
    learner = nearest_mean(shrinkage=0.0)
    learner.learn(rare)
    pooled = sum(np.cov(x[y == c].T, bias=True) * (y == c).mean() for c in range(4))
    away = x[:, None] - np.array([x[y == c].mean(axis=0) for c in range(4)])  # (N, C, F)
    distances = np.einsum("ncf,fg,ncg->nc", away, np.linalg.inv(pooled), away)

    np.testing.assert_array_equal(scores(learner, rare).argmax(axis=1), distances.argmin(axis=1))


def test_without_a_covariance_the_labels_are_those_of_the_nearest_centroid() -> None:
    log = batch(300, 1, NAMES)
    x, y = log.inputs["features"].astype(np.float64), labels_of(log).codes
    learner = nearest_mean(covariance="none")
    for part in log.micro_batches(11):
        learner.learn(part)

    reference = NearestCentroid().fit(x, y)

    np.testing.assert_array_equal(scores(learner, log).argmax(axis=1), reference.predict(x))


def test_the_units_of_an_input_make_no_difference() -> None:
    log = batch(60, 2)
    units = np.array([1e-6, 1, 1e3, 1e12, 1], np.float32)
    plain, scaled = nearest_mean(), nearest_mean()
    other = replace(log, inputs={"features": log.inputs["features"] * units})
    plain.learn(log)
    scaled.learn(other)

    np.testing.assert_allclose(scores(scaled, other), scores(plain, log), atol=1e-4)


# Few events


def test_one_label_of_each_class_is_enough_to_answer() -> None:
    x = np.array([[0, 0, 0, 0, 0], [4, 0, 0, 0, 7], [0, 4, 0, 0, 7]], np.float32)
    log = Batch({"features": x}, ClassLabels(np.arange(3, dtype=np.int32), NAMES[:3]), np.ones(3), np.zeros(3))
    for covariance in ("none", "shared"):
        learner = nearest_mean(covariance=covariance)
        learner.learn(log)

        answer = learner.predictor().predict({"features": x + np.float32(0.5)})

        assert answer["label"].tolist() == [0, 1, 2]
        np.testing.assert_allclose(answer["scores"].sum(axis=1), 1, rtol=1e-6)


def test_an_input_that_was_always_the_same_has_no_say() -> None:
    log = batch(40, 4)
    log.inputs["features"][:, 2] = 0.1
    learner = nearest_mean()
    for part in log.micro_batches(3):
        learner.learn(part)
    before = scores(learner, log)
    changed = {"features": log.inputs["features"].copy()}
    changed["features"][:, 2] = 1e6

    after = learner.predictor().predict(changed)["scores"]

    np.testing.assert_allclose(after, before[:, [*map(NAMES.index, learner.predictor().classes)]], atol=1e-6)


def test_without_shrinkage_few_events_still_get_finite_answers() -> None:
    log = batch(4, 4)
    learner = nearest_mean(shrinkage=0)
    learner.learn(log)

    assert np.isfinite(learner.predictor().predict(log.inputs)["scores"]).all()


def test_events_as_large_as_float32_holds_leave_answers_finite() -> None:
    log = batch(10, 4)
    largest = np.finfo(np.float32).max
    for covariance in ("none", "shared"):
        learner = nearest_mean(covariance=covariance)
        learner.learn(replace(log, inputs={"features": np.where(log.inputs["features"] > 50, largest, -largest)}))
        learner.learn(log)

        for x in (largest, -largest, np.float32(0), np.float32(1e-45)):
            answer = learner.predictor().predict({"features": np.full((1, WIDTH), x)})
            assert np.isfinite(answer["scores"]).all()


def test_a_row_that_is_no_number_is_of_no_class() -> None:
    learner = nearest_mean()
    learner.learn(batch(20, 1))
    x = batch(3, 2).inputs["features"].copy()
    x[1, 0], x[2, 4] = np.nan, np.inf

    answer = learner.predictor().predict({"features": x})

    assert answer["label"][0] >= 0
    assert answer["label"][1:].tolist() == [-1, -1]
    assert np.isnan(answer["scores"][1:]).all()


# Merged and unlearned


@given(cut=st.integers(0, 60), covariance=st.sampled_from(["none", "shared"]))
def test_two_learners_merged_are_one_that_learned_all(cut: int, covariance: str) -> None:
    log = batch(60, 5, NAMES, weights=True)
    joint, ours, theirs = (nearest_mean(covariance=covariance) for _ in range(3))
    joint.learn(log)
    ours.learn(log[cut:])
    theirs.learn(log[:cut])

    ours.merge(theirs.state())

    assert_same_sums(ours, joint)
    assert_same_answers(ours, joint, log)


@given(size=st.integers(1, 30), seed=st.integers(0, 9), covariance=st.sampled_from(["none", "shared"]))
def test_what_was_unlearned_was_never_learned(size: int, seed: int, covariance: str) -> None:
    log = batch(50, 6, NAMES[:2])
    more = batch(size, seed, NAMES, weights=True)
    never, learner = nearest_mean(covariance=covariance), nearest_mean(covariance=covariance)
    never.learn(log)
    for part in (log, more):
        learner.learn(part)

    learner.unlearn(more)

    assert learner.predictor().classes == never.predictor().classes
    assert_same_sums(learner, never)
    assert_same_answers(learner, never, more)


def test_when_all_is_unlearned_nothing_is_left() -> None:
    log = batch(50, 6, weights=True)
    learner = nearest_mean()
    for part in log.micro_batches(9):
        learner.learn(part)

    learner.unlearn(log)

    assert learner.state().sha256() == nearest_mean().state().sha256()


def test_what_was_not_learned_cannot_be_unlearned_and_nothing_changes() -> None:
    learner = nearest_mean()
    learner.learn(batch(5, 1))
    before = learner.state().sha256()

    with pytest.raises(ValueError, match="of class 'd' fewer events were learned"):
        learner.unlearn(batch(3, 1, ("d",)))
    with pytest.raises(ValueError, match="fewer events were learned"):
        learner.unlearn(batch(50, 1))

    assert learner.state().sha256() == before


def test_sums_that_fade_are_neither_merged_nor_unlearned() -> None:
    raised, faded = nearest_mean(), nearest_mean(decay=0.9)
    raised.learn(batch(5, 1))
    raised.raise_forgetting(2.0, 10)

    for learner in (raised, faded):
        with pytest.raises(ValueError, match="cannot merge: needs decay = 1"):
            learner.merge(nearest_mean().state())
        with pytest.raises(ValueError, match="cannot unlearn: needs decay = 1"):
            learner.unlearn(batch(1, 1))
    with pytest.raises(ValueError, match="no raised forgetting"):
        nearest_mean().merge(raised.state())


def test_a_state_of_other_parameters_is_not_merged() -> None:
    with pytest.raises(ValueError, match="other parameters"):
        nearest_mean().merge(nearest_mean(covariance="none").state())


def test_merging_does_not_go_beyond_max_classes() -> None:
    ours, theirs = nearest_mean(max_classes=3), nearest_mean(max_classes=3)
    ours.learn(batch(20, 1))
    theirs.learn(batch(20, 1, ("d",)))

    with pytest.raises(ValueError, match="4 classes are more than max_classes allows"):
        ours.merge(theirs.state())


# Bounds, forgetting, mistakes


def test_events_of_classes_past_the_bound_are_skipped_and_counted() -> None:
    learner = nearest_mean(max_classes=2)
    learner.learn(batch(30, 1, ("a", "b")))
    learner.learn(batch(7, 1, ("c",)))

    assert learner.predictor().classes in (("a", "b"), ("b", "a"))
    assert learner.gauges() == {"classes": 2.0, "skipped_events": 7.0, "excess_class_events": 7.0}


def test_raised_forgetting_lets_what_comes_count_more() -> None:
    plain, raised = nearest_mean(), nearest_mean()
    for learner in (plain, raised):
        learner.learn(batch(100, 1))
    raised.raise_forgetting(10.0, 50)
    for learner in (plain, raised):
        learner.learn(batch(100, 2))
    heavy = nearest_mean()
    heavy.learn(replace(batch(100, 1), weights=np.full(100, 0.1)))
    heavy.learn(batch(100, 2))

    assert_same_sums(raised, heavy)
    assert raised.state().sha256() != plain.state().sha256()


def test_a_mean_that_faded_for_a_million_events_is_finite_and_comes_back() -> None:
    learner = nearest_mean(decay=0.5)
    learner.learn(batch(50, 1, ("a",)))
    others = batch(4000, 2, ("b",))
    for _ in range(5):
        learner.learn(others)

    assert np.isfinite(learner.predictor().predict(others.inputs)["scores"]).all()
    learner.learn(batch(50, 3, ("a",)))
    assert set(learner.predictor().classes) == {"a", "b"}


@pytest.mark.parametrize(
    ("params", "text"),
    [
        ({"covariance": "full"}, "covariance: expected one of none, shared, got 'full'"),
        ({"shrinkage": -1}, "shrinkage: expected at least 0, got -1"),
        ({"decay": 0}, "decay: expected above 0 and at most 1, got 0"),
        ({"max_classes": 0}, "max_classes: expected at least 1, got 0"),
        ({"priors": "no"}, "priors: expected one of equal, frequency, got 'no'"),
        ({"shrinkag": 1}, "did you mean shrinkage"),
    ],
)
def test_parameters_that_do_not_fit_are_named(params: dict[str, Any], text: str) -> None:
    with pytest.raises(ParamsError, match=text):
        nearest_mean(**params)


def test_labels_that_are_numbers_are_refused() -> None:
    numbers = replace(batch(3, 1), labels=NumberLabels(np.zeros((3, 1))))

    with pytest.raises(InputError, match="labels: expected classes, got NumberLabels"):
        nearest_mean().learn(numbers)


def labels_of(log: Batch) -> ClassLabels:
    assert isinstance(log.labels, ClassLabels)
    return log.labels


def scores(learner: NearestMean, log: Batch) -> NDArray[np.float32]:
    """In the order of NAMES."""
    predictor = learner.predictor()
    found = predictor.predict(log.inputs)["scores"]
    return found[:, [predictor.classes.index(name) for name in NAMES if name in predictor.classes]]


def assert_same_answers(got: NearestMean, wanted: NearestMean, log: Batch) -> None:
    assert set(got.predictor().classes) == set(wanted.predictor().classes)
    np.testing.assert_allclose(scores(got, log), scores(wanted, log), rtol=0, atol=1e-6)


def assert_same_sums(got: NearestMean, wanted: NearestMean) -> None:
    """Equal to 1e-12 of the largest number (or of 1), class by class."""
    mine, theirs = got.state(), wanted.state()
    order = [mine.meta["classes"].index(name) for name in theirs.meta["classes"]]
    assert len(order) == len(mine.meta["classes"])
    for name, array in theirs.tensors.items():
        other = mine.tensors[name] if name == "scatter" else mine.tensors[name][order]
        np.testing.assert_allclose(other, array, rtol=0, atol=1e-12 * abs(array).max(initial=1), err_msg=name)
