"""Naive controls predict from the labels before each event alone, in the same way however the stream is cut."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.stream.evaluation.test_monitor import Life, batches
from thalweg.memory.snapshots.state import State
from thalweg.proto.event import Batch, ClassLabels, NumberLabels
from thalweg.stream.evaluation.class_grades import ClassGrading
from thalweg.stream.evaluation.controls.controls import Controls
from thalweg.stream.evaluation.controls.event_rate import EventRate
from thalweg.stream.evaluation.number_grades import NumberGrading, ScoreGrading
from thalweg.stream.evaluation.prequential import Prequential
from thalweg.stream.evaluation.sequence_grades import TIMED, SequenceGrading

NAMES = ("a", "b", "c")


def batch_of(labels: list[Any], kind: str) -> Batch:
    count = len(labels)
    if kind == "class":
        known: Any = ClassLabels(np.array([-1 if one is None else one for one in labels], np.int32), NAMES)
    else:
        known = NumberLabels(np.array([[np.nan if one is None else one] for one in labels], np.float64))
    return Batch({}, known, np.ones(count), np.zeros(count))


OUTPUTS = {"label": np.zeros(1, np.int32), "value": np.zeros((1, 1)), "score": np.zeros(1)}


def followed(
    grading: Any,
    kind: str,
    labels: list[Any],
    cuts: list[int],
    delay: int = 0,
    blank: int = 0,
    together: Sequence[int] = (),
) -> Controls:
    """The controls of a model that was graded on events with these labels, in micro-batches cut at these places.

    `blank`: it knows no class until so many micro-batches are learned; `together`: so many
    micro-batches it was graded on at once, then so many, and so on; else on each by itself.
    """
    name = {"class": "label", "number": "value", "score": "score"}[kind]
    controls, live = Controls(grading, 5, delay), Prequential(5)
    places = sorted({0, *(cut for cut in cuts if cut < len(labels)), len(labels)})
    groups, number = iter(together), 0
    while number < len(places) - 1:
        own = places[number : number + next(groups, 1) + 1]
        start, end = own[0], own[-1]
        predictor: Any = SimpleNamespace(classes=("a",) if number >= blank else (), outputs={}, properties={})
        batch = batch_of(labels[start:end], "class" if kind == "class" else "number")
        answers = np.repeat(OUTPUTS[name], end - start, axis=0) - (number < blank)
        live.predicted(batch, predictor, {name: answers})
        controls.graded(live, batch, np.diff(own).tolist() if len(own) > 2 else ())
        number += len(own) - 1
        if end % 3 == 0:
            controls.metrics()  # figures may be asked for at any time
    return controls


def by_hand(labels: list[int | None], cuts: list[int], delay: int, blank: int) -> tuple[float, float]:
    """Accuracy of the majority class and of the newest class of the labels known, event by event."""
    places = sorted({0, *(cut for cut in cuts if cut < len(labels)), len(labels)})
    right = repeated = graded = 0
    for number, (start, end) in enumerate(pairwise(places)):
        until = max((place for place in places if place <= start - delay), default=0)
        known = [label for label in labels[:until] if label is not None]
        counts, best = dict.fromkeys(range(3), 0), None
        for label in known:
            counts[label] += 1
            if best is None or counts[label] > counts[best]:
                best = label
        for label in labels[start:end]:
            if label is not None and number >= blank:
                graded += 1
                right, repeated = right + (best == label), repeated + (bool(known) and known[-1] == label)
    return (right / graded, repeated / graded) if graded else (0.0, 0.0)


@example(labels=[0] * 4 + [1] * 12, cuts=[2, 4, 10, 12, 14], delay=0, blank=0, groups=[2, 1, 2])
@given(
    labels=st.lists(st.sampled_from([0, 0, 0, 1, 2, None]), min_size=1, max_size=60).filter(
        lambda one: any(x is not None for x in one)
    ),
    cuts=st.lists(st.integers(1, 59), max_size=8),
    delay=st.sampled_from([0, 0, 1, 7, 100]),
    blank=st.integers(0, 2),
    groups=st.lists(st.sampled_from([1, 1, 2, 3, 99]), max_size=6),
)
def test_of_classes_they_know_what_the_model_knows_and_are_graded_where_it_is(
    labels: list[int | None], cuts: list[int], delay: int, blank: int, groups: list[int]
) -> None:
    found = followed(ClassGrading(), "class", labels, cuts, delay, blank).metrics()

    majority, repeated = by_hand(labels, cuts, delay, blank)
    assert found["majority"].get("accuracy", 0.0) == pytest.approx(majority)
    assert found["repeat_last_label"].get("accuracy", 0.0) == pytest.approx(repeated)
    if not blank:
        together = followed(ClassGrading(), "class", labels, cuts, delay, together=groups).metrics()
        assert {name: one["accuracy"] for name, one in together.items()} == pytest.approx(
            {"majority": majority, "repeat_last_label": repeated}
        )


@given(labels=st.lists(st.sampled_from([0, 0, 1, 2]), min_size=1, max_size=60))
def test_row_by_row_each_label_is_known_to_the_next_event(labels: list[int]) -> None:
    found = followed(ClassGrading(), "class", labels, list(range(1, 60))).metrics()

    assert found["repeat_last_label"]["accuracy"] == np.mean([False, *(a == b for a, b in pairwise(labels))])


@given(
    labels=st.lists(st.one_of(st.none(), st.floats(-9, 9).map(lambda x: round(x, 2))), min_size=1, max_size=40).filter(
        lambda one: any(x is not None for x in one)
    ),
)
def test_of_numbers_they_are_the_mean_and_the_number_before(labels: list[float | None]) -> None:
    controls = followed(NumberGrading(), "number", labels, list(range(1, 40)))

    known = [one for one in labels if one is not None]
    mean = [np.mean(known[:place]) if place else 0.0 for place in range(len(known))]
    before = [0.0, *known[:-1]]
    rmse = {
        name: np.sqrt(np.mean((np.array(guess) - known) ** 2))
        for name, guess in (("mean", mean), ("repeat_last_label", before))
    }
    assert {name: one["rmse"] for name, one in controls.metrics().items()} == pytest.approx(rmse, abs=1e-9)


def test_asking_for_figures_changes_none_in_any_bit() -> None:
    rng = np.random.default_rng(0)
    asked, quiet = Controls(NumberGrading(), 50), Controls(NumberGrading(), 50)
    for size in rng.integers(1, 40, 100).tolist():
        batch = batch_of(rng.normal(size=size).tolist(), "number")
        live: Any = SimpleNamespace(grades=None, labelled_rows=lambda: (np.arange(size), None), numbers=None)  # noqa: B023 - called at once
        asked.graded(live, batch)
        asked.metrics()
        quiet.graded(live, batch)

    assert asked.state().sha256() == quiet.state().sha256()
    assert asked.recent() == quiet.recent()


def test_of_scores_they_are_the_share_of_ones_and_the_label_before() -> None:
    labels = [1.0, 1.0, 0.0, 1.0, 0.0, 0.0]

    found = followed(ScoreGrading(), "score", labels, [1, 2, 3, 4, 5]).metrics()

    shares = [0.5, 3 / 4, 5 / 6, 5 / 8, 7 / 10, 7 / 12]
    assert found["majority"]["accuracy"] == np.mean([(share >= 0.5) == one for share, one in zip(shares, labels)])
    assert found["repeat_last_label"]["accuracy"] == pytest.approx(3 / 6)
    assert found["majority"]["log_loss"] < found["repeat_last_label"]["log_loss"]


def test_a_first_1_among_many_0s_was_unlikely_to_the_rate_and_not_impossible() -> None:
    found = followed(ScoreGrading(), "score", [*[0.0] * 200, 1.0], list(range(1, 201)))

    loss = found.metrics()["majority"]["log_loss"]

    rates = 0.5 / np.arange(1.0, 201.0)
    assert loss == pytest.approx((-np.log(1 - rates).sum() - np.log(0.5 / 201)) / 201)


def test_the_event_before_is_no_control_of_sequences_because_it_is_mostly_of_another_key() -> None:
    assert list(Controls(SequenceGrading(), 5).metrics()) == ["majority", "event_rate"]


def timed(count: int, seed: int = 0) -> Any:
    random = np.random.default_rng(seed)
    labels = np.zeros(count, TIMED)
    labels["label"] = np.minimum(random.integers(0, 4, count), np.arange(count))  # numbered as they come
    labels["gap"] = np.where(random.random(count) < 0.2, np.nan, random.exponential(3600.0, count))
    labels["unit"] = np.where(np.arange(count) < 30, np.nan, 1800.0)
    return labels


@given(st.lists(st.integers(0, 100), max_size=5))
def test_an_event_rate_does_not_depend_on_how_the_stream_is_cut(cuts: list[int]) -> None:
    labels, whole, cut = timed(100), EventRate(), EventRate()

    places = sorted({0, *cuts, 100})
    parts = [cut.follow(labels[start:end]) for start, end in pairwise(places)]

    assert np.concatenate(parts).tobytes() == whole.follow(labels).tobytes()
    assert {name: one.tolist() for name, one in cut.tensors().items()} == {
        name: one.tolist() for name, one in whole.tensors().items()
    }


def test_an_event_rate_is_the_mean_gap_and_the_shares_of_types_before_in_the_models_unit() -> None:
    labels = timed(100)

    graded = EventRate.grade(EventRate().follow(labels), labels)

    before, event = labels[:70], labels[70]
    mean = np.nanmean(before["gap"])
    share = (np.count_nonzero(before["label"] == event["label"]) + 0.5) / (70 + 0.5 * 5)
    expected = np.log(share) + np.log(1800.0 / mean) - event["gap"] / mean
    assert graded.columns["log_likelihood"][70] == pytest.approx(expected)
    assert graded.columns["gap_squared"][70] == pytest.approx((mean - event["gap"]) ** 2)
    assert np.isnan(graded.columns["log_likelihood"][:30]).all()  # the unit is not known yet, nor is the model's
    assert np.isnan(graded.columns["gap_squared"][0])


def test_types_beyond_those_that_are_counted_have_shares_that_sum_to_one() -> None:
    labels = np.zeros(1000, TIMED)
    labels["label"], labels["gap"], labels["unit"] = np.arange(1000) % 200, 1.0, 1.0
    control = EventRate()
    control.follow(labels)

    asked = np.zeros(200, TIMED)
    asked["label"], asked["gap"], asked["unit"] = np.arange(200), 1.0, 1.0
    predicted = np.repeat(control.follow(asked[:1]), 200)
    shares = np.exp(EventRate.grade(predicted, asked).columns["log_likelihood"] + 1.0)  # the density of its gap is 1/e

    assert 0.9 < shares.sum() <= 1.0


def test_an_event_rate_goes_on_from_its_state() -> None:
    labels, first, again = timed(120), EventRate(), EventRate()
    first.follow(labels[:50])

    again.restore(first.tensors())

    assert again.follow(labels[50:]).tobytes() == first.follow(labels[50:]).tobytes()


def test_targets_without_bound_leave_a_control_usable() -> None:
    found = followed(NumberGrading(), "number", [1e300, -1e300, 1.0, 1.0], [1]).metrics()

    assert set(found) == {"mean", "repeat_last_label"}
    assert not any(np.isnan(value) for one in found.values() for value in one.values())


def test_after_a_restart_they_go_on_and_without_a_saved_state_they_begin(tmp_path: Path) -> None:
    events, whole, first = batches(3072, turned=1000), Life(tmp_path / "w"), Life(tmp_path / "f")
    whole.follow(events)
    first.follow(events[:20])

    second = first.next_life(tmp_path / "f")
    second.follow(events[20:])
    assert second.monitor.state().sha256() == whole.monitor.state().sha256()
    assert second.monitor.controls.metrics() == whole.monitor.controls.metrics()

    saved = first.monitor.state()
    older = {name: tensor for name, tensor in saved.tensors.items() if not name.startswith("controls/")}
    meta = {name: one for name, one in saved.meta.items() if name not in ("controls", "levels")}
    third = Life(None)
    third.monitor.restore(State(older, meta))
    assert third.monitor.controls.metrics() == {"majority": {}, "repeat_last_label": {}}
    assert third.monitor.metrics() == first.monitor.metrics()


@given(
    labels=st.lists(st.integers(0, 2), min_size=2, max_size=30),
    cuts=st.lists(st.integers(1, 29), max_size=8),
    delay=st.integers(0, 5),
)
def test_the_shares_of_classes_have_the_log_loss_that_a_model_of_them_would_have(
    labels: list[int], cuts: list[int], delay: int
) -> None:
    found = followed(ClassGrading(), "class", labels, cuts, delay).metrics()

    places = [0, *sorted({cut for cut in cuts if cut < len(labels)}), len(labels)]
    losses = []
    for row, label in enumerate(labels):
        begin = max(place for place in places if place <= row)
        known = labels[: max((place for place in places if place <= begin - delay), default=0)]
        losses.append(-np.log(max(known.count(label) / max(len(known), 1), 1e-15)))
    assert found["majority"]["log_loss"] == pytest.approx(np.mean(losses), rel=1e-9)


def test_classes_beyond_those_counted_share_what_is_left() -> None:
    controls = Controls(ClassGrading(), 5)
    control = controls._controls["majority"]
    labels = np.tile(np.arange(100), 3)

    graded = control.grade(control.follow(labels), labels)

    expected = np.repeat([-np.log(1e-15), -np.log(1 / 100)], [100, 200])
    assert graded.columns["log_loss"][:100] == pytest.approx(expected[:100])
    assert graded.columns["log_loss"][100:].mean() == pytest.approx(expected[100:].mean(), rel=0.1)
