"""Learners and servers on hosts that share no disk, as the processes that a user starts."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ops.running import Service
from tests.services.processes import required_or_skipped, until
from tests.services.redis import RedisServer

pytestmark = [pytest.mark.slow, pytest.mark.redis, pytest.mark.kafka]


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    with required_or_skipped():
        server = RedisServer(tmp_path)
    server.start()
    yield server
    server.stop()


def test_servers_answer_what_learners_on_another_host_learn_whatever_happens_to_them(
    tmp_path: Path, redis_server: RedisServer, kafka_servers: str
) -> None:
    topic, log = f"t{uuid.uuid4().hex}", f"kafka://{kafka_servers}"
    hosts = {}
    for role in ("learn", "serve"):
        (tmp_path / role).mkdir()
        hosts[role] = Service(tmp_path / role, log, topic, store=redis_server.url)
        text = hosts[role].path.read_text()
        hosts[role].path.write_text(text.replace("[service]", f'[service]\nrole = "{role}"'))
    learner, server = hosts["learn"], hosts["serve"]
    try:
        learner.send(100)
        for one in hosts.values():
            one.start()
        until("the server to be ready", server.ready)
        until("what was learned to be answered", lambda: server.learned() == 100)
        assert server.predict().parameters["staleness_seconds"].double_param < 60.0
        assert not (server.folder / "state" / "m").exists()
        assert learner.get("/v2/models/m")[0] == 404
        until("the learner's host to be ready", learner.ready)
        until("its metrics", lambda: learner.metric("thalweg_events_learned_total", model_name="m") == 100)
        until("its relay to be well", lambda: parts(learner).get(("relay", "m")) == "running")
        until("the learner to be seen at the server", lambda: parts(server).get(("learner", "m")) == "running")
        status = json.loads(server.get("/api/models/m")[1])
        assert status["learned_events"] == 100

        redis_server.stop()
        learner.send(50)
        until("the server to tell", lambda: parts(server).get(("relay", "m")) in ("waiting", "degraded"))
        assert server.learned() == 100
        redis_server.start()
        until("what was learned meanwhile to be answered", lambda: server.learned() == 150)

        learner.kill("learner")
        server.kill("follower")
        learner.send(10)
        until("both to go on", lambda: server.learned() == 160)
    finally:
        for one in hosts.values():
            one.close()
    assert "Traceback" not in server.text()


def parts(service: Service) -> dict[tuple[str, str], str]:
    """The state of each part, by component and model."""
    content = service.get("/readyz")[1]
    return {} if not content else {(p["component"], p["model"]): p["state"] for p in json.loads(content)["components"]}
