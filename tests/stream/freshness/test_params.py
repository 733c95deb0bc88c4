"""A promise sets the pace: what would break it by waiting does not wait so long."""

from __future__ import annotations

import pytest

from thalweg.ops.config.model import ModelConfig
from thalweg.ops.run.app import settings_of
from thalweg.stream.freshness.params import FreshnessParams


@pytest.mark.parametrize(
    ("promised", "gathered", "waiting"),
    [
        ({}, 0.05, 0.5),
        ({"within_seconds": 0.05}, 0.005, 0.025),
        ({"within_seconds": 60.0}, 0.05, 1.0),
        ({"objective": 0, "within_seconds": 0.05}, 0.05, 1.0),
    ],
)
def test_a_learner_gathers_and_lets_wait_no_longer_than_the_promise_allows(
    promised: dict[str, float], gathered: float, waiting: float
) -> None:
    table = {"name": "m", "learner": "ridge", "topic": "t", "inputs": {"x": {"shape": [2]}}, "freshness": promised}

    settings = settings_of(ModelConfig.of(table), 1 << 20)

    assert settings.batch_seconds == pytest.approx(gathered)
    assert settings.waiting_seconds == pytest.approx(waiting)


def test_a_promise_is_no_part_of_a_models_identity() -> None:
    table = {"name": "m", "learner": "ridge", "topic": "t", "inputs": {"x": {"shape": [2]}}}

    plain = ModelConfig.of(table)
    promised = ModelConfig.of({**table, "freshness": {"within_seconds": 0.05}})

    assert plain.identity_sha256() == promised.identity_sha256()
    assert FreshnessParams().paces(0.0) == {"batch_seconds": 0.0, "waiting_seconds": 0.5}
