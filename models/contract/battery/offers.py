"""Optional parts of a learner: gauges and capabilities."""

from __future__ import annotations

import json
from unittest import SkipTest

import numpy as np

from thalweg.models.contract.battery.given import Given, assert_close, stored
from thalweg.models.contract.capabilities import (
    Explainer,
    Mergeable,
    Unlearner,
    capability,
)
from thalweg.models.contract.gauges import samples


class OfferCases(Given):
    """Cases of `gauges` and of optional capabilities."""

    def test_gauges_are_those_declared(self) -> None:
        learner = self.new()
        declared = {spec.name: spec for spec in learner.gauges_declared}
        assert len(declared) == len(learner.gauges_declared), "two gauges have the same name"
        metrics = {spec.full_name for spec in declared.values()}
        assert len(metrics) == len(declared), "two gauges have the same metric"
        before: dict[tuple[str, tuple[str, ...]], float] = {}
        for batch in self.batches():
            learner.learn(batch)
            gauges = learner.gauges()
            assert set(gauges) == set(declared) - self.gauges_left_out
            for name, value in gauges.items():
                for labels, number in samples(value).items():
                    assert len(labels) == len(declared[name].labels), f"gauge {name!r}: labels {labels}"
                    assert np.isfinite(number), f"gauge {name!r} is {number}"
                    fell = declared[name].kind == "counter" and number < before.get((name, labels), 0.0)
                    assert not fell, f"gauge {name!r} is a counter and fell to {number}"
                    before[name, labels] = number

    def test_a_merged_learner_is_as_if_it_had_learned_what_the_other_did(self) -> None:
        batches = self.batches()
        half, other = self.trained(2), self.new()
        mergeable = capability(half, Mergeable)
        if mergeable is None:
            raise SkipTest("it cannot be merged")
        if not self.merges_exactly:
            raise SkipTest("not exactly")
        for batch in batches[2:]:
            other.learn(batch)
        try:
            mergeable.merge(stored(other.state()))
        except ValueError as error:
            raise SkipTest(f"not under these parameters: {error}") from error

        assert_close(half.predictor(), self.trained().predictor(), self.all_inputs())

    def test_what_was_unlearned_is_as_if_it_had_never_come(self) -> None:
        learner = self.trained()
        unlearner = capability(learner, Unlearner)
        if unlearner is None:
            raise SkipTest("it cannot unlearn")
        batch = self.batches()[0]
        learner.learn(batch)
        try:
            unlearner.unlearn(batch)
        except ValueError as error:
            raise SkipTest(f"not under these parameters: {error}") from error

        assert_close(learner.predictor(), self.trained().predictor(), self.all_inputs())

    def test_an_explanation_has_a_row_for_each_row_as_json_knows_it(self) -> None:
        predictor = self.trained().predictor()
        explainer = capability(predictor, Explainer)
        if explainer is None:
            raise SkipTest("it cannot explain")
        inputs = self.batches()[0].inputs
        count = len(next(iter(inputs.values())))

        rows = explainer.explain(inputs, 3)

        assert len(rows) == count
        json.dumps(rows, allow_nan=False)
