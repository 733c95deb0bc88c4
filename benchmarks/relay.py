"""From the acknowledged append of a record to the first answer that has learned it on a host that shares no disk.

Two services on one machine, one that only learns and one that only serves, each with a state folder of its own; between
them Kafka, and Redis or a folder as an object store. The load is that of `freshness_slo`, at a fixed rate. The second
table sends large versions by themselves, a tenth of each new: from their publication to the moment a server could map
them.
"""

from __future__ import annotations

import os
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.freshness_slo import load
from benchmarks.ingest import kafka_servers
from benchmarks.report import Result, at_most, left_out, show
from benchmarks.scale import Scale
from tests.ops.running import Service, until
from tests.services.object_store import s3
from tests.services.processes import Unavailable
from tests.services.redis import RedisServer
from thalweg.memory.objects.objects import Objects
from thalweg.memory.relay.board import VersionBoard
from thalweg.memory.relay.object_board import ObjectBoard
from thalweg.memory.relay.pieces import Pieces
from thalweg.memory.relay.redis_board import RedisBoard
from thalweg.memory.snapshots.state import State
from thalweg.proto.schema import Array, Inputs, TensorSpec
from thalweg.proto.task import CLASSIFICATION
from thalweg.stream.health.registry import HealthRegistry
from thalweg.stream.publication.file_channel import FilePublisher, FileSubscriber
from thalweg.stream.relay.receiver import Receiver
from thalweg.stream.relay.sender import Sender

_RATE = 300.0  # records per second
_TARGET_MS = 250.0


def _hosts(folder: Path, log: str, store: str | None, state_url: str, roles: Sequence[str]) -> dict[str, Service]:
    """A host for each role; their configurations differ in that alone."""
    topic, found = f"relay-{uuid.uuid4().hex[:8]}", {}
    for role in roles:
        (folder / role).mkdir()
        found[role] = Service(folder / role, log, topic, store=store)
        head = found[role].path.read_text().partition("[[model]]")[0]
        head = head.replace("[service]", f'[service]\nrole = "{role}"\nstate_url = "{state_url}"')
        found[role].path.write_text(
            f'{head}[[model]]\nname = "m"\ntopic = "{topic}"\nlearner = "ridge"\nready_after_events = 0\n'
            "inputs.features = { shape = [64] }\n"
        )
    return found


def _fresh(
    log: str, name: str, store: str | None, state_url: str, scale: Scale, roles: Sequence[str] = ("learn", "serve")
) -> list[Result]:
    seconds = scale.of(30.0, quick=10.0, tiny=1.0)
    with tempfile.TemporaryDirectory() as folder:
        hosts = _hosts(Path(folder), log, store, state_url.format(folder=folder), roles)
        try:
            for host in hosts.values():
                host.start()
            server = hosts[roles[-1]]
            until("readiness", server.ready)
            load(server, _RATE, min(seconds, 3.0))  # until whatever is slow at first is over
            found = load(server, _RATE, seconds)
        finally:
            for host in hosts.values():
                host.close()
    note = f"{found['rate']:,.0f} records/s, asked every 2 ms; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    half, most = (1000 * found[share] for share in ("p50", "p99"))
    if len(roles) == 1:
        return [
            Result(name=f"{name}: append to first answer, {share}", value=value, unit="ms", note=note)
            for share, value in (("p50", half), ("p99", most))
        ]
    return [
        Result(name=f"{name}: append to first answer elsewhere, p50", value=half, unit="ms", note=note),
        at_most(f"{name}: append to first answer elsewhere, p99", most, "ms", _TARGET_MS, note),
    ]


class _Large:
    """A predictor as far as publishing needs it."""

    task = CLASSIFICATION
    inputs: Mapping[str, TensorSpec] = {}
    outputs: Mapping[str, TensorSpec] = {}

    def __init__(self, values: np.ndarray[Any, Any]) -> None:
        self._state = State({"values": values})

    def predict(self, inputs: Inputs) -> Mapping[str, Array]:
        return {}

    def state(self) -> State:
        return self._state


@contextmanager
def _relayed(folder: Path, board: Callable[[], VersionBoard]) -> Iterator[tuple[FilePublisher, FileSubscriber]]:
    name = f"m{uuid.uuid4().hex[:8]}"  # the board may still have the one before
    here, there = folder / "here" / name, folder / "there" / name
    publisher = FilePublisher(here)
    subscriber = FileSubscriber(there, lambda state: _Large(state.tensors["values"]))  # type: ignore[arg-type,return-value]
    sender = Sender(here.parent, board(), lambda name: "", HealthRegistry())
    receiver = Receiver(there.parent, board(), lambda: {name: ""}, HealthRegistry())
    for part in (subscriber, sender, receiver):
        part.start()
    try:
        yield publisher, subscriber
    finally:
        for closed in (sender, receiver, subscriber):
            closed.close()


def _large(name: str, board: Callable[[], VersionBoard], mebibytes: int, rounds: int) -> Result:
    random, took = np.random.default_rng(0), []
    values = random.standard_normal(mebibytes << 17)
    with tempfile.TemporaryDirectory() as folder, _relayed(Path(folder), board) as (publisher, subscriber):
        for number in range(1, rounds + 2):
            part = len(values) // 10
            values = values.copy()
            values[:part] = random.standard_normal(part)
            publisher.publish(_Large(values), version=number, learned_events=0, event_time=0.0)  # type: ignore[arg-type]
            began = time.perf_counter()
            if subscriber.wait_for(number, 60.0) is None:
                raise RuntimeError(f"version {number} has not arrived")
            took.append(time.perf_counter() - began)
            time.sleep(max(0.5, 2 * took[-1]))
    note = f"median of {rounds}, a tenth of each new"
    return Result(name=f"{name}, {mebibytes} MiB", value=1000 * float(np.median(took[1:])), unit="ms", note=note)


def _small(name: str, board: Callable[[], VersionBoard], count: int) -> list[Result]:
    """A version of 16 KiB every 25 ms."""
    took = []
    with tempfile.TemporaryDirectory() as folder, _relayed(Path(folder), board) as (publisher, subscriber):
        for number in range(1, count + 1):
            values = np.full(2048, float(number))
            publisher.publish(_Large(values), version=number, learned_events=0, event_time=0.0)  # type: ignore[arg-type]
            began = time.perf_counter()
            if subscriber.wait_for(number, 60.0) is None:
                raise RuntimeError(f"version {number} has not arrived")
            took.append(time.perf_counter() - began)
            time.sleep(max(0.0, 0.025 - took[-1]))
    note = f"{count} versions of 16 KiB, one each 25 ms; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    half, most = (1000 * float(np.percentile(took[1:], share)) for share in (50, 99))
    return [
        Result(name=f"{name}, small, p50", value=half, unit="ms", note=note),
        Result(name=f"{name}, small, p99", value=most, unit="ms", note=note),
    ]


def _opened(url: str, redis: str = "") -> Callable[[], VersionBoard]:
    def made() -> VersionBoard:
        pieces = Pieces(objects := Objects(url))
        return RedisBoard(redis, pieces) if redis else ObjectBoard(objects, pieces)

    return made


def run(scale: Scale = Scale.FULL) -> list[Result]:
    results: list[Result] = []
    rounds, sizes = scale.of(10, quick=5, tiny=1), scale.of((8, 64), quick=(8, 64), tiny=(2,))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        redis = None
        try:
            redis = RedisServer(folder)
            redis.start()
            with kafka_servers(folder) as servers:
                log = f"kafka://{servers}"
                results += _fresh(log, "Redis", redis.url, "", scale)
                if scale is not Scale.TINY:  # starting services takes long
                    results += _fresh(log, "folder as object store", None, "file:{folder}/objects", scale)
                    results += _fresh(log, "one host, shared disk", None, "", scale, ["all"])
            made = _opened(f"file:{folder}/small", redis.url)
            results += _small("publication to map elsewhere, Redis", made, scale.of(400, quick=200, tiny=10))
            for size in sizes:
                made = _opened(f"file:{folder}/large-{size}", redis.url)
                results.append(_large("publication to map elsewhere, Redis and a folder", made, size, rounds))
        except Unavailable as error:
            results.append(left_out("append to first answer elsewhere", str(error)))
        finally:
            if redis is not None:
                redis.stop()
    with s3() as store:
        for size in sizes[:1]:
            results.append(
                _large("publication to map elsewhere, S3 (moto, in Python)", _opened(store.url), size, rounds)
            )
    return results


if __name__ == "__main__":
    show("relay", run(Scale.asked()))
