"""Prequential figures equal the plain formulas, however the stream is cut, and go on after a restart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thalweg.memory.snapshots.state import State
from thalweg.proto.event import Batch, ClassLabels, NumberLabels
from thalweg.stream.evaluation.prequential import Prequential

CLASSES = ("a", "b", "c")


def predictor(classes: tuple[str, ...] = CLASSES, scores: str = "") -> Any:
    return SimpleNamespace(classes=classes, properties={"scores": scores} if scores else {})


def batch(labels: Any) -> Batch:
    n = len(labels.codes) if isinstance(labels, ClassLabels) else len(labels.values)
    return Batch({}, labels, np.ones(n), np.zeros(n))


def answered(stream: list[tuple[int, int]]) -> tuple[Batch, Any, Mapping[str, Any]]:
    """What an evaluation is told of pairs of label and answer."""
    truth = ClassLabels(np.array([t for t, _ in stream], np.int32), CLASSES)
    return batch(truth), predictor(), {"label": np.array([p for _, p in stream], np.int32)}


rows = st.lists(st.tuples(st.integers(-1, 2), st.integers(-1, 2)), min_size=1, max_size=40)


@given(stream=rows, cuts=st.lists(st.integers(1, 7), min_size=40, max_size=40), window=st.integers(1, 12))
def test_accuracies_are_those_of_the_formulas_however_the_stream_is_cut(
    stream: list[tuple[int, int]], cuts: list[int], window: int
) -> None:
    whole, at = Prequential(window), 0
    for size in cuts:
        part = stream[at : at + size]
        at += size
        if part:
            truth = ClassLabels(np.array([t for t, _ in part], np.int32), CLASSES)
            whole.predicted(batch(truth), predictor(), {"label": np.array([p for _, p in part], np.int32)})

    graded = [(t, p) for t, p in stream if t >= 0]
    for found, rows_of in ((whole.metrics(), graded), (whole.recent(), graded[-window:])):
        if not rows_of:
            assert found == {}
            continue
        recalls = [np.mean([p == t for t, p in rows_of if t == c]) for c in range(3) if any(t == c for t, _ in rows_of)]
        assert found["accuracy"] == pytest.approx(np.mean([p == t for t, p in rows_of]))
        assert found["balanced_accuracy"] == pytest.approx(np.mean(recalls))
    assert whole.graded == len(graded)


@given(stream=rows, cuts=st.lists(st.integers(1, 7), min_size=40, max_size=40), window=st.integers(1, 12))
def test_the_main_figure_is_the_same_before_what_waits_is_added_to_the_others(
    stream: list[tuple[int, int]], cuts: list[int], window: int
) -> None:
    evaluation, at = Prequential(window), 0
    for number, size in enumerate(cuts):
        if part := stream[at : at + size]:
            evaluation.predicted(*answered(part))
            before = evaluation.main()
            assert before is None or type(before[1]) is float
            if number % 3 == 0:
                evaluation.recent()  # adds what waits
                assert evaluation.main() == before
        at += size

    graded = [p == t for t, p in stream if t >= 0][-window:]
    assert evaluation.main() == (("accuracy", float(np.mean(graded))) if graded else None)


def test_a_class_that_the_predictor_did_not_know_counts_as_wrong() -> None:
    evaluation = Prequential()

    evaluation.predicted(
        batch(ClassLabels(np.array([0, 1], np.int32), ("new", "a"))),
        predictor(("a",)),
        {"label": np.array([0, 0], np.int32)},
    )

    assert evaluation.metrics()["accuracy"] == 0.5


def test_log_loss_is_kept_of_probabilities_only_and_auc_of_two_classes() -> None:
    scores = np.array([[0.9, 0.1], [0.4, 0.6], [0.3, 0.7], [0.8, 0.2]], np.float32)
    truth = ClassLabels(np.array([0, 1, 0, 1], np.int32), ("a", "b"))
    answers: Mapping[str, Any] = {"label": scores.argmax(1).astype(np.int32), "scores": scores}
    plain, calibrated = Prequential(), Prequential()

    plain.predicted(batch(truth), predictor(("a", "b")), answers)
    calibrated.predicted(batch(truth), predictor(("a", "b"), "probabilities"), answers)

    assert "log_loss" not in plain.metrics()
    assert calibrated.metrics()["log_loss"] == pytest.approx(-np.mean(np.log([0.9, 0.6, 0.3, 0.2])), rel=1e-6)
    assert calibrated.recent()["log_loss"] == pytest.approx(calibrated.metrics()["log_loss"])
    assert plain.recent()["auc"] == pytest.approx(0.5)  # of 4 pairs, 2 are in order


@given(scores=st.lists(st.integers(0, 4), min_size=4, max_size=30), data=st.data())
def test_auc_is_the_share_of_pairs_in_order(scores: list[int], data: st.DataObject) -> None:
    truth = data.draw(st.lists(st.booleans(), min_size=len(scores), max_size=len(scores)))
    truth[0], truth[1] = False, True
    evaluation = Prequential()

    evaluation.predicted(
        batch(ClassLabels(np.array(truth, np.int32), ("no", "yes"))),
        predictor(("yes",)),
        {"label": np.zeros(len(truth), np.int32), "scores": np.array(scores, np.float32)[:, None]},
    )

    pairs = [(s, r) for s, yes in zip(scores, truth) if yes for r, other in zip(scores, truth) if not other]
    assert evaluation.recent()["auc"] == pytest.approx(np.mean([(s > r) + 0.5 * (s == r) for s, r in pairs]))


@given(seed=st.integers(0, 10_000), spread=st.sampled_from([1e-3, 0.1, 1.0, 5.0]), probabilities=st.booleans())
def test_auc_over_all_events_is_that_of_every_pair_or_is_not_told(
    seed: int, spread: float, probabilities: bool
) -> None:
    generator = np.random.default_rng(seed)
    truth = generator.integers(0, 2, 300)
    truth[:2] = 0, 1
    steep = spread * (truth + generator.normal(size=300))
    yes = 1 / (1 + np.exp(-steep)) if probabilities else steep
    scores = np.stack([1 - yes if probabilities else -steep, yes], axis=1)
    evaluation = Prequential(window_events=300)

    for start in range(0, 300, 7):
        part = slice(start, start + 7)
        answers = {"label": np.zeros(len(truth[part]), np.int32), "scores": scores[part]}
        labels = ClassLabels(truth[part].astype(np.int32), ("no", "yes"))
        kind = "probabilities" if probabilities else ""
        evaluation.predicted(batch(labels), predictor(("no", "yes"), kind), answers)

    exact = evaluation.recent()["auc"]
    assert ("auc" in evaluation.metrics()) == (spread > 0.01 or not probabilities)  # else all share a few bins
    assert evaluation.metrics().get("auc", exact) == pytest.approx(exact, abs=0.003)


def test_auc_by_group_is_the_mean_over_groups_of_both_classes_weighted_by_their_events() -> None:
    generator = np.random.default_rng(7)
    users, score, label = generator.integers(0, 12, 400), generator.random(400).round(1), generator.integers(0, 2, 400)
    label[users == 3] = 1  # of one class: left out
    by_user, by_column, by_key = Prequential(), Prequential(), Prequential()
    for start in range(0, 400, 9):
        part = slice(start, start + 9)
        labels = NumberLabels(label[part, None].astype(float))
        rows = batch(labels)
        by_user.predicted(replace(rows, inputs={"user": users[part]}), predictor(()), {"score": score[part]})
        keys = [None if user == 5 else f"u{user}" for user in users[part]]  # an event without a key has no group
        column = np.array([(key or "").encode() for key in keys], dtype=object)
        by_column.predicted(replace(rows, inputs={"user": column}), predictor(()), {"score": score[part]})
        by_key.predicted(replace(rows, keys=keys), predictor(()), {"score": score[part]})

    areas, sizes = {}, {}
    for user in set(range(12)) - {3}:
        yes, no = (score[(users == user) & (label == truth)] for truth in (1, 0))
        areas[user] = np.mean((yes[:, None] > no) + 0.5 * (yes[:, None] == no))
        sizes[user] = len(yes) + len(no)
    for evaluation, left_out in ((by_user, {3}), (by_column, {3, 5}), (by_key, {3, 5})):
        found = [user for user in areas if user not in left_out]
        expected = np.average([areas[user] for user in found], weights=[sizes[user] for user in found])
        assert evaluation.recent()["gauc"] == pytest.approx(expected)
        low, high = evaluation.recent_bounds()["gauc"]
        assert low < expected < high


def test_calibration_error_is_the_distance_of_probabilities_from_what_happened() -> None:
    generator = np.random.default_rng(8)
    stated = generator.uniform(0.5, 1.0, 20_000)
    right = generator.random(20_000) < stated - 0.2  # too sure by a fifth
    scores = np.stack([stated, 1 - stated], axis=1)
    truth = ClassLabels((~right).astype(np.int32), ("a", "b"))
    classes, clicks = Prequential(20_000), Prequential(20_000)
    for start in range(0, 20_000, 300):
        part = slice(start, start + 300)
        answers = {"label": np.zeros(len(scores[part]), np.int32), "scores": scores[part]}
        classes.predicted(batch(truth[part]), predictor(("a", "b"), "probabilities"), answers)
        clicks.predicted(batch(NumberLabels(right[part, None].astype(float))), predictor(()), {"score": stated[part]})

    for evaluation in (classes, clicks):
        assert evaluation.metrics()["calibration_error"] == pytest.approx(0.2, abs=0.02)
        assert evaluation.recent()["calibration_error"] == pytest.approx(evaluation.metrics()["calibration_error"])
        assert "calibration_error" not in evaluation.bounds()


def test_probabilities_that_are_true_have_nearly_no_calibration_error() -> None:
    generator = np.random.default_rng(9)
    evaluation, stated = Prequential(), generator.random(20_000)

    labels = NumberLabels((generator.random(20_000) < stated)[:, None].astype(float))
    evaluation.predicted(batch(labels), predictor(()), {"score": stated})

    assert evaluation.metrics()["calibration_error"] < 0.02
    assert evaluation.recent()["calibration_error"] < 0.06


def test_numbers_are_graded_by_their_errors() -> None:
    evaluation = Prequential(window_events=2)
    truth = NumberLabels(np.array([[1.0], [np.nan], [5.0], [2.0]]))

    evaluation.predicted(batch(truth), predictor(()), {"value": np.array([[2.0], [0.0], [3.0], [2.0]], np.float32)})

    assert evaluation.metrics() == pytest.approx({"rmse": np.sqrt(5 / 3), "mae": 1.0})
    assert evaluation.recent() == pytest.approx({"rmse": np.sqrt(2), "mae": 1.0})


@given(stream=rows, cuts=st.lists(st.integers(1, 20), min_size=40, max_size=40), window=st.integers(1, 12))
def test_worst_case_accuracy_is_the_lowest_of_all_full_windows_however_the_stream_is_cut(
    stream: list[tuple[int, int]], cuts: list[int], window: int
) -> None:
    evaluation, at = Prequential(window), 0
    for size in cuts:
        evaluation.predicted(*answered(stream[at : at + size]))
        at += size

    right = [t == p for t, p in stream if t >= 0]
    windows = [np.mean(right[end - window : end]) for end in range(window, len(right) + 1)]
    assert evaluation.worst_case_accuracy == pytest.approx(min(windows, default=np.nan), nan_ok=True)


@given(stream=rows, more=rows, old=st.integers(1, 12), new=st.integers(13, 20))
def test_under_another_window_the_recent_figures_begin_anew_and_those_of_all_go_on(
    stream: list[tuple[int, int]], more: list[tuple[int, int]], old: int, new: int
) -> None:
    through, before, after, fresh = Prequential(new), Prequential(old), Prequential(new), Prequential(new)
    for grader in (through, before):
        grader.predicted(*answered(stream))
    after.restore(before.state())
    resumed = Prequential(new)
    for grader in (through, after, fresh):
        grader.predicted(*answered(more))
    resumed.restore(after.state())

    for grader in (after, resumed):
        assert grader.metrics() == through.metrics()
        assert grader.recent() == pytest.approx(fresh.recent())
        assert grader.worst_case_accuracy == pytest.approx(fresh.worst_case_accuracy, nan_ok=True)


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
def test_a_score_that_is_no_number_makes_no_figure_useless(odd: float) -> None:
    evaluation = Prequential()
    scores = np.array([[0.9, 0.1], [odd, odd], [0.2, odd], [0.3, 0.7]], np.float32)
    truth = ClassLabels(np.array([0, 1, 0, 1], np.int32), ("a", "b"))

    evaluation.predicted(batch(truth), predictor(("a", "b"), "probabilities"), {"label": truth.codes, "scores": scores})

    assert all(np.isfinite(value) for value in (*evaluation.metrics().values(), *evaluation.recent().values()))


def test_labels_without_end_are_graded_in_constant_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("thalweg.stream.evaluation.grading._MOST_CLASSES", 3)
    evaluation = Prequential(window_events=8)

    for start in range(0, 40, 4):
        names = tuple(f"class {number}" for number in range(start, start + 4))
        truth = ClassLabels(np.arange(4, dtype=np.int32), names)
        answers = {"label": np.array([0, 1, 2, 2], np.int32)}  # the last is wrong
        evaluation.predicted(batch(truth), predictor(names), answers)

    assert evaluation.metrics()["accuracy"] == evaluation.recent()["accuracy"] == 0.75
    assert evaluation.metrics()["balanced_accuracy"] == pytest.approx((3 + 27 / 37) / 4)
    state = evaluation.state()
    assert len(state.tensors["seen"]) == 4
    assert len(state.meta["classes"]) == 3


def test_figures_of_labels_equal_those_of_scikit_learn() -> None:
    sklearn_metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn comes with the extra demo")
    generator = np.random.default_rng(4)
    truth = generator.integers(0, 3, 500)
    scores = generator.dirichlet(np.ones(3), 500)
    evaluation = Prequential(window_events=200)

    for start in range(0, 500, 64):
        part = slice(start, start + 64)
        answers = {"label": scores[part].argmax(axis=1).astype(np.int32), "scores": scores[part]}
        labels = ClassLabels(truth[part].astype(np.int32), CLASSES)
        evaluation.predicted(batch(labels), predictor(scores="probabilities"), answers)

    for figures, part in ((evaluation.metrics(), slice(None)), (evaluation.recent(), slice(-200, None))):
        found = scores[part].argmax(axis=1)
        assert {name: value for name, value in figures.items() if name != "calibration_error"} == pytest.approx(
            {
                "accuracy": sklearn_metrics.accuracy_score(truth[part], found),
                "balanced_accuracy": sklearn_metrics.balanced_accuracy_score(truth[part], found),
                "log_loss": sklearn_metrics.log_loss(truth[part], scores[part]),
            }
        )


@given(stream=rows, cuts=st.lists(st.integers(1, 7), min_size=12, max_size=12), looks=st.sets(st.integers(0, 11)))
def test_looking_at_figures_changes_none_in_any_bit(
    stream: list[tuple[int, int]], cuts: list[int], looks: set[int]
) -> None:
    alone, watched, at = Prequential(7), Prequential(7), 0
    generator = np.random.default_rng(1)
    for number, size in enumerate(cuts):
        part = stream[at : at + size]
        at += size
        seen, _, answers = answered(part)
        scores = generator.dirichlet(np.ones(3), len(part)).astype(np.float32)
        for grader in (alone, watched):
            grader.predicted(seen, predictor(scores="probabilities"), {**answers, "scores": scores})
        if number in looks:
            assert watched.metrics() == pytest.approx(watched.metrics())
            watched.bounds(), watched.recent(), watched.main(), watched.state()

    assert watched.state().sha256() == alone.state().sha256()


def test_a_state_without_the_newer_figures_goes_on_with_those_it_has() -> None:
    generator = np.random.default_rng(2)
    score, label = generator.random(600), generator.integers(0, 2, 600).astype(float)
    through, older, newer = Prequential(100), Prequential(100), Prequential(100)
    for grader in (through, older):
        grader.predicted(batch(NumberLabels(label[:300, None])), predictor(()), {"score": score[:300]})
    state = older.state()
    new = ("spreads", "sequence.spreads", "ranks", "calibration")
    old = State(
        {name: tensor for name, tensor in state.tensors.items() if name not in new},
        {name: value for name, value in state.meta.items() if name != "scores"},
    )

    newer.restore(old)
    assert newer.metrics() == {name: through.metrics()[name] for name in ("accuracy", "balanced_accuracy", "log_loss")}
    for grader in (through, newer):
        grader.predicted(batch(NumberLabels(label[300:, None])), predictor(()), {"score": score[300:]})

    assert newer.metrics()["log_loss"] == through.metrics()["log_loss"]
    assert newer.recent() == pytest.approx(through.recent())
    assert newer.recent_bounds().keys() == through.recent_bounds().keys()
    since = slice(300, None)
    yes, no = (score[since][label[since] == truth] for truth in (1, 0))
    assert newer.metrics()["auc"] == pytest.approx(np.mean(yes[:, None] > no), abs=0.003)  # of what came since


def nothing(count: int) -> Mapping[str, Any]:
    return {"label": np.full(count, -1, np.int32), "scores": np.zeros((count, 0), np.float32)}


def test_without_labels_there_is_no_figure() -> None:
    evaluation = Prequential()

    for labels in (None, ClassLabels(np.full(5, -1, np.int32), ()), NumberLabels(np.full((5, 1), np.nan))):
        evaluation.predicted(Batch({}, labels, np.ones(5), np.zeros(5)), predictor(()), nothing(5))

    assert evaluation.metrics() == evaluation.recent() == evaluation.bounds() == evaluation.recent_bounds() == {}
    assert evaluation.main() is None


def test_of_one_class_there_is_no_ranking_and_the_rest_is_known() -> None:
    evaluation = Prequential()

    for scores in (np.zeros((6, 0), np.float32), np.ones((6, 1), np.float32)):
        truth = ClassLabels(np.zeros(6, np.int32), ("only",))
        answers = {"label": np.zeros(6, np.int32), "scores": scores}
        evaluation.predicted(batch(truth), predictor(("only",)[: scores.shape[1]], "probabilities"), answers)

    assert evaluation.metrics()["accuracy"] == 0.5
    assert not {"auc", "gauc"} & (evaluation.metrics().keys() | evaluation.recent().keys())
    assert all(low <= evaluation.metrics()[name] <= high for name, (low, high) in evaluation.bounds().items())


def test_the_main_figure_is_that_of_the_kind_of_label() -> None:
    seen, outputs = foreseen_events(400)
    sequences, clicks, numbers, classes = (Prequential(100) for _ in range(4))
    generator = np.random.default_rng(5)
    label = generator.integers(0, 2, 300).astype(float)

    sequences.predicted(seen, predictor(), outputs)
    clicks.predicted(batch(NumberLabels(label[:, None])), predictor(()), {"score": generator.random(300)})
    numbers.predicted(batch(NumberLabels(label[:, None])), predictor(()), {"value": np.zeros((300, 1))})
    classes.predicted(*answered([(number % 3, 0) for number in range(300)]))

    kinds = ((sequences, "log_likelihood"), (clicks, "auc"), (numbers, "rmse"), (classes, "accuracy"))
    for evaluation, name in kinds:
        assert evaluation.main() == (name, pytest.approx(evaluation.recent()[name]))


@pytest.mark.parametrize("constant", [0.0, 0.5, 1.0, np.nan])
def test_constant_scores_rank_nothing(constant: float) -> None:
    evaluation = Prequential()
    label = np.arange(40) % 2

    scores = {"score": np.full(40, constant, np.float32)}
    evaluation.predicted(batch(NumberLabels(label[:, None].astype(float))), predictor(()), scores)

    assert evaluation.recent()["auc"] == 0.5
    assert "auc" not in evaluation.metrics()  # constant, or apart by less than is told apart over all events
    assert evaluation.main() == ("auc", 0.5)
    for figures, bounds in (
        (evaluation.metrics(), evaluation.bounds()),
        (evaluation.recent(), evaluation.recent_bounds()),
    ):
        assert all(np.isfinite(value) for value in figures.values())
        assert all(low <= figures[name] <= high for name, (low, high) in bounds.items())


@given(stream=rows, cut=st.integers(0, 40))
def test_a_restored_evaluation_goes_on_as_if_never_stopped(stream: list[tuple[int, int]], cut: int) -> None:
    through, restored = Prequential(7), Prequential(7)
    first = Prequential(7)
    for part, graders in ((stream[:cut], (through, first)), (stream[cut:], (through, restored))):
        if part is not stream[:cut] and graders[1] is restored:
            restored.restore(first.state())
        for grader in graders:
            truth = ClassLabels(np.array([t for t, _ in part], np.int32), CLASSES)
            grader.predicted(batch(truth), predictor(), {"label": np.array([p for _, p in part], np.int32)})

    assert restored.state().sha256() == through.state().sha256()
    assert restored.recent() == through.recent()


def test_scores_of_clicks_are_graded_as_probabilities_of_a_yes() -> None:
    generator = np.random.default_rng(0)
    score, label = generator.random(400).astype(np.float32), generator.integers(0, 2, 400).astype(float)
    values = label.copy()
    values[::50] = np.nan
    values[1::50] = 7.0  # no click
    whole, pieces = Prequential(window_events=100), Prequential(window_events=100)
    for evaluation, step in ((whole, 400), (pieces, 7)):
        for start in range(0, 400, step):
            part = slice(start, start + step)
            evaluation.predicted(batch(NumberLabels(values[part, None])), predictor(()), {"score": score[part]})

    kept = np.isfinite(values) & (values <= 1)
    given, truth = score[kept].astype(float), label[kept]
    loss = -np.mean(truth * np.log(given) + (1 - truth) * np.log(1 - given))
    assert whole.metrics()["log_loss"] == pytest.approx(loss)
    assert whole.metrics()["accuracy"] == pytest.approx(np.mean((given >= 0.5) == truth))
    assert whole.metrics() == pytest.approx(pieces.metrics())
    yes, no = given[-100:][truth[-100:] == 1], given[-100:][truth[-100:] == 0]
    assert whole.recent()["auc"] == pytest.approx(np.mean(yes[:, None] > no))
    assert whole.recent() == pieces.recent()
    again = Prequential(window_events=100)
    again.restore(whole.state())
    assert again.recent() == whole.recent()


def foreseen_events(count: int) -> tuple[Batch, Mapping[str, Any]]:
    """Events of the classes in turn, as a point process of rate 1 per 10 s foresaw them; the first was not foreseen."""
    generator = np.random.default_rng(3)
    gaps = generator.exponential(10.0, count)
    scores = np.tile(np.array([0.5, 0.2, 0.3]), (count, 1))
    codes = (np.arange(count) % 3).astype(np.int32)
    outputs = {
        "next_time": np.where(np.arange(count) == 0, np.nan, 110.0),
        "next_type": np.zeros(count, dtype=np.int64),
        "type_scores": scores,
        "last_time": np.full(count, 100.0),
        "log_likelihood": np.log(0.1) - gaps / 10 + np.log(scores[np.arange(count), codes]),
        "hazard": gaps / 10,
    }
    return Batch({}, ClassLabels(codes, CLASSES), np.ones(count), 100.0 + gaps), outputs


def test_sequences_are_graded_by_likelihood_time_type_and_calibration() -> None:
    seen, outputs = foreseen_events(2001)
    evaluation = Prequential(5000)

    evaluation.predicted(seen, predictor(scores="probabilities"), outputs)

    gaps = seen.times[1:] - 100.0
    found, recent = evaluation.metrics(), evaluation.recent()
    assert evaluation.graded == 2000
    assert found["accuracy"] == pytest.approx(np.mean(np.arange(1, 2001) % 3 == 0))
    assert found["top3_accuracy"] == 1.0
    assert found["log_likelihood"] == pytest.approx(outputs["log_likelihood"][1:].mean())
    assert found["gap_rmse"] == pytest.approx(np.sqrt(np.mean((gaps - 10.0) ** 2)))
    assert found["log_gap_mae"] == pytest.approx(np.abs(np.log(gaps) - np.log(10.0)).mean())
    assert recent["rescaling_ks"] < 1.36 / np.sqrt(2000)  # the 5 % level of Kolmogorov's distribution
    assert {name: value for name, value in recent.items() if name in found} == pytest.approx(found)


def test_rates_that_are_wrong_by_half_show_in_the_calibration() -> None:
    seen, outputs = foreseen_events(2001)
    evaluation = Prequential(5000)

    evaluation.predicted(seen, predictor(), {**outputs, "hazard": outputs["hazard"] * 1.5})

    assert evaluation.recent()["rescaling_ks"] > 0.1


def test_figures_of_sequences_go_on_after_a_restart() -> None:
    seen, outputs = foreseen_events(300)
    whole, first, second = Prequential(100), Prequential(100), Prequential(100)
    whole.predicted(seen, predictor(), outputs)

    first.predicted(seen[:120], predictor(), {name: column[:120] for name, column in outputs.items()})
    second.restore(first.state())
    second.predicted(seen[120:], predictor(), {name: column[120:] for name, column in outputs.items()})

    assert second.metrics() == pytest.approx(whole.metrics())
    assert second.recent() == pytest.approx(whole.recent())


def test_rows_of_classes_not_known_yet_are_counted_and_kept() -> None:
    evaluation = Prequential()
    probabilities = np.array([[0.9, 0.1], [0.5, 0.5]], np.float32)
    truth = ClassLabels(np.array([0, 2], np.int32), ("a", "b", "new"))
    evaluation.predicted(
        batch(truth),
        predictor(("a", "b"), "probabilities"),
        {"label": np.array([0, 0], np.int32), "scores": probabilities},
    )
    restored = Prequential()
    restored.restore(evaluation.state())

    assert evaluation.unknown_class == restored.unknown_class == 1
    assert restored.metrics()["log_loss"] == pytest.approx((-np.log(0.9) + 34.5388) / 2, rel=1e-4)
