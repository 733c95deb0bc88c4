"""A served model by key: real ridges of several partitions, published and answered for in this process."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from tests.ops.serve.serving import FEATURES, NAMES, new_learner
from thalweg.memory.exchange.commands import InMemoryCommandQueue
from thalweg.models.contract.learner import Learner, Predictor
from thalweg.models.ridge.learner import Ridge
from thalweg.ops.serve.by_key.partitions import Topic
from thalweg.ops.serve.following.location import ByKey, ModelLocation
from thalweg.ops.serve.models import Models, RequestSinks
from thalweg.ops.serve.server import Server, workers_of
from thalweg.ops.serve.settings import Addresses, ServerLimits
from thalweg.ops.serve.versions import WaitSlots
from thalweg.ops.telemetry.server_metrics import ServerMetrics
from thalweg.proto.event import Batch, ClassLabels
from thalweg.proto.records import Partition
from thalweg.stream.log.in_memory import InMemoryLog
from thalweg.stream.log.log import Appended, LogError, Message
from thalweg.stream.publication.file_channel import FilePublisher
from thalweg.stream.shards.names import shard_name
from thalweg.stream.shards.partitioner import partition_of

TOPIC = "m.events"


class PartitionedLog(InMemoryLog):
    """A log with several partitions, which keeps what is appended to each; it may be away."""

    def __init__(self, partitions: int) -> None:
        super().__init__()
        self.partitions = partitions
        self.topic = "first"
        self.away = False
        self.appended: list[tuple[int, Message]] = []

    def append(self, topic: str, messages: Sequence[Message]) -> list[Appended]:
        landed = []
        for message in messages:
            place = 0 if message.key is None else partition_of(message.key, self.partitions)
            self.appended.append((place, message))
            landed.append(Appended(Partition(topic, place), len(self.appended)))
        return landed

    def bounds(self, topic: str) -> Mapping[Partition, tuple[int, int]]:
        if self.away:
            raise LogError("no broker answers")
        return {Partition(topic, place): (0, 0) for place in range(self.partitions)}

    def named_members(self, group: str) -> Sequence[str]:
        return ()

    def identity(self, topic: str) -> str | None:
        return self.topic

    def topic_of(self) -> Topic:
        """As a server asks it."""
        return Topic(len(self.bounds(TOPIC)), self.identity(TOPIC))


def events_of(partition: int, classes: Sequence[int], count: int = 200) -> Batch:
    """Events of these classes; in each partition another feature tells of a class."""
    random = np.random.default_rng(partition)
    codes = random.choice(np.array(classes), count).astype(np.int32)
    features = random.normal(0, 0.1, (count, FEATURES)).astype(np.float32)
    features[np.arange(count), (codes + partition) % FEATURES] += 1
    return Batch({"features": features}, ClassLabels(codes, NAMES), np.ones(count), np.arange(count, dtype=float))


def key_for(partition: int, partitions: int, nth: int = 0) -> str:
    """The nth key of a partition."""
    found = (f"k{number}" for number in range(100_000))
    return [
        key
        for key, _ in zip((one for one in found if partition_of(one.encode(), partitions) == partition), range(nth + 1))
    ][-1]


class ShardedServer:
    """The parts, for a test to drive."""

    def __init__(
        self,
        folder: Path,
        partitions: int,
        *,
        log: PartitionedLog | None = None,
        without_key: Any = "refuse",
        **more: Any,
    ) -> None:
        self.folder, self.log = folder, log or PartitionedLog(partitions)
        self.learners: dict[int, Learner] = {}
        self.publishers: dict[int, FilePublisher] = {}
        self.versions: dict[int, int] = {}
        self.learned: dict[int, int] = {}
        limits = ServerLimits(max_message_bytes=128 << 20, requests_bytes=512 << 20)
        workers = workers_of(limits)
        self.location = ModelLocation(
            **{
                "name": "m",
                "learner": "ridge",
                "topic": TOPIC,
                "live": folder / "live" / "m",
                "state": folder / "state" / "m",
                "schema": new_learner().schema,
                "ready_after_events": 1,
                "by_key": ByKey(topic=self.log.topic_of, without_key=without_key),
                "build": Ridge.predictor_from,
                "restore": Ridge.predictor_from,
            }
            | {name: more.pop(name) for name in ("schema", "build", "labels_topic") if name in more}
        )
        self.commands = InMemoryCommandQueue()
        self.sinks = more.pop("sinks", None) or RequestSinks()
        models = Models([self.location], self.sinks, WaitSlots(limits.most_waiting, workers.waiting))
        self.metrics = ServerMetrics(folder / "live", models)
        self.server = Server(
            models,
            self.log,
            self.commands,
            workers=workers,
            addresses=Addresses(grpc="127.0.0.1:0", http="127.0.0.1:0"),
            limits=limits,
            telemetry=self.metrics,
            **more,
        )

    @property
    def model(self) -> Any:
        return self.server.models.find("m")

    @property
    def subscriber(self) -> Any:
        return self.model.versions.subscriber

    def publish(self, partition: int, predictor: Predictor, *, learned: int = 1) -> None:
        """Publish a version of a shard, and let the server take it at once."""
        if partition not in self.publishers:
            self.publishers[partition] = FilePublisher(self.folder / "live" / shard_name("m", partition))
        self.versions[partition] = self.versions.get(partition, 0) + 1
        self.learned[partition] = learned
        self.publishers[partition].publish(
            predictor, version=self.versions[partition], learned_events=learned, event_time=1.0
        )

    def learn(self, partition: int, classes: Sequence[int] = (0, 1, 2)) -> Predictor:
        """Let a shard learn, and publish it."""
        learner = self.learners.setdefault(partition, new_learner())
        learner.learn(events_of(partition, classes))
        predictor = learner.predictor()
        self.publish(partition, predictor, learned=self.learned.get(partition, 0) + 200)
        return predictor

    def close(self) -> None:
        self.server.close()
        for publisher in self.publishers.values():
            publisher.close()


@contextmanager
def served_by_key(
    folder: Path, partitions: int, classes: Sequence[Sequence[int]] = (), **more: Any
) -> Iterator[ShardedServer]:
    """A started server whose first shards have learned these classes."""
    parts = ShardedServer(folder, partitions, **more)
    for partition, known in enumerate(classes):
        parts.learn(partition, known)
    parts.server.start()
    try:
        yield parts
    finally:
        parts.close()
