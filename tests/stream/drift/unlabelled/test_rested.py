"""Confidence and predictions: they rest while labels come, and are watched from the last labelled rows on without."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from thalweg.memory.snapshots.state import State
from thalweg.stream.drift.drift import DriftWatch
from thalweg.stream.drift.params import DriftParams
from thalweg.stream.drift.signs import Observed
from thalweg.stream.drift.unlabelled.rested import LABELS_MISSING, parts_without_labels

COUNT = 9000


def watch() -> DriftWatch:
    return DriftWatch(DriftParams(), ("x", "label"), np.array([False, True]), 1)


def stream(labelled: int, turns: int, confidence: float = 0.0) -> Observed:
    """Labels come for the first events; predictions of one class become more from an event on, and less confident."""
    rng = np.random.default_rng(0)
    columns = rng.normal(size=(COUNT, 2)).astype(np.float32)
    columns[:, 1] = rng.random(COUNT) < np.where(np.arange(COUNT) < turns, 0.5, 0.9)
    loss = (rng.random(COUNT) < 0.1).astype(np.float64)
    loss[labelled:] = np.nan
    sure = rng.normal(0.9, 0.02, COUNT) - np.where(np.arange(COUNT) < turns, 0.0, confidence)
    return Observed(np.arange(COUNT) + 1.6e9, loss, np.full(COUNT, np.nan), sure, True, columns)


def fed(watched: DriftWatch, of: Observed, edges: list[int]) -> DriftWatch:
    for first, end in itertools.pairwise(edges):
        some = slice(first, end)
        watched.observe(
            Observed(of.times[some], of.loss[some], of.baseline[some], of.confidence[some], True, of.columns[some])
        )
    return watched


def test_while_labels_come_they_rest_and_their_detectors_are_named_all_the_same() -> None:
    found = fed(watch(), stream(COUNT, turns=3000, confidence=0.2), [0, COUNT])

    assert found.alarms == []
    assert {signal for _, signal in found.scores()} == {"loss", "inputs"}
    assert {signal for _, signal in found.watchers()} == {"loss", "twin", "confidence", "inputs", "predictions"}


@pytest.mark.parametrize(("confidence", "signal"), [(0.0, "predictions"), (0.2, "confidence")])
def test_once_labels_are_missing_a_change_is_found(confidence: float, signal: str) -> None:
    (alarm,) = fed(watch(), stream(4000, turns=6000, confidence=confidence), [0, COUNT]).alarms

    assert alarm.signal == signal
    assert 6000 < alarm.start <= 6300


def test_what_changed_while_labels_came_is_no_news_when_they_stop() -> None:
    assert fed(watch(), stream(4000, turns=2000, confidence=0.2), [0, COUNT]).alarms == []


def test_labels_that_come_again_end_the_watch() -> None:
    events = stream(4000, turns=7000, confidence=0.2)
    events.loss[6500:] = 0.0

    found = fed(watch(), events, [0, COUNT])

    assert found.alarms == []
    assert {signal for _, signal in found.scores()} == {"loss", "inputs"}


@pytest.mark.parametrize("at", [1, 500, 3999, 4000, 4999, 5000, 5001, 6100, 6500, 8000])
def test_neither_the_cut_nor_a_restart_changes_anything(at: int) -> None:
    events = stream(4000, turns=6000, confidence=0.2)
    events.loss[6400:6500] = 0.0  # labels for a while
    whole = fed(watch(), events, [0, COUNT])

    first = fed(watch(), events, [0, at])
    second = watch()
    second.restore(State({name: tensor.copy() for name, tensor in first.state().tensors.items()}, first.state().meta))
    fed(second, events, [at, *range(at + 1, COUNT, 700), COUNT])

    assert second.alarms == whole.alarms != []
    assert second.state().sha256() == whole.state().sha256()
    assert second.scores() == whole.scores()


@pytest.mark.parametrize("before", [0, 10, 999, 1000, 5000])
@pytest.mark.parametrize("graded", [[], [0], [3], [1500], [0, 1999], [999, 1999], list(range(2000))])
def test_labels_are_missing_after_a_thousand_events_without(before: int, graded: list[int]) -> None:
    mask = np.zeros(2000, np.bool_)
    mask[graded] = True
    expected, since = [], before
    for one in mask:
        since = 0 if one else since + 1
        expected.append(since >= LABELS_MISSING)

    parts = parts_without_labels(mask, before)

    assert [missing for part, missing in parts for _ in range(part.start, part.stop)] == expected
    assert [part.start for part, _ in parts] == [0, *(part.stop for part, _ in parts[:-1])]
