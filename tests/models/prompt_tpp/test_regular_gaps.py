"""Streams whose gaps are regular, or hardly ever above 0; and what is answered before there is a unit."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from thalweg.models.contract.learner import LearnerContext
from thalweg.models.parts.torch_setup import torch
from thalweg.models.prompt_tpp.learner import PromptTpp
from thalweg.models.prompt_tpp.next_event import NextEvent
from thalweg.models.prompt_tpp.predictor import KEY
from thalweg.proto.event import Batch, ClassLabels
from thalweg.proto.schema import Array

COUNTING = ["closed_form", "closed_form_fast", "closed_form_key"]


def point_process(**params: Any) -> PromptTpp:
    return PromptTpp(LearnerContext(inputs=KEY, params={"experts": COUNTING, **params}, seed=0))


def batch(times: Array, keys: int = 1) -> Batch:
    """Events in turn of so many keys, of two types in turn."""
    count = len(times)
    names = np.array([f"k{event % keys}".encode() for event in range(count)], dtype=object)
    types = ClassLabels((np.arange(count) // keys % 2).astype(np.int32), ("in", "out"))
    return Batch({"key": names}, types, np.ones(count), times)


@pytest.mark.parametrize("deviation", [0.02, 0.005])
def test_what_comes_regularly_is_expected_as_exactly_as_it_comes(deviation: float) -> None:
    gaps = 86_400 * np.exp(deviation * np.random.default_rng(0).standard_normal(800))
    times = 1.7e9 + np.cumsum(gaps)
    learner = point_process()
    learner.learn(batch(times[:600]))
    predictor = learner.predictor()

    said = predictor.predict_events(batch(times[600:]))

    best = -0.5 - math.log(deviation * math.sqrt(2 * math.pi))
    unit = float(predictor.properties["time_unit_seconds"])
    assert np.mean(said["log_likelihood"]) == pytest.approx(best + math.log(unit / 86_400), abs=0.15)
    errors = said["next_time"] - times[600:]
    assert np.sqrt(np.mean(errors**2)) < 1.05 * deviation * 86_400


def test_the_expected_gap_is_that_of_the_density() -> None:
    parts = torch.tensor([[[[0.3, -0.2], [0.0, 2.0], [-4.0, 0.5]]]])
    said = NextEvent(torch.zeros(1, 1), parts)
    for horizon in (0.5, 3.0, 40.0):
        ages = torch.linspace(1e-9, horizon, 400_001, dtype=torch.float64)[None]
        still = torch.exp(NextEvent(said.types, parts).log_likelihood(ages[0], torch.full((400_001,), -1)))

        (told,) = said.forecast(torch.tensor([horizon], dtype=torch.float64), 20).gap.tolist()

        assert told == pytest.approx(float(torch.trapezoid(still.double(), ages[0])), rel=1e-4)


def test_the_few_events_before_there_is_a_unit_are_answered_and_their_likelihood_is_left_open() -> None:
    times = 1.7e9 + 60.0 * np.arange(20)
    learner = point_process()
    learner.learn(batch(times[:10]))
    predictor = PromptTpp.predictor_from(learner.predictor().state())

    said = predictor.predict_events(batch(times[10:]))

    assert predictor.properties["time_unit_seconds"] == "unknown"
    assert np.isnan(said["log_likelihood"]).all()
    np.testing.assert_allclose(said["next_time"], times[10:], atol=30.0)
    (asked,) = predictor.predict({"key": np.array([b"k0"], dtype=object)})["next_time"].tolist()
    assert asked == pytest.approx(times[10], abs=30.0)


def test_a_network_that_has_learned_nothing_has_no_say_before_there_is_a_unit() -> None:
    times = 1.7e9 + 60.0 * np.arange(20)
    alone, beside = (point_process(experts=[*COUNTING, *more]) for more in ([], ["attentive"]))
    for learner in (alone, beside):
        learner.learn(batch(times[:10]))

    answers = [one.predictor().predict_events(batch(times[10:]))["next_time"] for one in (alone, beside)]

    np.testing.assert_allclose(answers[0], answers[1], rtol=0, atol=1e-3)


def test_a_stream_with_few_gaps_above_0_gets_its_unit_from_those_and_loses_no_event() -> None:
    days = np.repeat(np.arange(40.0), 25)  # daily files: all events of a day at midnight
    learner = point_process(unit_gaps=100)

    for start in range(0, 1000, 50):
        learner.learn(batch(1.7e9 + 86_400 * days[start : start + 50]))

    unit = float(learner.predictor().properties["time_unit_seconds"])
    assert unit == pytest.approx(86_400)


def test_a_single_time_stamp_has_no_unit_and_waits_within_bounds() -> None:
    learner = point_process(unit_gaps=10)

    learner.learn(batch(np.full(500, 1.7e9)))

    assert learner.predictor().properties["time_unit_seconds"] == "unknown"
    assert len(learner.state().tensors["waiting.gap"]) <= 40
