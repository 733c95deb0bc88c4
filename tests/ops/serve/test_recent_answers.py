"""A predictor that raises on requests is the model's health, not only its callers' trouble."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.ops.serve.serving import served
from thalweg.models.ridge.predictor import RidgePredictor
from thalweg.ops.serve.bounds.recent_answers import WINDOW, RecentAnswers
from thalweg.ops.serve.readiness import ServiceHealth
from thalweg.ops.telemetry.server_metrics import ServerMetrics
from thalweg.stream.health.registry import Condition, Health

ROW = {"features": [1, 0, 0, 0]}


def predictor(client: httpx.Client) -> dict[str, Any]:
    components = client.get("/readyz").json()["components"]
    return next(one for one in components if (one["component"], one["model"]) == ("predictor", "m"))


def test_a_predictor_that_loads_and_then_raises_shows_everywhere_and_recovers_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def raises(*_: object) -> None:
        raise IndexError("index 7 is out of bounds for axis 0 with size 3")

    with (
        served(tmp_path) as service,
        httpx.Client(base_url=f"http://127.0.0.1:{service.server.http_port}") as client,
    ):
        answers = [client.post("/v1/models/m/predict", json=ROW).status_code for _ in range(3)]
        assert answers == [200] * 3
        assert client.post("/v1/models/m/predict", json={"features": [1]}).status_code == 400  # is not counted
        assert (predictor(client)["state"], predictor(client)["reason"]) == ("running", "")
        with monkeypatch.context() as broken:
            broken.setattr(RidgePredictor, "predict", raises)
            assert [client.post("/v1/models/m/predict", json=ROW).status_code for _ in range(3)] == [500] * 3

            told = predictor(client)
            assert told["state"] == "degraded"
            assert told["reason"] == (
                "3 of the newest 6 requests ended with an internal error; the last one, version 1: IndexError: index 7 "
                "is out of bounds for axis 0 with size 3"
            )
            assert f"model 'm': predictor degraded: {told['reason']}" in client.get("/readyz").json()["degraded"]
            metric = 'thalweg_component_state{component="predictor",model_name="m",state="degraded"} 1'
            health = ServiceHealth(service.models, service.models.registry)
            assert metric in ServerMetrics(tmp_path, service.models, health).render()[0].decode()
            (page,) = (one for one in client.get("/api/models").json()["models"] if one["name"] == "m")
            assert {
                "level": "bad",
                "code": "predictor_degraded",
                "text": f"predictor degraded: {told['reason']}",
            } in page["troubles"]

        assert [client.post("/v1/models/m/predict", json=ROW).status_code for _ in range(40)] == [200] * 40
        assert predictor(client)["state"] == "running"


@pytest.mark.parametrize(("good", "bad", "state"), [(0, 1, "degraded"), (99, 1, "running"), (990, 10, "degraded")])
def test_it_is_degraded_from_a_tenth_of_the_newest_requests_on(good: int, bad: int, state: str) -> None:
    health = Health("predictor", "m")
    answers = RecentAnswers(health)
    assert health.now().state is Condition.STARTING

    for _ in range(good):
        answers.answered()
    for _ in range(bad):
        answers.raised(ValueError("no"), 4)

    assert health.now().state.value == state
    for _ in range(WINDOW):
        answers.answered()
    assert health.now().state is Condition.RUNNING
