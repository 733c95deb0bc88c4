"""The key-value bottleneck: the contract, and that an event moves nothing but what it fetched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from thalweg.memory.snapshots.state import State
from thalweg.models.bottleneck.learner import Bottleneck
from thalweg.models.contract.learner import Learner, LearnerContext, ParamsError, Predictor
from thalweg.models.contract.testing import LearnerContract
from thalweg.proto.event import Batch, ClassLabels, join
from thalweg.proto.schema import InputError, TensorSpec

INPUTS = {"features": TensorSpec("features", "float32", (6,))}
SMALL = {"heads": 8, "pairs": 16, "key_width": 3, "key_events": 40, "key_steps": 20, "key_batch": 16}


def bottleneck(**params: Any) -> Bottleneck:
    return Bottleneck(LearnerContext(inputs=INPUTS, params={**SMALL, **params}, seed=3))


def batch(events: int, seed: int, classes: tuple[str, ...] = ("a", "b", "c")) -> Batch:
    generator = np.random.default_rng(seed)
    codes = generator.integers(0, len(classes), events).astype(np.int32)
    x = generator.normal(size=(events, 6)) + 3 * np.eye(6)[codes]
    return Batch({"features": x.astype("f4")}, ClassLabels(codes, classes), np.ones(events), np.arange(float(events)))


def trained(*, seed: int = 0, events: int = 120, **params: Any) -> Bottleneck:
    learner = bottleneck(**params)
    learner.learn(batch(events, seed))
    return learner


class TestContract(LearnerContract):
    def new(self) -> Learner:
        return bottleneck()

    def other(self) -> Learner:
        wider = {"features": TensorSpec("features", "float32", (7,))}
        return Bottleneck(LearnerContext(inputs=wider, params=SMALL, seed=3))

    def predictor_from(self, state: State) -> Predictor:
        return Bottleneck.predictor_from(state)

    def batches(self) -> list[Batch]:
        return [batch(30, seed) for seed in range(5)]


class TestContractOfCounts(TestContract):
    def new(self) -> Learner:
        return bottleneck(decay=1.0)


class TestContractOfFadingCounts(TestContract):
    def new(self) -> Learner:
        return bottleneck(decay=0.9, top_k=2)


class TestContractOfThePublishedForm(TestContract):
    def new(self) -> Learner:
        return bottleneck(updates="micro_batch", top_k=3, search="faiss", label_smoothing=0.1)

    def other(self) -> Learner:
        return bottleneck(pairs=8)


@given(sizes=st.lists(st.integers(1, 60), min_size=1, max_size=6), values=st.sampled_from(["counts", "gradient"]))
def test_however_the_log_is_cut_the_same_is_learned(sizes: list[int], values: str) -> None:
    whole = batch(150, 1)
    at_once, cut = bottleneck(values=values), bottleneck(values=values)
    at_once.learn(whole)

    start = 0
    for size in [*sizes, 150]:
        cut.learn(whole[start : start + size])
        start = min(150, start + size)

    assert cut.state().sha256() == at_once.state().sha256()


@given(
    seed=st.integers(0, 10_000),
    top_k=st.integers(1, 3),
    kind=st.sampled_from(["mixed", "counts", "fading counts", "gradient"]),
)
def test_an_event_changes_the_values_it_fetched_and_no_other_bit(seed: int, top_k: int, kind: str) -> None:
    values = kind.split()[-1]
    learner = trained(top_k=top_k, values=values, decay=0.8 if kind == "fading counts" else "auto")
    tables = {"mixed": ["counts", "faded", "slow", "fast"], "counts": ["counts"], "gradient": ["values"]}[values]
    before = {name: array.copy() for name, array in learner.state().tensors.items()}
    event = batch(1, seed)
    assert learner._codes is not None
    _, ids = learner._codes.ids(event.inputs["features"], top_k)
    fetched = np.zeros((8, 16), dtype=np.bool_)
    fetched[np.arange(8)[:, None], ids[0]] = True

    learner.learn(event)

    after = learner.state().tensors
    for name in tables:
        assert (after[name][~fetched].view(np.uint32) == before[name][~fetched].view(np.uint32)).all()
        assert (after[name][fetched] != before[name][fetched]).any(axis=1).all()
    if values == "gradient":
        np.testing.assert_array_equal(after["fetches"] - before["fetches"], fetched)
    for frozen in ("keys", "projection", "shift", "factor"):
        np.testing.assert_array_equal(after[frozen], before[frozen])


def test_an_event_moves_its_own_logits_by_the_rate_times_its_error() -> None:
    learner = trained(rate=0.5, mask_unfetched=False)
    event = batch(1, 77)
    before = learner.predictor().logits(event.inputs["features"])[0]
    scores = learner.predictor().predict(event.inputs)["scores"][0].astype(float)
    assert isinstance(event.labels, ClassLabels)
    name = event.labels.names[event.labels.codes[0]]
    wanted = np.array([one == name for one in learner.predictor().classes], dtype=float)

    learner.learn(event)

    moved = learner.predictor().logits(event.inputs["features"])[0] - before
    np.testing.assert_allclose(moved, 0.5 * (wanted - scores), atol=1e-5)


@pytest.mark.parametrize(("values", "name"), [("counts", "counts"), ("mixed", "counts"), ("gradient", "values")])
def test_a_new_class_gets_a_column_of_zeros_and_the_others_keep_theirs(values: str, name: str) -> None:
    learner = trained(values=values)
    before = learner.state().tensors[name].copy()

    learner.learn(batch(1, 5, ("z",)))

    after = learner.state().tensors[name]
    assert after.shape == (8, 16, 4)
    assert learner.predictor().classes[-1] == "z"
    untouched = (after[:, :, 3] == 0) & (after[:, :, :3] == before).all(axis=2)
    assert untouched.sum() == 8 * 16 - 8


def test_until_the_keys_are_learned_events_that_wait_answer_and_then_all_that_waited_is_known() -> None:
    learner = bottleneck(key_events=40)
    whole = batch(60, 2)

    learner.learn(whole[:39])

    predictor = learner.predictor()
    answer = predictor.predict(whole[:39].inputs)
    names = [predictor.classes[code] for code in answer["label"]]
    assert isinstance(whole.labels, ClassLabels)
    truth = [whole.labels.names[code] for code in whole.labels.codes[:39]]
    assert np.mean([one == two for one, two in zip(names, truth)]) > 0.9
    np.testing.assert_allclose(answer["scores"].sum(axis=1), 1.0, rtol=1e-5)
    assert learner.state().meta["learned"] == 0
    learner.learn(whole[39:40])
    assert learner.predictor().classes
    assert learner.state().meta["learned"] == 40
    assert len(learner.state().tensors["waiting.inputs"]) == 0


def test_it_is_said_when_the_keys_are_learned_which_takes_a_while() -> None:
    with capture_logs() as logs:
        learner = bottleneck()
        for number in range(4):
            learner.learn(batch(20, number))

    assert [one["event"].partition(": ")[2][:17] for one in logs] == ["learning the keys", "the keys are lear"]
    assert logs[0]["events"] == learner.params.key_events


def test_unlabelled_events_help_to_learn_the_keys() -> None:
    learner = bottleneck(key_events=40)

    learner.learn(batch(30, 0).unlabelled())
    learner.learn(batch(10, 1))

    assert learner.state().meta["learned"] == 10
    assert "keys" in learner.state().tensors


def test_keys_come_from_a_file(tmp_path: Path) -> None:
    np.save(tmp_path / "keys.npy", batch(200, 9).inputs["features"])
    learner = bottleneck(key_file=str(tmp_path / "keys.npy"))

    learner.learn(batch(1, 0))

    assert learner.state().meta["learned"] == 1
    restored = bottleneck(key_file=str(tmp_path / "gone.npy"))  # the keys are in the state: the file is not needed
    restored.restore(learner.state())
    restored.learn(batch(5, 1))
    assert restored.state().meta["learned"] == 6


@pytest.mark.parametrize("rows", [np.zeros((3, 5)), np.zeros(6), np.zeros((0, 6))])
def test_a_file_of_something_else_is_refused_by_name(tmp_path: Path, rows: Any) -> None:
    np.save(tmp_path / "keys.npy", rows)

    with pytest.raises(InputError, match=r"keys.npy.*\(N, 6\)"):
        bottleneck(key_file=str(tmp_path / "keys.npy")).learn(batch(1, 0))


def test_a_missing_key_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="none"):
        bottleneck(key_file=str(tmp_path / "none.npy")).learn(batch(1, 0))


def test_a_weight_counts_like_so_large_a_step() -> None:
    once, heavy = trained(rate=0.5), trained(rate=0.5)
    before = once.state().tensors["values"].copy()
    event = batch(1, 50)

    once.learn(event)
    heavy.learn(Batch(event.inputs, event.labels, np.array([3.0]), event.times))

    np.testing.assert_allclose(
        heavy.state().tensors["values"] - before, 3 * (once.state().tensors["values"] - before), atol=1e-5
    )


def test_keys_that_do_not_belong_to_the_values_are_refused() -> None:
    state = trained().state()
    altered = State({**state.tensors, "keys": state.tensors["keys"] + 1e-9}, state.meta)

    with pytest.raises(ValueError, match="keys"):
        bottleneck().restore(altered)
    with pytest.raises(ValueError, match="heads"):
        bottleneck(heads=4).restore(state)


def test_all_mistakes_in_the_parameters_are_told_at_once() -> None:
    with pytest.raises(ParamsError) as caught:
        bottleneck(heads=0, rate=-1.0, top_k=17, search="gpu", key_file="keys.csv", label_smoothing=1.0)

    assert set(caught.value.mistakes) == {"heads", "rate", "top_k", "search", "key_file", "label_smoothing"}
    with pytest.raises(ParamsError, match="did you mean heads"):
        bottleneck(headz=3)


@pytest.mark.slow(5)
def test_digits_in_five_tasks_of_two_classes_are_not_forgotten(tmp_path: Path) -> None:
    """One pass, one event at a time; a linear probe ends at 62 %. The full figures are in docs/benchmarks.md."""
    datasets = pytest.importorskip("sklearn.datasets", reason="needs scikit-learn's digits: the extra `demo`")
    x, y = datasets.load_digits(return_X_y=True)
    x = (x / 16).astype("f4")
    generator = np.random.default_rng(0)
    order = generator.permutation(len(x))
    test, train = order[:500], order[500:]
    np.save(tmp_path / "keys.npy", x[np.sort(train)])
    learner = Bottleneck(
        LearnerContext(
            inputs={"features": TensorSpec("features", "float32", (64,))},
            params={"key_file": str(tmp_path / "keys.npy")},
            seed=0,
        )
    )
    names = tuple(map(str, range(10)))
    tasks = [train[y[train] // 2 == task] for task in range(5)]

    learner.learn(
        join(
            [
                Batch({"features": x[t]}, ClassLabels(y[t].astype("i4"), names), np.ones(len(t)), np.zeros(len(t)))
                for t in tasks
            ]
        )
    )

    predictor = learner.predictor()
    answer = predictor.predict({"features": x[test]})
    truth = np.array([predictor.classes.index(str(name)) for name in y[test]])
    assert (answer["label"] == truth).mean() >= 0.96
    assert -np.log(answer["scores"][np.arange(500), truth]).mean() <= 0.18
