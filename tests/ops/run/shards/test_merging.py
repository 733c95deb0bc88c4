"""A configured model of shards: each publishes what it learned, and a merger makes one model of them for servers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from tests.ops.serve.serving import SPECS, Taught, served
from tests.ops.serve.serving import events as labelled
from tests.services.processes import until
from thalweg.models.columns.make import predictor_maker
from thalweg.models.contract.learner import LearnerContext
from thalweg.models.ridge.learner import Ridge
from thalweg.ops.config.config import Config, parse
from thalweg.ops.config.model import ModelConfig
from thalweg.ops.run.app import new_learner
from thalweg.ops.run.shards.merging import build_merger
from thalweg.ops.run.shards.publishing import shard_publisher
from thalweg.proto.event import Batch, ClassLabels
from thalweg.stream.health.registry import Condition, HealthRegistry
from thalweg.stream.merging.folders import FolderShards
from thalweg.stream.merging.merger import Merger
from thalweg.stream.merging.publisher import ShardPublisher
from thalweg.stream.publication.file_channel import FileSubscriber

COLUMNS = {"amount": "numeric", "city": "categorical", "when": "datetime"}


def config(**table: Any) -> Config:
    given = {"name": "m", "learner": "ridge", "topic": "t", "columns": COLUMNS, "scale": {"merge_seconds": 0.01}}
    return parse({"model": [{**given, **table}]}, "thalweg.toml", {})


def shard(model: ModelConfig, number: int) -> ModelConfig:
    return model.model_copy(update={"name": f"{model.name}~{number}"})


def events(seed: int, count: int = 40) -> Batch:
    random = np.random.default_rng(seed)
    amounts = random.normal(1e4 * seed, 50.0, count)  # each shard has another scale
    amounts[::7] = np.nan
    codes = (random.random(count) < 0.5).astype(np.int32)
    cities = np.array([f"city{number}".encode() for number in random.integers(0, 9, count)], dtype=object)
    inputs = {"amount": amounts + 40.0 * codes, "city": cities, "when": 1.7e9 + 3600.0 * np.arange(count)}
    return Batch(inputs, ClassLabels(codes, ("no", "yes")), np.ones(count), np.arange(count) * 1.0)


@pytest.mark.parametrize("table", [{}, {"params": {"half_life_seconds": 30.0}}, {"learner": "nearest_mean"}])
def test_shards_of_a_model_that_says_nothing_but_its_columns_become_one_model(
    tmp_path: Path, table: dict[str, Any]
) -> None:
    whole = config(**table)
    model, registry = whole.model[0], HealthRegistry()
    one = new_learner(model)
    for number in range(3):
        learner = new_learner(shard(model, number))
        publisher = shard_publisher(shard(model, number), learner, tmp_path)
        learner.learn(events(number))
        one.learn(events(number))
        publisher.publish(learner.predictor(), version=1, learned_events=40, event_time=39.0)
        publisher.close()
    merger = build_merger(whole, model, tmp_path, registry, partitions=lambda: (0, 1, 2))

    until("it is published", merger.turn)

    server = FileSubscriber(tmp_path / "m", predictor_maker(model.learner, model.context(), model.encoding()))
    server.look()
    assert server.current is not None
    assert server.current.shards == {0: 1, 1: 1, 2: 1}
    asked = events(1).inputs
    scores = server.current.predictor.predict(asked)["scores"]
    assert np.isfinite(scores).all()
    alone = build_merger(whole, model, tmp_path / "alone", HealthRegistry())
    publisher = shard_publisher(shard(model, 0), one, tmp_path / "alone")
    publisher.publish(one.predictor(), version=1, learned_events=120, event_time=39.0)
    until("it is published", alone.turn)
    other = FileSubscriber(tmp_path / "alone/m", predictor_maker(model.learner, model.context(), model.encoding()))
    other.look()
    assert other.current is not None
    np.testing.assert_allclose(scores, other.current.predictor.predict(asked)["scores"], rtol=1e-5, atol=1e-6)
    assert [(one.component, one.state) for one in registry.report()] == [("merger", Condition.RUNNING)]
    for each in (merger, alone, publisher):
        each.close()


def test_a_shard_of_a_changed_model_is_not_merged_into_it(tmp_path: Path) -> None:
    before, after = config(), config(params={"gamma": 7.0})
    learner = new_learner(before.model[0])
    learner.learn(events(1))
    publisher = shard_publisher(shard(before.model[0], 0), learner, tmp_path)
    publisher.publish(learner.predictor(), version=1, learned_events=40, event_time=39.0)
    registry = HealthRegistry()
    merger = build_merger(after, after.model[0], tmp_path, registry)

    assert not merger.turn()

    assert "shard 0: it was made under other settings" in registry.report()[0].reason
    merger.close()
    publisher.close()


def test_the_metadata_of_a_model_show_which_versions_of_its_shards_answer(tmp_path: Path) -> None:
    def learner() -> Ridge:
        params = {"forgetting": 1, "standardise": "solved", "expansion": 0}
        return Ridge(LearnerContext(inputs=SPECS, params=params, seed=0))

    with served(tmp_path, model=Taught(learner, Ridge.predictor_from, labelled)) as service:
        shard = learner()
        shard.learn(labelled(20, 1))
        publisher = ShardPublisher(service.live / "m~4", shard, 0.0)
        publisher.publish(shard.predictor(), version=9, learned_events=20, event_time=1.0)
        merger = Merger(learner, FolderShards(service.live, "m"), service.live / "m", 0.0)
        until("it is published", merger.turn)

        def described() -> Any:
            return httpx.get(f"http://127.0.0.1:{service.server.http_port}/v2/models/m").json()

        until("it is served", lambda: described()["versions"] == ["9"])

        assert json.loads(described()["properties"]["shards"]) == {"4": 9}
        merger.close()
        publisher.close()
