"""Experts of one prediction: what is mixed, what is told of each, and what a user sees of streams that are hard."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.models.prompt_tpp.test_learner import KEY, NAMES, events, learner
from thalweg.memory.snapshots.state import State
from thalweg.models.contract.learner import LearnerContext
from thalweg.models.parts.torch_setup import torch
from thalweg.models.prompt_tpp.learner import PromptTpp
from thalweg.models.prompt_tpp.next_event import NextEvent, mixed
from thalweg.models.prompt_tpp.predictor import PromptTppPredictor
from thalweg.proto.event import Batch, ClassLabels

COUNTING: dict[str, Any] = {"experts": ["closed_form", "closed_form_fast"]}


def taught(batches: int = 3, **params: Any) -> PromptTpp:
    made = learner(**params)
    for number in range(batches):
        made.learn(events(40, start=100.0 * number))
    return made


def stream(keys: list[str], times: list[float], kinds: list[str]) -> Batch:
    names = tuple(dict.fromkeys(kinds))
    codes = np.array([names.index(kind) for kind in kinds], dtype=np.int32)
    column = np.array([key.encode() for key in keys], dtype=object)
    return Batch({"key": column}, ClassLabels(codes, names), np.ones(len(keys)), np.array(times))


def test_the_grade_is_that_of_the_mixture_and_each_expert_has_its_own() -> None:
    predictor = taught().predictor()
    batch = events(30, start=300.0)

    graded, alone = predictor.predict_events(batch), predictor.each_alone(batch)

    assert list(alone) == [*learner().params.members, "mixture"]
    np.testing.assert_array_equal(alone["mixture"][0], graded["log_likelihood"])
    np.testing.assert_array_equal(alone["mixture"][1], graded["next_type"])
    rows = np.isfinite(graded["log_likelihood"])
    each = np.stack([alone[name][0][rows] for name in list(alone)[:-1]])
    assert len(np.unique(each.round(6), axis=0)) == 5
    assert graded["log_likelihood"][rows].mean() > each.mean(axis=1).min()


def test_the_weights_follow_who_predicts_well_and_what_each_adds_is_told() -> None:
    """Habits that a memory of 30 events follows and one of 10,000 does not."""
    made = learner(**COUNTING, markov_memory=10_000.0)
    for number in range(60):
        kinds = [NAMES[(number // 10 + place) % 3] for place in range(16)]
        made.learn(stream(["a"] * 16, [1e9 + 100.0 * number + place for place in range(16)], kinds[:8] + kinds[:8]))

    gauges = made.gauges()

    weight, alone, gain = (gauges[f"expert_{name}"] for name in ("weight", "log_likelihood", "gain"))
    assert weight["closed_form_fast", "types"] > 0.8  # type: ignore[index]
    assert sum(weight[name, "types"] for name in COUNTING["experts"]) == pytest.approx(1.0)  # type: ignore[index]
    assert alone["closed_form_fast",] > alone["closed_form",]  # type: ignore[index]
    assert gain["closed_form_fast",] > gain["closed_form",]  # type: ignore[index]
    assert gain["closed_form_fast",] > 0.0  # type: ignore[index]


def test_an_expert_that_is_left_out_leaves_nothing_behind() -> None:
    counting, whole = taught(**COUNTING), taught()

    names = set(counting.state().tensors)

    assert not [name for name in names if ".weight." in name or "attentive" in name]
    assert names < set(whole.state().tensors)
    assert np.isfinite(counting.predictor().predict(events(5).inputs)["next_time"]).all()


def test_prompts_belong_to_the_networks_that_are_named() -> None:
    def pools(**params: Any) -> set[str]:
        return {name.split(".")[1] for name in learner(**params).state().tensors if ".pool." in name}

    assert pools() == {"attentive"}
    assert pools(prompted=["nhp", "attentive"]) == {"nhp", "attentive"}
    assert pools(prompted=[]) == set()
    assert pools(prompts=0) == set()


def test_where_only_prompts_learn_a_network_without_them_stays_as_it_is() -> None:
    made = taught(mode="prompts_only")

    before, after = learner(mode="prompts_only").state().tensors, made.state().tensors

    moved = {name for name, array in after.items() if ".weight." in name and (array != before[name]).any()}
    assert moved
    assert all(name.startswith("expert.attentive.weight.pool.") for name in moved)


# The type that is answered


def test_the_answer_is_that_of_whom_the_answers_weights_believe_and_the_probabilities_are_the_mixtures() -> None:
    first = NextEvent(torch.tensor([[0.7, 0.3]]).log(), torch.zeros(1, 1, 3, 2))
    second = NextEvent(torch.tensor([[0.2, 0.8]]).log(), torch.zeros(1, 1, 3, 2))

    told = mixed([first, second], [0.9, 0.1], [0.5, 0.5], [0.1, 0.9])
    of_likelihood_alone = mixed([first, second], [0.9, 0.1], [0.5, 0.5])

    np.testing.assert_allclose(told.types.exp(), [[0.65, 0.35]], rtol=1e-6)
    assert told.answers.tolist() == [1]
    assert of_likelihood_alone.answers.tolist() == [0]
    np.testing.assert_array_equal(told.types, of_likelihood_alone.types)


def test_answers_follow_the_expert_that_is_wrong_least_often_where_probabilities_follow_another() -> None:
    """Each key has a type of its own, which its own window knows; three times in four it comes."""
    made = learner(experts=["closed_form", "closed_form_key"], window=12, train_batch=8)
    for number in range(60):
        for key, kind in (("a", "view"), ("b", "buy"), ("c", "cart")):
            kinds = [kind] * 4 if number % 4 else ["view", "buy", "cart", kind]
            made.learn(stream([key] * 4, [1e9 + 50.0 * number + place for place in range(4)], kinds))

    weights = made.gauges()["expert_weight"]

    of_answers = {name: weights[name, "answers"] for name in ("closed_form", "closed_form_key")}  # type: ignore[index]
    assert sum(of_answers.values()) == pytest.approx(1.0)
    assert of_answers["closed_form_key"] > 0.5
    assert of_answers["closed_form_key"] != weights["closed_form_key", "types"]  # type: ignore[index]
    (told,) = made.predictor().explain({"key": np.array([b"a"], dtype=object)})
    explained = {one["expert"]: one["weight_of_answers"] for one in told if "expert" in one}
    assert explained == pytest.approx(of_answers)


def test_without_a_rate_the_answer_is_the_most_likely_type() -> None:
    made = taught(answer_rate=0.0)

    graded = made.predictor().predict_events(events(30, start=300.0))

    rows = graded["next_type"] >= 0
    np.testing.assert_array_equal(graded["next_type"][rows], graded["type_scores"][rows].argmax(axis=1))
    assert "expert_answers" not in made.state().tensors
    assert {part for _, part in made.gauges()["expert_weight"]} == {"types", "gaps"}  # type: ignore[union-attr]


def test_a_state_and_a_version_from_before_answers_had_weights_are_read_and_these_begin_alike() -> None:
    made, state = learner(), taught().state()
    without = {name: array for name, array in state.tensors.items() if name != "expert_answers"}

    made.restore(State(without, state.meta))

    np.testing.assert_array_equal(made.state().tensors["expert_answers"], np.full(5, 0.2))
    assert {**made.state().tensors}.keys() == state.tensors.keys()
    version = taught().predictor().state()
    before = PromptTppPredictor.of(State(version.tensors, {**version.meta, "weights": version.meta["weights"][:2]}))
    told = before.predict({"key": np.array([b"3"], dtype=object)})
    assert told["next_type"][0] == told["type_scores"][0].argmax()


# Types never seen


@pytest.mark.parametrize("params", [{}, {"base": "nhp", "head": "intensity"}])
def test_known_types_and_one_never_seen_share_the_whole_probability(params: dict[str, Any]) -> None:
    predictor = taught(**params).predictor()

    def density(kind: str) -> float:
        graded = predictor.predict_events(stream(["3"], [1e9 + 400.0], [kind]))
        return float(np.exp(graded["log_likelihood"][0]))

    new = predictor.state().meta["settings"]["unseen"]
    known = [density(kind) for kind in predictor.classes]
    unseen = density("never")
    assert unseen / (sum(known) + unseen) == pytest.approx(new, rel=0.02)
    assert 0.0 < new < 0.1


def test_a_type_never_seen_is_the_less_expected_the_longer_none_came_also_where_there_is_no_room() -> None:
    made = learner(max_types=3)
    chances = []
    for number in range(3):
        made.learn(events(40, start=100.0 * number))
        chances.append(made.predictor().state().meta["settings"]["unseen"])
    assert chances == sorted(chances, reverse=True)

    for number in range(20):
        made.learn(stream(["0"], [1e9 + 500.0 + number], ["no room"]))

    assert made.predictor().state().meta["settings"]["unseen"] > 2 * chances[-1]
    assert made.gauges()["excess_class_events"] == 20


# Several steps ahead


def test_the_next_events_are_each_what_would_be_answered_after_those_before() -> None:
    made = taught(ahead=4)
    predictor = made.predictor()

    told = predictor.predict({"key": np.array([b"3", b"nobody"], dtype=object)})

    assert {name: spec.shape for name, spec in predictor.outputs.items() if name.startswith("next_t")} == {
        "next_time": (),
        "next_type": (),
        "next_times": (4,),
        "next_types": (4,),
    }
    assert told["next_times"][0, 0] == told["next_time"][0]
    assert told["next_types"][0, 0] == told["next_type"][0]
    assert (np.diff(told["next_times"][0]) > 0).all()
    assert np.isnan(told["next_times"][1]).all()
    assert (told["next_types"][1] == -1).all()
    past = made.predictor()._histories.read([_hash("3")])
    times, types = past.times[0, : past.lengths[0]], past.types[0, : past.lengths[0]].astype(np.int64)
    for step in range(4):
        answer = predictor.predict({"times": times[None], "types": types[None]})
        assert answer["next_time"][0] == pytest.approx(told["next_times"][0, step], rel=1e-9)
        assert answer["next_type"][0] == told["next_types"][0, step]
        times = np.append(times, told["next_times"][0, step])
        types = np.append(types, told["next_types"][0, step])


def _hash(key: str) -> int:
    from thalweg.memory.vectors.histories import hash_key

    return hash_key(key)


def test_a_habit_is_foreseen_several_steps_ahead() -> None:
    made = learner(**COUNTING, window=10)
    for number in range(200):
        made.learn(stream(["a"], [1e9 + 10.0 * number], [NAMES[number % 3]]))

    times, types = made.predictor().predict_ahead({"key": np.array([b"a"], dtype=object)}, 5)

    names = [made.predictor().classes[kind] for kind in types[0]]
    assert names == [NAMES[(200 + step) % 3] for step in range(5)]
    np.testing.assert_allclose(times[0], 1e9 + 10.0 * np.arange(200, 205), atol=6.0)


def test_without_ahead_the_outputs_are_the_three_that_they_were() -> None:
    predictor = taught(1).predictor()

    assert list(predictor.outputs) == ["next_time", "next_type", "type_scores"]
    assert set(predictor.predict({"key": np.array([b"3"], dtype=object)})) == set(predictor.outputs)


# Streams that are hard


def test_a_key_with_one_event_a_year_is_foreseen_in_years_among_keys_of_seconds() -> None:
    year = 3.2e7
    made = learner(experts=["closed_form", "closed_form_key"], silence_after=0.0, train_batch=16)
    for number in range(8):
        batch = events(40, start=year * number)
        fresh = np.array([f"{number}.{key.decode()}".encode() for key in batch.inputs["key"]], dtype=object)
        made.learn(Batch({"key": fresh}, batch.labels, batch.weights, batch.times))
        made.learn(stream(["yearly"], [1e9 + year * number + 90.0], ["view"]))

    answer = made.predictor().predict({"key": np.array([b"yearly", b"7.3"], dtype=object)})
    graded = made.predictor().predict_events(stream(["yearly"], [1e9 + year * 8.0], ["view"]))

    assert 0.3 * year < answer["next_time"][0] - (1e9 + year * 7 + 90.0) < 10.0 * year
    assert answer["next_time"][1] - (1e9 + year * 7) < 0.01 * year
    assert np.isfinite(graded["log_likelihood"][0])
    assert graded["log_likelihood"][0] > -40.0
    assert all(np.isfinite(array[~np.isinf(array)]).all() for array in _floats(made.state()))


def test_bursts_at_one_time_are_learned_as_such() -> None:
    made = learner(**COUNTING, train_batch=4)
    for number in range(80):
        moments = [1e9 + 60.0 * number] * 4
        made.learn(stream(["a"] * 4, moments, [*NAMES, "view"]))

    graded = made.predictor().predict_events(stream(["a"] * 3, [1e9 + 60.0 * 80] * 3, [*NAMES]))

    assert (graded["log_likelihood"][1:] > graded["log_likelihood"][0] + 3.0).all()
    assert graded["next_time"][1] - graded["last_time"][1] < 60.0


def test_a_type_that_returns_late_is_possible_at_once_and_likely_soon() -> None:
    made = learner(**COUNTING, max_types=5)
    made.learn(stream(["a"] * 40, [1e9 + place for place in range(40)], ["rare", "view"] * 20))
    for number in range(30):
        made.learn(
            stream(["a"] * 40, [1e9 + 100.0 * (number + 1) + place for place in range(40)], ["view", "buy"] * 20)
        )

    def chance() -> float:
        predictor = made.predictor()
        answer = predictor.predict({"key": np.array([b"a"], dtype=object)})
        return float(answer["type_scores"][0, predictor.classes.index("rare")])

    before = chance()
    made.learn(stream(["a"] * 40, [1e9 + 9000.0 + place for place in range(40)], ["rare", "buy"] * 20))

    assert 0.0 < before < 0.05
    assert chance() > 0.4


def test_what_is_not_a_history_does_not_grow_with_the_keys() -> None:
    few, many = learner(**COUNTING, keys=5000), learner(**COUNTING, keys=5000)
    few.learn(events(600, keys=3))
    many.learn(stream([str(place) for place in range(3000)], [1e9 + place for place in range(3000)], ["view"] * 3000))
    many.learn(events(600, start=5000.0, keys=3))

    def size(made: PromptTpp) -> int:
        return sum(
            a.nbytes for name, a in made.state().tensors.items() if not name.startswith(("history.", "waiting."))
        )

    assert size(many) == size(few)


def _floats(state: State) -> list[np.ndarray]:
    return [array for array in state.tensors.values() if array.dtype.kind == "f"]


# States of an earlier version, whose default was a single base


def earlier(base: str, **params: Any) -> State:
    """As it was written: a single base under no such name in the configuration, and without the later counters."""
    state = taught(base=base, **params).state()
    counts = {name: count for name, count in state.meta["counts"].items() if name not in ("events", "unseen")}
    return State(state.tensors, {**state.meta, "counts": counts})


def test_a_state_of_the_default_before_goes_on_as_it_was() -> None:
    under_no_name, named = learner(), learner(base="nhp")

    for made in (under_no_name, named):
        made.restore(earlier("nhp"))
        made.learn(events(40, start=300.0))

    assert under_no_name.params.alone == "nhp"
    assert under_no_name.state().sha256() == named.state().sha256()
    again = learner()
    again.restore(under_no_name.state())
    assert again.state().sha256() == under_no_name.state().sha256()
    assert under_no_name.predictor().state().meta["settings"]["unseen"] < 0.1


def test_a_configuration_that_asks_for_intensities_stays_with_the_network_that_it_had() -> None:
    under_no_name, named = learner(head="intensity"), learner(base="nhp", head="intensity")

    for made in (under_no_name, named):
        made.restore(earlier("nhp", head="intensity"))
        made.learn(events(40, start=300.0))

    assert under_no_name.params.members == ("nhp",)
    assert under_no_name.state().sha256() == named.state().sha256()


@pytest.mark.parametrize("params", [{"base": "experts"}, {"experts": ["nhp"]}, {"width": 12}])
def test_a_state_of_a_single_base_is_refused_where_experts_are_asked_for(params: dict[str, Any]) -> None:
    made = learner(**params)
    before = made.state().sha256()

    with pytest.raises(ValueError, match=r"state of other parameters: expected .*'experts'.*, got .*'nhp'"):
        made.restore(earlier("nhp"))

    assert made.state().sha256() == before


def test_a_version_published_before_still_answers() -> None:
    predictor = taught(base="nhp").predictor()
    state = predictor.state()
    settings = {
        name: value for name, value in state.meta["settings"].items() if name not in ("types", "ahead", "unseen")
    }

    again = PromptTppPredictor.of(State(state.tensors, {**state.meta, "settings": settings}))

    asked = {"key": np.array([b"3"], dtype=object)}
    for name, column in predictor.predict(asked).items():
        np.testing.assert_array_equal(again.predict(asked)[name], column)
    assert np.isfinite(again.predict_events(stream(["3"], [1e9 + 400.0], ["never"]))["log_likelihood"]).all()


def test_the_default_is_a_mixture_of_three_ways_of_counting_and_two_networks() -> None:
    params = PromptTpp(LearnerContext(inputs=KEY)).params

    assert params.members == ("closed_form", "closed_form_fast", "closed_form_key", "nhp", "attentive")
    assert params.shape("nhp").prompts == 0
    assert params.shape("attentive").prompts == 10
