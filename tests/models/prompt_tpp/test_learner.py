"""The prompted point process: its contract, and what a user relies on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from thalweg.memory.vectors.histories import hash_key
from thalweg.models.contract.learner import Learner, LearnerContext, ParamsError
from thalweg.models.contract.testing import LearnerContract
from thalweg.models.prompt_tpp.learner import PromptTpp
from thalweg.models.prompt_tpp.network import Past, draw_weights, prepare
from thalweg.models.prompt_tpp.predictor import KEY, PromptTppPredictor
from thalweg.proto.event import Batch, ClassLabels
from thalweg.proto.schema import InputError, TensorSpec

SMALL: dict[str, Any] = {
    "width": 8,
    "time_width": 4,
    "window": 6,
    "unit_gaps": 5,
    "train_batch": 8,
    "prompts": 4,
    "chosen": 2,
    "prompt_rows": 2,
    "max_types": 5,
    "forecast_nodes": 12,
    "nodes": 6,
    "heads": 1,
}
NAMES = ("view", "cart", "buy")


def events(count: int, start: float = 0.0, seed: int = 0, keys: int = 6) -> Batch:
    """Keys that view, cart and buy in turn, fast after a view and slowly after having bought."""
    generator = np.random.default_rng([seed, int(start)])
    who = generator.integers(0, keys, count)
    step = generator.exponential(1.0, count).cumsum()
    kind = (step.astype(int) + who) % 3
    return Batch(
        {"key": np.array([str(number).encode() for number in who], dtype=object)},
        ClassLabels(kind.astype(np.int32), NAMES),
        np.ones(count),
        1e9 + start + step,
        keys=[str(number) for number in who],
    )


def learner(**params: Any) -> PromptTpp:
    return PromptTpp(LearnerContext(inputs=KEY, params={**SMALL, **params}, seed=1))


class Contract(LearnerContract):
    params: dict[str, Any] = {}  # noqa: RUF012

    def new(self) -> Learner:
        return learner(**self.params)

    def other(self) -> Learner:
        return learner(**{**self.params, "max_types": 6})

    def batches(self) -> list[Batch]:
        return [events(count, start=1000.0 * number) for number, count in enumerate((23, 17, 1, 30, 9))]


class TestDefault(Contract):
    pass


class TestCountingAlone(Contract):
    params = {"experts": ["closed_form", "closed_form_fast"], "ahead": 2}  # noqa: RUF012


class SingleBase(Contract):
    gauges_left_out = frozenset({"expert_weight", "expert_log_likelihood", "expert_gain", "expert_learn_seconds"})


@pytest.mark.slow
class TestAttentiveIntensity(SingleBase):
    params = {"base": "attentive", "head": "intensity", "pool_scope": "per_layer"}  # noqa: RUF012


@pytest.mark.slow
class TestIntensity(SingleBase):
    params = {"head": "intensity", "prompts": 0}  # noqa: RUF012


@pytest.mark.slow
class TestFewKeys(SingleBase):
    params = {"base": "nhp", "keys": 3, "mode": "freeze_backbone", "warm_events": 16, "reseed_events": 10}  # noqa: RUF012

    def test_broken_numbers_leave_the_state_finite(self) -> None:
        """There are no numbers in the inputs; and of a key that had to go the next time is rightly none."""
        made = learner(**self.params)
        for batch in self.batches():
            made.learn(batch)

        assert all(np.isfinite(array).all() for array in made.state().tensors.values())


def test_a_single_base_has_no_experts_to_tell_of() -> None:
    assert SingleBase.gauges_left_out == set(learner().gauges()) - set(learner(base="nhp").gauges())


def weights_of(made: PromptTpp) -> dict[str, np.ndarray]:
    prefix = "network.weight."
    return {
        name.removeprefix(prefix): array.copy()
        for name, array in made.state().tensors.items()
        if name.startswith(prefix)
    }


def moved(made: PromptTpp, batches: int = 3) -> set[str]:
    before = weights_of(made)
    for number in range(batches):
        made.learn(events(32, start=5000.0 + 100.0 * number))
    return {name for name, array in weights_of(made).items() if (array != before[name]).any()}


@pytest.mark.parametrize("base", ["nhp", "attentive"])
def test_what_learns_is_what_the_mode_says_also_after_a_restore(base: str) -> None:
    encoder = {"emb", "gap.weight", "gap.bias"}
    encoder |= {"cell.weight", "cell.bias"} if base == "nhp" else {f"{part}.0.0.weight" for part in "qkv"}
    for mode in ("joint", "prompts_only", "freeze_backbone"):
        made = learner(base=base, mode=mode)
        made.learn(events(40))
        again = learner(base=base, mode=mode)
        again.restore(made.state())
        names = moved(made)
        assert moved(again) == names
        assert {name for name in names if name.startswith("pool.")}, mode
        assert bool(names & encoder) == (mode == "joint"), (mode, names)
        assert ("mixture.bias" in names) == (mode != "prompts_only")


def test_prompts_move_at_every_step_and_the_backbone_more_rarely() -> None:
    made = learner(base="nhp", backbone_every=1000)
    made.learn(events(40))  # the first steps

    assert all(name.startswith("pool.") for name in moved(made))


@pytest.mark.parametrize("params", [{}, {"base": "attentive"}, {"base": "nhp", "head": "intensity"}])
def test_a_history_is_answered_alike_by_key_and_by_times_and_types(params: dict[str, Any]) -> None:
    made = learner(**params)
    for number in range(4):
        made.learn(events(40, start=100.0 * number))
    predictor = made.predictor()
    mine = [(float(t), kind) for number in range(4) for t, kind in _of(events(40, start=100.0 * number), b"3")][-6:]

    by_key = predictor.predict({"key": np.array([b"3"], dtype=object)})
    places = [predictor.classes.index(name) for _, name in mine]
    explicit = predictor.predict({"times": np.array([[t for t, _ in mine]]), "types": np.array([places])})

    for name, column in by_key.items():
        np.testing.assert_allclose(explicit[name], column, rtol=1e-5)
    assert by_key["next_time"][0] > mine[-1][0]
    assert by_key["type_scores"].sum() == pytest.approx(1.0, abs=1e-5)


def _of(batch: Batch, key: bytes) -> list[tuple[float, str]]:
    assert isinstance(batch.labels, ClassLabels)
    rows = [row for row, one in enumerate(batch.inputs["key"]) if one == key]
    return [(batch.times[row], NAMES[batch.labels.codes[row]]) for row in rows]


def test_a_key_never_seen_is_answered_with_nothing_known() -> None:
    made = learner()
    made.learn(events(60))

    answer = made.predictor().predict({"key": np.array([b"nobody", b"x" * 1024, b"", b"0"], dtype=object)})

    assert np.isnan(answer["next_time"]).tolist() == [True, True, True, False]
    assert (answer["next_type"] >= 0).tolist() == [False, False, False, True]


def test_events_that_go_back_in_time_are_counted_and_change_nothing_else() -> None:
    made, same = learner(), learner()
    batch = events(40)
    made.learn(batch)
    same.learn(batch)
    made.learn(Batch({"key": batch.inputs["key"][:3]}, batch.labels[:3], np.ones(3), np.full(3, 5.0)))

    assert made.gauges()["late_events"] == 3
    wanted = same.predictor().predict(batch.inputs)
    for name, column in made.predictor().predict(batch.inputs).items():
        np.testing.assert_array_equal(column, wanted[name])


@pytest.mark.parametrize("params", [{}, {"base": "nhp", "head": "intensity"}])
def test_absurd_times_leave_a_sound_state(params: dict[str, Any]) -> None:
    made = learner(**params)
    made.learn(events(60))
    at_once = events(500, start=2000.0)
    made.learn(Batch(at_once.inputs, at_once.labels, np.ones(500), np.full(500, 1e9 + 3000.0)))
    years = events(30, start=1e9)
    made.learn(years)
    broken = events(4, start=2e9)
    made.learn(Batch(broken.inputs, broken.labels, np.ones(4), np.array([np.nan, np.inf, -np.inf, 4e9])))

    for name, array in made.state().tensors.items():
        assert array.dtype.kind != "f" or np.isfinite(array[~np.isinf(array)]).all(), name
    answer = made.predictor().predict(years.inputs)
    assert np.isfinite(answer["next_time"]).all()
    assert np.isfinite(answer["type_scores"]).all()


def test_new_types_come_at_any_time_and_those_past_the_limit_are_counted() -> None:
    made = learner(max_types=4)
    made.learn(events(40))
    batch = events(6, start=500.0)
    made.learn(
        Batch(batch.inputs, ClassLabels(np.arange(6, dtype=np.int32) % 3, ("a", "b", "c")), np.ones(6), batch.times)
    )

    assert made.predictor().classes == (*(NAMES[code] for code in _order(events(40))), "a")
    assert made.gauges()["skipped_events"] == 4


def _order(batch: Batch) -> list[int]:
    assert isinstance(batch.labels, ClassLabels)
    return list(dict.fromkeys(batch.labels.codes.tolist()))


def test_types_are_answered_where_all_events_of_each_key_come_at_one_time() -> None:
    made = PromptTpp(LearnerContext(inputs=KEY, params={}, seed=0))
    keys = np.array([b"a", b"b"] * 60, dtype=object)
    kinds = ClassLabels((np.arange(120) // 2 % 3).astype(np.int32), NAMES)
    made.learn(Batch({"key": keys}, kinds, np.ones(120), np.full(120, 1.7e9)))

    found = made.predictor().predict({"key": np.array([b"a"], dtype=object)})

    assert made.predictor().classes[found["next_type"][0]] == NAMES[60 % 3]
    assert found["type_scores"].sum() == pytest.approx(1.0, abs=1e-5)
    assert found["next_time"].tolist() == pytest.approx([1.7e9])


def test_the_longest_silent_key_goes_and_its_silence_is_learned() -> None:
    made = learner(keys=2)
    made.learn(events(60, keys=5))

    told = made.gauges()
    assert told["memory_entries"] == 2
    assert told["memory_evictions"] > 0
    assert made.state().meta["counts"]["silences"] > 0


def test_keys_go_when_their_time_is_over_by_the_clock_of_the_events() -> None:
    made = learner(time_to_live=100.0)
    made.learn(events(60, keys=5))
    made.learn(events(60, start=500.0, keys=2))

    assert made.gauges()["memory_entries"] == 2
    assert made.gauges()["memory_evictions"] in (3, 4)  # 0 or 1 may have gone, too, before it was back


def test_one_absurd_time_does_not_age_the_other_keys() -> None:
    made = learner(time_to_live=100.0, silence_after=5.0)
    made.learn(events(60, keys=5))
    silences = made.gauges()["silences"]
    year_3000 = Batch({"key": np.array([b"odd"], dtype=object)}, events(1).labels, np.ones(1), np.array([3.25e10]))

    made.learn(year_3000)
    made.learn(events(30, start=61.0, keys=5))

    assert made.gauges()["memory_evictions"] <= 1
    assert made.gauges()["silences"] <= silences + 3
    assert made.gauges()["memory_entries"] >= 5


def test_silence_is_learned_again_and_again_but_never_twice_for_the_same_time() -> None:
    made = learner(silence_after=5.0, train_batch=100_000)
    made.learn(events(60, keys=5))
    busy = events(40, start=500.0, keys=1)
    for hundred in range(1, 5):
        made.learn(Batch(busy.inputs, busy.labels, busy.weights, busy.times + 100.0 * hundred))
    made.learn(Batch({"key": np.array([b"4"], dtype=object)}, busy.labels[:1], np.ones(1), np.array([1e9 + 3000.0])))

    waiting = {name.removeprefix("waiting."): column for name, column in made.state().tensors.items() if "wait" in name}
    silences = waiting["type"] == -1
    assert made.gauges()["silences"] == silences.sum() >= 4 * 4
    assert (waiting["silent"][silences] < waiting["gap"][silences]).all()
    last = np.flatnonzero(~silences)[-1]
    of_one_key = np.flatnonzero(
        (waiting["times"] == waiting["times"][last]).all(axis=1)
    )  # since its last event but one
    told = np.stack([waiting["silent"][of_one_key], waiting["gap"][of_one_key]], axis=1)
    assert len(told) >= 5
    assert told[0, 0] == 0.0
    np.testing.assert_array_equal(told[1:, 0], told[:-1, 1])  # each goes on where the one before ended
    assert of_one_key[-1] == last  # and the event that came ends it


def test_what_silence_tells_and_what_comes_after_make_up_the_whole_likelihood() -> None:
    shape = learner().params.shape("nhp")
    weights = {name: torch.from_numpy(array).double() for name, array in draw_weights(shape, 0).items()}
    markov = np.zeros((1, 5), dtype=np.float32)
    ready = prepare(shape, weights, Past.of(np.zeros((1, 6)), np.zeros((1, 6)), np.ones(1, int), markov, 1.0))
    early, late = torch.tensor([0.7], dtype=torch.float64), torch.tensor([2.0], dtype=torch.float64)
    none, kind = torch.tensor([-1]), torch.tensor([1])

    silence = ready.log_likelihood(early, none)
    event_given_silence = ready.log_likelihood(late, kind) + ready.hazard(early)

    np.testing.assert_allclose(
        (silence + event_given_silence).detach(), ready.log_likelihood(late, kind).detach(), rtol=1e-9
    )


def test_how_events_are_cut_does_not_change_what_is_learned() -> None:
    whole, pieces = learner(), learner()
    batch = events(90)
    whole.learn(batch)
    for start in range(0, 90, 7):
        pieces.learn(batch[start : start + 7])

    assert whole.state().sha256() == pieces.state().sha256()


def test_a_stream_of_regular_habits_is_foreseen() -> None:
    made = learner(window=10, learning_rate=0.02)
    hits = total = 0
    for number in range(150):
        kinds = np.array([(number + who) % 3 for who in range(4)], dtype=np.int32)
        keys = np.array([str(who).encode() for who in range(4)], dtype=object)
        gap = np.where(kinds == 2, 10.0, 1.0)
        batch = Batch({"key": keys}, ClassLabels(kinds, NAMES), np.ones(4), 1e9 + number * 12.0 + gap)
        if number > 100:
            answer = made.predictor().predict(batch.inputs)
            names = [made.predictor().classes[place] for place in answer["next_type"]]
            hits += sum(name == NAMES[kind] for name, kind in zip(names, kinds))
            total += 4
            assert (np.abs(answer["next_time"] - batch.times) < 6.0).all()
        made.learn(batch)

    assert hits / total > 0.95


def test_what_is_foreseen_is_what_single_events_would_have_been_answered() -> None:
    made = learner()
    made.learn(events(60))
    batch = events(30, start=90.0)
    predictor = made.predictor()

    at_once = predictor.predict_events(batch)

    slow = learner(train_batch=1000)  # as far as histories go the same, but it learns nothing from now on
    slow.learn(events(60))
    for row in range(30):
        alone = predictor.with_history_of(slow.predictor()).predict(batch[row : row + 1].inputs)
        for name, column in alone.items():
            np.testing.assert_allclose(at_once[name][row], column[0], rtol=1e-6, err_msg=f"{name} of {row}")
        slow.learn(batch[row : row + 1])
    assert np.isfinite(at_once["log_likelihood"]).sum() > 20


def test_what_comes_in_the_same_batch_is_not_foreseen_from_its_own_future() -> None:
    made = learner()
    made.learn(events(60))
    batch = events(30, start=90.0)
    times = batch.times.copy()
    times[20:] += 1000.0
    changed = Batch(batch.inputs, batch.labels, batch.weights, times)

    one, other = made.predictor().predict_events(batch), made.predictor().predict_events(changed)

    for name in one:
        np.testing.assert_array_equal(one[name][:20], other[name][:20])


@pytest.mark.parametrize("params", [{}, {"base": "nhp", "head": "intensity"}])
def test_first_and_late_events_are_not_foreseen_and_unheard_of_ones_are_graded(params: dict[str, Any]) -> None:
    made = learner(**params)
    made.learn(events(60))
    keys = np.array([b"new", b"0", b"0", b"new"], dtype=object)
    labels = ClassLabels(np.array([0, 0, 1, 0], dtype=np.int32), (NAMES[0], "unheard of"))

    told = made.predictor().predict_events(
        Batch({"key": keys}, labels, np.ones(4), 1e9 + np.array([900.0, 1.0, 901.0, 902.0]))
    )

    assert np.isfinite(told["next_time"]).tolist() == [False, False, True, True]
    assert np.isfinite(told["log_likelihood"]).tolist() == [False, False, True, True]
    assert told["next_type"][2] < len(made.predictor().classes)


def test_quantiles_of_the_next_time_rise_and_lie_around_its_median() -> None:
    made = learner(horizon=1000.0)
    made.learn(events(60))

    [told, unknown] = made.predictor().explain({"key": np.array([b"0", b"nobody"], dtype=object)}, 10)

    times = [one["next_time"] for one in told if "quantile" in one]
    assert times == sorted(times)
    assert len(times) == 3
    assert unknown == []
    assert all(0 <= place < made.params.prompts for one in told if "pool" in one for place in one["prompts"])


@pytest.mark.parametrize("base", ["nhp", "attentive"])
@pytest.mark.parametrize("head", ["mixture", "intensity"])
def test_a_likelihood_is_that_of_its_intensity_and_of_itself_in_any_company(base: Any, head: str) -> None:
    shape = learner(base=base, head=head, nodes=400).params.shape(base)
    weights = {
        name: torch.from_numpy(array + 0.1 * np.random.default_rng(len(name)).standard_normal(array.shape)).double()
        for name, array in draw_weights(shape, 0).items()
    }
    generator = np.random.default_rng(4)
    times, types = generator.exponential(1, (8, 6)).cumsum(axis=1), generator.integers(0, 3, (8, 6))
    lengths = np.array([1, 2, 3, 4, 5, 6, 6, 6])
    markov = np.log(np.array([[0.5, 0.3, 0.2, 0.0, 0.0]] * 8), where=np.arange(5) < 3, out=np.full((8, 5), -np.inf))
    ready = prepare(shape, weights, Past.of(times, types, lengths, markov, 1.0))
    gaps = torch.from_numpy(generator.uniform(0.2, 2.0, 8))
    kinds = torch.from_numpy(generator.integers(0, 3, 8))

    likelihood, silence = ready.log_likelihood(gaps, kinds), ready.log_likelihood(gaps, torch.full_like(kinds, -1))

    fine = torch.linspace(1e-9, 1, 20_001, dtype=torch.float64) ** 3 * gaps[:, None]
    rates = ready.rates(fine)
    hazard = torch.trapezoid(rates.sum(dim=2), fine, dim=1)
    event = rates[:, -1].gather(1, kinds[:, None])[:, 0].log()
    np.testing.assert_allclose(silence.detach(), -hazard, rtol=2e-3)
    np.testing.assert_allclose(likelihood.detach(), event - hazard, rtol=5e-3, atol=2e-3)
    np.testing.assert_allclose(ready.hazard(gaps).detach(), hazard, rtol=2e-3)
    alone = prepare(shape, weights, Past.of(times[2:3], types[2:3], lengths[2:3], markov[2:3], 1.0))
    np.testing.assert_allclose(
        alone.log_likelihood(gaps[2:3], kinds[2:3]).detach(), likelihood[2:3].detach(), rtol=1e-9
    )


@pytest.mark.parametrize(
    ("params", "key", "message"),
    [
        ({"base": "rnn"}, "base", "expected one of experts, nhp, attentive, got 'rnn'"),
        ({"width": 6}, "width", "expected at least 4 and a multiple of 4, got 6"),
        ({"experts": ["nhp", "nhp"]}, "experts", "expected each once, got ['nhp', 'nhp']"),
        ({"experts": []}, "experts", "expected 1 or more entries, got []"),
        ({"chosen": 9}, "chosen", "expected 1 to 4, the pool's size, got 9"),
        ({"mode": "prompts_only", "prompts": 0}, "mode", "expected prompts to learn, got a pool of 0"),
    ],
)
def test_parameters_that_do_not_fit_are_named(params: dict[str, Any], key: str, message: str) -> None:
    with pytest.raises(ParamsError) as caught:
        learner(**params)

    assert message in caught.value.mistakes[key]


def test_other_inputs_than_a_key_are_refused() -> None:
    with pytest.raises(ParamsError, match="expected key"):
        PromptTpp(LearnerContext(inputs={"x": TensorSpec("x", "float32", (2,))}, params={}, seed=0))


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"times": np.ones((1, 2))}, "input 'types': expected 'key' alone, or 'times' and 'types'"),
        ({"times": np.array([[2.0, 1.0]]), "types": np.zeros((1, 2), np.int64)}, "in ascending order"),
        ({"times": np.array([[1.0, np.nan]]), "types": np.zeros((1, 2), np.int64)}, "expected finite times"),
        ({"times": np.ones((1, 2)), "types": np.array([[0, 7]])}, "expected 0 to 2, indices into `classes`"),
        ({"times": np.ones((1, 0)), "types": np.zeros((1, 0), np.int64)}, "L 1 or more, got"),
        ({"times": np.ones((1, 2)), "types": np.zeros((1, 3), np.int64)}, r"input 'types': expected \(1, 2\) int64"),
    ],
)
def test_histories_that_do_not_fit_are_refused(inputs: dict[str, Any], message: str) -> None:
    made = learner()
    made.learn(events(40))

    with pytest.raises(InputError, match=message):
        made.predictor().predict(inputs)


def test_a_predictor_outlives_what_its_learner_is_restored_to(tmp_path: Path) -> None:
    made = learner()
    made.learn(events(40))
    kept = made.state()
    kept = type(kept)({name: array.copy() for name, array in kept.tensors.items()}, kept.meta)
    made.learn(events(40, start=300.0))
    predictor, asked = made.predictor(), events(20).inputs
    before = predictor.predict(asked)
    published = PromptTppPredictor.of(predictor.state())

    made.restore(kept)
    made.learn(events(80, start=900.0))

    for one in (predictor, published):
        for name, column in one.predict(asked).items():
            np.testing.assert_array_equal(column, before[name])


def _stream(times: list[float], key: bytes = b"0") -> Batch:
    keys = np.array([key] * len(times), dtype=object)
    labels = ClassLabels(np.zeros(len(times), np.int32), (NAMES[0],))
    return Batch({"key": keys}, labels, np.ones(len(times)), np.array(times))


@pytest.mark.parametrize("outliers", [[3e7], [3e7, 3e7 + 1, 3e7 + 2, 3e7 + 3]])
@pytest.mark.parametrize("cut", [1, 7])
def test_an_event_dated_far_ahead_does_not_close_its_key(outliers: list[float], cut: int) -> None:
    made = learner()
    made.learn(_stream([1.0, 2.0, 3.0]))
    made.learn(_stream(outliers))

    for start in range(0, 50, cut):
        made.learn(_stream([4.0 + place for place in range(start, min(50, start + cut))]))
        again = learner()
        again.restore(made.state())
        assert again.state().sha256() == made.state().sha256()
        made = again

    past = made.predictor()._histories.read([hash_key(b"0")])
    assert past.times[0, past.lengths[0] - 1] == 53.0
    assert made.gauges()["late_events"] == max(3, len(outliers)) - 1


def test_a_part_of_a_key_that_is_sent_again_is_late_and_no_more() -> None:
    made = learner()
    made.learn(_stream([float(place) for place in range(10)]))
    before = made.predictor()._histories.read([hash_key(b"0")])

    made.learn(_stream([float(place) for place in range(4, 9)]))

    assert made.gauges()["late_events"] == 5
    np.testing.assert_array_equal(made.predictor()._histories.read([hash_key(b"0")]).times, before.times)


def test_the_suspects_are_bounded_and_leave_an_orderly_state_as_it_was() -> None:
    made = learner(keys=3000)
    for place in range(1500):
        made.learn(_stream([5.0], str(place).encode()))
    assert "suspects" not in made.state().meta

    for place in range(1500):
        made.learn(_stream([4.0], str(place).encode()))

    assert len(made.state().meta["suspects"]) == 1024
    assert made.gauges()["late_events"] == 1500
