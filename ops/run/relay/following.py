"""The follower: the process of a host that only serves, which receives what learners on other hosts send."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from pathlib import Path

import structlog
from threadpoolctl import threadpool_limits

from thalweg.memory.kept_folders import kept
from thalweg.memory.relay.board import BoardUnavailable, VersionBoard
from thalweg.ops.config.config import Config
from thalweg.ops.config.error import ConfigurationError
from thalweg.ops.config.model import ModelConfig
from thalweg.ops.run.app import open_configured_log
from thalweg.ops.run.only_one import only_one
from thalweg.ops.run.relay.board import identities, open_board
from thalweg.ops.run.relay.notes import RemoteNotes, keep_aliases
from thalweg.ops.run.relay.store_names import names_in_store
from thalweg.ops.run.shards.merging import COMPONENT as MERGER
from thalweg.ops.run.shards.merging import build_merger
from thalweg.ops.run.shards.publishing import merges
from thalweg.ops.run.successors import with_successors
from thalweg.ops.telemetry.live_file import LiveFile
from thalweg.ops.telemetry.process_health import STUCK_EXIT_CODE, HealthFile
from thalweg.ops.telemetry.status import STATUS_FILE
from thalweg.stream.health.registry import ComponentHealth, HealthRegistry
from thalweg.stream.health.supervised import SupervisedThread
from thalweg.stream.health.watchdog import Watchdog
from thalweg.stream.log.identity import partitions_of
from thalweg.stream.log.log import LogError
from thalweg.stream.log.reopened import reopened_log
from thalweg.stream.publication.live_folder import live_folder
from thalweg.stream.relay.receiver import COMPONENT, Receiver
from thalweg.stream.runtime import Signal
from thalweg.stream.shards.names import shard_name

log = structlog.get_logger(__name__)

ROLE = "follower"
_LOOK_SECONDS = 1.0
_COUNT_SECONDS = 10.0


class JoinedRegistry(HealthRegistry):
    """The parts of this process, and with them those of learners on other hosts."""

    remote: RemoteNotes | None = None

    def report(self) -> tuple[ComponentHealth, ...]:
        there: Iterable[ComponentHealth] = self.remote.components() if self.remote is not None else ()
        return (*super().report(), *(one for one in there if one.component != COMPONENT or not one.well))


class Follower:
    """Receives versions and what is told besides.

    Args:
        config: The configuration.
        live: The folder that servers read.
        board: Where versions are announced.
        registry: The health of the process's parts, and of those that learners elsewhere tell.
        partitions: How many partitions a topic has, for models that are learned in shards. Raises LogError.
    """

    def __init__(
        self,
        config: Config,
        live: Path,
        board: VersionBoard,
        registry: JoinedRegistry,
        partitions: Callable[[str], int] = lambda topic: 0,
    ) -> None:
        keep_aliases(config, board)
        self._partitions = partitions
        self._given, self._config = config, with_successors(config, record=False, blocked={})
        self._began = identities(self._config)
        self._notes = registry.remote = RemoteNotes(self._config, board)
        self._registry = registry
        self._receiver = Receiver(live, board, self.wanted, registry)
        self._shards: dict[str, int] = {}
        self._counted = -_COUNT_SECONDS
        self._health = registry.register("relayed_status", silent_seconds=60.0)
        self._thread = SupervisedThread(self._look, self._health, "relayed-status", longest_wait_seconds=2.0)
        self._status = LiveFile(live / STATUS_FILE, lambda: json.dumps(self._notes.statuses()).encode())
        self._stopping = threading.Event()
        self._mergers = [self._merger(model, live) for model in self._config.model if merges(model)]

    def start(self) -> None:
        """Start following."""
        self._receiver.start()
        self._thread.start()
        self._status.start()
        for thread in self._mergers:
            thread.start()

    def close(self) -> None:
        """Stop; what was received stays published."""
        self._stopping.set()
        self._thread.stop()
        self._receiver.close()
        for thread in (self._thread, *self._mergers):
            thread.stop()
            thread.join(5.0)
        self._status.close()

    def wanted(self) -> dict[str, str]:
        """What is received, by name with the hash of its settings: of a model that is learned in shards, the shards."""
        sharded = [model for model in self._config.model if model.sharded is not None]
        if sharded and time.monotonic() - self._counted >= _COUNT_SECONDS:
            self._counted = time.monotonic()
            for model in sharded:
                with suppress(LogError):  # those known stay
                    self._shards[model.name] = self._partitions(model.topic)
        names = {model.name for model in sharded}
        found = {name: identity for name, identity in self._began.items() if name not in names}
        for name, count in self._shards.items():
            found |= {shard_name(name, number): self._began[name] for number in range(count)}
        return found

    def look(self) -> None:
        """Read what is told of each model. Raises BoardUnavailable and OSError."""
        for model in self.wanted():
            if self._notes.look(model) and (receiver := self._receiver.models.get(model)) is not None:
                receiver.heard()
        for one in self._config.model:
            self._notes.look_at_hosts(one.name)
        for name in self._notes.keep_files():
            log.info("received which models answer under a name", file=name)
        if identities(with_successors(self._given, record=False, blocked={})) != self._began:
            self._health.degraded("a model was changed on its learner's host: restart the service here to follow")
        else:
            self._health.running()

    def _merger(self, model: ModelConfig, live: Path) -> SupervisedThread:
        """What merges the shards of a model as they are received."""
        merger = build_merger(
            self._config,
            model,
            live,
            self._registry,
            stopping=self._stopping,
            partitions=lambda: range(self._shards.get(model.name, 0)),
        )
        health = self._registry.register(MERGER, model.name)
        return SupervisedThread(merger.run, health, f"merger-{model.name}")

    def _look(self) -> None:
        while not self._stopping.wait(_LOOK_SECONDS):
            try:
                self.look()
            except BoardUnavailable as error:
                self._health.waiting(str(error))
            except OSError as error:
                self._health.degraded(f"it cannot be written here: {error}")


def run_follower(config: Config, stop: Signal) -> None:
    """Run the follower process until `stop` is set. Raises ConfigurationError."""
    if config.service.role != "serve":  # it would write over what learners of this host publish
        raise ConfigurationError([f"service.role: only 'serve' has a follower, got {config.service.role!r}"])
    state_dir, registry = Path(config.service.state_dir), JoinedRegistry()
    with ExitStack() as stack:
        stack.enter_context(threadpool_limits(1))
        stack.enter_context(only_one(state_dir, ROLE))
        stack.enter_context(kept(state_dir))
        live = live_folder(state_dir)
        health = HealthFile(live, registry)
        health.start()
        stack.callback(health.close)
        watchdog = Watchdog(registry, config.service.stuck_seconds, lambda part: os._exit(STUCK_EXIT_CODE))
        watchdog.start()
        stack.callback(watchdog.close)
        source = reopened_log(config.log.url, lambda: open_configured_log(config))
        stack.callback(source.close)
        names = stack.enter_context(names_in_store(config, source))
        board = open_board(config, names)
        follower = Follower(config, live, board, registry, lambda topic: len(partitions_of(source, topic)))
        stack.callback(follower.close)
        follower.start()
        log.info("following", models=[model.name for model in config.model])
        while not stop.wait(0.2):
            pass
