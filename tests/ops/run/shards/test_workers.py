"""One worker, four, two and one again on three brokers, with kills, a broker that goes and a partition that is added
in between: each event is learned once, and the shards, merged, are one learner of all events.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from kafka import KafkaAdminClient
from kafka.admin import NewPartitions
from numpy.typing import NDArray

from tests.models.columns.samples import events_of
from tests.ops.run.shards.workers import merged, newest, newest_state, worker
from tests.samples import events
from tests.services.kafka import Broker
from tests.services.processes import until
from thalweg.memory.snapshots.state import State
from thalweg.models.contract.learner import Learner
from thalweg.ops.cli.produce import messages
from thalweg.ops.config.config import load
from thalweg.ops.run.app import new_learner
from thalweg.proto.event import Batch, ClassLabels
from thalweg.stream.log.log import LogError
from thalweg.stream.log.open import open_log

pytestmark = [pytest.mark.slow, pytest.mark.kafka]

PARTITIONS = 4
COLUMNS = {
    "amount": {"kind": "numeric", "scale": False},
    "country": {"kind": "categorical", "categories": ["DE", "FR", "PT"]},
    "comment": {"kind": "text", "buckets": 8},
}
MODELS = """
[[model]]
name = "ridge"
learner = "ridge"
topic = "numbers"
snapshot_seconds = 0.2
inputs.features = { shape = [4], dtype = "float32" }
[model.scale]

[[model]]
name = "means"
learner = "nearest_mean"
topic = "numbers"
snapshot_seconds = 0.2
inputs.features = { shape = [4], dtype = "float32" }
[model.scale]

[[model]]
name = "table"
learner = "ridge"
topic = "rows"
snapshot_seconds = 0.2
columns.amount = { kind = "numeric", scale = false }
columns.country = { kind = "categorical", categories = ["DE", "FR", "PT"] }
columns.comment = { kind = "text", buckets = 8 }
[model.scale]
"""
TOPICS = {"ridge": "numbers", "means": "numbers", "table": "rows"}


@dataclass
class Fleet:
    """Workers on hosts of their own, and what they have been given to learn."""

    folder: Path
    servers: str
    appended: dict[str, list[Batch]] = field(default_factory=lambda: {"numbers": [], "rows": []})

    @property
    def url(self) -> str:
        return f"file:{self.folder}/objects"

    def configuration(self, host: str) -> Path:
        path = self.folder / f"{host}.toml"
        path.write_text(
            f'[service]\nstate_dir = "{self.folder}/{host}"\nstate_url = "{self.url}"\n'
            f'[log]\nurl = "kafka://{self.servers}"\n[log.kafka]\n"session.timeout.ms" = 6000\n{MODELS}'
        )
        return path

    def append(self, count: int) -> None:
        number = len(self.appended["numbers"])
        keys = [f"user-{row % 40}" for row in range(count)]
        numbers = replace(events(count, number * 1000, seed=number), keys=keys)
        rows = events_of(COLUMNS, count, number)
        assert isinstance(rows.labels, ClassLabels)
        labels = replace(rows.labels, codes=np.maximum(rows.labels.codes, 0))  # all have one: what has none counts not
        rows = replace(rows, labels=labels, keys=keys)
        for topic, batch in (("numbers", numbers), ("rows", rows)):
            until("Kafka to take them", partial(self._taken, topic, batch))  # twice where a broker goes meanwhile
            self.appended[topic].append(batch)

    def _taken(self, topic: str, batch: Batch) -> bool:
        log = open_log(f"kafka://{self.servers}")
        try:
            log.append(topic, messages(batch, 1))
        except LogError:
            return False
        finally:
            log.close()
        return True

    def partitions(self, topic: str) -> int:
        return until(f"Kafka to tell the partitions of {topic}", partial(self._partitions, topic))

    def _partitions(self, topic: str) -> int | None:
        log = open_log(f"kafka://{self.servers}")
        try:
            return len(log.bounds(topic))
        except LogError:  # a broker is away
            return None
        finally:
            log.close()

    def learned(self, model: str) -> list[int]:
        """Of each shard, the events in its newest state."""
        states = [newest(self.url, f"{model}~{number}") for number in range(self.partitions(TOPICS[model]))]
        return [0 if state is None else state.events_learned for state in states]

    def all_learned(self) -> bool:
        return all(sum(self.learned(model)) == self.sent(topic) for model, topic in TOPICS.items())

    def sent(self, topic: str) -> int:
        return sum(len(batch) for batch in self.appended[topic])

    def has_of_all(self, name: str) -> bool:
        """Whether a worker has ever had a shard of each model."""
        shards = {folder.parent.name for folder in (self.folder / name).glob("*~*/generation")}
        return {shard.rpartition("~")[0] for shard in shards} == set(TOPICS)

    def states(self, model: str) -> Iterator[State]:
        for number in range(self.partitions(TOPICS[model])):
            yield newest_state(self.url, f"{model}~{number}", self.folder / "restored" / f"{model}-{number}")


def test_one_worker_four_two_and_one_again_are_one_learner_of_all_events(tmp_path: Path, brokers: list[Broker]) -> None:
    servers = ",".join(broker.servers for broker in brokers)
    admin = KafkaAdminClient(bootstrap_servers=servers)
    for topic in ("numbers", "rows"):
        admin.create_topics({topic: {"num_partitions": PARTITIONS, "replication_factor": 3}})
    admin.close()
    fleet = Fleet(tmp_path, servers)

    def learned_by(whom: str) -> None:
        until(f"all to be learned by {whom}", fleet.all_learned)

    with ExitStack() as stack:
        workers = {"w1": stack.enter_context(worker(fleet.configuration("w1")))}
        fleet.append(200)
        learned_by("one")

        workers |= {name: stack.enter_context(worker(fleet.configuration(name))) for name in ("w2", "w3", "w4")}
        fleet.append(150)  # while the shards move
        for name in workers:
            until(f"{name} to have shards of all models", partial(fleet.has_of_all, name))
        fleet.append(150)
        learned_by("four")

        workers["w2"].kill()
        fleet.append(150)
        workers["w3"].terminate()
        brokers[1].kill()  # what it led moves
        fleet.append(150)
        learned_by("two")
        assert workers["w3"].wait(60) == 0

        admin = KafkaAdminClient(bootstrap_servers=brokers[0].servers)  # the former one may ask the broker that is gone
        admin.create_partitions({topic: NewPartitions(total_count=PARTITIONS + 1) for topic in fleet.appended})
        admin.close()
        until("the new partitions", lambda: all(fleet.partitions(topic) == PARTITIONS + 1 for topic in fleet.appended))
        fleet.append(150)
        brokers[1].start()
        workers["w1"].kill()
        fleet.append(150)
        learned_by("one again")
        workers["w4"].terminate()
        assert workers["w4"].wait(60) == 0

    for model in load(fleet.configuration("w1"), {}).model:
        batches = fleet.appended[TOPICS[model.name]]
        alone = new_learner(model)
        for batch in batches:
            alone.learn(batch)
        together, one = merged(model, fleet.states(model.name)), merged(model, [alone.state()])
        made, expected = (_scores(learner, batches[-1]) for learner in (together, one))
        np.testing.assert_allclose(made, expected, rtol=1e-9, atol=1e-9 * np.abs(expected).max(), err_msg=model.name)
        assert min(fleet.learned(model.name)) > 0, "of the new partition, too"


def _scores(learner: Learner, rows: Batch) -> NDArray[np.float64]:
    """Scores of rows, (N, classes), in the order of the classes' names."""
    predictor = learner.predictor()
    found = np.asarray(predictor.predict(rows.inputs)["scores"], np.float64)
    return found[:, np.argsort(predictor.classes)]
