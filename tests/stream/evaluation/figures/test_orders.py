"""A few events of another order of magnitude do not ruin a figure over all events: they are left out, and counted."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thalweg.memory.snapshots.state import State
from thalweg.proto.event import Batch, ClassLabels, NumberLabels
from thalweg.proto.task import BUILT_IN
from thalweg.stream.evaluation.controls.kinds import MeanNumbers
from thalweg.stream.evaluation.figures.bounds import Bound
from thalweg.stream.evaluation.prequential import Prequential

GARBAGE = [1e99, -1e150, 1e7]


def graded(labels: Any, answers: Any, cut: int = 10_000, window: int = 50) -> Prequential:
    evaluation = Prequential(window, BUILT_IN["regression"])
    for start in range(0, len(labels), cut):
        part = np.asarray(labels[start : start + cut], np.float64)[:, None]
        batch = Batch({}, NumberLabels(part), np.ones(len(part)), np.zeros(len(part)))
        outputs = {"value": np.asarray(answers[start : start + cut], np.float64)[:, None]}
        by: Any = SimpleNamespace(classes=(), properties={})
        evaluation.predicted(batch, by, outputs, start + 1)
    return evaluation


def stream(events: int = 400) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    rng = np.random.default_rng(0)
    labels = 20 + 5 * rng.standard_normal(events)
    return labels, labels + rng.standard_normal(events)


def flat(figure: tuple[float, Bound | None]) -> list[float]:
    assert figure[1] is not None
    return [figure[0], *figure[1]]


def rmse_of(labels: Any, answers: Any) -> float:
    return float(np.sqrt(np.mean((np.asarray(labels) - answers) ** 2)))


@pytest.mark.parametrize("at", [0, 200, 399])
@pytest.mark.parametrize(
    ("whose", "value"), [*(("label", x) for x in GARBAGE), *(("answer", x) for x in (*GARBAGE, math.inf))]
)
def test_one_absurd_label_or_answer_is_left_out_and_told(at: int, whose: str, value: float) -> None:
    labels, answers = stream()
    clean = graded(np.delete(labels, at), np.delete(answers, at)).figures()
    (labels if whose == "label" else answers)[at] = value

    found = graded(labels, answers)

    assert found.left_out == 1
    for name in ("rmse", "mae"):
        for one, wanted in zip(flat(found.figures()[name]), flat(clean[name]), strict=True):
            assert one == pytest.approx(wanted)


@pytest.mark.parametrize("value", [1e99, 1e30, -1e150, 1e7])
def test_the_recent_window_leaves_it_out_too(value: float) -> None:
    labels, answers = stream()
    clean = graded(np.delete(labels, 390), np.delete(answers, 390), window=49)
    labels[390] = value

    found = graded(labels, answers)

    assert found.recent() == pytest.approx(clean.recent())
    assert found.main() == ("rmse", pytest.approx(clean.recent()["rmse"]))
    assert found.figures_of_events(0, 401)[0]["mae"][0] == pytest.approx(clean.recent()["mae"])


def test_a_change_of_unit_shows_in_the_recent_window_once_it_is_no_exception() -> None:
    labels, answers = stream(2000)
    labels[1996:] *= 1e9
    assert graded(labels, answers, window=50).recent()["rmse"] < 2
    labels[1994:1996] *= 1e9
    assert graded(labels, answers, window=50).recent()["rmse"] > 1e9


def test_repeated_garbage_is_left_out_while_it_is_rare_and_counts_when_it_is_not() -> None:
    labels, answers = stream(2000)
    labels[::125] = 1e99  # 16 of 2,000
    found = graded(labels, answers)
    assert found.left_out == 16
    assert found.metrics()["rmse"] < 2

    labels[::20] = 1e99
    found = graded(labels, answers)
    assert found.left_out == 0
    assert found.metrics()["rmse"] > 1e97


@pytest.mark.parametrize("ones", [1, 3, 50])
def test_rare_events_exact_models_and_heavy_tails_are_graded_in_full(ones: int) -> None:
    rare = np.zeros(5000)
    rare[:: 5000 // ones] = 1.0
    step = np.where(np.arange(5000) < 5000 - ones, 7.0, 900.0)
    heavy = np.exp(4 * np.random.default_rng(1).standard_normal(5000))
    for labels, answers in ((rare, np.full(5000, 1e-7)), (step, np.full(5000, 7 + 1e-12)), (heavy, np.ones(5000))):
        found = graded(labels, answers)
        assert found.left_out == 0
        assert found.metrics()["rmse"] == pytest.approx(rmse_of(labels, answers))


def test_a_change_of_unit_counts_from_its_fifth_event_on() -> None:
    labels, answers = np.ones(4000), np.zeros(4000)
    labels[3996:] = 1e6
    assert graded(labels, answers).left_out == 4
    labels[3900:] = 1e6
    found = graded(labels, answers)
    assert found.left_out == 0
    assert found.metrics()["rmse"] == pytest.approx(rmse_of(labels, answers))


@given(cut=st.integers(1, 90), at=st.integers(0, 399))
def test_figures_do_not_depend_on_the_cut_and_go_on_after_a_restart(cut: int, at: int) -> None:
    labels, answers = stream()
    labels[at], answers[at // 2] = 1e99, 1e30
    whole = graded(labels, answers)
    cut_up = graded(labels, answers, cut)
    restored = Prequential(50, BUILT_IN["regression"])
    first = cut_up.state()
    restored.restore(State({n: np.array(t) for n, t in first.tensors.items()}, dict(first.meta)))

    assert cut_up.figures()["rmse"][0] == pytest.approx(whole.figures()["rmse"][0], rel=1e-12)
    assert restored.figures() == cut_up.figures()
    assert restored.left_out == cut_up.left_out == whole.left_out == 2 - (at == at // 2)


def test_a_state_of_an_earlier_version_goes_on_with_its_sums() -> None:
    labels, answers = stream()
    error = labels - answers
    earlier = graded(labels[:1], answers[:1]).state()
    kept = {name: tensor for name, tensor in earlier.tensors.items() if not name.startswith("order.")}
    kept["sums"] = np.array([0.0, np.sum(error**2), np.sum(np.abs(error)), math.nan])
    kept["counts"] = np.array([400, 0, 400])
    kept["spreads"] = np.array([[0.0] * 4, *([400, 0, sum(x), sum(x * x)] for x in (error**2, np.abs(error)))])
    found = Prequential(50, BUILT_IN["regression"])
    found.restore(State(kept, earlier.meta))
    assert flat(found.figures()["rmse"]) == pytest.approx(flat(graded(labels, answers).figures()["rmse"]))

    more = graded(np.append(labels, [1e99, 20.0]), np.append(answers, [20.0, 20.5]))
    batch = Batch({}, NumberLabels(np.array([[1e99], [20.0]])), np.ones(2), np.zeros(2))
    nobody: Any = SimpleNamespace(classes=(), properties={})
    found.predicted(batch, nobody, {"value": np.array([[20.0], [20.5]])})
    assert found.metrics()["rmse"] > 1e97, "one of two new events is not few"
    found.predicted(
        Batch({}, NumberLabels(labels[:20, None]), np.ones(20), np.zeros(20)), nobody, {"value": answers[:20, None]}
    )
    assert found.metrics()["rmse"] == pytest.approx(more.metrics()["rmse"], rel=0.1)


def test_the_mean_of_the_labels_does_not_follow_one_absurd_label() -> None:
    control, labels = MeanNumbers(), np.array([*[20.0, 22.0] * 5, 1e99, 21.0, *[5e6] * 6])[:, None]
    whole = control.follow(labels)[:, 0]
    again = MeanNumbers()
    by_one = np.concatenate([again.follow(labels[i : i + 1]) for i in range(len(labels))])[:, 0]

    assert whole.tolist() == by_one.tolist()
    assert whole[11:17].tolist() == [21.0] * 6
    assert control.follow(labels[:1])[0, 0] > 1e5, "the fifth in a row counts"


def sequence_outputs(likelihood: Any) -> Mapping[str, Any]:
    n = len(likelihood)
    scores = np.full((n, 2), 0.5)
    zeros = np.zeros(n)
    return {
        "next_type": np.zeros(n, np.int32),
        "type_scores": scores,
        "last_time": zeros,
        "next_time": np.ones(n),
        "hazard": np.ones(n),
        "log_likelihood": np.asarray(likelihood),
    }


def test_one_absurd_event_does_not_ruin_the_log_likelihood_of_sequences() -> None:
    evaluation = Prequential(50, BUILT_IN["sequence"])
    likelihood, times = np.full(300, -1.5), np.full(300, 2.0)
    likelihood[100], times[200] = -1e200, 1e15
    batch = Batch({}, ClassLabels(np.zeros(300, np.int32), ("a", "b")), np.ones(300), times)
    nobody: Any = SimpleNamespace(classes=("a", "b"), properties={})
    evaluation.predicted(batch, nobody, sequence_outputs(likelihood))

    found = evaluation.metrics()
    assert found["log_likelihood"] == pytest.approx(-1.5)
    assert found["gap_rmse"] == pytest.approx(1.0)
    assert evaluation.left_out == 1
