"""The ridge learner: the contract, and that it is the ridge solution however events arrive."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from thalweg.memory.snapshots.state import State, read_state, write_state
from thalweg.models.contract.learner import Learner, LearnerContext, ParamsError
from thalweg.models.contract.testing import LearnerContract
from thalweg.models.ridge.learner import Ridge
from thalweg.proto.event import Batch, ClassLabels, NumberLabels, join
from thalweg.proto.schema import InputError, TensorSpec

INPUTS = {"features": TensorSpec("features", "float32", (5,))}
AS_PUBLISHED = {
    "forgetting": 1,
    "standardise": False,
    "direct": False,
    "bias": False,
    "offsets": False,
    "gamma": 0.1,
}
PLAIN = {"forgetting": 1, "standardise": False, "refresh_events": 1, "expansion": 12, "gamma": 0.5}


def ridge(**params: Any) -> Ridge:
    return Ridge(LearnerContext(inputs=INPUTS, params=params, seed=3))


def batch(events: int, seed: int, classes: Sequence[str] = ("a", "b", "c"), *, weights: bool = False) -> Batch:
    generator = np.random.default_rng(seed)
    codes = generator.integers(0, len(classes), events).astype(np.int32)
    x = generator.standard_normal((events, 5)) * 2 + codes[:, None]
    return Batch(
        {"features": x.astype(np.float32)},
        ClassLabels(codes, tuple(classes)),
        generator.uniform(0.5, 2, events) if weights else np.ones(events),
        np.arange(events, dtype=np.float64),
    )


def numbers(events: int, seed: int, width: int = 2) -> Batch:
    generator = np.random.default_rng(seed)
    x = generator.standard_normal((events, 5)).astype(np.float32)
    y = 1e4 + x[:, :width].astype(np.float64) * 300 + generator.standard_normal((events, width))
    return Batch({"features": x}, NumberLabels(y), np.ones(events), np.arange(events, dtype=np.float64))


class TestContract(LearnerContract):
    params: ClassVar[dict[str, Any]] = {}

    def new(self) -> Learner:
        return ridge(**self.params)

    def other(self) -> Learner:
        wider = {"features": TensorSpec("features", "float32", (6,))}
        return Ridge(LearnerContext(inputs=wider, params=self.params, seed=3))

    def batches(self) -> list[Batch]:
        late = batch(9, 7, ("d", "b"))
        return [batch(6, 1), batch(1, 2), batch(17, 3, weights=True), late, batch(30, 5), batch(3, 6).unlabelled()]


class TestContractWithoutExpansion(TestContract):
    params: ClassVar = {"expansion": 0, "forgetting": 0.99}

    def other(self) -> Learner:
        return ridge(expansion=0, forgetting=0.98)


class TestContractAsPublished(TestContract):
    params: ClassVar = {
        "forgetting": 1,
        "standardise": False,
        "direct": False,
        "bias": False,
        "offsets": False,
        "gamma": 0.1,
    }


class TestContractWithPseudoFeatures(TestContract):
    params: ClassVar = {"balance": "pseudo_features", "expansion": 20}


class TestContractReweighted(TestContract):
    params: ClassVar = {"balance": "reweighted", "expansion": 20}


class TestContractOfMergedShards(TestContract):
    """Without rare solves: a merged learner is solved at once."""

    params: ClassVar = {"forgetting": 1, "standardise": "solved", "refresh_events": 1, "expansion": 20}


class TestContractWithHalfLife(TestContract):
    params: ClassVar = {
        "half_life_seconds": 30.0,
        "standardise": "solved",
        "balance": "reweighted",
        "refresh_events": 1,
        "expansion": 20,
    }


class TestContractRecursive(TestContract):
    params: ClassVar = {"solver": "recursive", "forgetting": 1, "refresh_events": 1, "expansion": 20}


class TestContractRecursiveAndRare(TestContract):
    params: ClassVar = {"solver": "recursive", "forgetting": 1, "refresh_events": 25, "expansion": 20}


class TestContractRareRefresh(TestContract):
    params: ClassVar = {"refresh_events": 25, "expansion": 20}


class TestContractWhileClassesAreAway(TestContract):
    """Classes that come one after the other: there are two heads."""

    def batches(self) -> list[Batch]:
        away = [batch(150, seed, (name,)) for seed, name in enumerate("abc")]
        return [*away, batch(20, 8, ("d",)), batch(1, 9, ("a",)), batch(3, 6).unlabelled()]


class TestContractRegression(LearnerContract):
    def new(self) -> Learner:
        return ridge(task="regression", targets=2, expansion=20)

    def other(self) -> Learner:
        return ridge(task="regression", targets=3, expansion=20)

    def batches(self) -> list[Batch]:
        return [numbers(count, seed) for seed, count in enumerate((4, 1, 20, 33))]


# However the log is cut

CUTS = st.lists(st.integers(1, 40), min_size=1, max_size=12)
DECAYS = st.sampled_from([1.0, 0.999, 0.9, 0.5])


def learned(log: Batch, cuts: Sequence[int], **params: Any) -> Ridge:
    learner = ridge(**params)
    start = 0
    for size in [*cuts, len(log)]:
        learner.learn(log[start : start + size])
        start += size
    return learner


def closed_form(log: Batch, learner: Ridge) -> NDArray[np.float64]:
    """The ridge solution by the definition: rows weighted by λ to the power of their age."""
    labels = log.labels
    assert isinstance(labels, ClassLabels)
    p, m = learner.params, learner._map
    scaled = log.inputs["features"].astype(np.float64)
    hidden = np.maximum(0, scaled @ m.projection + m.offsets)
    H = np.hstack([hidden, scaled, np.ones((len(log), 1))])
    Y = np.eye(len(learner._classes.table))[labels.recoded(learner._classes.table)]
    weight = log.weights * p.forgetting[0] ** np.arange(len(log) - 1, -1, -1)
    penalty = np.diag([p.gamma] * (H.shape[1] - 1) + [0.0])
    return np.linalg.solve(H.T @ (weight[:, None] * H) + penalty, H.T @ (weight[:, None] * Y))


@settings(max_examples=40)
@given(cuts=CUTS, decay=DECAYS, weights=st.booleans())
def test_the_head_is_the_closed_form_of_faded_weighted_events_however_the_log_is_cut(
    cuts: list[int], decay: float, weights: bool
) -> None:
    log = join([batch(40, 1, weights=weights), batch(60, 2, ("d", "a"), weights=weights)])

    learner = learned(log, cuts, **{**PLAIN, "forgetting": decay})

    np.testing.assert_allclose(learner._heads[0], closed_form(log, learner), rtol=0, atol=1e-8)


@settings(max_examples=30)
@given(cuts=CUTS)
def test_with_all_defaults_the_sums_do_not_depend_on_the_cut(cuts: list[int]) -> None:
    log = join([batch(50, 3), batch(50, 4, ("d", "b"))])

    cut, whole = learned(log, cuts), learned(log, [])

    assert list(cut._classes.table) == list(whole._classes.table)
    cut._sums.add_waiting()  # events of a small last micro-batch
    for one, other in zip(cut._members, whole._members):
        for name, array in one.tensors().items():
            np.testing.assert_allclose(array, other.tensors()[name], rtol=1e-9, atol=1e-9, err_msg=name)


@settings(max_examples=25)
@given(cuts=CUTS, gamma=st.sampled_from([0.01, 0.1, 1.0]))
def test_the_recursion_answers_as_the_factorisation_does(cuts: list[int], gamma: float) -> None:
    log = join([batch(80, 5, weights=True), batch(80, 6, ("d", "b")), batch(200, 7)])
    plain = {**PLAIN, "gamma": gamma, "expansion": 40}

    recursive = learned(log, cuts, **plain, solver="recursive")
    factorised = learned(log, cuts, **plain, solver="cholesky")

    np.testing.assert_allclose(recursive._heads, factorised._heads, rtol=0, atol=1e-9)


@settings(max_examples=25)
@given(cuts=CUTS, workers=st.integers(2, 4), balance=st.sampled_from(["none", "pseudo_features", "reweighted"]))
def test_merged_workers_equal_one_that_learned_everything(cuts: list[int], workers: int, balance: str) -> None:
    log = join([batch(50, 8), batch(50, 9, ("e", "b", "d"))])
    parts = [ridge(**PLAIN, balance=balance) for _ in range(workers)]
    start = 0
    for number, size in enumerate([*cuts, len(log)]):
        parts[number % workers].learn(log[start : start + size])
        start += size
    joint = learned(log, [], **PLAIN, balance=balance)

    merged = ridge(**PLAIN, balance=balance)
    for part in parts:
        merged.merge(part.state())

    assert set(merged._classes.table) == set(joint._classes.table)
    order = [merged._classes.table[name] for name in joint._classes.table]
    tolerance = 1e-9 if balance != "pseudo_features" else 0.2  # other noise: drawn by the column of a class
    np.testing.assert_allclose(merged._heads[0][:, order], joint._heads[0], rtol=0, atol=tolerance)


@settings(max_examples=25)
@given(first=st.integers(0, 60), count=st.integers(0, 40), balance=st.sampled_from(["none", "reweighted"]))
def test_unlearned_events_leave_what_would_be_there_had_they_never_come(first: int, count: int, balance: str) -> None:
    log = batch(100, 10, weights=True)
    learner = learned(log, [30], **PLAIN, balance=balance)

    learner.unlearn(log[first : first + count])

    never = ridge(**PLAIN, balance=balance)
    never.learn(log.take(np.r_[0:first, first + count : 100]))
    order = [learner._classes.table[name] for name in never._classes.table]
    np.testing.assert_allclose(learner._heads[0][:, order], never._heads[0], rtol=0, atol=1e-9)


def test_a_class_of_which_all_events_were_unlearned_is_never_answered() -> None:
    learner = ridge(**PLAIN)
    learner.learn(batch(30, 1))
    gone = batch(10, 2, ("gone",))
    learner.learn(gone)
    assert "gone" in learner.predictor().classes

    learner.unlearn(gone)

    assert "gone" not in learner.predictor().classes


@pytest.mark.parametrize("params", [{"forgetting": 0.99, "standardise": False}, {"forgetting": 1}])
def test_sums_that_depend_on_the_order_of_events_refuse_to_be_merged_or_unlearned(params: dict[str, Any]) -> None:
    learner = ridge(**params)
    learner.learn(batch(10, 1))

    with pytest.raises(ValueError, match="cannot merge"):
        learner.merge(ridge(**params).state())
    with pytest.raises(ValueError, match="cannot unlearn"):
        learner.unlearn(batch(10, 1))


def test_a_state_of_other_parameters_is_refused_by_the_name_of_the_parameter_and_both_values() -> None:
    with pytest.raises(ValueError, match=r"gamma = auto, expected 2\.0"):
        ridge(gamma=2.0).restore(ridge().state())


def test_a_state_of_an_earlier_version_is_refused_and_not_misread() -> None:
    state = ridge().state()
    older = {key: value for key, value in state.meta["identity"].items() if key != "version"}

    with pytest.raises(ValueError, match="version = 1, expected 2"):
        ridge().restore(State(state.tensors, {**state.meta, "identity": older}))


# Forgetting for a long time


def test_faded_sums_stay_those_of_a_window_after_a_hundred_time_constants() -> None:
    """Fading is a contraction: the rounding error of one step is multiplied by λⁿ < 1 in each later one, so errors form
    a geometric series and stay below (unit roundoff) / (1 - λⁿ) for ever. What holds after 100 time constants holds
    after ten million events (run by hand: docs/learners/ridge.md).
    """
    rates = {**PLAIN, "forgetting": 0.99, "refresh_events": 1_000_000}
    learner, recent = ridge(**rates), ridge(**rates)
    for seed in range(100):
        learner.learn(batch(100, seed))
    for seed in range(60, 100):
        recent.learn(batch(100, seed))

    learner.refresh()
    recent.refresh()

    order = [recent._classes.table[name] for name in learner._classes.table]
    np.testing.assert_allclose(learner._heads, recent._heads[:, :, order], rtol=0, atol=1e-12)


def test_an_input_that_falls_silent_fades_without_denormal_numbers() -> None:
    learner = ridge(forgetting=0.5, standardise=False, expansion=0)
    learner.learn(batch(50, 1))
    silent = batch(50, 2)
    silent.inputs["features"][:, 2] = 0.0

    for _ in range(60):
        learner.learn(silent)

    gram = learner._members[0].gram
    assert not ((np.abs(gram) > 0) & (np.abs(gram) < 1e-200)).any()
    assert np.isfinite(learner._heads).all()


# Freshness


def test_small_heads_are_fresh_after_every_micro_batch_and_large_ones_at_a_bounded_cost() -> None:
    small, large = ridge(forgetting=1, expansion=16), ridge(forgetting=1, expansion=1024)
    solved = set()
    for seed in range(40):
        for learner in (small, large):
            learner.learn(batch(256, seed))
        solved.add(large.predictor().properties["events_in_head"])

        assert small.predictor().properties["events_in_head"] == str((seed + 1) * 256)

    assert 3 <= len(solved) <= 20


def test_the_predictor_is_the_same_object_until_there_is_a_new_head() -> None:
    learner = ridge(forgetting=0.99, standardise=False, refresh_events=50)
    learner.learn(batch(50, 1))
    before = learner.predictor()

    learner.learn(batch(49, 2))
    assert learner.predictor() is before
    learner.learn(batch(1, 3))
    assert learner.predictor() is not before


def test_a_new_class_can_be_answered_at_once_even_when_refreshes_are_rare() -> None:
    learner = ridge(refresh_events=1_000_000)
    learner.learn(batch(20, 1))
    newcomer = batch(20, 2, ("late",))

    learner.learn(newcomer)

    predictor = learner.predictor()
    assert "late" in predictor.classes


def test_the_cost_decides_between_recursion_and_factorisation() -> None:
    large = {"forgetting": 1, "expansion": 300, "refresh_events": 1}
    few, many = ridge(**large), ridge(**large)

    few.learn(batch(2, 1))
    many.learn(batch(200, 1))

    assert few._recursion.active
    assert not many._recursion.active


# Balance


def test_balanced_heads_find_rare_classes_and_leave_the_sums_alone() -> None:
    rare = [batch(400, 1, ("a",)), batch(12, 2, ("a", "b"))]
    probe = batch(300, 3, ("a", "b"))
    found = {}
    for balance in ("none", "pseudo_features", "reweighted"):
        learner = ridge(balance=balance, forgetting=1)
        for part in rare:
            learner.learn(part)
        learner.refresh()
        before = learner.state().sha256()
        learner.refresh()  # publishing twice is publishing once
        assert learner.state().sha256() == before
        predictor = learner.predictor()
        assert isinstance(probe.labels, ClassLabels)
        answers = np.array(predictor.classes)[predictor.predict(probe.inputs)["label"]]
        wanted = np.array(probe.labels.names)[probe.labels.codes]
        found[balance] = float(np.mean([np.mean(answers[wanted == c] == c) for c in ("a", "b")]))

    assert found["pseudo_features"] > found["none"] + 0.05
    assert found["reweighted"] > found["none"] + 0.05


# Bad input


def test_rows_with_broken_numbers_are_passed_over_and_counted() -> None:
    broken, clean = batch(20, 1), batch(20, 1)
    for row, value in ((3, np.nan), (7, np.inf), (11, -np.inf)):
        broken.inputs["features"][row, row % 5] = value
    learner, reference = ridge(), ridge()

    learner.learn(broken)
    reference.learn(clean.take(np.setdiff1d(np.arange(20), [3, 7, 11])))

    assert learner.gauges()["skipped_events"] == 3
    np.testing.assert_array_equal(learner._heads, reference._heads)


def test_events_whose_weight_is_no_positive_number_are_passed_over() -> None:
    odd = batch(20, 1)
    odd.weights[[2, 5, 9, 13]] = [0, -1, np.nan, np.inf]
    learner, reference = ridge(), ridge()

    learner.learn(odd)
    reference.learn(batch(20, 1).take(np.setdiff1d(np.arange(20), [2, 5, 9, 13])))

    np.testing.assert_array_equal(learner._heads, reference._heads)


def test_one_absurd_number_does_not_spoil_the_scale_for_good() -> None:
    learner, reference = ridge(), ridge()
    for seed in range(30):
        absurd = batch(40, seed)
        if seed == 10:
            absurd.inputs["features"][5] = 3e38
        learner.learn(absurd)
        reference.learn(batch(40, seed))
    probe = batch(500, 99)
    assert isinstance(probe.labels, ClassLabels)
    wanted = np.array(probe.labels.names)[probe.labels.codes]

    right = []
    for one in (learner, reference):
        predictor = one.predictor()
        right.append(np.mean(np.array(predictor.classes)[predictor.predict(probe.inputs)["label"]] == wanted))

    assert right[0] > right[1] - 0.03


def test_a_row_with_a_broken_number_is_answered_with_nothing_and_its_neighbours_as_ever() -> None:
    learner = ridge()
    learner.learn(batch(50, 1))
    asked = batch(4, 2)
    wanted = learner.predictor().predict(asked.inputs)["label"]
    asked.inputs["features"][2, 1] = np.nan

    got = learner.predictor().predict(asked.inputs)["label"]

    assert got[2] == -1
    np.testing.assert_array_equal(got[[0, 1, 3]], wanted[[0, 1, 3]])


def test_classes_past_the_bound_are_passed_over_and_counted() -> None:
    learner = ridge(max_classes=2)

    learner.learn(batch(30, 1, ("a", "b", "c", "d")))

    assert len(learner.predictor().classes) == 2
    assert learner.gauges()["skipped_events"] > 0


def test_labels_of_the_other_kind_are_refused() -> None:
    with pytest.raises(InputError, match="expected class"):
        ridge().learn(numbers(5, 1))
    with pytest.raises(InputError, match="expected number"):
        ridge(task="regression", targets=2).learn(batch(5, 1))
    with pytest.raises(InputError, match=r"expected \(N, 3\)"):
        ridge(task="regression", targets=3).learn(numbers(5, 1))


def test_all_mistakes_in_parameters_are_reported_at_once() -> None:
    wrong = {
        "gama": 1,
        "gamma": -1,
        "forgetting": 1.5,
        "expansion": "wide",
        "balance": "fair",
        "refresh_events": "never",
    }

    with pytest.raises(ParamsError) as error:
        ridge(**wrong)

    assert set(error.value.mistakes) == set(wrong)
    assert "did you mean gamma" in error.value.mistakes["gama"]


# Serving


def test_a_published_file_is_answered_from_without_copying(tmp_path: Path) -> None:
    learner = ridge()
    learner.learn(batch(50, 1))
    write_state(learner.predictor().state(), tmp_path / "head.safetensors")

    published = Ridge.predictor_from(read_state(tmp_path / "head.safetensors"))

    probe = batch(20, 2).inputs
    np.testing.assert_array_equal(published.predict(probe)["scores"], learner.predictor().predict(probe)["scores"])


@settings(max_examples=30)
@given(start=st.integers(0, 90), count=st.integers(1, 40), expansion=st.sampled_from([0, 7, 64]))
def test_an_answer_has_the_same_bits_whatever_stands_beside_it(start: int, count: int, expansion: int) -> None:
    learner = ridge(expansion=expansion)
    learner.learn(batch(60, 1))
    probe = batch(130, 2).inputs["features"]
    predictor = learner.predictor()

    together = predictor.raw_scores(probe)
    alone = predictor.raw_scores(probe[start : start + count])

    np.testing.assert_array_equal(alone, together[start : start + count])


def test_regression_finds_a_linear_law_with_a_large_offset() -> None:
    learner = ridge(task="regression", targets=2, expansion=0)
    for seed in range(20):
        learner.learn(numbers(50, seed))
    probe = numbers(200, 99)

    value = learner.predictor().predict(probe.inputs)["value"]

    assert isinstance(probe.labels, NumberLabels)
    assert np.sqrt(np.mean((value - probe.labels.values) ** 2)) < 20  # deviation of the targets: 300


def test_unlabelled_rows_of_a_regression_batch_are_passed_over() -> None:
    some, none = numbers(20, 1), numbers(20, 1)
    assert isinstance(some.labels, NumberLabels)
    values = some.labels.values.copy()
    values[::2] = np.nan
    learner, reference = (ridge(task="regression", targets=2) for _ in range(2))

    learner.learn(replace(some, labels=NumberLabels(values)))
    reference.learn(none.take(np.arange(1, 20, 2)))

    np.testing.assert_array_equal(learner._heads, reference._heads)


def test_the_state_goes_through_a_file_unchanged(tmp_path: Path) -> None:
    learner = ridge(balance="reweighted")
    learner.learn(batch(50, 1))

    write_state(learner.state(), tmp_path / "state.safetensors")

    found: State = read_state(tmp_path / "state.safetensors")
    assert found.sha256() == learner.state().sha256()
