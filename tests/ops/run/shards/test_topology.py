"""What the chart starts, as plain processes: three brokers, Redis, an object store, two hosts that learn, a standby,
two that serve, and load. One of each is killed in turn: no request fails, and no event is lost or learned twice.
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from kafka import KafkaAdminClient

from tests.ops.running import Service
from tests.samples import FEATURES, events
from tests.services.kafka import Broker
from tests.services.object_store import S3Server, s3
from tests.services.processes import required_or_skipped, until
from tests.services.redis import RedisServer
from thalweg.memory.objects.objects import Objects
from thalweg.memory.snapshots.remote import RemoteSnapshots
from thalweg.ops.cli.produce import messages

pytestmark = [pytest.mark.slow, pytest.mark.redis, pytest.mark.kafka]

PARTITIONS = 4
_REQUEST = json.dumps(
    {"inputs": [{"name": "features", "shape": [1, FEATURES], "datatype": "FP32", "data": [0.5] * FEATURES}]}
).encode()


@dataclass
class Load:
    """A caller who asks one server, and the other one if that does not answer, as a load balancer does."""

    ports: list[int]
    answered: int = 0
    failed: list[str] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        while not self._stop.wait(0.02):
            problems = []
            for port in self.ports:
                try:
                    asked = urllib.request.Request(f"http://127.0.0.1:{port}/v2/models/m/infer", _REQUEST)
                    with urllib.request.urlopen(asked, timeout=60) as answer:
                        assert json.loads(answer.read())["outputs"]
                    self.answered += 1
                    break
                except (OSError, AssertionError) as error:
                    problems.append(repr(error))
            else:
                self.failed.append("; ".join(problems))
            self.ports.append(self.ports.pop(0))

    def stop(self) -> None:
        self._stop.set()


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    with required_or_skipped():
        server = RedisServer(tmp_path)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def store() -> Iterator[S3Server]:
    with s3() as server:
        yield server


def test_one_of_each_is_killed_and_no_request_fails_and_no_event_is_lost(
    tmp_path: Path, brokers: list[Broker], redis_server: RedisServer, store: S3Server
) -> None:
    servers = ",".join(broker.servers for broker in brokers)
    admin = KafkaAdminClient(bootstrap_servers=servers)
    for topic in ("m.events", "m.events.dlq", "m.alarms"):
        admin.create_topics({topic: {"num_partitions": PARTITIONS, "replication_factor": 3}})
    admin.close()
    hosts = {
        name: _host(tmp_path, name, servers, redis_server.url, store.url) for name in ("l1", "l2", "b1", "s1", "s2")
    }
    sent = 0

    def send(count: int) -> None:
        nonlocal sent
        keyed = replace(events(count, sent, seed=sent), keys=[f"user-{row % 40}" for row in range(count)])
        until("Kafka to take them", lambda: _appended(hosts["l1"], keyed))
        sent += count

    def all_learned() -> None:
        until(f"{sent} events to be learned", lambda: _learned(store.url) == sent)
        until("and answered", lambda: all(_answered(hosts[name]) == sent for name in ("s1", "s2")))

    load = Load([hosts[name].ports["http"] for name in ("s1", "s2")])
    caller = threading.Thread(target=load.run)
    try:
        for host in hosts.values():
            host.start()
        send(200)
        all_learned()
        caller.start()

        hosts["l1"].kill("learner")
        send(100)
        all_learned()
        until("the standby to follow", lambda: hosts["b1"].text().count("follows a shard") == PARTITIONS)
        _kill_whole(hosts["l1"])
        until("the standby to learn", lambda: list((tmp_path / "b1" / "state").glob("m~*/generation")))
        send(100)
        all_learned()
        assert "goes on warm" in hosts["b1"].text()
        hosts["l1"].start()
        hosts["s1"].kill("server")
        send(100)
        all_learned()
        hosts["s2"].kill("follower")
        brokers[2].kill()
        send(100)
        all_learned()
        brokers[2].start()
        redis_server.stop()
        send(100)
        until("learning to go on", lambda: _learned(store.url) == sent)
        redis_server.start()
        all_learned()
        store.stop()
        send(100)
        time.sleep(2.0)  # an outage, not a hiccup: whatever is asked meanwhile is answered
        store.start()
        all_learned()
        before = load.answered
        until("the load to go on", lambda: load.answered > before)
    finally:
        load.stop()
        if caller.ident is not None:
            caller.join()
        for host in hosts.values():
            host.close()
    assert load.failed == []
    assert load.answered > 0


def _kill_whole(host: Service) -> None:
    """As when its machine loses its power: nothing is saved, nobody restarts it."""
    learner = until("a learner process", lambda: host.pid("learner"))
    host.processes[-1].kill()
    os.kill(learner, signal.SIGKILL)
    host.processes[-1].wait()


def _host(folder: Path, name: str, servers: str, redis: str, state_url: str) -> Service:
    (folder / name).mkdir()
    made = Service(folder / name, f"kafka://{servers}", "m.events", store=redis, more="\n[model.scale]\n")
    role = {"l": "learn", "b": "standby", "s": "serve"}[name[0]]
    text = made.path.read_text().replace(
        "[service]", f'[service]\nrole = "{role}"\nstate_url = "{state_url}"\nstandby = false\nleast_learners = 2'
    )
    text = text.replace("[store]", '[log.kafka]\n"session.timeout.ms" = 6000\n\n[store]')
    made.path.write_text(text.replace("snapshot_events = 60", "snapshot_seconds = 0.2"))
    return made


def _appended(host: Service, batch: object) -> bool:
    host.log.append("m.events", messages(batch, 1))  # type: ignore[arg-type]
    return True


def _learned(url: str) -> int:
    heads = [RemoteSnapshots(Objects(url), f"m~{number}").newest() for number in range(PARTITIONS)]
    return sum(json.loads(head.manifest)["events_learned"] for head in heads if head is not None)


def _answered(host: Service) -> int:
    asked = urllib.request.Request(f"http://127.0.0.1:{host.ports['http']}/v2/models/m/infer", _REQUEST)
    try:
        with urllib.request.urlopen(asked, timeout=60) as answer:
            return int(json.loads(answer.read())["parameters"]["learned_events"])
    except (OSError, urllib.error.URLError, KeyError):
        return -1
