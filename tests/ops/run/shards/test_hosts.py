"""Learner processes of several hosts on a real Kafka: killed, stopped, continued, no event is lost or learned twice."""

from __future__ import annotations

import signal
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from kafka import KafkaAdminClient
from kafka.admin import NewPartitions
from numpy.typing import NDArray

from tests.ops.run.shards.workers import Worker, merged, newest, newest_state, worker
from tests.samples import FEATURES, events
from tests.services.processes import until
from thalweg.memory.snapshots.state import State
from thalweg.models.contract.learner import Predictor
from thalweg.ops.cli.produce import messages
from thalweg.ops.config.config import load
from thalweg.ops.run.app import new_learner
from thalweg.proto.event import Batch
from thalweg.stream.log.kafka_shared.choice import Client
from thalweg.stream.log.open import open_log

pytestmark = [pytest.mark.slow, pytest.mark.kafka]


@dataclass
class Cluster:
    """Kafka, an object store, and the hosts that share them."""

    folder: Path
    servers: str
    client: Client
    topic: str
    url: str
    appended: list[Batch] = field(default_factory=list)

    def shard(self, number: int) -> str:
        return f"clicks-{self.topic}~{number}"

    def configuration(self, host: str) -> Path:
        path = self.folder / f"{host}.toml"
        path.write_text(
            f'[service]\nstate_dir = "{self.folder}/{host}"\nstate_url = "{self.url}"\n'
            f'[log]\nurl = "kafka://{self.servers}"\nclient = "{self.client}"\n'
            '[log.kafka]\n"session.timeout.ms" = 6000\n'
            f'[[model]]\nname = "clicks-{self.topic}"\nlearner = "ridge"\ntopic = "{self.topic}"\n'
            f'snapshot_seconds = 0.1\ninputs.features = {{ shape = [{FEATURES}], dtype = "float32" }}\n'
            "[model.scale]\n"
        )
        return path

    def host(self, name: str) -> AbstractContextManager[Worker]:
        return worker(self.configuration(name))

    def learned(self) -> dict[int, tuple[int, int]]:
        """By partition, the records that were appended, and the events in the newest state."""
        log = open_log(f"kafka://{self.servers}", client=self.client)
        try:
            ends = {part.number: end for part, (_, end) in log.bounds(self.topic).items()}
        finally:
            log.close()
        return {
            n: (end, 0 if (one := newest(self.url, self.shard(n))) is None else one.events_learned)
            for n, end in ends.items()
        }

    def append(self, count: int, first: int) -> None:
        log = open_log(f"kafka://{self.servers}", client=self.client)
        keyed = replace(events(count, first, seed=first), keys=[f"user-{row % 40}" for row in range(count)])
        try:
            log.append(self.topic, messages(keyed, 1))
        finally:
            log.close()
        self.appended.append(keyed)

    def states(self) -> Iterator[State]:
        """The newest states of all shards."""
        for number in self.learned():
            yield newest_state(self.url, self.shard(number), self.folder / "restored" / str(number))


@pytest.fixture
def cluster(tmp_path: Path, kafka_servers: str) -> Cluster:
    admin = KafkaAdminClient(bootstrap_servers=kafka_servers)
    topic = f"t-{uuid.uuid4().hex[:10]}"
    admin.create_topics({topic: {"num_partitions": 4}})
    admin.close()
    return Cluster(tmp_path, kafka_servers, "auto", topic, f"file:{tmp_path}/objects")


def all_learned(cluster: Cluster) -> bool:
    return all(there == learned and there > 0 for there, learned in cluster.learned().values())


def test_every_event_is_learned_once_though_hosts_are_killed_stopped_and_continued(cluster: Cluster) -> None:
    cluster.append(400, 0)
    with ExitStack() as stack:
        first = stack.enter_context(cluster.host("first"))
        until("all to be learned by one", lambda: all_learned(cluster))
        second = stack.enter_context(cluster.host("second"))
        until("the second to own some", lambda: list((cluster.folder / "second").glob("clicks-*~*/generation")))
        cluster.append(400, 400)
        until("all to be learned by two", lambda: all_learned(cluster))
        first.kill()
        cluster.append(200, 800)
        until("all to be learned by the other", lambda: all_learned(cluster))
        third = stack.enter_context(cluster.host("third"))
        until("the third to own some", lambda: list((cluster.folder / "third").glob("clicks-*~*/generation")))
        second.send_signal(signal.SIGSTOP)
        cluster.append(200, 1000)
        until("all to be learned by the third", lambda: all_learned(cluster))
        second.send_signal(signal.SIGCONT)  # what it has in hand is nobody's any more
        admin = KafkaAdminClient(bootstrap_servers=cluster.servers)
        admin.create_partitions({cluster.topic: NewPartitions(total_count=5)})
        admin.close()
        until("the new partition to be seen", lambda: len(cluster.learned()) == 5)
        cluster.append(300, 1200)
        until("all to be learned, the new partition too", lambda: all_learned(cluster))
        third.terminate()
        assert third.wait(60) == 0
    assert sum(learned for _, learned in cluster.learned().values()) == 1500

    model = load(cluster.configuration("first"), {}).model[0]
    alone = new_learner(model)
    for batch in cluster.appended:
        alone.learn(batch)
    made, expected = scores(merged(model, cluster.states()).predictor()), scores(alone.predictor())
    np.testing.assert_allclose(made, expected, rtol=1e-9, atol=1e-9 * np.abs(expected).max())


def scores(predictor: Predictor) -> NDArray[np.float64]:
    """Scores of some rows, (200, classes), in the order of the classes' names."""
    rows = np.random.default_rng(1).standard_normal((200, FEATURES)).astype(np.float32)
    found = np.asarray(predictor.predict({"features": rows})["scores"], np.float64)
    return found[:, np.argsort(predictor.classes)]
