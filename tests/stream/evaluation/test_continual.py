"""Continual evaluation: held events are a fair, bounded sample; figures are the paper's; a restart changes neither."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thalweg.models.contract.learner import LearnerContext, Predictor
from thalweg.models.prompt_tpp.learner import PromptTpp
from thalweg.models.ridge.learner import Ridge
from thalweg.proto.event import Batch, ClassLabels, NumberLabels
from thalweg.proto.schema import TensorSpec
from thalweg.stream.evaluation.continual import METRICS, Continual
from thalweg.stream.evaluation.prequential import Prequential

INPUTS = {"x": TensorSpec("x", "float64", (2,))}  # the class, and which event it is


def names(count: int) -> tuple[str, ...]:
    return tuple(f"class {number}" for number in range(count))


class Scripted:
    """Answers the classes in `x`, but rightly only to a share of the rows of each."""

    inputs = INPUTS
    outputs: Mapping[str, Any] = {"label": None}
    properties: Mapping[str, str] = {}

    def __init__(self, classes: int) -> None:
        self.classes = names(classes)
        self.share: Any = [1.0] * 20_000
        self.asked: list[dict[int, float]] = []
        """Of each call the accuracy by class."""

    def predict(self, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        code = inputs["x"][:, 0].astype(np.int32)
        answer, found = np.full(len(code), -1, np.int32), {}
        for number in np.unique(code).tolist():
            rows = np.flatnonzero(code == number)
            right = rows[: round(self.share[number] * len(rows))]
            answer[right] = number
            found[number] = len(right) / len(rows)
        self.asked.append(found)
        return {"label": answer}


def batch(codes: Any, first: int = 0, classes: int = 100) -> Batch:
    codes = np.asarray(codes, np.int32)
    x = np.stack([codes, first + np.arange(len(codes))], axis=1).astype(np.float64)
    return Batch({"x": x}, ClassLabels(codes, names(classes)), np.ones(len(codes)), np.zeros(len(codes)))


def follow(continual: Continual, live: Prequential, predictor: Any, events: Batch) -> None:
    live.predicted(events, predictor, {"label": np.zeros(len(events), np.int32)})
    continual.predicted(events, predictor, live)


def held(continual: Continual, number: int, each: int) -> list[int]:
    """Which events are held of a class."""
    state = continual.state()
    count = min(int(state.tensors["seen"][number]), each)
    rows = state.tensors["held.x"][number * each : number * each + count]
    assert (rows[:, 0] == number).all()
    return sorted(rows[:, 1].astype(int).tolist())


@given(st.lists(st.lists(st.integers(0, 4), min_size=4, max_size=4), min_size=2, max_size=40))
def test_the_figures_are_those_of_the_paper(quarters: list[list[int]]) -> None:
    predictor, live = Scripted(4), Prequential()
    continual = Continual(predictor, events=4, share=1.0)  # 16 events, 4 classes: all are asked at every step
    warm = 20  # steps until every class counts as learned
    for step in range(warm + len(quarters)):
        predictor.share = np.array(quarters[max(0, step - warm)]) / 4
        follow(continual, live, predictor, batch(np.arange(16) % 4, 16 * step))

    history = np.array([[asked[number] for number in range(4)] for asked in predictor.asked])  # steps × classes
    learned_from = 10 * 4 // 4  # steps: four events of each class in every one
    lowest = history[learned_from - 1 :, :3].min(axis=0)

    def largest(rise: bool, rows: Any) -> float:
        signed = -rows if rise else rows
        pairs = [
            max(0.0, *(signed[m] - signed[n] for n in range(len(rows)) for m in range(max(0, n - 9), n)))
            for signed in signed.T
        ]
        return float(np.mean(pairs))

    found = continual.metrics()
    assert found.keys() == set(METRICS)
    assert found["accuracy"] == pytest.approx(history[-1].mean())
    assert found["min_accuracy"] == pytest.approx(lowest.mean())
    assert found["worst_case_accuracy"] == pytest.approx(history[-1, 3] / 4 + 3 / 4 * lowest.mean())
    assert found["windowed_forgetting"] == pytest.approx(largest(False, history))
    assert found["windowed_plasticity"] == pytest.approx(largest(True, history))
    assert found["recent_forgetting"] == pytest.approx(largest(False, history[-10:]))


events = st.lists(st.integers(-1, 5), min_size=1, max_size=120)


@given(codes=events, cuts=st.lists(st.integers(1, 9), min_size=120, max_size=120))
def test_what_is_held_depends_on_the_events_alone(codes: list[int], cuts: list[int]) -> None:
    whole, pieces, predictor, at = Continual(Scripted(6), events=2), Continual(Scripted(6), events=2), Scripted(6), 0

    follow(whole, Prequential(), predictor, batch(codes))
    live = Prequential()
    for size in cuts:
        if at < len(codes):
            follow(pieces, live, predictor, batch(codes[at : at + size], at))
        at += size

    expected = whole.state().tensors
    found = pieces.state().tensors
    assert found.keys() == expected.keys()
    for name in ("seen", "held.x"):
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)


@given(codes=events, stop=st.integers(0, 20), looks=st.sets(st.integers(0, 20)))
def test_a_restart_or_a_look_changes_nothing(codes: list[int], stop: int, looks: set[int]) -> None:
    through, now, predictor = (
        (Continual(Scripted(6), events=2, share=0.5), Prequential()),
        (Continual(Scripted(6), events=2, share=0.5), Prequential()),
        Scripted(6),
    )

    for step, first in enumerate(range(0, len(codes), 6)):
        if step == stop:
            after = Continual(Scripted(6), events=2, share=0.5), Prequential()
            after[0].restore(now[0].state())
            after[1].restore(now[1].state())
            now = after
        for continual, live in (through, now):
            follow(continual, live, predictor, batch(codes[first : first + 6], first))
        if step in looks:
            assert now[0].state().sha256() == now[0].state().sha256()

    assert now[0].state().sha256() == through[0].state().sha256()
    assert now[0].metrics() == through[0].metrics()


def test_every_event_of_a_class_is_as_likely_to_be_held_as_any_other() -> None:
    count, rounds = 200, 300
    times_held = np.zeros(count)
    for seed in range(rounds):
        continual, live, predictor = Continual(Scripted(2), events=10, seed=seed), Prequential(), Scripted(2)
        for first in range(0, count, 25):
            follow(continual, live, predictor, batch(np.zeros(25), first))
        rows = held(continual, 0, 10)
        assert len(set(rows)) == 10
        times_held[rows] += 1

    expected = rounds * 10 / count  # 15 each
    chi_square = ((times_held - expected) ** 2 / expected).sum()
    assert chi_square < count + 4 * np.sqrt(2 * count)  # its mean and four of its deviations
    halves = times_held.reshape(4, -1).sum(axis=1) / times_held.sum()
    assert np.abs(halves - 0.25).max() < 0.03


def test_a_class_that_goes_on_is_followed_and_one_that_comes_no_more_is_kept() -> None:
    continual, live, predictor = Continual(Scripted(2), events=10), Prequential(), Scripted(2)
    follow(continual, live, predictor, batch([0, 1] * 500))
    before = held(continual, 1, 10)

    for first in range(1000, 11_000, 500):  # ten times the horizon of a thousand
        follow(continual, live, predictor, batch(np.zeros(500), first))

    assert held(continual, 1, 10) == before
    assert min(held(continual, 0, 10)) >= 1000
    assert np.mean(held(continual, 0, 10)) > 8000


def test_classes_without_end_are_held_in_bounded_memory() -> None:
    continual, live, predictor = Continual(Scripted(1), events=2, most_bytes=3200), Prequential(), Scripted(1)

    for first in range(0, 12_000, 500):
        labels = ClassLabels(np.arange(500, dtype=np.int32), tuple(str(first + number) for number in range(500)))
        x = np.stack([first + np.arange(500), np.zeros(500)], axis=1)
        follow(continual, live, predictor, Batch({"x": x}, labels, np.ones(500), np.zeros(500)))

    state = continual.state()
    assert state.tensors["held.x"].nbytes == 3200
    assert state.tensors["seen"].tolist() == [1] * 100  # 2 events of 16 bytes each
    assert sorted(set(state.tensors["held.x"][::2, 0])) == list(range(100))


def test_what_does_not_fit_the_bytes_is_not_held() -> None:
    continual, live, predictor = Continual(Scripted(1), most_bytes=100), Prequential(), Scripted(1)

    follow(continual, live, predictor, batch([0] * 1000))

    assert continual.metrics() == {}
    assert continual.state().tensors["seen"].tolist() == []


def ridge(forgetting: float) -> Ridge:
    spec = {"x": TensorSpec("x", "float32", (6,))}
    return Ridge(
        LearnerContext(inputs=spec, params={"expansion": 0, "forgetting": forgetting, "keep_absent": False}, seed=0)
    )


@pytest.mark.parametrize(("forgetting", "forgets"), [(0.995, True), (1.0, False)])
def test_a_learner_that_forgets_old_classes_shows_it_and_one_that_does_not_does_not(
    forgetting: float, forgets: bool
) -> None:
    generator = np.random.default_rng(3)
    middles = 4 * np.eye(4, 6)
    learner, live = ridge(forgetting), Prequential()
    continual = Continual(learner.predictor(), share=0.2)
    for step in range(400):
        codes = generator.integers(0, 2, 32) + (0 if step < 100 else 2)  # two classes, then two others
        x = (middles[codes] + generator.normal(size=(32, 6))).astype(np.float32)
        events = Batch({"x": x}, ClassLabels(codes.astype(np.int32), names(4)), np.ones(32), np.zeros(32))
        predictor = learner.predictor()
        live.predicted(events, predictor, predictor.predict(events.inputs))
        continual.predicted(events, predictor, live)
        learner.learn(events)

    found = continual.metrics()
    if forgets:
        assert found["min_accuracy"] < 0.5
        assert found["windowed_forgetting"] > 0.3
        assert found["worst_case_accuracy"] < 0.7
    else:
        assert found["min_accuracy"] > 0.7
        assert found["windowed_forgetting"] < 0.3
        assert found["worst_case_accuracy"] > 0.8
    assert live.recent()["accuracy"] > 0.95  # which says nothing of it


def test_scores_count_as_two_classes() -> None:
    predictor: Any = SimpleNamespace(
        classes=(),
        properties={},
        inputs=INPUTS,
        outputs={"score": None},
        predict=lambda inputs: {"score": np.where(inputs["x"][:, 0] == 1, 0.9, np.nan).astype(np.float32)},
    )
    continual, live = Continual(predictor, share=0.5), Prequential()

    for first in range(0, 1000, 50):
        events = batch(np.arange(50) % 2, first)
        rows = Batch(events.inputs, NumberLabels(events.inputs["x"][:, :1]), events.weights, events.times)
        live.predicted(rows, predictor, predictor.predict(rows.inputs))
        continual.predicted(rows, predictor, live)

    assert continual.metrics()["accuracy"] == 1.0  # what is no number is no yes


def test_numbers_texts_and_what_foresees_have_none() -> None:
    numbers: Any = SimpleNamespace(inputs=INPUTS, outputs={"value": None}, classes=(), properties={})
    texts: Any = SimpleNamespace(inputs={"t": TensorSpec("t", "bytes", ())}, outputs={"label": None}, classes=("a",))
    key = {"key": TensorSpec("key", "bytes", ())}
    foreseeing: Predictor = PromptTpp(LearnerContext(inputs=key, params={"max_types": 3}, seed=0)).predictor()

    for predictor in (numbers, texts, foreseeing):
        continual, live = Continual(predictor), Prequential()
        rows = Batch({}, NumberLabels(np.ones((900, 1))), np.ones(900), np.zeros(900))
        continual.predicted(rows, predictor, live)
        assert continual.metrics() == {}


def test_under_other_settings_it_begins_anew() -> None:
    predictor = Scripted(2)
    one, other, live = Continual(predictor), Continual(predictor, events=5), Prequential()
    follow(one, live, predictor, batch([0, 1] * 600))

    other.restore(one.state())

    assert other.metrics() == {}
    for _ in range(2):
        follow(other, live, predictor, batch([0, 1] * 600))
    assert other.metrics()["accuracy"] == 1.0
