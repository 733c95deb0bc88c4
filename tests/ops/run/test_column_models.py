"""A model of columns as a service builds it: what a server makes of a version answers as the learner does."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.models.columns.samples import COLUMNS, events_of
from tests.models.columns.test_encoding import TABLE, WORDS, payments
from tests.models.columns.test_ids import CLICKS, NETWORK, PROCESS, VISITS, clicks, visits
from thalweg.ops.config.config import parse
from thalweg.ops.run.app import new_learner
from thalweg.ops.run.serving import location_of
from thalweg.proto.event import Batch
from thalweg.stream.publication.file_channel import FilePublisher, FileSubscriber

MODELS: dict[str, tuple[dict[str, Any], Callable[[int, int], Batch]]] = {
    "features": ({}, partial(events_of, COLUMNS)),
    "encoded features": ({"encoder": "random_features:32"}, partial(events_of, COLUMNS)),
    "columns encoded by a user's function": (
        {"columns": TABLE, "encoder": WORDS.name, "encoder_columns": list(WORDS.columns)},
        payments,
    ),
    "a recommender's ids": ({"learner": "error_memory", "columns": CLICKS, "params": NETWORK}, clicks),
    "a point process's keys": ({"learner": "prompt_tpp", "columns": VISITS, "params": PROCESS}, visits),
}


@pytest.mark.parametrize("kind", MODELS)
def test_a_server_answers_as_the_learner_version_after_version(kind: str, tmp_path: Path) -> None:
    more, events = MODELS[kind]
    model = {"name": "m", "learner": "ridge", "topic": "t", "params": {"expansion": 0}, "columns": COLUMNS, **more}
    config = parse({"model": [model], "service": {"state_dir": str(tmp_path)}}, "x.toml", {})
    learner, place = new_learner(config.model[0]), location_of(config, config.model[0], tmp_path)
    publisher, server = FilePublisher(place.live), FileSubscriber(place.live, place.build)

    for version in range(1, 6):
        learner.learn(events(20, version))
        publisher.publish(learner.predictor(), version=version, learned_events=20 * version, event_time=1.0)

        assert server.look()
        assert server.current is not None
        asked = events(9, 50 + version).inputs
        for name, wanted in learner.predictor().predict(asked).items():
            np.testing.assert_array_equal(server.current.predictor.predict(asked)[name], wanted)
            np.testing.assert_array_equal(place.restore(learner.state()).predict(asked)[name], wanted)
    assert place.schema.columns == config.model[0].named_columns()
    server.close()
    publisher.close()
