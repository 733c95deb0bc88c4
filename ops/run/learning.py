"""The learners of a process: each model for itself, its learner and its joiner in threads that are restarted."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack, closing, suppress
from functools import partial
from pathlib import Path

import structlog

from thalweg.memory.exchange.commands import CommandQueue
from thalweg.memory.exchange.open import open_shared_place
from thalweg.memory.exchange.redis_names import RedisNames
from thalweg.memory.folder_lock import FolderLock
from thalweg.memory.objects.objects import Objects, ObjectsUnusable
from thalweg.ops.config.alias import AliasConfig
from thalweg.ops.config.config import Config
from thalweg.ops.config.error import ConfigurationError
from thalweg.ops.config.model import ModelConfig
from thalweg.ops.run.app import (
    REFUSALS,
    LearnerReports,
    build_joiner,
    model_folder,
    open_model_pending,
)
from thalweg.ops.run.champions.judges import judge_of
from thalweg.ops.run.champions.losses import comparison_path
from thalweg.ops.run.learners.alone import alone
from thalweg.ops.run.learners.one_model import OneModel
from thalweg.ops.run.learners.shares import home_of_alias, homes
from thalweg.ops.run.shards import beforehand
from thalweg.ops.run.shards.group import OtherServices, membership
from thalweg.ops.run.shards.labels import JOINING, OF_LABELS, OWNER, RunningJoiner, group_of_labels
from thalweg.ops.run.shards.merging import build_merger
from thalweg.ops.run.shards.owner import Shard, Shards
from thalweg.ops.run.shards.publishing import merges
from thalweg.ops.run.shards.running import RunningShard, must_pass_nothing_over
from thalweg.ops.run.shards.topic import TopicPartitions
from thalweg.ops.run.shards.warm import Followed, WarmShards
from thalweg.ops.run.shards.whole import FirstPartition
from thalweg.ops.run.successors import with_successors
from thalweg.ops.telemetry.learner_metrics import LearnerMetrics
from thalweg.ops.telemetry.learners.pages import metrics_page
from thalweg.ops.telemetry.process_health import learner_role
from thalweg.ops.telemetry.status import LearnerStatus
from thalweg.stream.health.registry import HealthRegistry
from thalweg.stream.health.supervised import Part, Runs, SupervisedThread
from thalweg.stream.learn.saving.saving import NotSaved
from thalweg.stream.learn.settings import NewerState
from thalweg.stream.log.groups import GroupListener, GroupMember
from thalweg.stream.log.log import Log, LogError
from thalweg.stream.merging.merger import Merger
from thalweg.stream.relay.sender import COMPONENT as RELAY
from thalweg.stream.runtime import Signal
from thalweg.stream.shards.names import shard_name, shard_of
from thalweg.stream.shards.one_partition import Commit, OnePartition
from thalweg.stream.traces.spans import Spans

log = structlog.get_logger(__name__)


class Learning:
    """The learners of a process. What goes wrong with one model costs the others nothing but time.

    Args:
        config: The configuration.
        source: The log.
        store: The commands from operators.
        live: The folder that servers read.
        registry: The health of the process's parts.
        spans: Records traces; None: there are none.
        number: Which of the learner processes this one is, from 1: it has its share of the models.
        names: Of the service in a Redis; None: the store is none.
    """

    def __init__(
        self,
        config: Config,
        source: Log,
        store: CommandQueue,
        live: Path,
        registry: HealthRegistry,
        spans: Spans | None = None,
        number: int = 1,
        names: RedisNames | None = None,
    ) -> None:
        self._names = names
        self._spans, self._number, self._role = spans, number, learner_role(number)
        self._cannot_go_on: dict[str, ConfigurationError] = {}
        self._config = config = with_successors(config, record=True, blocked=self._cannot_go_on)
        self._source = source
        self._store = store
        self._live = live
        self._registry = registry
        metrics = LearnerMetrics(metrics_page(live, self._role), registry.register("metrics_file"))
        status = LearnerStatus(live, health=registry.register("status_file"), role=self._role)
        self._reports = LearnerReports(metrics, status)
        self._blocked: dict[str, Exception] = {}
        self.not_saved: NotSaved | None = None
        """The error of a learner that ended without saving what it has learned."""
        self._blocking = threading.Lock()
        self._stopping = threading.Event()
        url = config.service.state_url
        try:
            self._objects = Objects(url) if url else None
        except ObjectsUnusable as error:  # a folder that cannot be made, say
            raise ConfigurationError([f"service.state_url: {error}"]) from error
        self._one = OneModel(config, store, live, self._reports, registry, self._objects, self._role, self._spans)
        self._runs: list[Runs] = []
        self._threads: list[SupervisedThread] = []
        self._mergers: list[tuple[Merger, SupervisedThread]] = []
        self._topics: dict[str, TopicPartitions] = {}
        self._warm: WarmShards | None = None
        if self._objects is not None and config.service.followed:
            self._warm = WarmShards(config, source, self._objects, live, registry, metrics, number)
        joined: set[str] = set()
        places = homes(config)
        self._mine = [model for model in config.model if number in places[model.name]]
        for model in self._mine:
            if model.scale is not None and model.labels_topic and (model.sharded or config.service.role != "standby"):
                self._add(model, OWNER, self._own_labels)
            if config.service.role == "standby" and model.sharded is None:  # it takes over shards alone
                continue
            if model.scale is not None:
                self._topics[model.name] = TopicPartitions(model.name, model.topic, source.bounds)
            if model.scale is not None and model.sharded is None:
                self._add(model, "owner", self._own_whole, partial(self._ended, model.name))
                continue
            if model.sharded is not None:
                self._add(model, "learner", self._own_shards, partial(self._ended, model.name))
                if self._warm is not None:
                    self._warm.add(model, self._topics[model.name].numbers)
                if merges(model) and not config.service.sends:  # else where it is served
                    self._mergers.append(self._merger(model))
                continue
            self._add(model, "learner", self._learn, partial(self._ended, model.name))
            if model.labels_topic and model.served_name not in joined:  # the first is the one that answers
                joined.add(model.served_name)
                self._add(model.model_copy(update={"name": model.served_name}), "joiner", self._join)
        for alias in config.alias:
            if (
                alias.promotion == "auto"
                and config.service.role != "standby"
                and home_of_alias(config, alias.name) == number
            ):
                self._judge(alias)

    @property
    def refused(self) -> Exception | None:
        """The last error of a configuration if such errors keep every model from learning; None while one can."""
        if len(self._blocked) < len(self._mine):
            return None
        return [*self._blocked.values()][-1]

    def start(self) -> None:
        """Start learning."""
        self._reports.start()
        for topic in self._topics.values():
            topic.start()
        if self._warm is not None:
            self._warm.start()
        for thread in (*self._threads, *(thread for _, thread in self._mergers)):
            thread.start()

    def wait(self, stop: Signal) -> None:
        """Wait until `stop` is set, or no model can learn under this configuration."""
        while not stop.wait(0.1) and self.refused is None:
            pass

    def close(self) -> None:
        """Stop each part after what it is doing, save unsaved changes, and release resources."""
        self._stopping.set()
        for topic in self._topics.values():
            topic.close()
        for thread in self._threads:
            thread.stop()
        for runs in self._runs:
            runs.stop()
        for thread in self._threads:
            thread.join()
        if self._warm is not None:
            self._warm.close()
        for merger, thread in self._mergers:  # after the shards, which hand on what they have learned last
            merger.stop()
            thread.stop()
            thread.join()
        self._reports.close()

    def _merger(self, model: ModelConfig) -> tuple[Merger, SupervisedThread]:
        """What merges the shards of a model."""
        merger = build_merger(
            self._config, model, self._live, self._registry, partitions=self._topics[model.name].numbers
        )
        return merger, SupervisedThread(
            merger.run, self._registry.register("merger", model.name), f"merger-{model.name}"
        )

    def _judge(self, alias: AliasConfig) -> None:
        """Compare the models of an alias that promotes by a test."""
        health = self._registry.register("comparison", alias.name, silent_seconds=self._config.service.silent_seconds)

        def build(run: Callable[[Part], None]) -> None:
            path = comparison_path(self._config, alias.name)
            with alone(FolderLock(path.parent, path.name, self._role), health, self._stopping) as ours:
                if ours:
                    run(judge_of(self._config, alias, health))

        runs = Runs(build)
        self._runs.append(runs)
        self._threads.append(
            SupervisedThread(
                runs,
                health,
                f"comparison-{alias.name}",
                hopeless=REFUSALS,
                ended=partial(self._part_ended, "comparison", alias.name),
            )
        )

    def _add(
        self,
        model: ModelConfig,
        component: str,
        build: Callable[[ModelConfig, Callable[[Part], None]], None],
        ended: Callable[[BaseException | None], None] | None = None,
    ) -> None:
        ended = ended or partial(self._part_ended, component, model.name)
        health = self._registry.register(component, model.name, silent_seconds=self._config.service.silent_seconds)
        runs = Runs(lambda run: build(model, run))
        self._runs.append(runs)
        self._threads.append(
            SupervisedThread(runs, health, f"{component}-{model.name}", hopeless=REFUSALS, ended=ended)
        )

    def _ended(self, model: str, error: BaseException | None) -> None:
        if isinstance(error, NotSaved):
            self.not_saved = error
        if isinstance(error, REFUSALS):
            with self._blocking:
                self._blocked[model] = error
                if self.refused is None:  # else the process ends with it, and tells it
                    log.error(f"blocked, the other models go on: {error}", model=model)

    def _part_ended(self, component: str, model: str, error: BaseException | None) -> None:
        """Of a part without which its model learns on: a shard among others, a joiner, a comparison."""
        if isinstance(error, NotSaved):
            self.not_saved = error
        if isinstance(error, REFUSALS):
            others = "shards" if shard_of(model) is not None else "parts"
            log.error(f"blocked, the other {others} go on: {error}", component=component, model=model)

    def _learn(self, model: ModelConfig, run: Callable[[Part], None]) -> None:
        if (problem := self._cannot_go_on.get(model.name)) is not None:
            raise problem
        must_pass_nothing_over(self._config, model)
        self._one.learn(model, self._source, self._stopping, run)

    def _own_shards(self, model: ModelConfig, run: Callable[[Part], None]) -> None:
        """Learn the partitions of a model that its group assigns to this process."""
        health = self._registry.register("learner", model.name)
        must_pass_nothing_over(self._config, model)

        def make(number: int, commit: Commit, before: Shard | None) -> Shard:
            reachable = partial(self._source.bounds, model.topic)
            followed = None if self._warm is None else self._warm.take(shard_name(model.name, number))
            work = partial(learn, number, commit, [followed])
            return RunningShard(
                self._config, model, number, self._registry, before, work, reachable, partial(ended, number)
            )

        def ended(number: int, error: BaseException | None) -> None:
            self._part_ended("learner", shard_name(model.name, number), error)
            # others may have the version that saved it; alone, this process learns the shards that it can read
            with suppress(LogError):
                if isinstance(error, NewerState) and others.learners() > 1:
                    owner.give_up(str(error))

        def learn(
            number: int,
            commit: Commit,
            followed: list[Followed | None],
            shard: ModelConfig,
            stop: threading.Event,
            run: Callable[[Part], None],
        ) -> None:
            topics = [topic for topic in (model.topic, model.joined_topic) if topic]
            source = OnePartition(self._source, topics, number, commit, patient=True)
            ready, followed[:] = followed[0], [None]  # once: it is used up
            if ready is not None:
                ready.join()
                self._registry.forget(shard.name, "standby")
            try:
                self._one.learn(shard, source, stop, run, ready)
            finally:
                if ready is not None:
                    ready.follower.close()

        def forget(number: int) -> None:
            self._registry.forget(shard_name(model.name, number), but=[RELAY])
            self._reports.forget(shard_name(model.name, number))
            if self._warm is not None:
                self._warm.give_back(shard_name(model.name, number))

        beforehand.begin(model, self._source, self._objects)
        join = membership(self._config, model, self._source, self._number)
        others = OtherServices(self._config, model, self._source.named_members)
        owner = Shards(model.name, join, make, forget, health, topic=self._topics[model.name], others=others)
        run(owner)

    def _own_whole(self, model: ModelConfig, run: Callable[[Part], None]) -> None:
        """Learn a model while its group assigns it to this process."""
        if (problem := self._cannot_go_on.get(model.name)) is not None:
            raise problem
        must_pass_nothing_over(self._config, model)

        def make(number: int, commit: Commit, before: Shard | None) -> Shard:
            return RunningShard(
                self._config,
                model,
                number,
                self._registry,
                before,
                lambda whole, stop, run: self._one.learn(whole, self._source, stop, run),
                partial(self._source.bounds, model.topic),
                ended,
                whole=True,
            )

        def ended(error: BaseException | None) -> None:
            self._part_ended("learner", model.name, error)
            if isinstance(error, REFUSALS):
                owner.give_up(str(error).removeprefix(f"model {model.name!r}: "))

        def forget(number: int) -> None:
            self._registry.forget(model.name, but=["owner", RELAY, *OF_LABELS])
            self._reports.forget(model.name)

        beforehand.begin(model, self._source, self._objects)
        take_part = membership(self._config, model, self._source, self._number)

        def join(listener: GroupListener) -> GroupMember:
            return take_part(FirstPartition(listener))

        health = self._registry.register("owner", model.name)
        others = OtherServices(self._config, model, self._source.named_members)
        owner = Shards(model.name, join, make, forget, health, topic=self._topics[model.name], others=others)
        run(owner)

    def _own_labels(self, model: ModelConfig, run: Callable[[Part], None]) -> None:
        """Join the labels of a model with `[model.scale]` while their group assigns that to this process."""

        def make(number: int, commit: Commit, before: Shard | None) -> Shard:
            ended = partial(self._part_ended, "joiner", model.name)
            health = self._registry.register("joiner", model.name, silent_seconds=self._config.service.silent_seconds)
            return RunningJoiner(partial(self._join, model), health, before, ended)

        def forget(number: int) -> None:
            for component in JOINING:
                self._registry.forget(model.name, component)

        take_part = membership(self._config, model, self._source, self._number, group_of_labels(model))

        def join(listener: GroupListener) -> GroupMember:
            return take_part(FirstPartition(listener))

        others = OtherServices(self._config, model, self._source.named_members, group_of_labels(model))
        run(Shards(model.name, join, make, forget, self._registry.register(OWNER, model.name), others=others))

    def _join(self, model: ModelConfig, run: Callable[[Part], None], stopping: threading.Event | None = None) -> None:
        lock = FolderLock(model_folder(self._config, model), "joiner", self._role)
        with alone(lock, self._registry.register("joiner", model.name), stopping or self._stopping) as ours:
            if ours:
                self._join_alone(model, run)

    def _join_alone(self, model: ModelConfig, run: Callable[[Part], None]) -> None:
        url, name = self._config.store.url, model.served_name
        with ExitStack() as stack:
            pending = stack.enter_context(closing(open_model_pending(self._config, model, self._names)))
            shared = None if model.scale is None else open_shared_place(url, name, self._names)
            if shared is not None:
                stack.enter_context(closing(shared))
            run(build_joiner(self._config, model, self._source, pending, self._reports, self._registry, shared))
