"""Predictions depend on the state and match their declaration; invalid inputs are refused by name."""

from __future__ import annotations

from unittest import SkipTest

import numpy as np

from thalweg.models.contract.battery.given import Given, assert_same, stored
from thalweg.models.contract.learner import Learner, Predictor
from thalweg.proto.schema import InputError, Inputs


class AnswerCases(Given):
    """Cases of `predictor` and `predict`."""

    def test_there_are_answers_before_the_first_learn(self) -> None:
        inputs = self.batches()[0].inputs
        predictor = self.new().predictor()

        self._assert_as_declared(predictor, inputs)

    def test_answers_have_the_declared_names_types_and_shapes(self) -> None:
        for batch in self.batches():
            self._assert_as_declared(self.trained().predictor(), batch.inputs)

    def test_the_task_is_one_that_its_outputs_and_labels_are_of(self) -> None:
        for learner in (self.new(), self.trained()):
            predictor = learner.predictor()
            assert not predictor.task.problem(predictor.outputs)
            assert predictor.task.label in (learner.schema.label, "none")
            said = predictor.properties.get(predictor.task.scores) or predictor.properties.get("scores")
            assert predictor.task.probabilities == (said in ("probabilities", "calibrated"))

    def test_no_rows_get_no_answers(self) -> None:
        for learner in (self.new(), self.trained()):
            predictor = learner.predictor()
            inputs = {name: column[:0] for name, column in self.batches()[0].inputs.items()}

            self._assert_as_declared(predictor, inputs)

    def test_an_answer_does_not_depend_on_the_rows_beside_it(self) -> None:
        predictor = self.trained().predictor()
        inputs = self.all_inputs()
        count = len(next(iter(inputs.values())))
        together = predictor.predict(inputs)

        for part in (slice(0, 1), slice(1, 2), slice(0, 3), slice(1, 6), slice(count - 1, count), slice(2, count)):
            alone = predictor.predict({name: column[part] for name, column in inputs.items()})
            assert_same(alone, {name: column[part] for name, column in together.items()})

    def test_broken_numbers_in_one_row_leave_the_answers_to_others_as_they_are(self) -> None:
        predictor = self.trained().predictor()
        inputs = self.all_inputs()
        answers = predictor.predict(inputs)
        floats = {name: column for name, column in inputs.items() if column.dtype.kind == "f"}
        if not floats:
            raise SkipTest("its inputs are not floats")
        for broken in (np.nan, np.inf, -np.inf, "largest"):
            spoilt = {name: column.copy() for name, column in inputs.items()}
            for name, column in floats.items():
                spoilt[name][0] = np.finfo(column.dtype).max if broken == "largest" else broken

            found = predictor.predict(spoilt)

            assert_same(
                {name: column[1:] for name, column in found.items()},
                {name: column[1:] for name, column in answers.items()},
            )

    def test_a_predictor_is_not_changed_by_later_learning(self) -> None:
        batches = self.batches()
        learner = self.trained(2)
        predictor = learner.predictor()
        before = {name: column.copy() for name, column in predictor.predict(batches[0].inputs).items()}
        state_before = predictor.state().sha256()

        for batch in batches[2:]:
            learner.learn(batch)

        assert_same(predictor.predict(batches[0].inputs), before)
        assert predictor.state().sha256() == state_before

    def test_a_published_predictor_answers_as_the_learner_does(self) -> None:
        for count in (0, 1, len(self.batches())):
            learner = self.trained(count)
            predictor = learner.predictor()

            published = self.predictor_from(stored(predictor.state()))

            inputs = self.all_inputs()
            assert_same(published.predict(inputs), predictor.predict(inputs))
            assert published.classes == predictor.classes
            assert published.inputs == predictor.inputs
            assert published.outputs == predictor.outputs
            assert published.properties == predictor.properties
            assert published.state().sha256() == predictor.state().sha256()

    # Invalid inputs

    def test_a_missing_input_is_refused_by_name(self) -> None:
        inputs = self.batches()[0].inputs
        for name, spec in self.new().schema.inputs.items():
            if not spec.optional:
                _assert_refused(self.trained(), {key: value for key, value in inputs.items() if key != name}, name)

    def test_an_optional_input_that_is_missing_is_one_of_missing_values(self) -> None:
        inputs = self.batches()[0].inputs
        optional = [name for name, spec in self.new().schema.inputs.items() if spec.optional]
        if not optional or len(inputs) < 2:
            raise SkipTest("none of its inputs can be missing")
        predictor = self.trained().predictor()
        for name in optional:
            given = inputs[name]
            nothing = np.full(given.shape, b"" if given.dtype.kind == "O" else np.nan, given.dtype)

            found = predictor.predict({key: value for key, value in inputs.items() if key != name})

            assert_same(found, predictor.predict({**inputs, name: nothing}))

    def test_an_unknown_input_is_refused_by_name(self) -> None:
        inputs = dict(self.batches()[0].inputs)
        inputs["no_such_input"] = next(iter(inputs.values()))

        _assert_refused(self.trained(), inputs, "no_such_input")

    def test_a_wrong_shape_is_refused_by_name(self) -> None:
        specs = self.new().schema.inputs
        fixed = {name: column for name, column in self.batches()[0].inputs.items() if -1 not in specs[name].shape}
        if not fixed:
            raise SkipTest("its inputs may have any shape")
        for name, column in fixed.items():
            for wrong in (
                column[..., None],
                np.concatenate([column, column], axis=-1) if column.ndim > 1 else column[:, None],
            ):
                _assert_refused(self.trained(), {**self.batches()[0].inputs, name: wrong}, name)

    def test_a_wrong_type_is_refused_by_name(self) -> None:
        for name, column in self.batches()[0].inputs.items():
            wrong = np.zeros(column.shape, np.complex128 if column.dtype.kind in "fiub" else np.int8)
            _assert_refused(self.trained(), {**self.batches()[0].inputs, name: wrong}, name)

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
        for name in ("scores", "probabilities"):
            if name in answers and predictor.classes:
                assert answers[name].shape[1] == len(predictor.classes)


def _assert_refused(learner: Learner, inputs: Inputs, name: str) -> None:
    try:
        learner.predictor().predict(inputs)
    except InputError as error:
        assert name in str(error), f"the message does not name {name!r}: {error}"  # noqa: PT017 - no pytest needed here
    else:
        raise AssertionError(f"invalid inputs ({name!r}) were accepted")
