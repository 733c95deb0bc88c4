"""With curl alone: a model of named columns is taught, asked and told late labels over REST, in the real service."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from tests.ops.running import service, until
from tests.services.processes import stop

pytestmark = pytest.mark.slow

MODEL = """
[[model]]
name = "payments"
learner = "ridge"
topic = "payments.events"
labels_topic = "payments.labels"
batch_events = 16
params.expansion = 0

[model.columns]
amount = "numeric"
country = { kind = "categorical", min_events = 1 }
"""
OK = {"amount": 12.5, "country": "DE", "label": "ok"}
FRAUD = {"amount": 900, "country": "XX", "label": "fraud"}


def test_a_model_is_taught_asked_and_told_late_labels_over_rest(tmp_path: Path) -> None:
    with service(tmp_path, more=MODEL) as running:
        supervisor = running.start()
        url = f"http://127.0.0.1:{running.ports['http']}"
        until("the interface", lambda: running.get("/healthz")[0] == 200)
        with httpx.Client(base_url=f"{url}/v1/models/payments", timeout=60) as client:
            early = client.post("/predict", json=OK)
            acks = client.post("/events", json=[OK, FRAUD] * 50)
            until("what it was taught to be learned", lambda: running.get("/v1/models/payments")[0] == 200)
            version = client.get(f"{url}/v2/models/payments").json()["versions"][0]
            until(
                "all events to be learned",
                lambda: running.metric("thalweg_learned_events", model_name="payments") == 100,
            )
            asked = client.post(
                "/predict", json=[{"id": "p-1", "amount": 890, "country": "XX"}, {"amount": 11, "country": "DE"}]
            )
            told = client.post("/labels", json={"id": "p-1", "label": "fraud"})
            until(
                "the late label to be learned",
                lambda: running.metric("thalweg_learned_events", model_name="payments") == 101,
            )
            described = client.get(f"{url}/openapi.json").json()["components"]["schemas"]["payments.Row"]
        assert stop(supervisor) == 0, running.text()

    assert (early.status_code, "payments" in early.json()["error"]) == (503, True)
    assert [ack["offset"] for ack in acks.json()] == list(
        range(acks.json()[0]["offset"], acks.json()[0]["offset"] + 100)
    )
    assert int(version) >= 1
    assert [(row.get("id"), row["label"]) for row in asked.json()] == [("p-1", "fraud"), (None, "ok")]
    assert told.json()["topic"] == "payments.labels"
    assert {"amount", "country"} <= described["properties"].keys()
