"""Challengers answer copies of a share of the requests; whatever they do, the champion answers as without them."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.ops.serve.test_aliases import World, X
from tests.services.processes import until
from thalweg.ops.serve.aliases import Alias, AliasLocation
from thalweg.ops.serve.champions.shadow import OUTCOMES, Shadow
from thalweg.ops.serve.inference import InferenceCore, InferenceRequest, RequestOptions
from thalweg.ops.serve.models import Models
from thalweg.stream.health.registry import HealthRegistry


class Shadowed:
    """A world with an alias whose requests are copied."""

    def __init__(self, folder: Path, share: float, *, learned: bool = True, waiting: int = 64) -> None:
        self.world = World(folder)
        self.world.learn("ridge", 3)
        if learned:
            self.world.learn("mean", 3)
        self.counts: Counter[tuple[str, str, str]] = Counter()
        self.shadow = Shadow(HealthRegistry(), waiting)
        self.shadow.told = lambda alias, model, outcome, seconds: self.counts.update([(alias, model, outcome)])
        self.models = Models([self.world.location(name) for name in ("ridge", "mean")])
        path = folder / ".aliases" / "fraud.jsonl"
        location = AliasLocation("fraud", "ridge", ("ridge", "mean"), path, shadow=share)
        self.alias = Alias(location, self.models.by_name, self.shadow)
        self.models.serve_under([self.alias], self.shadow)
        for model in self.models.all():
            model.versions.subscriber.look()  # type: ignore[attr-defined]

    def ask(self, name: str = "fraud", inputs: Any = None) -> Any:
        request = InferenceRequest(RequestOptions(name), {"features": X} if inputs is None else inputs, 5.0)
        return InferenceCore(self.models).infer(request)

    def close(self) -> None:
        self.models.close()
        for publisher in self.world.publishers.values():
            publisher.close()


@pytest.fixture
def made(tmp_path: Path) -> Iterator[list[Shadowed]]:
    all_made: list[Shadowed] = []
    yield all_made
    for one in all_made:
        one.close()


def test_a_share_of_the_requests_to_the_alias_is_copied_and_none_to_a_model_itself(
    tmp_path: Path, made: list[Shadowed]
) -> None:
    made.append(it := Shadowed(tmp_path, 0.1))
    for _ in range(100):
        it.ask()
        it.ask("ridge")

    it.shadow.compute_waiting()

    assert it.counts.total() == 10
    assert {(alias, model) for alias, model, _ in it.counts} == {("fraud", "mean")}
    assert {outcome for *_, outcome in it.counts} <= {"agreed", "differed"}


def test_copies_beyond_the_bound_are_shed_and_the_request_is_answered(tmp_path: Path, made: list[Shadowed]) -> None:
    made.append(it := Shadowed(tmp_path, 1.0, waiting=5))

    answers = [it.ask() for _ in range(20)]
    it.shadow.compute_waiting()

    assert len(answers) == 20
    assert it.counts["fraud", "mean", "shed"] == 15
    assert it.counts.total() == 20


def test_of_a_large_request_the_first_rows_alone_wait_and_are_compared(tmp_path: Path, made: list[Shadowed]) -> None:
    made.append(it := Shadowed(tmp_path, 1.0))
    features = np.repeat(X, 1 + (8 << 20) // X.nbytes, axis=0)

    answered = it.ask(inputs={"features": features})
    (waiting,) = it.shadow.waiting

    assert answered.rows == len(features)
    arrays = [*waiting.inputs.values(), *waiting.outputs.values()]
    assert 0 < sum(array.nbytes for array in arrays) <= 1 << 20
    assert all(array.base is None for array in arrays)
    assert np.array_equal(waiting.outputs["label"], answered.outputs["label"][: len(waiting.outputs["label"])])
    it.shadow.compute_waiting()
    assert it.counts["fraud", "mean", "agreed"] + it.counts["fraud", "mean", "differed"] == 1


def test_a_challenger_that_fails_or_has_learned_nothing_costs_the_champion_nothing(
    tmp_path: Path, made: list[Shadowed], monkeypatch: pytest.MonkeyPatch
) -> None:
    made.append(it := Shadowed(tmp_path / "a", 1.0, learned=False))
    before = it.ask("ridge").outputs["label"]
    assert np.array_equal(it.ask().outputs["label"], before)
    it.shadow.compute_waiting()
    assert it.counts == {("fraud", "mean", "unready"): 1}

    made.append(broken := Shadowed(tmp_path / "b", 1.0))
    newest = broken.models.find("mean").versions.newest
    assert newest is not None

    def fails(*given: Any) -> Any:
        raise SystemError("no answer today")

    monkeypatch.setattr(type(newest.predictor), "predict", fails)
    assert np.array_equal(broken.ask().outputs["label"], before)
    broken.shadow.compute_waiting()
    assert broken.counts == {("fraud", "mean", "failed"): 1}


def test_after_a_promotion_the_former_champion_gets_the_copies(tmp_path: Path, made: list[Shadowed]) -> None:
    made.append(it := Shadowed(tmp_path, 1.0))
    it.world.promote("mean")
    it.models.follow()

    it.ask()
    it.shadow.compute_waiting()

    assert {model for _, model, _ in it.counts} == {"ridge"}


def test_copies_are_computed_beside_the_requests_and_without_a_share_there_are_none(
    tmp_path: Path, made: list[Shadowed]
) -> None:
    made.append(it := Shadowed(tmp_path / "a", 1.0))
    it.models.start()
    it.ask()
    until("the copy to be computed", lambda: it.counts.total() == 1)
    assert any(thread.name == "shadow" for thread in threading.enumerate())

    made.append(without := Shadowed(tmp_path / "b", 0.0))
    without.ask()
    without.shadow.compute_waiting()
    assert without.counts.total() == 0
    assert without.alias.model.copied is None
    assert "agreed" in OUTCOMES
