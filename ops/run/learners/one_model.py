"""One model, or one shard, at work: by whoever has its folder, with its state in an object store where one is named."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import structlog

from thalweg.memory.exchange.commands import CommandQueue
from thalweg.memory.folder_lock import FolderLock
from thalweg.memory.kept_folders import folder_id, must_be
from thalweg.memory.objects.objects import Objects, ObjectsUnusable
from thalweg.memory.snapshots.remote import OtherCluster, RemoteSnapshots, Superseded
from thalweg.memory.snapshots.snapshots import FolderSnapshots
from thalweg.ops.config.config import Config
from thalweg.ops.config.error import ConfigurationError
from thalweg.ops.config.model import ModelConfig
from thalweg.ops.run.app import LearnerReports, Prepared, build_processor, model_folder
from thalweg.ops.run.learners.alone import alone
from thalweg.ops.run.shards.warm import Followed
from thalweg.ops.run.successors import note_beginning
from thalweg.stream.evaluation.baseline import BASELINE_FILE
from thalweg.stream.health.registry import HealthRegistry
from thalweg.stream.health.supervised import Part, SupervisedThread
from thalweg.stream.learn.saving.mirror import Mirror, TwoStates
from thalweg.stream.log.log import Log
from thalweg.stream.merging.publisher import ShardPublisher
from thalweg.stream.traces.spans import Spans

log = structlog.get_logger(__name__)

_BESIDE = (BASELINE_FILE, "schemas.json")
"""Files of a model's folder that belong to its state."""

_SILENT_SECONDS = 300.0  # a request to the store may take long


class OneModel:
    """Learns one model of a process at a time per thread.

    Args:
        config: The configuration.
        store: The commands from operators.
        live: The folder that servers read.
        reports: Metrics and status of the process.
        registry: The health of the process's parts.
        objects: Where states are kept beside the disk; None: nowhere.
        role: The process's name in locks.
        spans: Records traces; None: there are none.
    """

    def __init__(
        self,
        config: Config,
        store: CommandQueue,
        live: Path,
        reports: LearnerReports,
        registry: HealthRegistry,
        objects: Objects | None,
        role: str,
        spans: Spans | None,
    ) -> None:
        self._config, self._store, self._live = config, store, live
        self._reports, self._registry, self._objects = reports, registry, objects
        self._role, self._spans = role, spans
        self._folders: dict[str, tuple[int, int]] = {}

    def learn(
        self,
        model: ModelConfig,
        source: Log,
        stopping: threading.Event,
        run: Callable[[Part], None],
        ready: Followed | None = None,
    ) -> None:
        """Learn a model until the part that `run` runs has ended.

        Args:
            model: The model, or the shard.
            source: Where its events are.
            stopping: Set when it is to end.
            run: Runs a part.
            ready: What follows the state, where the shard is taken over warm.
        """
        folder = model_folder(self._config, model)
        if model.name in self._folders:
            must_be(folder, self._folders[model.name])  # else it would begin anew without a word
        lock = FolderLock(folder, "learner", self._role)
        with alone(lock, self._registry.register("learner", model.name), stopping) as ours:
            if not ours:
                return
            if model.scale is None:
                self._tell_beginning(model, source)
            if model.scale is None and self._objects is None:  # else another host may have it, and it is placed anew
                self._folders[model.name] = folder_id(folder)
            if self._objects is None:
                self._learn_here(model, source, run)
            else:
                self._learn_mirrored(model, source, self._objects, stopping, run, ready)

    def _learn_here(
        self,
        model: ModelConfig,
        source: Log,
        run: Callable[[Part], None],
        begun: Callable[[Part], None] = lambda part: None,
        prepared: Prepared | None = None,
    ) -> None:
        processor, publisher = build_processor(
            self._config, model, source, self._store, self._live, self._reports, self._registry, self._spans, prepared
        )
        with closing(publisher):
            begun(processor)
            run(processor)
            if isinstance(publisher, ShardPublisher):
                publisher.flush()

    def _learn_mirrored(
        self,
        model: ModelConfig,
        source: Log,
        objects: Objects,
        stopping: threading.Event,
        run: Callable[[Part], None],
        ready: Followed | None,
    ) -> None:
        """Learn with the state in an object store, too."""
        health = self._registry.register("object_store", model.name, silent_seconds=_SILENT_SECONDS)
        parts: list[Part] = []
        lost: list[Superseded] = []

        def superseded(error: Superseded) -> None:
            lost.append(error)
            for part in parts:
                part.stop()

        def begun(part: Part) -> None:
            parts.append(part)
            if lost:  # it was told before the part was there to be stopped
                part.stop()

        mirror = Mirror(
            RemoteSnapshots(objects, model.name, model.snapshots_kept),
            FolderSnapshots(model_folder(self._config, model)),
            _BESIDE,
            health,
            superseded,
            None if ready is None else ready.copy,
            source.cluster,
            self._config.log.moved_from,
        )
        learner = self._registry.register("learner", model.name)
        learner.waiting("its newest state is looked up in the object store")
        try:
            with health.slow(), learner.slow():  # else it would be taken for stuck, and the process ended
                mirror.begin(stopping.wait)
        except (ObjectsUnusable, OtherCluster, TwoStates) as error:
            raise ConfigurationError([str(error)]) from error
        if stopping.is_set():
            return
        uploading = SupervisedThread(mirror.run, health, f"object-store-{model.name}")
        uploading.start()
        try:
            self._learn_here(model, source, run, begun, None if ready is None else ready.taken())
        finally:
            mirror.stop()
            uploading.stop()
            if not uploading.join(self._config.service.drain_seconds):
                log.warning("the last snapshot is not in the object store", model=model.name)
        if lost and model.scale is not None:
            raise lost[0]  # the group knows whose it is: who it is assigned to takes it back, the other one is told
        if lost:  # started again, it would take the state back from who has it now
            raise ConfigurationError([str(lost[0])])

    def _tell_beginning(self, model: ModelConfig, source: Log) -> None:
        """Of a successor that is to be built: say where the log begins if its records no longer reach back."""
        if "@" not in model.name or FolderSnapshots(model_folder(self._config, model)).manifests():
            return
        bounds = {} if model.start == "latest" else {p: b for t in _topics(model) for p, b in source.bounds(t).items()}
        begins = {f"{partition.topic}/{partition.number}": first for partition, (first, _) in bounds.items() if first}
        if model.start == "latest":
            log.warning("a successor is built from the records from now on: start is 'latest'", model=model.name)
        elif begins:
            log.warning(
                "the log no longer reaches back: the successor is built from the oldest records there are",
                model=model.name,
                first_offsets=begins,
            )
            note_beginning(self._config, model.served_name, int(model.name.rpartition("@")[2]), begins)
        else:
            log.info("a successor is built from the beginning of the log", model=model.name)


def _topics(model: ModelConfig) -> list[str]:
    return [topic for topic in (model.topic, model.joined_topic) if topic]
