"""Variants of a model are one learner; the best of them answers, and that follows from the events alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pytest

from tests.stream.comparison.models import SPECS
from thalweg.memory.snapshots.state import State
from thalweg.models.contract.capabilities import Forgetting, capability
from thalweg.models.contract.learner import Learner, LearnerContext, Predictor
from thalweg.models.contract.testing import LearnerContract
from thalweg.models.nearest_mean import NearestMean
from thalweg.models.ridge.learner import Ridge
from thalweg.proto.event import Batch, ClassLabels, NumberLabels
from thalweg.stream.tuning.settings import name_of, settings_of
from thalweg.stream.tuning.variants import Variants


def ridges(*params: Mapping[str, Any]) -> Variants:
    made = [Ridge(LearnerContext(inputs=SPECS, params=one, seed=0)) for one in params]
    return Variants(made, [name_of(params[0], one) for one in params])


def corners(count: int, seed: int = 0, turn: bool = False) -> Batch:
    rng = np.random.default_rng(seed)
    points = rng.uniform(-1, 1, (count, 2)).astype(np.float32)
    codes = ((points[:, 0] * points[:, 1] > 0) ^ turn).astype(np.int32)
    return Batch({"features": points}, ClassLabels(codes, ("a", "b")), np.ones(count), np.zeros(count))


class TestContract(LearnerContract):
    params: ClassVar[tuple[dict[str, Any], ...]] = ({"decay": 0.9}, {"decay": 0.99}, {"decay": 0.5})

    def new(self) -> Learner:
        made = [NearestMean(LearnerContext(inputs=SPECS, params=one)) for one in self.params]
        return Variants(made, [str(one) for one in self.params])

    def other(self) -> Learner:
        made = [NearestMean(LearnerContext(inputs=SPECS, params=one)) for one in self.params]
        return Variants(made, [f"other {one}" for one in self.params])

    def predictor_from(self, state: State) -> Predictor:
        return NearestMean.predictor_from(state)

    def batches(self) -> list[Batch]:
        return [corners(size, size) for size in (6, 1, 70, 9)] + [corners(40, 5).unlabelled(), corners(30, 6)]


def test_the_best_variant_answers_after_some_hundred_events_and_its_published_version_is_one_of_the_learner() -> None:
    variants = ridges({"expansion": 0}, {"expansion": 64}, {"expansion": 1})
    for part in corners(600).micro_batches(8):
        variants.learn(part)

    events = corners(200, seed=1)
    right = (variants.predictor().predict(events.inputs)["label"] == _codes(events)).mean()

    assert variants.best == 1
    assert right > 0.9
    assert variants.gauges()["tune_changes"] == 1.0
    assert variants.gauges()["tune_answering"] == {("configured",): 0.0, ("expansion=64",): 1.0, ("expansion=1",): 0.0}
    published = Ridge.predictor_from(variants.predictor().state())
    assert (published.predict(events.inputs)["label"] == variants.predictor().predict(events.inputs)["label"]).all()


def test_variants_that_are_equal_never_change_places() -> None:
    variants = ridges({"expansion": 8}, {"expansion": 8}, {"expansion": 8})
    for part in corners(2_000).micro_batches(50):
        variants.learn(part)

    assert variants.best == 0


def test_a_restored_one_decides_at_the_same_event_whenever_it_was_stopped() -> None:
    whole = ridges({"expansion": 0}, {"expansion": 64})
    parts = list(corners(400).micro_batches(10))
    course = []
    for part in parts:
        whole.learn(part)
        course.append(whole.best)
    assert len(set(course)) == 2

    stopped, again = ridges({"expansion": 0}, {"expansion": 64}), []
    for number, part in enumerate(parts):
        if number % 3 == 0:
            saved, stopped = stopped.state(), ridges({"expansion": 0}, {"expansion": 64})
            stopped.restore(State({n: np.array(one) for n, one in saved.tensors.items()}, saved.meta))
        stopped.learn(part)
        again.append(stopped.best)

    assert again == course
    assert stopped.state().sha256() == whole.state().sha256()


def test_numbers_are_compared_by_their_squared_errors() -> None:
    settings = [{"task": "regression", "expansion": width} for width in (0, 64)]
    made = [Ridge(LearnerContext(inputs=SPECS, params=one, seed=0)) for one in settings]
    variants = Variants(made, ["flat", "bent"])
    points = np.random.default_rng(0).uniform(-1, 1, (1500, 2)).astype(np.float32)
    values = (points[:, :1] * points[:, 1:]).astype(np.float64)
    log = Batch({"features": points}, NumberLabels(values), np.ones(1500), np.zeros(1500))

    for part in log.micro_batches(10):
        variants.learn(part)

    assert variants.best == 1


def moving(kind: str) -> Batch:
    """Two classes on either side of a line that stands still, turns, or jumps."""
    rng, rows, count = np.random.default_rng(0), np.arange(6000), 6000
    points = rng.normal(size=(count, 2)).astype(np.float32)
    angle = {
        "still": 0 * rows,
        "turning slowly": rows / 600,
        "turning": rows / 150,
        "jumping": rng.uniform(0, 6, 6)[rows // 1000],
        "calm, then turning": np.maximum(0, rows - 3000) / 150,
        "turning, then calm": np.minimum(3000, rows) / 150,
        "noisy": rows / 300,
    }[kind]
    side = points[:, 0] * np.cos(angle) + points[:, 1] * np.sin(angle) > 0
    wrong = rng.random(count) < (0.3 if kind == "noisy" else 0.05)
    return Batch({"features": points}, ClassLabels((side ^ wrong).astype(np.int32), ("a", "b")), *np.ones((2, count)))


def share_right(learner: Learner, events: Batch) -> float:
    """Each micro-batch predicted, then learned."""
    right = 0
    for part in events.micro_batches(32):
        predictor = learner.predictor()
        answers = predictor.predict(part.inputs)["label"]
        assert isinstance(part.labels, ClassLabels)
        right += sum(
            0 <= answer < len(predictor.classes) and predictor.classes[answer] == part.labels.names[code]
            for answer, code in zip(answers.tolist(), part.labels.codes.tolist())
        )
        learner.learn(part)
    return right / len(events)


@pytest.mark.parametrize(
    "kind",
    ["still", "turning slowly", "turning", "jumping", "calm, then turning", "turning, then calm", "noisy"],
)
@pytest.mark.parametrize("decays", [(1.0, 0.999, 0.99, 0.9), (0.9, 0.99, 0.999, 1.0)])
def test_not_knowing_the_best_setting_costs_half_a_point_at_most(kind: str, decays: tuple[float, ...]) -> None:
    events = moving(kind)

    def made(decay: float) -> Learner:
        return NearestMean(LearnerContext(inputs=SPECS, params={"decay": decay}))

    variants = Variants([made(decay) for decay in decays], [str(decay) for decay in decays])
    tuned = share_right(variants, events)
    best = max(share_right(made(decay), events) for decay in decays)

    assert tuned >= best - 0.005
    assert sum(variants.shares.values()) == pytest.approx(1.0)
    if kind == "still":
        assert max(variants.shares, key=lambda name: variants.shares[name]) == "1.0"


def test_each_variant_is_told_with_its_loss_of_late_and_the_share_of_events_that_it_answered() -> None:
    variants = ridges({"expansion": 0}, {"expansion": 64})
    assert variants.gauges()["tune_loss"] == {}
    for part in corners(2000).micro_batches(8):
        variants.learn(part)

    loss, share = variants.losses, variants.shares

    assert 0.4 < loss["configured"] < 0.6
    assert loss["expansion=64"] < 0.1
    assert share["expansion=64"] > 0.9


def test_one_absurd_number_does_not_decide_which_variant_answers() -> None:
    settings = [{"task": "regression", "expansion": width} for width in (0, 64)]
    variants = Variants([Ridge(LearnerContext(inputs=SPECS, params=one, seed=0)) for one in settings], ["flat", "bent"])
    points = np.random.default_rng(0).uniform(-1, 1, (1500, 2)).astype(np.float32)
    values = (points[:, :1] * points[:, 1:]).astype(np.float64)
    values[500] = 1e99

    for part in Batch({"features": points}, NumberLabels(values), *np.ones((2, 1500))).micro_batches(10):
        variants.learn(part)

    assert variants.best == 1
    assert variants.losses["bent"] < variants.losses["flat"] < 1


def test_a_state_of_the_version_that_tested_for_certainty_goes_on_with_its_choice() -> None:
    variants = ridges({"expansion": 0}, {"expansion": 64})
    for part in corners(640).micro_batches(8):
        variants.learn(part)
    saved = variants.state()
    tensors = {name: one for name, one in saved.tensors.items() if not name.startswith("tune/lead/")}
    old = {**saved.meta["tune"], "seen": 640, "comparison": {"champion": "1", "promotion": 1}}
    again = ridges({"expansion": 0}, {"expansion": 64})

    again.restore(State(tensors, {**saved.meta, "tune": old}))
    for part in corners(640, seed=2).micro_batches(8):
        again.learn(part)

    assert again.best == 1
    assert again.gauges()["tune_changes"] == 1.0


def test_forgetting_is_raised_of_all_variants() -> None:
    variants = ridges({"expansion": 0}, {"expansion": 8})
    variants.learn(corners(50))
    before = variants.state()
    forgetting = capability(variants, Forgetting)
    assert forgetting is not None

    forgetting.raise_forgetting(0.5, 10)

    changed = {
        name.partition("/")[0] for name, one in variants.state().tensors.items() if _differ(one, before.tensors[name])
    }
    assert changed == {"0", "1"}


def test_variants_have_one_value_changed_first_then_two_and_at_most_so_many_are_made() -> None:
    values = {"gamma": [0.9, 0.99], "ridge": [1.0]}

    made = settings_of({"gamma": 1.0, "seed": 3}, values, 16)

    assert [name_of(made[0], one) for one in made] == [
        "configured",
        "gamma=0.9",
        "gamma=0.99",
        "ridge=1.0",
        "gamma=0.9,ridge=1.0",
        "gamma=0.99,ridge=1.0",
    ]
    assert settings_of({"gamma": 1.0}, values, 3) == settings_of({"gamma": 1.0}, values, 16)[:3]
    assert settings_of({"gamma": 0.9}, {"gamma": [0.9, 0.99]}, 4) == [{"gamma": 0.9}, {"gamma": 0.99}]


def test_a_state_of_other_variants_is_refused() -> None:
    saved = ridges({"expansion": 0}, {"expansion": 8}).state()

    with pytest.raises(ValueError, match="expected a state of the variants configured, expansion=16"):
        ridges({"expansion": 0}, {"expansion": 16}).restore(saved)


def _codes(events: Batch) -> Any:
    assert isinstance(events.labels, ClassLabels)
    return events.labels.codes


def _differ(one: Any, other: Any) -> bool:
    return one.shape != other.shape or not np.array_equal(one, other)
