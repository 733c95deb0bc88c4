"""Consuming and learning from the log, against its parts alone.

The topic is written once; then in turn, round by round: a bare reader of it, the learner on the same batches in memory,
and the whole processor (poll, journal, decode, predict, grade, learn, publish, snapshot) over it. 64 float32 features,
10 classes, ridge without expansion. Readers are timed from the first records they get to the last, so that connecting
and noticing the end count on neither side. This process has one core; the broker has the other.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from kafka import KafkaConsumer, TopicPartition
from threadpoolctl import threadpool_limits

from benchmarks.report import Result, at_least, left_out, show
from benchmarks.scale import Scale
from tests.services.kafka import Broker
from tests.services.processes import Unavailable
from thalweg.memory.snapshots.snapshots import FolderSnapshots
from thalweg.models.contract.learner import LearnerContext
from thalweg.models.contract.registry import find
from thalweg.ops.cli.produce import messages
from thalweg.proto.event import Batch, ClassLabels
from thalweg.proto.schema import TensorSpec
from thalweg.stream.evaluation.prequential import Prequential
from thalweg.stream.journal.file_journal import FileJournal
from thalweg.stream.learn.observer import NoObserver
from thalweg.stream.learn.outcome import Outcome
from thalweg.stream.learn.ports import Ports
from thalweg.stream.learn.processor import Processor
from thalweg.stream.learn.settings import ProcessorSettings
from thalweg.stream.log.kafka_shared.choice import Client, effective_client
from thalweg.stream.log.log import Log
from thalweg.stream.log.open import open_log
from thalweg.stream.log.sqlite import SqliteLog
from thalweg.stream.publication.file_channel import FilePublisher

SPECS = {"features": TensorSpec("features", "float32", (64,))}
PARAMS = {"expansion": 0, "forgetting": 0.999}
PER_RECORD = 1000


def learner() -> Any:
    return find("ridge")(LearnerContext(inputs=SPECS, params=PARAMS, seed=0))


def events(count: int) -> Batch:
    random = np.random.default_rng(0)
    codes = random.integers(0, 10, count).astype(np.int32)
    features = random.normal(0, 1, (count, 64)).astype(np.float32)
    features[np.arange(count), codes] += 2
    return Batch(
        {"features": features},
        ClassLabels(codes, tuple(map(str, range(10)))),
        np.ones(count),
        np.full(count, time.time()),
    )


def fill(log: Log, topic: str, batch: Batch, per_record: int) -> None:
    for part in batch.micro_batches(20_000):
        log.append(topic, messages(part, per_record))


class Steady(NoObserver):
    """Counts what comes and when, from the first of it on."""

    def __init__(self) -> None:
        self.seen = 0
        self._first = 0
        self._made = time.perf_counter()
        self._began = self._ended = 0.0

    def took(self, count: int) -> None:
        if not count:
            return
        self.seen += count
        self._ended = time.perf_counter()
        if not self._first:
            self._first, self._began = count, self._ended

    def block_done(self, outcome: Outcome, *_: object) -> None:
        self.took(outcome.events)

    def seconds(self, count: int) -> float:
        """What `count` would take at the pace between the first and the last; since the start, if all came at once."""
        if self.seen == self._first:
            return count * (self._ended - self._made) / self.seen
        return count * (self._ended - self._began) / (self.seen - self._first)


def bare_kafka(servers: str, topic: str, records: int) -> float:
    """Seconds of a bare kafka-python consumer, set up as well as ours."""
    consumer = KafkaConsumer(
        bootstrap_servers=servers,
        enable_auto_commit=False,
        isolation_level="read_committed",
        max_partition_fetch_bytes=16 << 20,
        fetch_max_bytes=64 << 20,
        metrics_enabled=False,
    )
    consumer.assign([TopicPartition(topic, 0)])
    consumer.seek_to_beginning()
    steady = Steady()
    while steady.seen < records:
        steady.took(sum(map(len, consumer.poll(1000, max_records=500).values())))
    consumer.close(autocommit=False)
    return steady.seconds(records)


def bare_confluent(servers: str, topic: str, records: int) -> float:
    """Seconds of a bare confluent-kafka consumer that touches key, value and time of each record."""
    from confluent_kafka import Consumer
    from confluent_kafka import TopicPartition as Place

    consumer = Consumer(
        {"bootstrap.servers": servers, "group.id": "bare", "enable.auto.commit": False, "auto.offset.reset": "earliest"}
    )
    consumer.assign([Place(topic, 0, 0)])
    steady = Steady()
    while steady.seen < records:
        found = [(one.offset(), one.key(), one.value(), one.timestamp()) for one in consumer.consume(500, 0.05)]
        steady.took(len(found))
    consumer.close()
    return steady.seconds(records)


BARE: dict[str, Callable[[str, Log, str, int], float]] = {
    "kafka-python": lambda servers, log, topic, records: bare_kafka(servers, topic, records),
    "confluent": lambda servers, log, topic, records: bare_confluent(servers, topic, records),
}


def clients(servers: str) -> Iterator[tuple[Client, Log]]:
    """A log through each client of Kafka that is installed."""
    for client in ("kafka-python", "confluent"):
        if effective_client(client if client == "kafka-python" else "auto") == client:
            yield client, open_log(f"kafka://{servers}", client=client)


def bare_reader(log: Log, topic: str, records: int) -> float:
    """Seconds of a bare reader of the log."""
    reader = log.reader([topic], {})
    steady = Steady()
    while steady.seen < records:
        steady.took(sum(map(len, reader.poll(1.0, 500, 2 << 20))))
    reader.close()
    return steady.seconds(records)


def learner_alone(batches: list[Batch]) -> float:
    """Seconds of predicting, grading and learning the same batches in memory."""
    mine, evaluation = learner(), Prequential()
    started = time.perf_counter()
    for batch in batches:
        predictor = mine.predictor()
        evaluation.predicted(batch, predictor, predictor.predict(batch.inputs))
        mine.learn(batch)
    return time.perf_counter() - started


def whole(log: Log, topic: str, count: int, batch_events: int) -> float:
    """Seconds of the whole loop."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        snapshots = FolderSnapshots(folder / "m")
        snapshots.prepare()
        mine, evaluation, steady = learner(), Prequential(), Steady()
        processor = Processor(
            mine,
            log,
            snapshots,
            ProcessorSettings(model="m", topic=topic, batch_events=batch_events, idle_seconds=0.0),
            journal=FileJournal(folder / "m" / "journal"),
            evaluator=evaluation,
            ports=Ports(publisher=FilePublisher(folder / "live"), observer=steady),
        )
        processor.run(until_end=True)
        assert processor.events_learned == count, f"{processor.events_learned} of {count} events were learned"
    return steady.seconds(count)


def measure(
    name: str, log: Log, topic: str, batch: Batch, per_record: int, bare: Callable[[], float], rounds: int, bar: float
) -> list[Result]:
    batch_events = PER_RECORD if per_record > 1 else 500
    fill(log, topic, batch, per_record)
    batches = list(batch.micro_batches(batch_events))
    count = len(batch)
    ratios, rates, alone_rates, bare_rates = [], [], [], []
    for _ in range(rounds):
        read, alone, all_of_it = bare(), learner_alone(batches), whole(log, topic, count, batch_events)
        reference = max(read, alone) if per_record > 1 else read
        ratios.append(reference / all_of_it)
        rates.append(count / all_of_it)
        alone_rates.append(count / alone)
        bare_rates.append(count / read)
    middle = statistics.median
    against = "the slower part alone" if per_record > 1 else "the bare consumer"
    note = f"bare reader {middle(bare_rates):,.0f}/s, learner alone {middle(alone_rates):,.0f}/s"
    figure = f"{name}: throughput against {against}"
    aimed = (
        at_least(figure, middle(ratios), "×", bar, note)
        if bar
        else Result(name=figure, value=middle(ratios), unit="×", note=note)
    )
    results = [aimed]
    if per_record > 1 and "Kafka" in name:
        alone_reaches = f"where the learner alone reaches 1,000,000 (here {middle(alone_rates):,.0f})"
        results.append(at_least(f"{name}: events per second", middle(rates), "events/s", 400_000, alone_reaches))
    else:
        results.append(Result(name=f"{name}: events per second", value=middle(rates), unit="events/s"))
    return results


@contextmanager
def kafka_servers(folder: Path) -> Iterator[str]:
    """`HOST:PORT` of a broker: that of THALWEG_KAFKA, or one of this run's own. Raises Unavailable."""
    if "THALWEG_KAFKA" in os.environ:
        yield os.environ["THALWEG_KAFKA"]
        return
    broker = Broker(folder, quick_start=False)
    broker.start()
    try:
        yield broker.servers
    finally:
        broker.close()


def run(scale: Scale = Scale.FULL) -> list[Result]:
    rounds = scale.of(3, quick=3, tiny=1)
    many = events(scale.of(1_000_000, quick=300_000, tiny=3000))
    single = events(scale.of(200_000, quick=60_000, tiny=1100))
    results: list[Result] = []
    with threadpool_limits(1), tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        log = SqliteLog(folder / "log.db")
        for kind, batch, per_record, bar in (("EventBatch", many, PER_RECORD, 0.8), ("JSON", single, 1, 0.0)):
            topic, records = f"t{per_record}", len(batch) // per_record
            bare = lambda topic=topic, records=records: bare_reader(log, topic, records)  # noqa: E731
            results += measure(f"embedded log, {kind}", log, topic, batch, per_record, bare, rounds, bar)
        log.close()
        try:
            with kafka_servers(folder) as servers:
                for client, kafka in clients(servers):
                    for kind, batch, per_record, bar in (
                        ("EventBatch", many, PER_RECORD, 0.8),
                        ("JSON", single, 1, 0.5),
                    ):
                        topic, records = f"t-{uuid.uuid4().hex[:8]}", len(batch) // per_record
                        bare = lambda topic=topic, records=records, kafka=kafka, client=client: BARE[client](  # noqa: E731
                            servers, kafka, topic, records
                        )
                        named = f"Kafka by {client}, {kind}"
                        results += measure(named, kafka, topic, batch, per_record, bare, rounds, bar)
                    kafka.close()
        except Unavailable as error:
            results.append(left_out("Kafka", str(error)))
    return results


if __name__ == "__main__":
    show("ingest", run(Scale.asked()))
