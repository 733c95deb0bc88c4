"""The battery catches what breaks the contract: for every case, a learner that breaks just that rule."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any
from unittest import SkipTest

import numpy as np
import pytest

from tests.models.contract.toys import WIDTH, Capable, CapablePredictor, Toy, ToyPredictor, batches, context
from thalweg.memory.snapshots.state import State
from thalweg.models.contract.gauges import CLASSES, GaugeSpec, GaugeValue
from thalweg.models.contract.learner import Learner
from thalweg.models.testing import LearnerContract
from thalweg.proto.event import Batch
from thalweg.proto.schema import Array, InputError, Inputs, Schema, TensorSpec
from thalweg.proto.task import CLASSIFICATION, REGRESSION, Task


class TestToy(LearnerContract):
    kind: type[Toy] = Toy

    def new(self) -> Learner:
        return self.kind(context())

    def other(self) -> Learner:
        return self.kind(context(WIDTH + 1))

    def batches(self) -> list[Batch]:
        return self.kind.events()


class TestCapable(TestToy):
    kind = Capable


BREAKS: dict[str, list[type[Toy]]] = {}


def breaks(rule: str) -> Callable[[type[Toy]], type[Toy]]:
    """A learner that breaks the rule of this case."""

    def note(kind: type[Toy]) -> type[Toy]:
        BREAKS.setdefault(f"test_{rule}", []).append(kind)
        return kind

    return note


def answering(kind: type[ToyPredictor]) -> type[Toy]:
    """A toy with another predictor."""
    return type(kind.__name__, (Capable,), {"predictors": kind})


# Learning


@breaks("two_runs_over_the_same_log_end_in_the_same_state")
class Random(Toy):
    def learn(self, batch: Batch) -> None:
        super().learn(batch)
        self.sums += np.random.default_rng().random()


@breaks("a_restored_learner_goes_on_as_if_it_had_never_stopped")
class ForgetsWhatItSkipped(Toy):
    def restore(self, state: State) -> None:
        super().restore(state)
        self.counts["seen"] = 0


@breaks("restoring_takes_back_what_was_learned_since")
class RestoresHalf(Toy):
    def restore(self, state: State) -> None:
        weights = self.weights
        super().restore(state)
        self.weights = weights if len(weights) else self.weights


@breaks("forgetting_that_was_raised_is_part_of_the_state")
class ForgetsBeside(Capable):
    rate = 1.0

    def raise_forgetting(self, factor: float, events: int) -> None:
        self.rate = factor

    def learn(self, batch: Batch) -> None:
        super().learn(batch)
        self.sums *= self.rate


@breaks("what_a_state_says_beside_its_arrays_stays_as_it_was_while_learning_goes_on")
class SharesItsCounts(Toy):
    def state(self) -> State:
        whole = super().state()
        return State(dict(whole.tensors), {**whole.meta, "counts": self.counts})


@breaks("a_learner_does_not_write_into_the_state_it_was_restored_from")
class WritesIntoItsState(Toy):
    def restore(self, state: State) -> None:
        super().restore(state)
        self.sums, self.weights = state.tensors["sums"], state.tensors["weights"]


@breaks("a_state_made_under_other_parameters_is_refused_and_changes_nothing")
class TakesAnyState(Toy):
    def refuse(self, state: State) -> None:
        pass


@breaks("a_state_made_under_other_parameters_is_refused_and_changes_nothing")
class RefusesTooLate(Toy):
    def restore(self, state: State) -> None:
        self.counts = dict(state.meta["counts"])
        super().restore(state)


@breaks("answering_changes_nothing")
class CountsAnswers(Toy):
    def predictor(self) -> ToyPredictor:
        self.counts["seen"] += 1
        return super().predictor()


@breaks("an_empty_batch_changes_nothing")
class CountsBatches(Toy):
    def learn(self, batch: Batch) -> None:
        super().learn(batch)
        self.counts["seen"] += 1


@breaks("events_without_labels_are_no_error")
class WantsLabels(Toy):
    def learn(self, batch: Batch) -> None:
        assert batch.labels is not None
        super().learn(batch)


@breaks("a_batch_is_not_changed_by_learning_from_it")
class ScalesInPlace(Toy):
    def learn(self, batch: Batch) -> None:
        super().learn(batch)
        batch.inputs["features"][:] *= 2


@breaks("the_state_is_finite")
class DividesByNothing(Toy):
    def learn(self, batch: Batch) -> None:
        super().learn(batch)
        self.weights = np.where(self.weights > 1, np.inf, self.weights)


@breaks("broken_numbers_leave_the_state_finite")
class LearnsAnything(Toy):
    def take(self, batch: Batch, sign: int) -> None:
        super().take(batch, sign)
        if len(self.sums):
            self.sums[0, 0] += 0.0 * batch.inputs["features"].sum(dtype=np.float32)


@breaks("a_class_may_come_at_any_time")
class FewClasses(Toy):
    def grow(self) -> None:
        assert len(self.classes) <= 3
        super().grow()


# Gauges and capabilities


@breaks("gauges_are_those_declared")
class UndeclaredGauge(Toy):
    def gauges(self) -> Mapping[str, GaugeValue]:
        return {**super().gauges(), "more": 1.0}


@breaks("gauges_are_those_declared")
class MissingGauge(Toy):
    gauges_declared = (*Toy.gauges_declared, GaugeSpec(name="more", help="More"))


@breaks("gauges_are_those_declared")
class UnlabelledGauge(Toy):
    def gauges(self) -> Mapping[str, GaugeValue]:
        return {**super().gauges(), "taken": 1.0}


@breaks("gauges_are_those_declared")
class FallingCounter(Toy):
    def gauges(self) -> Mapping[str, GaugeValue]:
        return {**super().gauges(), "skipped_events": 1000.0 - self.counts["seen"]}


@breaks("gauges_are_those_declared")
class GaugeThatIsNoNumber(Toy):
    def gauges(self) -> Mapping[str, GaugeValue]:
        return {**super().gauges(), "classes": float("nan")}


@breaks("gauges_are_those_declared")
class TwoGaugesOfOneName(Toy):
    gauges_declared = (*Toy.gauges_declared, CLASSES)


@breaks("gauges_are_those_declared")
class TwoGaugesOfOneMetric(Toy):
    gauges_declared = (*Toy.gauges_declared, GaugeSpec(name="more", help="More", metric="classes"))

    def gauges(self) -> Mapping[str, GaugeValue]:
        return {**super().gauges(), "more": 1.0}


@breaks("a_merged_learner_is_as_if_it_had_learned_what_the_other_did")
class MergesHalf(Capable):
    def merge(self, other: State) -> None:
        super().merge(State({**other.tensors, "sums": other.tensors["sums"] / 2}, other.meta))


@breaks("what_was_unlearned_is_as_if_it_had_never_come")
class UnlearnsLater(Capable):
    def unlearn(self, batch: Batch) -> None:
        pass


# Answers


@breaks("an_explanation_has_a_row_for_each_row_as_json_knows_it")
@answering
class ExplainsOneRow(CapablePredictor):
    def explain(self, inputs: Inputs, most: int) -> list[Any]:
        return super().explain(inputs, most)[:1]


@breaks("an_explanation_has_a_row_for_each_row_as_json_knows_it")
@answering
class ExplainsInArrays(CapablePredictor):
    def explain(self, inputs: Inputs, most: int) -> list[Any]:
        return list(self.predict(inputs)["scores"])


@breaks("there_are_answers_before_the_first_learn")
class NeedsToLearn(Toy):
    def predictor(self) -> ToyPredictor:
        assert self.classes, "nothing learned"
        return super().predictor()


@breaks("answers_have_the_declared_names_types_and_shapes")
@answering
class AnswersInDoubles(ToyPredictor):
    def predict(self, inputs: Inputs) -> Mapping[str, Array]:
        answers = super().predict(inputs)
        return {**answers, "scores": answers["scores"].astype(np.float64)}


@breaks("the_task_is_one_that_its_outputs_and_labels_are_of")
@answering
class SaysNumbersAndAnswersClasses(ToyPredictor):
    @property
    def task(self) -> Task:
        return REGRESSION


@breaks("the_task_is_one_that_its_outputs_and_labels_are_of")
@answering
class SaysProbabilitiesInItsTaskAlone(ToyPredictor):
    @property
    def task(self) -> Task:
        return CLASSIFICATION.with_probabilities()


@breaks("answers_have_the_declared_names_types_and_shapes")
@answering
class AnswersLess(ToyPredictor):
    def predict(self, inputs: Inputs) -> Mapping[str, Array]:
        return {"label": super().predict(inputs)["label"]}


@breaks("no_rows_get_no_answers")
@answering
class NeedsRows(ToyPredictor):
    def predict(self, inputs: Inputs) -> Mapping[str, Array]:
        assert len(inputs["features"])
        return super().predict(inputs)


@breaks("an_answer_does_not_depend_on_the_rows_beside_it")
@answering
class ScalesByTheBatch(ToyPredictor):
    def predict(self, inputs: Inputs) -> Mapping[str, Array]:
        answers = super().predict(inputs)
        return {**answers, "scores": answers["scores"] / np.float32(len(answers["scores"]) or 1)}


@breaks("broken_numbers_in_one_row_leave_the_answers_to_others_as_they_are")
@answering
class CentresTheBatch(ToyPredictor):
    def predict(self, inputs: Inputs) -> Mapping[str, Array]:
        answers = super().predict(inputs)
        return {**answers, "scores": answers["scores"] + np.float32(0 * inputs["features"].sum())}


@breaks("a_predictor_is_not_changed_by_later_learning")
class AnswersFromItsSums(Toy):
    def predictor(self) -> ToyPredictor:
        return self.predictors(self.columns, tuple(self.classes), self.sums, 0)


@breaks("a_published_predictor_answers_as_the_learner_does")
@answering
class PublishesRounded(ToyPredictor):
    def state(self) -> State:
        whole = super().state()
        return State({"means": whole.tensors["means"].round(1)}, whole.meta)


@breaks("a_published_predictor_answers_as_the_learner_does")
@answering
class PublishesOtherNames(ToyPredictor):
    def state(self) -> State:
        whole = super().state()
        return State(dict(whole.tensors), {**whole.meta, "classes": [f"{name}!" for name in self.classes]})


class Lenient(ToyPredictor):
    """It takes whatever comes, as far as it can."""

    def predict(self, inputs: Inputs) -> Mapping[str, Array]:
        return super().predict({"features": self.made(inputs)})

    def made(self, inputs: Inputs) -> Array:
        """What it takes the inputs for."""
        return inputs["features"]


@breaks("a_missing_input_is_refused_by_name")
@answering
class MakesZeros(Lenient):
    def made(self, inputs: Inputs) -> Array:
        return inputs.get("features", np.zeros((1, WIDTH), np.float32))


@breaks("a_missing_input_is_refused_by_name")
@answering
class RefusesWithoutAName(Lenient):
    def made(self, inputs: Inputs) -> Array:
        if "features" not in inputs:
            raise InputError("something is missing")
        return inputs["features"]


class NotedPredictor(Lenient):
    def made(self, inputs: Inputs) -> Array:
        return inputs["features"] + np.float32("note" not in inputs)


@breaks("an_optional_input_that_is_missing_is_one_of_missing_values")
class TellsNoNoteFromAnEmptyOne(Toy):
    predictors = NotedPredictor

    @staticmethod
    def events() -> list[Batch]:
        return [replace(one, inputs={**one.inputs, "note": np.full(len(one), np.nan)}) for one in batches()]

    @property
    def schema(self) -> Schema:
        return Schema({**super().schema.inputs, "note": TensorSpec("note", "float64", (), optional=True)})

    def learn(self, batch: Batch) -> None:
        super().learn(replace(batch, inputs={"features": batch.inputs["features"]}))


@breaks("an_unknown_input_is_refused_by_name")
@answering
class TakesUnknown(Lenient):
    pass


@breaks("a_wrong_shape_is_refused_by_name")
@answering
class CutsToShape(Lenient):
    def made(self, inputs: Inputs) -> Array:
        rows = inputs["features"]
        return rows.reshape(len(rows), -1)[:, :WIDTH]


@breaks("a_wrong_type_is_refused_by_name")
@answering
class Converts(Lenient):
    def made(self, inputs: Inputs) -> Array:
        return inputs["features"].real.astype(np.float32)


@pytest.mark.parametrize(("case", "kind"), [(case, kind) for case, kinds in BREAKS.items() for kind in kinds])
def test_a_learner_that_breaks_a_rule_fails_its_case(case: str, kind: type[Toy]) -> None:
    battery: type[LearnerContract] = type("Battery", (TestToy,), {"kind": kind})

    with pytest.raises((AssertionError, ValueError, TypeError)):  # of read-only arrays, of what JSON does not know
        getattr(battery(), case)()


def test_there_is_a_broken_learner_for_every_case() -> None:
    cases = {name for name, _ in inspect.getmembers(LearnerContract, inspect.isfunction) if name.startswith("test_")}

    assert cases == set(BREAKS)


def test_cases_of_what_a_learner_does_not_offer_are_skipped_and_say_why() -> None:
    toy = TestToy()

    for case, reason in (
        ("test_forgetting_that_was_raised_is_part_of_the_state", "it cannot raise forgetting"),
        ("test_a_merged_learner_is_as_if_it_had_learned_what_the_other_did", "cannot be merged"),
        ("test_what_was_unlearned_is_as_if_it_had_never_come", "cannot unlearn"),
        ("test_an_explanation_has_a_row_for_each_row_as_json_knows_it", "cannot explain"),
    ):
        with pytest.raises(SkipTest, match=reason):
            getattr(toy, case)()


def test_a_battery_without_another_learner_says_so() -> None:
    class WithoutOther(TestToy):
        other = LearnerContract.other

    with pytest.raises(SkipTest, match=r"other\(\) is not defined"):
        WithoutOther().test_a_state_made_under_other_parameters_is_refused_and_changes_nothing()
