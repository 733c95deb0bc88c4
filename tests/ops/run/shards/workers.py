"""Learner processes of several hosts, and what they leave in the object store."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.services import warm
from thalweg.memory.objects.objects import Objects
from thalweg.memory.snapshots.manifest import Manifest
from thalweg.memory.snapshots.remote import RemoteSnapshots
from thalweg.memory.snapshots.snapshots import FolderSnapshots
from thalweg.memory.snapshots.state import State
from thalweg.models.contract.capabilities import Mergeable, capability
from thalweg.models.contract.learner import Learner
from thalweg.ops.config.model import ModelConfig
from thalweg.ops.run.app import new_learner

Worker = warm.Process | subprocess.Popen[bytes]


@contextmanager
def worker(configuration: Path) -> Iterator[Worker]:
    """A learner process of a host, which logs beside its configuration; killed in the end."""
    with configuration.with_suffix(".log").open("ab") as output:
        process = warm.start(
            "serve", str(configuration), "--role", "learn", "--learner", "1", stdout=output, stderr=output
        )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGCONT)
        process.kill()
        process.wait()


def newest(url: str, shard: str) -> Manifest | None:
    """The newest state of a shard in an object store."""
    head = RemoteSnapshots(Objects(url), shard).newest()
    return None if head is None else Manifest.from_json(json.loads(head.manifest))


def newest_state(url: str, shard: str, folder: Path) -> State:
    """What the learner of a shard's newest state has learned, fetched into this folder."""
    remote = RemoteSnapshots(Objects(url), shard)
    head = remote.newest()
    assert head is not None, f"{shard} has no state"
    remote.restore(head, folder)
    return FolderSnapshots(folder).load(head.version).parts["learner"]


def merged(model: ModelConfig, states: Iterable[State]) -> Learner:
    """A learner of a model with the states of its shards."""
    learner = new_learner(model)
    mergeable = capability(learner, Mergeable)
    assert mergeable is not None
    for state in states:
        mergeable.merge(state)
    return learner
