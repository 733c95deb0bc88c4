"""The battery every learner passes; importable, so that a learner of yours is held to the same.

    class TestMine(LearnerContract):
        def new(self) -> Learner:
            return Mine(LearnerContext(inputs={...}))

        def batches(self) -> list[Batch]:
            return [...]

pytest then runs every test below on your learner.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from typing import cast
from unittest import SkipTest

import numpy as np

from thalweg.memory.snapshots.state import State
from thalweg.models.contract.capabilities import Forgetting, capability
from thalweg.models.contract.learner import Learner, LearnerFactory, Predictor
from thalweg.proto.event import Batch, ClassLabels
from thalweg.proto.schema import Array, InputError, Inputs


class LearnerContract:
    """Subclass it, give `new` and `batches`; the class name must begin with Test for pytest to find it."""

    def new(self) -> Learner:
        """A learner that has learned nothing; every call gives an equal one."""
        raise NotImplementedError

    def batches(self) -> list[Batch]:
        """Four or more micro-batches of several events each that the learner can learn from; some labelled."""
        raise NotImplementedError

    def predictor_from(self, state: State) -> Predictor:
        """How servers get a predictor back; override it where the factory is not the learner's class."""
        return cast(LearnerFactory, type(self.new())).predictor_from(state)

    # Learning is a fold

    def test_two_runs_over_the_same_log_end_in_the_same_state(self) -> None:
        assert self._trained().state().sha256() == self._trained().state().sha256()

    def test_a_restored_learner_goes_on_as_if_it_had_never_stopped(self) -> None:
        batches = self.batches()
        for stop in range(len(batches)):
            learner, restored = self.new(), self.new()
            for batch in batches[:stop]:
                learner.learn(batch)

            restored.restore(_stored(learner.state()))

            assert restored.state().sha256() == learner.state().sha256()
            for batch in batches[stop:]:
                _assert_same(restored.predictor().predict(batch.inputs), learner.predictor().predict(batch.inputs))
                learner.learn(batch)
                restored.learn(batch)
            assert restored.state().sha256() == learner.state().sha256()

    def test_forgetting_that_was_raised_is_part_of_the_state(self) -> None:
        batches = self.batches()
        learner, restored = self._trained(2), self.new()
        forgetting = capability(learner, Forgetting)
        if forgetting is None:
            raise SkipTest("it cannot be told to forget")
        forgetting.raise_forgetting(3.0, len(batches[2]) + 1)  # over in the middle of a batch
        assert learner.state().sha256() != self._trained(2).state().sha256()

        restored.restore(_stored(learner.state()))

        for batch in batches[2:]:
            learner.learn(batch)
            restored.learn(batch)
        assert restored.state().sha256() == learner.state().sha256()

    def test_restoring_takes_back_what_was_learned_since(self) -> None:
        batches = self.batches()
        learner = self._trained(2)
        kept = _stored(learner.state())
        for batch in batches[2:]:
            learner.learn(batch)

        learner.restore(kept)

        assert learner.state().sha256() == kept.sha256()
        _assert_same(
            learner.predictor().predict(batches[0].inputs), self._trained(2).predictor().predict(batches[0].inputs)
        )

    def test_what_a_state_says_beside_its_arrays_stays_as_it_was_while_learning_goes_on(self) -> None:
        learner = self._trained(2)
        state = learner.state()
        before = deepcopy(state.meta)

        for batch in self.batches()[2:]:
            learner.learn(batch)

        assert state.meta == before

    def test_a_learner_does_not_write_into_the_state_it_was_restored_from(self) -> None:
        kept = _stored(self._trained(2).state())  # its arrays are read-only: writing would raise
        before = kept.sha256()
        learner = self.new()
        learner.restore(kept)

        for batch in self.batches():
            learner.learn(batch)

        assert kept.sha256() == before

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
        learner = self._trained()
        before = learner.state().sha256()

        learner.learn(self.batches()[0][:0])

        assert learner.state().sha256() == before

    def test_events_without_labels_are_no_error(self) -> None:
        learner = self._trained()

        learner.learn(self.batches()[0].unlabelled())

        _assert_finite(learner.state())

    def test_a_batch_is_not_changed_by_learning_from_it(self) -> None:
        batches = self.batches()
        before = [{name: column.copy() for name, column in batch.inputs.items()} for batch in batches]

        self._trained()
        learner = self.new()
        for batch in batches:
            learner.learn(batch)

        for batch, columns in zip(batches, before):
            _assert_same(batch.inputs, columns)

    def test_the_state_is_finite(self) -> None:
        _assert_finite(self._trained().state())

    def test_broken_numbers_leave_the_state_finite(self) -> None:
        for broken in (np.nan, np.inf, -np.inf, "largest"):
            learner = self._trained()
            batch = self.batches()[0]
            inputs = {name: column.copy() for name, column in batch.inputs.items()}
            for column in inputs.values():
                if column.dtype.kind == "f":
                    column[0] = np.finfo(column.dtype).max if broken == "largest" else broken

            learner.learn(replace(batch, inputs=inputs))

            _assert_finite(learner.state())
            for output in learner.predictor().predict(batch.inputs).values():
                assert output.dtype.kind != "f" or np.isfinite(output).all()

    def test_a_class_may_come_at_any_time(self) -> None:
        batches = self.batches()
        labels = batches[0].labels
        if not isinstance(labels, ClassLabels):
            return
        learner = self._trained()
        newcomer = ClassLabels(np.zeros(len(batches[0]), np.int32), ("a class never heard of",))

        learner.learn(replace(batches[0], labels=newcomer))
        for batch in batches:
            learner.learn(batch)

        _assert_finite(learner.state())
        restored = self.new()
        restored.restore(_stored(learner.state()))
        assert restored.state().sha256() == learner.state().sha256()

    # Answers

    def test_there_are_answers_before_the_first_learn(self) -> None:
        inputs = self.batches()[0].inputs
        predictor = self.new().predictor()

        self._assert_as_declared(predictor, inputs)

    def test_answers_have_the_declared_names_types_and_shapes(self) -> None:
        for batch in self.batches():
            self._assert_as_declared(self._trained().predictor(), batch.inputs)

    def test_no_rows_get_no_answers(self) -> None:
        for learner in (self.new(), self._trained()):
            predictor = learner.predictor()
            inputs = {name: column[:0] for name, column in self.batches()[0].inputs.items()}

            self._assert_as_declared(predictor, inputs)

    def test_an_answer_does_not_depend_on_the_rows_beside_it(self) -> None:
        predictor = self._trained().predictor()
        inputs = self._all_inputs()
        count = len(next(iter(inputs.values())))
        together = predictor.predict(inputs)

        for part in (slice(0, 1), slice(1, 2), slice(0, 3), slice(1, 6), slice(count - 1, count), slice(2, count)):
            alone = predictor.predict({name: column[part] for name, column in inputs.items()})
            _assert_same(alone, {name: column[part] for name, column in together.items()})

    def test_a_predictor_is_not_changed_by_later_learning(self) -> None:
        batches = self.batches()
        learner = self._trained(2)
        predictor = learner.predictor()
        before = {name: column.copy() for name, column in predictor.predict(batches[0].inputs).items()}
        state_before = predictor.state().sha256()

        for batch in batches[2:]:
            learner.learn(batch)

        _assert_same(predictor.predict(batches[0].inputs), before)
        assert predictor.state().sha256() == state_before

    def test_a_published_predictor_answers_as_the_learner_does(self) -> None:
        for count in (0, 1, len(self.batches())):
            learner = self._trained(count)
            predictor = learner.predictor()

            published = self.predictor_from(_stored(predictor.state()))

            inputs = self._all_inputs()
            _assert_same(published.predict(inputs), predictor.predict(inputs))
            assert published.classes == predictor.classes
            assert published.inputs == predictor.inputs
            assert published.outputs == predictor.outputs
            assert published.properties == predictor.properties
            assert published.state().sha256() == predictor.state().sha256()

    # Data that does not fit

    def test_a_missing_input_is_refused_by_name(self) -> None:
        inputs = self.batches()[0].inputs
        for name in self.new().schema.inputs:
            _assert_refused(self._trained(), {key: value for key, value in inputs.items() if key != name}, name)

    def test_an_unknown_input_is_refused_by_name(self) -> None:
        inputs = dict(self.batches()[0].inputs)
        inputs["no_such_input"] = next(iter(inputs.values()))

        _assert_refused(self._trained(), inputs, "no_such_input")

    def test_a_wrong_shape_is_refused_by_name(self) -> None:
        for name, column in self.batches()[0].inputs.items():
            if -1 in self.new().schema.inputs[name].shape:
                continue
            for wrong in (
                column[..., None],
                np.concatenate([column, column], axis=-1) if column.ndim > 1 else column[:, None],
            ):
                _assert_refused(self._trained(), {**self.batches()[0].inputs, name: wrong}, name)

    def test_a_wrong_type_is_refused_by_name(self) -> None:
        for name, column in self.batches()[0].inputs.items():
            wrong = column.astype(np.complex128 if column.dtype.kind in "fiub" else np.int8)
            _assert_refused(self._trained(), {**self.batches()[0].inputs, name: wrong}, name)

    def _trained(self, count: int | None = None) -> Learner:
        learner = self.new()
        for batch in self.batches()[:count]:
            learner.learn(batch)
        return learner

    def _all_inputs(self) -> Mapping[str, Array]:
        batches = self.batches()
        return {name: np.concatenate([batch.inputs[name] for batch in batches]) for name in batches[0].inputs}

    def _assert_as_declared(self, predictor: Predictor, inputs: Inputs) -> None:
        count = len(next(iter(inputs.values())))
        answers = predictor.predict(inputs)
        assert set(answers) == set(predictor.outputs)
        for name, spec in predictor.outputs.items():
            answer = answers[name]
            assert answer.dtype == np.dtype("int32" if spec.dtype == "bytes" else spec.dtype), name
            assert answer.ndim == 1 + len(spec.shape), name
            assert len(answer) == count, name
            for got, wanted in zip(answer.shape[1:], spec.shape):
                assert wanted in (-1, got), name
            if spec.dtype == "bytes":
                assert ((answer >= -1) & (answer < len(predictor.classes))).all(), name
        if "scores" in answers and predictor.classes:
            assert answers["scores"].shape[1] == len(predictor.classes)


def _stored(state: State) -> State:
    """The state as a file would give it back: copied, read-only."""
    tensors = {}
    for name, array in state.tensors.items():
        copy = np.ascontiguousarray(array).copy()
        copy.flags.writeable = False
        tensors[name] = copy
    return State(tensors, dict(state.meta))


def _assert_same(got: Mapping[str, Array], wanted: Mapping[str, Array]) -> None:
    assert set(got) == set(wanted)
    for name, array in wanted.items():
        np.testing.assert_array_equal(got[name], array, err_msg=name)


def _assert_finite(state: State) -> None:
    for name, array in state.tensors.items():
        assert array.dtype.kind != "f" or np.isfinite(array).all(), f"state tensor {name!r} is not finite"


def _assert_refused(learner: Learner, inputs: Inputs, name: str) -> None:
    try:
        learner.predictor().predict(inputs)
    except InputError as error:
        assert name in str(error), f"the message does not name {name!r}: {error}"  # noqa: PT017 - no pytest needed here
    else:
        raise AssertionError(f"inputs that do not fit ({name!r}) were answered")
