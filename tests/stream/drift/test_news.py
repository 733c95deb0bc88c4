"""Drift: what goes on moving is news once, and told in a digest afterwards."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from thalweg.memory.snapshots.state import State
from thalweg.stream.drift.alarm_outbox import AlarmOutbox, alarms_topic
from thalweg.stream.drift.digest import Digest, Digests
from thalweg.stream.drift.drift import DriftWatch
from thalweg.stream.drift.params import DriftParams
from thalweg.stream.drift.signs import Observed
from thalweg.stream.log.in_memory import InMemoryLog
from thalweg.stream.log.log import LogError

NAMES = ("x[0]", "x[1]", "x[2]", "x[3]", "label")
FEATURES = np.array([False, False, False, False, True])


def watch(**params: Any) -> DriftWatch:
    return DriftWatch(DriftParams.of(params), NAMES, FEATURES, 1)


def seasonal(count: int, period: int = 3000, seed: int = 0) -> Observed:
    """Events of which the first two columns follow a season, without any harm to the loss."""
    rng = np.random.default_rng(seed)
    columns = rng.normal(size=(count, 5)).astype(np.float32)
    columns[:, 4] = rng.integers(0, 2, count)
    angle = 2.0 * np.pi * np.arange(count) / period
    columns[:, 0] += 2.0 * np.sin(angle)
    columns[:, 1] += 1.5 * np.cos(angle)
    nothing = np.full(count, np.nan)
    loss = (rng.random(count) < 0.1).astype(np.float64)
    return Observed(np.arange(count, dtype=np.float64), loss, nothing, nothing, True, columns)


def part(of: Observed, first: int, end: int) -> Observed:
    arrays = {name: getattr(of, name)[first:end] for name in ("times", "loss", "baseline", "confidence", "columns")}
    return replace(of, **arrays)


def fed(watched: DriftWatch, events: Observed, every: int = 256) -> DriftWatch:
    edges = [*range(0, len(events.times), every), len(events.times)]
    for first, end in itertools.pairwise(edges):
        watched.observe(part(events, first, end))
    return watched


@pytest.mark.parametrize("period", [400, 1500, 6000])
def test_inputs_that_follow_a_season_are_one_alarm_and_then_a_digest(period: int) -> None:
    watched = fed(watch(), seasonal(15_000, period))

    assert [alarm.kind for alarm in watched.alarms] in (["inputs"], [])  # a short season is the same everywhere
    assert len(watched.alarms) == len(watched.digests) or period == 400
    if period > 400:
        (digest,) = watched.digests
        assert {name for name, _ in digest.features[:2]} == {"x[0]", "x[1]"}
        assert sum(times for _, _, times in digest.signals) > 50


def test_inputs_without_labels_that_follow_a_season_are_one_alarm_too() -> None:
    events = seasonal(12_000)

    assert len(fed(watch(), replace(events, loss=np.full(12_000, np.nan))).alarms) == 1


def test_a_calm_column_that_moves_beside_those_of_a_season_is_news() -> None:
    events = seasonal(14_000)
    events.columns[11_000:, 3] += 2.0

    first, second = fed(watch(), events).alarms

    assert 11_000 < second.start <= 11_300
    assert second.features[0][0] == "x[3]"
    assert first.start < 1500


def test_a_deterioration_that_comes_now_and_then_is_usual_and_a_worse_one_is_not() -> None:
    events = seasonal(30_000, period=10**9)
    rng = np.random.default_rng(3)
    for start in range(2500, 27_000, 2500):
        events.loss[start : start + 150] = rng.random(150) < 0.5
    events.loss[28_500:] = rng.random(1500) < 0.95

    starts = [alarm.start for alarm in fed(watch(inputs=[]), events).alarms]

    assert starts[0] == pytest.approx(2550, abs=50)
    assert sum(start < 28_500 for start in starts) <= 4  # of ten
    assert 28_500 < starts[-1] < 28_800


def test_an_outdated_baseline_raises_no_alarm_and_a_good_one_does() -> None:
    events = seasonal(9000, period=10**9)
    rng = np.random.default_rng(4)
    good = (rng.random(9000) < 0.1).astype(np.float64)
    good[6000:] = rng.random(3000) < 0.6
    outdated = (rng.random(9000) < 0.3).astype(np.float64)
    outdated[6000:] = good[6000:]

    (alarm,) = fed(watch(inputs=[]), replace(events, baseline=good)).alarms

    assert alarm.signal == "twin"
    assert fed(watch(inputs=[]), replace(events, baseline=outdated)).alarms == []


def test_inputs_that_harm_the_predictions_are_more_severe() -> None:
    events = seasonal(6000, period=10**9)
    events.columns[3000:, 2] += 1.0
    harmful = replace(events, loss=events.loss.copy())
    harmful.loss[3000:] = np.random.default_rng(5).random(3000) < 0.35

    (harmless,), (worse,), (unknown,) = (
        fed(watch(detectors=[]), one).alarms for one in (events, harmful, replace(events, loss=np.full(6000, np.nan)))
    )

    assert harmless.start == worse.start == unknown.start
    assert harmless.severity < 0.13 < worse.severity
    assert unknown.severity > 2 * harmless.severity


def test_a_loss_that_rises_long_after_inputs_moved_is_an_alarm_of_its_own() -> None:
    events = seasonal(6000, period=10**9)
    events.columns[3000:, 2] += 2.0
    events.loss[3900:] = np.random.default_rng(6).random(2100) < 0.7

    first, second = fed(watch(), events).alarms

    assert (first.kind, second.signal) == ("inputs", "loss")
    assert first.end == first.start
    assert 3900 < second.start < 4000


@pytest.mark.parametrize("every", [17, 999, 20_000])
def test_however_a_season_is_cut_the_same_state_comes_of_it(every: int) -> None:
    events = seasonal(12_000)
    events.loss[8000:8200] = 1.0
    params = {"follow_events": 2000, "digest_events": 500, "settle_events": 300}

    one, other = fed(watch(**params), events, 64), fed(watch(**params), events, every)

    assert one.state().sha256() == other.state().sha256()
    assert one.digests == other.digests


@pytest.mark.parametrize("cut", [900, 2500, 5001, 9000])
def test_a_restored_watch_goes_on_alike_within_a_season(cut: int) -> None:
    events = seasonal(12_000)
    params = {"follow_events": 2000}
    first = fed(watch(**params), part(events, 0, cut))
    second = watch(**params)
    kept = first.state()
    second.restore(State(dict(kept.tensors), json.loads(json.dumps(kept.meta))))

    for one in (first, second):
        fed(one, part(events, cut, 12_000))

    assert first.alarms == second.alarms
    assert first.state().sha256() == second.state().sha256()


def test_a_state_of_an_older_version_is_restored() -> None:
    events = seasonal(8000, period=10**9)
    events.loss[6000:] = np.random.default_rng(7).random(2000) < 0.7
    first = fed(watch(), part(events, 0, 5000))
    kept = first.state()
    fresh = ("past", "beside", "since", "next", "following", "calm", "moved", "apart", "news", "doubtful")
    tensors = {n: t for n, t in kept.tensors.items() if n.split(".")[-1] not in fresh and not n.startswith("harm.")}
    second = watch()
    second.restore(State(tensors, {name: value for name, value in kept.meta.items() if name != "digests"}))

    for one in (first, second):
        fed(one, part(events, 5000, 8000))

    assert second.alarms == first.alarms != []


def ended(digests: Digests, times: np.ndarray[Any, Any]) -> list[Digest]:
    """A movement every 64 events of these times."""
    at = np.arange(1, len(times) + 1)
    for event in range(64, len(times) + 1, 64):
        digests.until(event, at, times)
        digests.add(event, float(times[event - 1]), "inputs", "ks", (("x[0]", 0.5),))
    return digests.news()


def test_a_digest_ends_with_a_day_of_event_time_or_after_events_at_which_it_stands() -> None:
    by_time = ended(Digests(events=500, least=100), np.arange(4000) * 86_4.0)
    by_events = ended(Digests(events=500, least=100), np.zeros(4000))
    backwards = ended(Digests(events=10_000, least=100), -1e9 * np.arange(4000.0))

    assert {digest.end - digest.start for digest in by_time} == {100}
    assert {digest.end - digest.start for digest in by_events} == {500}
    assert [digest.number for digest in by_events] == list(range(1, len(by_events) + 1))
    assert backwards == []


def test_digests_that_the_log_refuses_wait_over_a_restart() -> None:
    class Refusing(InMemoryLog):
        def append(self, *args: Any, **kwargs: Any) -> Any:
            raise LogError("not allowed")

    (digest,) = ended(Digests(events=500, least=100), np.zeros(700))
    box = AlarmOutbox(Refusing(), "m")
    box.send([], [digest])
    log = InMemoryLog()
    other = AlarmOutbox(log, "m")
    other.restore(State({}, json.loads(json.dumps(box.state().meta))))

    other.send([])
    other.settle(60.0)

    (record,) = (json.loads(v) for run in log.reader([alarms_topic("m")], {}).poll(1.0) for v in run.values if v)
    assert (record["id"], record["state"], record["features"]) == (
        "m-1-digest",
        "digest",
        [{"name": "x[0]", "distance": 0.5}],
    )
