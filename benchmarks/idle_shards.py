"""What a learner process takes for shards without traffic, and how soon an event of one of them is learned.

A real Kafka, one learner process, states in a folder as object store, each client. Every shard has learned an event and
saved it before it is idle. Then events of shards at random are timed: from the broker's answer to the published version
that has learned them.
"""

from __future__ import annotations

import os
import random
import statistics
import tempfile
import time
import uuid
from pathlib import Path

from kafka import KafkaAdminClient

from benchmarks.idle import used
from benchmarks.report import Result, at_most, show
from benchmarks.scale import Scale
from tests.services import warm
from tests.services.kafka import Broker
from tests.services.processes import until
from thalweg.stream.log.log import Log, Message
from thalweg.stream.log.open import open_log
from thalweg.stream.publication.announcement import ANNOUNCEMENT, newest_slot

_CLIENTS = ("confluent", "kafka-python")
_EVENT = b'{"inputs": {"features": [1, 2, 3, 4]}, "label": "a"}'


def run(scale: Scale = Scale.FULL) -> list[Result]:
    shards, quiet, seconds, events = scale.of((100, 75, 30, 200), quick=(100, 75, 20, 60), tiny=(2, 0, 1, 2))
    results = []
    for client in _CLIENTS:
        with tempfile.TemporaryDirectory() as name:
            broker = Broker(Path(name), quick_start=False)
            broker.start()
            try:
                results += _measured(Path(name), broker, client, shards, quiet, seconds, events)
            finally:
                broker.close()
    return results


def _measured(
    folder: Path, broker: Broker, client: str, shards: int, quiet: float, seconds: float, events: int
) -> list[Result]:
    topic, log = f"t-{uuid.uuid4().hex[:8]}", open_log(f"kafka://{broker.servers}")
    admin = KafkaAdminClient(bootstrap_servers=broker.servers)
    admin.create_topics({topic: {"num_partitions": shards}})
    admin.close()
    path = folder / "config.toml"
    path.write_text(
        f'[service]\nstate_dir = "{folder}/host"\nstate_url = "file:{folder}/objects"\n'
        f'[log]\nurl = "kafka://{broker.servers}"\nclient = "{client}"\n'
        f'[[model]]\nname = "m"\nlearner = "ridge"\ntopic = "{topic}"\n'
        'inputs.features = { shape = [4], dtype = "float32" }\n[model.scale]\nanswers = "key"\n'
    )
    with (folder / "log").open("wb") as output:
        process = warm.start_cold("serve", str(path), "--role", "learn", "--learner", "1", stdout=output, stderr=output)
    try:
        for number in range(shards):
            log.append(topic, [Message(_EVENT, partition=number)])
        until("each to be learned", lambda: all(_learned(folder, number) > 0 for number in range(shards)))
        time.sleep(quiet)  # longer than between two snapshots
        began, before = time.monotonic(), used(process.pid)
        time.sleep(seconds)
        took, after = time.monotonic() - began, used(process.pid)
        threads = len(list(Path(f"/proc/{process.pid}/task").iterdir()))
        delays = _delays(folder, log, topic, shards, events)
    finally:
        process.kill()
        process.wait()
        log.close()
    name, load = f"{shards} idle shards, {client}", f"load {os.getloadavg()[0]:.1f}"
    note = f"{(after[1] - before[1]) / took:,.0f} wake-ups/s, {threads} threads, {load}"
    ordered = sorted(delays)
    return [
        at_most(f"{name}: share of a core", 100 * (after[0] - before[0]) / took, "%", 10, note),
        Result(
            name=f"{name}: append to the published version that has learned it, p50",
            value=1000 * statistics.median(ordered),
            unit="ms",
            note=f"p90 {1000 * ordered[int(0.9 * len(ordered))]:.0f} ms, {load}",
        ),
    ]


def _delays(folder: Path, log: Log, topic: str, shards: int, events: int) -> list[float]:
    chance, found = random.Random(1), []
    for _ in range(events):
        number = chance.randrange(shards)
        known = _learned(folder, number)
        log.append(topic, [Message(_EVENT, partition=number)])
        began = time.perf_counter()
        while _learned(folder, number) <= known:
            time.sleep(0.0005)
        found.append(time.perf_counter() - began)
        time.sleep(0.1)
    return found


def _learned(folder: Path, number: int) -> int:
    try:
        slot = newest_slot((folder / "host" / "live" / f"m~{number}" / ANNOUNCEMENT).read_bytes())
    except FileNotFoundError:
        return 0
    return 0 if slot is None else slot.info.learned_events


if __name__ == "__main__":
    show("idle_shards", run(Scale.asked()))
