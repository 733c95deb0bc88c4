"""A model of columns as a service builds it: what a server makes of a version answers as the learner does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.models.columns.samples import COLUMNS, events_of
from thalweg.ops.config.config import parse
from thalweg.ops.run.app import location_of, new_learner
from thalweg.stream.publication.file_channel import FilePublisher, FileSubscriber


@pytest.mark.parametrize("more", [{}, {"encoder": "random_features:32"}], ids=["features", "encoded features"])
def test_a_server_answers_as_the_learner_version_after_version(more: dict[str, Any], tmp_path: Path) -> None:
    model = {"name": "m", "learner": "ridge", "topic": "t", "params": {"expansion": 0}, "columns": COLUMNS, **more}
    config = parse({"model": [model], "service": {"state_dir": str(tmp_path)}}, "x.toml", {})
    learner, place = new_learner(config.model[0]), location_of(config, config.model[0], tmp_path)
    publisher, server = FilePublisher(place.live), FileSubscriber(place.live, place.build)

    for version in range(1, 6):
        learner.learn(events_of(COLUMNS, 20, version))
        publisher.publish(learner.predictor(), version=version, learned_events=20 * version, event_time=1.0)

        assert server.look()
        assert server.current is not None
        asked = events_of(COLUMNS, 9, 50 + version).inputs
        for name, wanted in learner.predictor().predict(asked).items():
            np.testing.assert_array_equal(server.current.predictor.predict(asked)[name], wanted)
            np.testing.assert_array_equal(place.restore(learner.state()).predict(asked)[name], wanted)
    assert place.schema.columns == config.model[0].named_columns()
    server.close()
    publisher.close()
