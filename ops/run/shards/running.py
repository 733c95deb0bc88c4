"""One shard of a model at work, and what the shards of a model have in common."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

import structlog

from thalweg.memory.snapshots.remote import Superseded
from thalweg.ops.config.config import Config
from thalweg.ops.config.error import ConfigurationError
from thalweg.ops.config.model import ModelConfig
from thalweg.ops.run.app import REFUSALS
from thalweg.ops.run.shards.known import passed_over
from thalweg.ops.run.shards.owner import Shard
from thalweg.stream.health.registry import Health, HealthRegistry
from thalweg.stream.health.supervised import Part, Runs, SupervisedThread
from thalweg.stream.log.kafka_shared.members import SESSION_SECONDS
from thalweg.stream.log.log import LogError
from thalweg.stream.shards.names import shard_name

log = structlog.get_logger(__name__)

TOLD_SECONDS = SESSION_SECONDS + 5.0
"""A member that reaches its group is told within this time that it has lost its partitions."""


class Learn(Protocol):
    """Learns a shard until it is stopped."""

    def __call__(self, shard: ModelConfig, stop: threading.Event, run: Callable[[Part], None]) -> None:
        """`run` runs its processor; `stop` ends what waits before that."""


class RunningShard:
    """See `Shard`: the model of one partition, in a thread of its own that is restarted.

    Args:
        config: The configuration.
        model: The model.
        number: The partition.
        registry: The health of the process's parts.
        before: The shard of this partition before it, for whose end it waits.
        learn: Learns it.
        reachable: Asks the log anything. Raises LogError.
        ended: Called on its thread when it ends for good, with the error, or None after a return.
        whole: Whether it is the model itself, which goes with this partition.
    """

    def __init__(
        self,
        config: Config,
        model: ModelConfig,
        number: int,
        registry: HealthRegistry,
        before: Shard | None,
        learn: Learn,
        reachable: Callable[[], object],
        ended: Callable[[BaseException | None], None] = lambda error: None,
        *,
        whole: bool = False,
    ) -> None:
        shard = model if whole else model.model_copy(update={"name": shard_name(model.name, number)})
        health = registry.register("learner", shard.name, silent_seconds=config.service.silent_seconds)

        def build(run: Callable[[Part], None]) -> None:
            while before is not None and not before.join(0.1):
                health.waiting("what was learned here before is still being saved")
                if self._runs.stopping.is_set():
                    return
            while not self._runs.stopping.is_set():
                try:
                    learn(shard, self._runs.stopping, run)
                    return
                except Superseded as error:
                    log.warning(
                        "a shard is owned by another process: asking the group", model=shard.name, why=str(error)
                    )
                    self._ask_group(error, reachable, health)

        self._runs = Runs(build)
        self._thread = SupervisedThread(self._runs, health, f"learner-{shard.name}", hopeless=REFUSALS, ended=ended)

    def _ask_group(self, error: Superseded, reachable: Callable[[], object], health: Health) -> None:
        """Wait until the group would have told that the shard is another's. If it has not, the other one is a stranger,
        and the shard is taken back. Who cannot reach the log takes nothing back.
        """
        health.waiting(f"the group is asked whose it is: {error}")
        with health.slow():
            while not self._runs.stopping.wait(TOLD_SECONDS):
                try:
                    reachable()
                except LogError:
                    continue
                return

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._thread.stop()
        self._runs.stop()

    def join(self, timeout_seconds: float | None = None) -> bool:
        return self._thread.join(timeout_seconds)


def must_pass_nothing_over(config: Config, model: ModelConfig) -> None:
    """Raise ConfigurationError if a state is there that a model would pass over: of all partitions where it has shards,
    of shards where it has none.
    """
    if text := passed_over(config, model):
        raise ConfigurationError([text])
