"""A model that stays one, on two hosts and a real Kafka: the host that learns it is killed, and the other goes on."""

from __future__ import annotations

import signal
import uuid
from contextlib import ExitStack
from pathlib import Path

import pytest
from kafka import KafkaAdminClient

from tests.ops.run.shards.test_hosts import Cluster
from tests.services.processes import until
from thalweg.memory.objects.objects import Objects
from thalweg.memory.snapshots.manifest import Manifest
from thalweg.memory.snapshots.remote import RemoteSnapshots
from thalweg.memory.snapshots.snapshots import FolderSnapshots
from thalweg.stream.learn.saving.mirror import kept_generation
from thalweg.stream.log.kafka_shared.choice import Client

pytestmark = [pytest.mark.slow, pytest.mark.kafka]


class Whole(Cluster):
    """Hosts that share a model by its topic."""

    def configuration(self, host: str) -> Path:
        path = super().configuration(host)
        path.write_text(path.read_text() + 'by = "topic"\n')
        return path

    @property
    def model(self) -> str:
        return f"clicks-{self.topic}"

    @property
    def remote(self) -> RemoteSnapshots:
        return RemoteSnapshots(Objects(self.url), self.model)

    def kept(self, host: str) -> Manifest | None:
        found = FolderSnapshots(self.folder / host / self.model).manifests()
        return found[-1] if found else None

    def learned_by(self, host: str) -> int:
        return 0 if (found := self.kept(host)) is None else found.events_learned

    def generation(self, host: str) -> int:
        return kept_generation(self.folder / host / self.model)


@pytest.mark.parametrize("client", ["kafka-python", "confluent"])
def test_a_host_that_is_killed_or_stopped_is_followed_by_another_with_its_state(
    tmp_path: Path, kafka_servers: str, client: Client
) -> None:
    topic = f"t-{uuid.uuid4().hex[:10]}"
    admin = KafkaAdminClient(bootstrap_servers=kafka_servers)
    admin.create_topics({topic: {"num_partitions": 3}})
    admin.close()
    shared = Whole(tmp_path, kafka_servers, client, topic, f"file:{tmp_path}/objects")
    with ExitStack() as stack:
        hosts = {name: stack.enter_context(shared.host(name)) for name in ("one", "two")}
        shared.append(300, 0)
        until("one of them to learn all", lambda: 300 in map(shared.learned_by, hosts))
        first = max(hosts, key=shared.generation)
        (second,) = hosts.keys() - {first}
        assert shared.learned_by(second) < 300  # it may have had the model first
        until("it to be uploaded", lambda: _uploaded(shared, first))
        before = shared.kept(first)
        hosts[first].kill()
        hosts[first].wait()

        until("the other to have its state", lambda: shared.learned_by(second) == 300)
        after = shared.kept(second)
        assert before is not None
        assert after is not None
        assert (after.version, after.state_sha256) == (before.version, before.state_sha256)

        shared.append(200, 300)
        until("the other to go on", lambda: shared.learned_by(second) == 500)
        third = stack.enter_context(shared.host(first))
        hosts[second].send_signal(signal.SIGSTOP)
        shared.append(200, 500)
        until("the first to take it back", lambda: shared.learned_by(first) == 700)
        owner = shared.generation(first)
        hosts[second].send_signal(signal.SIGCONT)  # what it has in hand is nobody's any more
        shared.append(100, 700)

        def owning() -> str:  # a member that comes back may be given the first partition, and with it the model
            return max(hosts, key=shared.generation)

        until("the owner to go on", lambda: shared.learned_by(owning()) == 800)
        until("in the store, too", lambda: _uploaded(shared, owning()))
        assert shared.generation(owning()) == owner or owning() == second
        assert shared.remote.heads()[-1][0] == shared.generation(owning())
        third.terminate()
        assert third.wait(60) == 0


def _uploaded(shared: Whole, host: str) -> bool:
    kept, heads = shared.kept(host), shared.remote.heads()
    return kept is not None and heads[-1:] == [(shared.generation(host), kept.version)]
