"""Learning is a fold: the state is complete, and can be restored anywhere."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from unittest import SkipTest

import numpy as np

from thalweg.models.contract.battery.given import Given, assert_finite, assert_same, stored
from thalweg.models.contract.capabilities import (
    Forgetting,
    capability,
)
from thalweg.proto.event import ClassLabels


class LearningCases(Given):
    """Cases of `learn`, `state` and `restore`."""

    def test_two_runs_over_the_same_log_end_in_the_same_state(self) -> None:
        assert self.trained().state().sha256() == self.trained().state().sha256()

    def test_a_restored_learner_goes_on_as_if_it_had_never_stopped(self) -> None:
        batches = self.batches()
        for stop in range(len(batches)):
            learner, restored = self.new(), self.new()
            for batch in batches[:stop]:
                learner.learn(batch)

            restored.restore(stored(learner.state()))

            assert restored.state().sha256() == learner.state().sha256()
            for batch in batches[stop:]:
                assert_same(restored.predictor().predict(batch.inputs), learner.predictor().predict(batch.inputs))
                learner.learn(batch)
                restored.learn(batch)
            assert restored.state().sha256() == learner.state().sha256()

    def test_forgetting_that_was_raised_is_part_of_the_state(self) -> None:
        batches = self.batches()
        learner, restored = self.trained(2), self.new()
        forgetting = capability(learner, Forgetting)
        if forgetting is None:
            raise SkipTest("it cannot raise forgetting")
        forgetting.raise_forgetting(3.0, len(batches[2]) + 1)  # ends in the middle of a batch
        assert learner.state().sha256() != self.trained(2).state().sha256()

        restored.restore(stored(learner.state()))

        for batch in batches[2:]:
            learner.learn(batch)
            restored.learn(batch)
        assert restored.state().sha256() == learner.state().sha256()

    def test_restoring_takes_back_what_was_learned_since(self) -> None:
        batches = self.batches()
        learner = self.trained(2)
        kept = stored(learner.state())
        for batch in batches[2:]:
            learner.learn(batch)

        learner.restore(kept)

        assert learner.state().sha256() == kept.sha256()
        assert_same(
            learner.predictor().predict(batches[0].inputs), self.trained(2).predictor().predict(batches[0].inputs)
        )

    def test_what_a_state_says_beside_its_arrays_stays_as_it_was_while_learning_goes_on(self) -> None:
        learner = self.trained(2)
        state = learner.state()
        before = deepcopy(state.meta)

        for batch in self.batches()[2:]:
            learner.learn(batch)

        assert state.meta == before

    def test_a_learner_does_not_write_into_the_state_it_was_restored_from(self) -> None:
        kept = stored(self.trained(2).state())  # its arrays are read-only: writing would raise
        before = kept.sha256()
        learner = self.new()
        learner.restore(kept)

        for batch in self.batches():
            learner.learn(batch)

        assert kept.sha256() == before

    def test_a_state_made_under_other_parameters_is_refused_and_changes_nothing(self) -> None:
        for learner, stranger in ((self.trained(), self.other()), (self.other(), self.trained())):
            before = learner.state().sha256()
            try:
                learner.restore(stored(stranger.state()))
            except ValueError:
                assert learner.state().sha256() == before
            else:
                raise AssertionError("a state made under other parameters was restored")

    def test_answering_changes_nothing(self) -> None:
        batches = self.batches()
        asked, silent = self.new(), self.new()
        for batch in batches:
            asked.predictor().predict(batch.inputs)
            asked.predictor().state()
            asked.state()
            asked.gauges()
            asked.learn(batch)
            silent.learn(batch)

        assert asked.state().sha256() == silent.state().sha256()

    def test_an_empty_batch_changes_nothing(self) -> None:
        learner = self.trained()
        before = learner.state().sha256()

        learner.learn(self.batches()[0][:0])

        assert learner.state().sha256() == before

    def test_events_without_labels_are_no_error(self) -> None:
        learner = self.trained()

        learner.learn(self.batches()[0].unlabelled())

        assert_finite(learner.state())

    def test_a_batch_is_not_changed_by_learning_from_it(self) -> None:
        batches = self.batches()
        before = [{name: column.copy() for name, column in batch.inputs.items()} for batch in batches]

        self.trained()
        learner = self.new()
        for batch in batches:
            learner.learn(batch)

        for batch, columns in zip(batches, before):
            assert_same(batch.inputs, columns)

    def test_the_state_is_finite(self) -> None:
        assert_finite(self.trained().state())

    def test_broken_numbers_leave_the_state_finite(self) -> None:
        for broken in (np.nan, np.inf, -np.inf, "largest"):
            learner = self.trained()
            batch = self.batches()[0]
            inputs = {name: column.copy() for name, column in batch.inputs.items()}
            for column in inputs.values():
                if column.dtype.kind == "f":
                    column[0] = np.finfo(column.dtype).max if broken == "largest" else broken

            learner.learn(replace(batch, inputs=inputs))

            assert_finite(learner.state())
            for output in learner.predictor().predict(batch.inputs).values():
                assert output.dtype.kind != "f" or np.isfinite(output).all()

    def test_a_class_may_come_at_any_time(self) -> None:
        batches = self.batches()
        labels = batches[0].labels
        if not isinstance(labels, ClassLabels):
            raise SkipTest("its labels are not classes")
        learner = self.trained()
        newcomer = ClassLabels(np.zeros(len(batches[0]), np.int32), ("a class never heard of",))

        learner.learn(replace(batches[0], labels=newcomer))
        for batch in batches:
            learner.learn(batch)

        assert_finite(learner.state())
        restored = self.new()
        restored.restore(stored(learner.state()))
        assert restored.state().sha256() == learner.state().sha256()
