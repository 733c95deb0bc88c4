"""A model of four partitions learned by one worker against two, each by its processor time.

Workers are learner processes of hosts of their own (`thalweg serve --role learn`) on a real Kafka. Broker, producer and
workers share this machine's cores, so the clock would measure all of them: what counts is the processor time of the
busiest worker for all events, the time that it would need with a core of its own. So the broker's share is left out,
and the workers' starts are: all partitions are owned before the first event is appended.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
from kafka import KafkaAdminClient
from kafka.partitioner.default import murmur2

from benchmarks.report import Result, at_least, show
from benchmarks.scale import Scale
from tests.services import warm
from tests.services.kafka import Broker
from tests.services.processes import until
from thalweg.ops.cli.produce import messages
from thalweg.ops.telemetry.process_figures import process_figures
from thalweg.proto.event import Batch, ClassLabels
from thalweg.stream.log.open import open_log
from thalweg.stream.publication.announcement import ANNOUNCEMENT, newest_slot

_PARTITIONS, _FEATURES, _PER_RECORD = 4, 64, 100


def run(scale: Scale = Scale.FULL) -> list[Result]:
    events, rounds = scale.of((400_000, 3), quick=(100_000, 2), tiny=(2_000, 1))
    with tempfile.TemporaryDirectory() as name:
        broker = Broker(Path(name), quick_start=False)
        broker.start()
        try:
            found = {workers: [_busiest(broker, workers, events) for _ in range(rounds)] for workers in (1, 2)}
        finally:
            broker.close()
    one, two = (statistics.median(found[workers]) for workers in (1, 2))
    note = (
        f"{events:,} events of {_FEATURES} numbers, four partitions, median of {rounds}, load {os.getloadavg()[0]:.1f}"
    )
    return [
        Result(
            name="one worker: events per second of its processor time", value=events / one, unit="events/s", note=note
        ),
        Result(
            name="two workers: events per second of the busier one's", value=events / two, unit="events/s", note=note
        ),
        at_least("two workers against one, with a core each, without the broker", one / two, "×", 1.7),
    ]


def _busiest(broker: Broker, workers: int, events: int) -> float:
    """Processor seconds of the busiest worker for all events."""
    topic = f"t-{uuid.uuid4().hex[:8]}"
    admin = KafkaAdminClient(bootstrap_servers=broker.servers)
    admin.create_topics({topic: {"num_partitions": _PARTITIONS}})
    admin.close()
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        processes = [stack.enter_context(_worker(folder, broker, topic, number)) for number in range(workers)]
        hosts = [folder / f"host-{number}" for number in range(workers)]
        share = _PARTITIONS // workers
        until("every partition to be owned", lambda: all(len(_owned(host)) >= share for host in hosts))
        before = [_cpu(process.pid) for process in processes]
        log = open_log(f"kafka://{broker.servers}")
        made = messages(_events(events // _PARTITIONS), _PER_RECORD)
        for number in range(_PARTITIONS):  # keys that differ in nothing but their partition
            log.append(topic, [type(one)(one.value, _key(number), one.headers) for one in made])
        log.close()
        until("all to be learned", lambda: sum(_learned(host) for host in hosts) >= events // _PARTITIONS * _PARTITIONS)
        return max(_cpu(process.pid) - cpu for process, cpu in zip(processes, before, strict=True))


@contextmanager
def _worker(folder: Path, broker: Broker, topic: str, number: int) -> Iterator[warm.Process]:
    path = folder / f"host-{number}.toml"
    path.write_text(
        f'[service]\nstate_dir = "{folder}/host-{number}"\nstate_url = "file:{folder}/objects"\n'
        f'[log]\nurl = "kafka://{broker.servers}"\n'
        f'[[model]]\nname = "m"\nlearner = "ridge"\ntopic = "{topic}"\n'
        f'inputs.features = {{ shape = [{_FEATURES}], dtype = "float32" }}\n[model.scale]\nanswers = "key"\n'
    )
    with (folder / f"host-{number}.log").open("wb") as output:
        process = warm.start_cold("serve", str(path), "--role", "learn", "--learner", "1", stdout=output, stderr=output)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _owned(host: Path) -> list[Path]:
    return list(host.glob("m~*/generation"))


def _learned(host: Path) -> int:
    found = 0
    for path in (host / "live").glob(f"m~*/{ANNOUNCEMENT}"):
        slot = newest_slot(path.read_bytes())
        found += 0 if slot is None else slot.info.learned_events
    return found


def _cpu(pid: int) -> float:
    figures = process_figures(pid)
    return 0.0 if figures is None else figures.cpu_seconds


def _key(number: int) -> bytes:
    return next(
        key
        for key in (str(text).encode() for text in range(1000))
        if (murmur2(key) & 0x7FFFFFFF) % _PARTITIONS == number
    )


def _events(count: int) -> Batch:
    made = np.random.default_rng(0)
    features = made.standard_normal((count, _FEATURES)).astype(np.float32)
    codes = (features @ made.standard_normal(_FEATURES) > 0).astype(np.int32)
    return Batch({"features": features}, ClassLabels(codes, ("no", "yes")), np.ones(count), np.zeros(count))


if __name__ == "__main__":
    show("shards", run(Scale.asked()))
