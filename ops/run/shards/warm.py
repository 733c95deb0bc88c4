"""The shards that a learner process keeps ready without owning them."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import structlog

from thalweg.memory.folder_lock import FolderLock
from thalweg.memory.objects.objects import Objects
from thalweg.memory.snapshots.remote import RemoteSnapshots
from thalweg.ops.config.config import Config
from thalweg.ops.config.model import ModelConfig
from thalweg.ops.run.app import REFUSALS, Prepared, model_folder, new_learner, prepare, settings_of
from thalweg.ops.run.shards.group import instance_of
from thalweg.ops.telemetry.learner_metrics import LearnerMetrics
from thalweg.stream.health.registry import HealthRegistry
from thalweg.stream.health.supervised import SupervisedThread
from thalweg.stream.learn.fold import Fold
from thalweg.stream.log.log import Log
from thalweg.stream.shards.names import shard_name
from thalweg.stream.shards.one_partition import OnePartition
from thalweg.stream.standby.copy import ShardCopy
from thalweg.stream.standby.follower import Follower
from thalweg.stream.standby.warm import WarmFold

log = structlog.get_logger(__name__)

COMPONENT = "standby"
_LOOK_SECONDS = 0.5
_SILENT_SECONDS = 300.0  # a request to the store may take long


@dataclass(slots=True)
class Followed:
    """One shard that is followed, or was until it was taken over."""

    follower: Follower
    thread: SupervisedThread
    copy: ShardCopy
    prepared: list[Prepared] = field(default_factory=list)

    def stop(self) -> None:
        """Ask it to end; does not wait."""
        self.thread.stop()
        self.follower.stop()

    def join(self) -> None:
        """Wait for its end: of a block that is being learned, of an answer of the store."""
        self.thread.join()

    def taken(self) -> Prepared | None:
        """What a processor begins with, after the last look at the store; None: nothing is ready."""
        warm = self.follower.taken()
        return replace(self.prepared[-1], warm=warm) if self.prepared else None


class WarmShards:
    """Follows shards of models with `[model.scale]` that are not this process's: at most `service.warm_shards` of them,
    those of each process in another order.

    Args:
        config: The configuration.
        source: The log.
        objects: Where the states of shards are.
        live: The live folder.
        registry: The health of the process's parts: `standby` of each shard.
        metrics: Told which there are, and how far behind.
        number: Which of the learner processes this one is.
    """

    def __init__(
        self,
        config: Config,
        source: Log,
        objects: Objects,
        live: Path,
        registry: HealthRegistry,
        metrics: LearnerMetrics,
        number: int = 1,
    ) -> None:
        self._config, self._source, self._objects, self._live = config, source, objects, live
        self._registry, self._metrics, self._most = registry, metrics, config.service.followed
        self._who = instance_of(config, number)
        self._models: list[tuple[ModelConfig, Callable[[], Collection[int]]]] = []
        self._lock = threading.Lock()
        self._own: set[str] = set()
        self._followed: dict[str, Followed] = {}
        self._stopping = threading.Event()
        self._health = registry.register(COMPONENT)
        self._thread = SupervisedThread(self._run, self._health, "standby")

    def add(self, model: ModelConfig, numbers: Callable[[], Collection[int]]) -> None:
        """Follow the shards of a model. `numbers`: the partitions of its topic, as far as they are known."""
        self._models.append((model, numbers))

    def start(self) -> None:
        """Start following."""
        self._thread.start()

    def close(self) -> None:
        """Follow no more. What was copied stays."""
        self._stopping.set()
        self._thread.stop()
        self._thread.join()
        with self._lock:
            followed, self._followed = self._followed, {}
        for one in followed.values():
            one.stop()
        for one in followed.values():
            one.join()
            one.follower.close()

    def take(self, shard: str) -> Followed | None:
        """The shard is this process's now: what is ready of it, if it was followed. Does not wait."""
        with self._lock:
            self._own.add(shard)
            found = self._followed.pop(shard, None)
        if found is not None:
            found.stop()
        return found

    def give_back(self, shard: str) -> None:
        """The shard is not this process's any more."""
        with self._lock:
            self._own.discard(shard)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._look()
            self._stopping.wait(_LOOK_SECONDS)

    def _look(self) -> None:
        others = 0
        for model, numbers in self._models:
            for name in sorted((shard_name(model.name, number) for number in numbers()), key=self._rank):
                with self._lock:
                    if name in self._own or self._stopping.is_set():
                        continue
                    others += 1
                    if name in self._followed or len(self._followed) >= self._most:
                        continue
                    made = self._followed[name] = self._follow(model, name)
                made.thread.start()
        with self._lock:
            behind = {name: one.follower.behind_seconds for name, one in self._followed.items()}
        self._metrics.followed({name: seconds for name, seconds in behind.items() if seconds is not None})
        if others > self._most:
            self._health.degraded(f"follows {self._most} of {others} shards (service.warm_shards)")
        else:
            self._health.running()

    def _rank(self, name: str) -> bytes:
        return hashlib.sha256(f"{self._who} {name}".encode()).digest()

    def _follow(self, model: ModelConfig, name: str) -> Followed:
        shard = model.model_copy(update={"name": name})
        folder = model_folder(self._config, shard)
        copy = ShardCopy(RemoteSnapshots(self._objects, name), folder)
        prepared: list[Prepared] = []
        health = self._registry.register(COMPONENT, name, silent_seconds=_SILENT_SECONDS)
        lock = FolderLock(folder, "learner", f"a standby, {self._who}")
        follower = Follower(copy, partial(self._make, shard, prepared), lock, health)
        thread = SupervisedThread(follower.run, health, f"standby-{name}", hopeless=REFUSALS)
        return Followed(follower, thread, copy, prepared)

    def _make(self, shard: ModelConfig, prepared: list[Prepared], copy: ShardCopy) -> WarmFold:
        began = time.monotonic()
        made = prepare(self._config, shard, self._live)
        settings = settings_of(shard, self._config.service.max_message_bytes, self._config.service.state_url)
        evaluator, remake = made.monitor, partial(new_learner, shard)
        fold = Fold(made.learner, made.snapshots, settings, evaluator, remake, made.schemas)
        prepared.append(made)
        number = int(shard.name.rpartition("~")[2])
        source = OnePartition(self._source, settings.topics, number, lambda position, note: None)
        log.info("follows a shard", model=shard.name, seconds=round(time.monotonic() - began, 3))
        return WarmFold(fold, copy, lambda after: source.reader(settings.topics, after, "earliest", settings.group))
