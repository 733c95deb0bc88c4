"""Learners of shards and a server that puts them together: from an event under a key to the answer for that key."""

from __future__ import annotations

from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import httpx

from tests.ops.run.shards.test_shards import appended, configuration
from tests.samples import FEATURES
from tests.services.processes import PATIENCE, until
from tests.stream.log.partitions import PartitionedLog
from thalweg.memory.exchange.commands import InMemoryCommandQueue
from thalweg.memory.snapshots.snapshots import FolderSnapshots
from thalweg.ops.run.app import model_folder
from thalweg.ops.run.learning import Learning
from thalweg.ops.run.serving import build_server
from thalweg.ops.serve.commands import run_command
from thalweg.ops.serve.server import Server
from thalweg.stream.health.registry import HealthRegistry
from thalweg.stream.publication.live_folder import live_folder
from thalweg.stream.shards.partitioner import partition_of

ROW = [1.0] + [0.0] * (FEATURES - 1)
KEYS = [f"user-{number}" for number in range(40)]


def taste(key: str) -> str:
    """Each key has a label of its own, which no other feature tells."""
    return f"label {partition_of(key.encode(), 3)}"


def post(server: Server, path: str, body: Any) -> httpx.Response:
    return httpx.post(f"http://127.0.0.1:{server.http_port}/v1/models/clicks/{path}", json=body, timeout=PATIENCE)


def answers(server: Server) -> list[str]:
    found = post(server, "predict", [{"features": ROW, "key": key} for key in KEYS])
    return [row["label"] for row in found.json()] if found.status_code == 200 else []


def test_what_is_learned_under_a_key_is_answered_for_it_also_after_a_partition_was_added(tmp_path: Path) -> None:
    log = PartitionedLog(3)
    config = configuration(tmp_path, "host")
    service = config.service.model_copy(update={"grpc": "127.0.0.1:0", "http": "127.0.0.1:0"})
    config = config.model_copy(update={"service": service})
    store = InMemoryCommandQueue()
    with ExitStack() as stack:
        live = live_folder(Path(config.service.state_dir))
        learning = stack.enter_context(closing(Learning(config, log, store, live, HealthRegistry())))
        learning.start()
        server = build_server(config, log, store)
        server.start()
        stack.callback(server.drain, 0.0)
        rows = [{"inputs": {"features": ROW}, "label": taste(key), "key": key} for key in KEYS]

        acks = post(server, "events", rows).json()

        assert [ack["partition"] for ack in acks] == [partition_of(key.encode(), 3) for key in KEYS]
        until("every key to be answered", lambda: answers(server) == [taste(key) for key in KEYS])
        served = server.models.find("clicks").versions.newest
        assert served is not None
        assert served.info.learned_events == len(KEYS)

        log.add(1)
        moved = [key for key in KEYS if partition_of(key.encode(), 4) == 3]
        post(server, "events", [{"inputs": {"features": ROW}, "label": "moved", "key": key} for key in moved])

        until(
            "moved keys to be answered by their new shard",
            lambda: answers(server) and {one for key, one in zip(KEYS, answers(server)) if key in moved} == {"moved"},
        )
        stayed = [key for key in KEYS if partition_of(key.encode(), 4) == partition_of(key.encode(), 3)]
        assert [one for key, one in zip(KEYS, answers(server)) if key in stayed] == [taste(key) for key in stayed]


def test_one_shard_is_rolled_back_by_its_name(tmp_path: Path) -> None:
    log = PartitionedLog(2)
    config = configuration(tmp_path, "host")
    store = InMemoryCommandQueue()
    with closing(
        Learning(config, log, store, live_folder(Path(config.service.state_dir)), HealthRegistry())
    ) as learning:
        learning.start()
        appended(log, 100)
        kept = FolderSnapshots(model_folder(config, config.find("clicks~1")))
        until("a snapshot", lambda: any(one.events_learned for one in kept.manifests()))
        version = kept.manifests()[-1].version

        done = run_command(store, "clicks~1", "rollback", 30, version=version)

    assert done["version"] > version
