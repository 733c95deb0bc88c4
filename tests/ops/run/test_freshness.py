"""A service whose model promises more than anyone can keep: every record is late, and each is counted once."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

import pytest

from tests.ops.running import Service, service, until
from tests.services.processes import stop

pytestmark = pytest.mark.slow
PROMISE = "\n[model.freshness]\nobjective = 0.5\nwithin_seconds = 1e-9\n"


def late(running: Service) -> float:
    return running.metric("thalweg_freshness_missed_total", model_name="m") or 0.0


@pytest.mark.parametrize("kind", ["embedded", pytest.param("kafka", marks=pytest.mark.kafka)])
def test_every_record_after_the_first_is_counted_once_also_one_that_waited_while_nothing_ran(
    tmp_path: Path, request: pytest.FixtureRequest, kind: str
) -> None:
    log = f"kafka://{request.getfixturevalue('kafka_servers')}" if kind == "kafka" else None
    with service(tmp_path, log=log, topic=f"m-{uuid.uuid4().hex[:8]}", more=PROMISE) as running:
        running.send(50)
        first = running.start()
        until("the model has learned what there was", lambda: running.metric("thalweg_learned_events") == 50)
        until("it has caught up", lambda: (tmp_path / "state" / "m" / "caught-up").exists())
        assert late(running) == 0
        running.send(7)
        until("seven records are in use", lambda: late(running) == 7)
        stop(first)
        running.send(3)

        running.start()

        until("three more are", lambda: late(running) == 3)  # of this process
        assert running.metric("thalweg_freshness_seconds_count", model_name="m") == 3
        assert running.metric("thalweg_freshness_budget_remaining", model_name="m") == -1.0  # of all ten
        shown = json.loads(running.get("/api/models/m")[1])["freshness"]
        assert shown["budget_remaining"] == -1.0
        assert shown["p99_seconds"] > 0
