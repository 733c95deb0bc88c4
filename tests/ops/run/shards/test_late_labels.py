"""Labels on a topic of their own, with shards on a real Kafka: each is joined in the shard of its event, and once,
though whoever joins and learns is killed, stopped and continued.
"""

from __future__ import annotations

import json
import signal
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from kafka import KafkaAdminClient

from tests.ops.run.shards.test_hosts import Cluster, scores
from tests.samples import FEATURES, events
from tests.services.processes import until
from thalweg.memory.objects.objects import Objects
from thalweg.memory.snapshots.manifest import Manifest
from thalweg.memory.snapshots.remote import RemoteSnapshots
from thalweg.models.contract.capabilities import Mergeable, capability
from thalweg.ops.cli.produce import messages
from thalweg.ops.config.config import load
from thalweg.ops.run.app import event_schema, new_learner
from thalweg.proto.decode import Decoder
from thalweg.proto.event import Batch, ClassLabels
from thalweg.stream.log.kafka_shared.choice import Client
from thalweg.stream.log.log import Log, Message
from thalweg.stream.log.open import open_log

pytestmark = [pytest.mark.slow, pytest.mark.kafka, pytest.mark.redis]

PARTITIONS, OF_LABELS = 4, 3


@dataclass
class Late(Cluster):
    """Hosts whose model's labels come late."""

    redis: str = ""
    by: str = ""

    @property
    def model(self) -> str:
        return f"clicks-{self.topic}"

    def configuration(self, host: str) -> Path:
        path = self.folder / f"{host}.toml"
        path.write_text(
            f'[service]\nstate_dir = "{self.folder}/{host}"\nstate_url = "{self.url}"\n[store]\nurl = "{self.redis}"\n'
            f'[log]\nurl = "kafka://{self.servers}"\nclient = "{self.client}"\n'
            '[log.kafka]\n"session.timeout.ms" = 6000\n'
            f'[[model]]\nname = "{self.model}"\nlearner = "ridge"\ntopic = "{self.topic}"\n'
            f'labels_topic = "{self.topic}.labels"\nsnapshot_seconds = 0.1\n'
            f'inputs.features = {{ shape = [{FEATURES}], dtype = "float32" }}\n[model.scale]\n{self.by}'
        )
        return path

    def log(self) -> closing[Log]:
        return closing(open_log(f"kafka://{self.servers}", client=self.client))

    def append_unlabelled(self, count: int, first: int) -> None:
        """Events in partitions that are those of their keys, of other keys, and of none."""
        whole = replace(events(count, first, seed=first), keys=[f"user-{row % 40}" for row in range(count)])
        records = messages(whole.unlabelled(), 1)
        placed = [
            replace(one, key=one.key if row % 3 else None, partition=None if row % 3 == 1 else row % PARTITIONS)
            for row, one in enumerate(records)
        ]
        with self.log() as log:
            log.append(self.topic, placed)
        self.appended.append(whole)

    def append_labels(self, *batches: Batch) -> None:
        """Their labels, without keys, some of them twice, in any order."""
        records = [record for batch in batches for record in _labels(batch)]
        order = np.random.default_rng(len(records)).permutation(len(records)).tolist()
        with self.log() as log:
            for number in range(OF_LABELS):
                some = [replace(records[at], partition=number) for at in order[number::OF_LABELS]]
                log.append(f"{self.topic}.labels", some + some[:5])

    def joined(self) -> list[tuple[str, int]]:
        """Ids of the joined events and their partitions, in the order of the log."""
        return _read(self, f"{self.model}.joined")

    def ends(self) -> dict[int, int]:
        with self.log() as log:
            return {part.number: end for part, (_, end) in log.bounds(f"{self.model}.joined").items()}

    def learned_up_to(self) -> dict[int, int]:
        """By partition, the joined events up to where the newest states have learned."""
        found = {}
        for number in range(PARTITIONS):
            newest = self._newest(f"{self.model}~{number}" if not self.by else self.model)
            offsets = {} if newest is None else {str(part): end for part, end in newest.offsets.items()}
            found[number] = offsets.get(f"{self.model}.joined/{number}", -1) + 1
        return found

    def _newest(self, name: str) -> Manifest | None:
        head = RemoteSnapshots(Objects(self.url), name).newest()
        return None if head is None else Manifest.from_json(json.loads(head.manifest))

    def all_learned(self, count: int) -> bool:
        return len({id for id, _ in self.joined()}) == count and self.learned_up_to() == self.ends()


def _labels(batch: Batch) -> list[Message]:
    labels, ids = batch.labels, batch.ids
    assert isinstance(labels, ClassLabels)
    assert ids is not None
    return [
        Message(json.dumps({"id": id, "label": labels.names[code]}).encode())
        for id, code in zip(ids, labels.codes.tolist())
    ]


def _read(shared: Late, topic: str) -> list[tuple[str, int]]:
    decoder = Decoder(event_schema(load(shared.configuration("any"), {}).model[0]))
    found: list[tuple[str, int]] = []
    with shared.log() as log, closing(log.reader([topic], {})) as reader:
        ends = sum(end for _, end in log.bounds(topic).values())
        read = 0
        while read < ends:
            for run in reader.poll(1.0):
                batch = decoder.decode(run).batch
                found += [(id or "", run.partition.number) for id in batch.ids or ()]
                read += len(run)
    return found


@pytest.fixture
def make(tmp_path: Path, kafka_servers: str, redis_url: str) -> Iterator[Callable[[Client, str], Late]]:
    admin = KafkaAdminClient(bootstrap_servers=kafka_servers)

    def made(client: Client, by: str) -> Late:
        topic = f"t-{uuid.uuid4().hex[:10]}"
        shared = Late(tmp_path, kafka_servers, client, topic, f"file:{tmp_path}/objects", redis=redis_url, by=by)
        of_labels = {f"{topic}.labels": {"num_partitions": OF_LABELS}}
        admin.create_topics({topic: {"num_partitions": PARTITIONS}, **of_labels})
        admin.create_topics({f"{shared.model}.joined": {"num_partitions": PARTITIONS}})
        return shared

    yield made
    admin.close()


@pytest.mark.parametrize(("client", "by"), [("kafka-python", ""), ("confluent", ""), ("auto", 'by = "topic"\n')])
def test_each_label_is_learned_once_in_the_shard_of_its_event_though_hosts_are_killed_and_stopped(
    make: Callable[[Client, str], Late], client: Client, by: str
) -> None:
    shared = make(client, by)
    shared.append_unlabelled(300, 0)
    with ExitStack() as stack:
        first = stack.enter_context(shared.host("first"))
        shared.append_labels(shared.appended[0].take(np.arange(200)))
        until("the first labels to be learned", lambda: shared.all_learned(200))
        second = stack.enter_context(shared.host("second"))
        shared.append_unlabelled(300, 300)
        shared.append_labels(shared.appended[0].take(np.arange(200, 300)), shared.appended[1])
        first.kill()  # with labels in hand
        until("the other to join and learn them", lambda: shared.all_learned(600))
        third = stack.enter_context(shared.host("third"))
        second.send_signal(signal.SIGSTOP)
        later = events(300, 600, seed=600)
        shared.append_labels(later)  # before their events
        shared.append_unlabelled(300, 600)
        until("the third to join and learn them", lambda: shared.all_learned(900))
        second.send_signal(signal.SIGCONT)  # what it has in hand was joined meanwhile
        shared.append_unlabelled(100, 900)
        shared.append_labels(shared.appended[-1])
        until("all to be joined and learned", lambda: shared.all_learned(1000))
        third.terminate()
        assert third.wait(60) == 0

    if by:
        newest = shared._newest(shared.model)
        assert newest is not None
        assert newest.events_learned == 1000
        return
    places = dict(_read(shared, shared.topic))
    assert [at for at in shared.joined() if places[at[0]] != at[1]] == []
    model = load(shared.configuration("first"), {}).model[0]
    alone, merged = new_learner(model), new_learner(model)
    for batch in shared.appended:
        alone.learn(batch)
    mergeable = capability(merged, Mergeable)
    assert mergeable is not None
    for state in shared.states():
        mergeable.merge(state)
    made, expected = scores(merged.predictor()), scores(alone.predictor())
    np.testing.assert_allclose(made, expected, rtol=1e-9, atol=1e-9 * np.abs(expected).max())
