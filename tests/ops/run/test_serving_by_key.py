"""Servers of configured models by key: with records of the user's own, over the embedded log, beside their learners."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.services.processes import until
from thalweg.memory.exchange.reopened import reopened_commands
from thalweg.models.contract.learner import Learner
from thalweg.ops.config.config import Config, parse
from thalweg.ops.config.error import ConfigurationError
from thalweg.ops.run.app import event_schema, new_learner, open_configured_log
from thalweg.ops.run.serving import build_server
from thalweg.ops.serve.server import Server
from thalweg.ops.telemetry.process_health import HealthFile
from thalweg.proto.decode import Decoder
from thalweg.proto.records import Partition, Records
from thalweg.stream.health.registry import HealthRegistry
from thalweg.stream.publication.file_channel import FilePublisher
from thalweg.stream.publication.live_folder import live_folder

CONFIG = """
[service]
state_dir = "{folder}/state"
grpc = "127.0.0.1:0"
http = "127.0.0.1:0"
[log]
url = "sqlite:{folder}/log.db"
[store]
url = "sqlite:{folder}/store.db"
[[model]]
name = "m"
learner = "ridge"
topic = "payments"
columns.amount = "numeric"
[model.fields]
label = "fraud"
key = "customer.id"
[model.scale]
answers = "key"
"""


def record(amount: float, customer: str, label: str | None = None) -> dict[str, Any]:
    return {"amount": amount, "customer": {"id": customer}} | ({"fraud": label} if label else {})


def taught(config: Config) -> Learner:
    """Large amounts are frauds."""
    model = config.model[0]
    values = [json.dumps(record(n % 10, "c", "yes" if n % 10 > 4 else "no")).encode() for n in range(200)]
    run = Records(Partition("payments", 0), range(200), [1.7e9] * 200, [None] * 200, values, [()] * 200)
    learner = new_learner(model)
    learner.learn(Decoder(event_schema(model)).decode(run).batch)
    return learner


class Served:
    """A server, the shard of the only partition, and what its learner process tells."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        config = parse(tomllib.loads(CONFIG.format(folder=folder)), "thalweg.toml", {})
        self.log = stack.enter_context(closing(open_configured_log(config)))
        store = stack.enter_context(closing(reopened_commands(config.store.url)))
        live = live_folder(Path(config.service.state_dir))
        self.server: Server = build_server(config, self.log, store)
        self.server.start()
        stack.callback(self.server.drain, 0.0)
        self.publisher = stack.enter_context(closing(FilePublisher(live / "m~0")))
        self.learner = taught(config)
        self.registry = HealthRegistry()
        self.health = HealthFile(live, self.registry)
        stack.callback(self.health.close)

    def ask(self, path: str, body: Any) -> httpx.Response:
        return httpx.post(f"http://127.0.0.1:{self.server.http_port}{path}", json=body)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Served]:
    with ExitStack() as stack:
        yield Served(tmp_path, stack)


def test_the_key_of_a_users_own_record_is_where_its_fields_say(service: Served) -> None:
    path = "/v1/models/m/predict"
    assert service.ask(path, record(9, "c7")).status_code == 503
    service.publisher.publish(service.learner.predictor(), version=3, learned_events=200, event_time=1.0)
    event = service.ask("/v1/models/m/events", record(9, "c7", "yes"))
    assert event.status_code == 200
    until("the model answers", lambda: service.ask(path, record(9, "c7")).status_code == 200)

    answers = service.ask(path, [record(9, "c7"), record(0, "c8")]).json()
    keyless = service.ask(path, [record(9, "c7"), {"amount": 3}])

    assert [one["label"] for one in answers] == ["yes", "no"]
    assert keyless.status_code == 400
    assert "got none in row 1" in keyless.json()["error"]


def test_the_learners_of_its_shards_are_those_of_the_model(service: Served) -> None:
    service.registry.register("learner", "m~0").failed("events that cannot be learned")
    service.health.start()

    def components() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = httpx.get(f"http://127.0.0.1:{service.server.http_port}/readyz").json()[
            "components"
        ]
        return [one for one in found if one["component"] == "learner"]

    until("the learner's health", lambda: [one["state"] for one in components()] == ["failed"])
    assert [one["model"] for one in components()] == ["m~0"]
    model = service.server.models.find("m")
    assert "the learner of 'm~0' stands still: events that cannot be learned" in model.unready()


@pytest.mark.parametrize(
    ("scale", "told"),
    [
        ('without_key = "mean"', "model.m.scale.without_key: expected answers = 'key' with it"),
        ('answers = "key"\nmerge_seconds = 2', "model.m.scale.merge_seconds: expected answers = 'merge' with it"),
        ("average_every = 100", "model.m.scale.average_every: expected answers = 'key' with it"),
        (
            'answers = "key"\naverage_every = 100',
            "scale.average_every: a ridge has no parameters that are about",
        ),
        ('answers = "key"\nwithout_key = "first"', "model.m.scale.without_key: expected one of"),
    ],
)
def test_what_is_only_for_models_by_key_or_only_for_merged_ones_is_refused_with_others(
    tmp_path: Path, scale: str, told: str
) -> None:
    text = CONFIG.format(folder=tmp_path).replace('answers = "key"', scale)

    with pytest.raises(ConfigurationError) as caught:
        parse(tomllib.loads(text), "thalweg.toml", {})

    assert told in str(caught.value)
