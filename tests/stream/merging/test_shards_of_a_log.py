"""Shards that learn from logs as the service does, each in a thread of its own, and the one model that they become."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import numpy as np

from tests.services.processes import until
from thalweg.memory.snapshots.snapshots import InMemorySnapshots
from thalweg.models.contract.learner import LearnerContext
from thalweg.models.ridge.learner import Ridge
from thalweg.proto.schema import TensorSpec
from thalweg.stream.learn.ports import Ports
from thalweg.stream.learn.processor import Processor
from thalweg.stream.learn.settings import ProcessorSettings
from thalweg.stream.log.in_memory import InMemoryLog
from thalweg.stream.log.log import Message
from thalweg.stream.merging.folders import FolderShards
from thalweg.stream.merging.merger import Merger
from thalweg.stream.merging.publisher import ShardPublisher
from thalweg.stream.publication.file_channel import FileSubscriber

SHARDS, PARTS = 3, 4


def ridge(**params: Any) -> Ridge:
    inputs = {"features": TensorSpec("features", "float32", (2,))}
    return Ridge(LearnerContext(inputs=inputs, params={"half_life_seconds": 60.0, "standardise": "solved", **params}))


def messages(shard: int, part: int) -> list[Message]:
    random = np.random.default_rng([shard, part])
    made = []
    for number in range(25):
        x, late = random.standard_normal(2) + shard, float(random.uniform(-50.0, 50.0))
        event = {
            "id": f"{shard}-{part}-{number}",
            "time": 1.7e9 + 100.0 * part + late,
            "inputs": {"features": x.tolist()},
            "label": "up" if x.sum() > 2 * shard else "down",
        }
        made.append(Message(json.dumps(event).encode(), time=1.7e9 + 1000.0))
    return made


def test_while_shards_learn_servers_get_one_model_and_in_the_end_all_of_it(tmp_path: Path) -> None:
    logs = [InMemoryLog() for _ in range(SHARDS)]
    processors, threads = [], []
    for number, log in enumerate(logs):
        learner = ridge()
        publisher = ShardPublisher(tmp_path / f"m~{number}", learner, 0.05)
        settings = ProcessorSettings(model=f"m~{number}", topic="t", batch_events=8, idle_seconds=0.01)
        processors.append(Processor(learner, log, InMemorySnapshots(), settings, ports=Ports(publisher=publisher)))
        threads.append(threading.Thread(target=processors[-1].run))
    merger = Merger(ridge, FolderShards(tmp_path, "m"), tmp_path / "m", 0.01, partitions=lambda: range(SHARDS))
    threads.append(threading.Thread(target=merger.run))
    server = FileSubscriber(tmp_path / "m", Ridge.predictor_from)
    seen: list[int] = []
    for thread in threads:
        thread.start()

    def served(events: int) -> bool:
        server.look()
        if server.current is None:
            return False
        seen.append(server.current.info.version)
        return server.current.info.learned_events == events and server.current.info.as_of > 0

    try:
        for part in range(PARTS):
            for number, log in enumerate(logs):
                log.append("t", messages(number, part))
            until("all of it is served", lambda part=part: served(SHARDS * 25 * (part + 1)))  # type: ignore[misc]
    finally:
        for runs in (*processors, merger):
            runs.stop()
        for thread in threads:
            thread.join()

    assert seen == sorted(seen)
    whole, log = ridge(), InMemoryLog()
    for part in reversed(range(PARTS)):
        for number in range(SHARDS):
            log.append("t", messages(number, part))
    settings = ProcessorSettings(model="m", topic="t", batch_events=64, batch_seconds=0, idle_seconds=0)
    Processor(whole, log, InMemorySnapshots(), settings).run(until_end=True)
    whole.refresh()
    assert server.current is not None
    asked = {"features": np.random.default_rng(1).standard_normal((20, 2)).astype(np.float32)}
    mine, theirs = server.current.predictor, whole.predictor()
    order = [mine.classes.index(name) for name in theirs.classes]
    scores = mine.predict(asked)["scores"][:, order]
    np.testing.assert_allclose(scores, theirs.predict(asked)["scores"], rtol=0, atol=1e-6)  # float32
