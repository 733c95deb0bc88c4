"""Constructs all parts from the configuration; opens them in order and closes them in reverse."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from thalweg.memory.exchange.commands import CommandQueue
from thalweg.memory.exchange.pending import Limits, Pending
from thalweg.memory.exchange.redis_names import RedisNames
from thalweg.memory.exchange.reopened import reopened_pending
from thalweg.memory.snapshots.snapshots import FolderSnapshots, UnknownVersion
from thalweg.memory.snapshots.state import DamagedFile
from thalweg.models.calibration.calibrated import calibrated
from thalweg.models.columns.make import make_learner
from thalweg.models.contract.capabilities import SharedMemoryLearner, capability
from thalweg.models.contract.layouts import REVISIONS
from thalweg.models.contract.learner import Learner, Predictor
from thalweg.models.contract.registry import find
from thalweg.ops.config.config import Config
from thalweg.ops.config.error import ConfigurationError
from thalweg.ops.config.model import ModelConfig
from thalweg.ops.run.champions.losses import losses_of
from thalweg.ops.run.learners.shares import has_groups
from thalweg.ops.run.shards.averaging import averaging_meta, siblings_of
from thalweg.ops.run.shards.publishing import merges, shard_publisher
from thalweg.ops.telemetry.learner_metrics import LearnerMetrics
from thalweg.ops.telemetry.no_labels import label_watch
from thalweg.ops.telemetry.status import LearnerStatus
from thalweg.ops.traces.trackers import tracker_of
from thalweg.proto.event import Decoded
from thalweg.proto.schema import Schema
from thalweg.stream.drift.alarm_outbox import AlarmOutbox
from thalweg.stream.evaluation.baseline import BASELINE_FILE, Pinned
from thalweg.stream.evaluation.monitor import Monitor
from thalweg.stream.health.registry import HealthRegistry
from thalweg.stream.journal.file_journal import FileJournal
from thalweg.stream.labels.join_observer import JoinObserver
from thalweg.stream.labels.joining import Joiner, JoinHealth, JoinSettings
from thalweg.stream.labels.place import SharedPlace
from thalweg.stream.labels.to_shards import ToShards
from thalweg.stream.learn.observer import each
from thalweg.stream.learn.ports import Ports
from thalweg.stream.learn.processor import Processor
from thalweg.stream.learn.saving.warm import Warm
from thalweg.stream.learn.settings import ProcessorSettings, StateMismatch
from thalweg.stream.log.dead_letters import DeadLetters
from thalweg.stream.log.log import Log, Reading, Retention
from thalweg.stream.log.open import open_log
from thalweg.stream.merging.publisher import ShardPublisher
from thalweg.stream.publication.file_channel import FilePublisher
from thalweg.stream.quarantine.attempts import FileAttempts
from thalweg.stream.quarantine.stop import FileStopMark
from thalweg.stream.registry.client import RegistryClient
from thalweg.stream.registry.schemas import KnownSchemas
from thalweg.stream.relay.local import GENERATION
from thalweg.stream.shards.created_first import CreatedFirst
from thalweg.stream.shards.names import shard_of
from thalweg.stream.sources.files import FileError, read_events
from thalweg.stream.standby.marks import kept_generation
from thalweg.stream.traces.spans import Spans
from thalweg.stream.tuning.settings import name_of
from thalweg.stream.tuning.variants import Variants

REFUSALS = (StateMismatch, ConfigurationError)
"""Errors of a model's configuration: a restart does not help, and their message is all that the user needs."""


@dataclass(frozen=True, slots=True)
class LearnerReports:
    """What a learner process reports to servers, besides its health."""

    metrics: LearnerMetrics
    status: LearnerStatus

    def start(self) -> None:
        """Start writing both about once a second."""
        self.metrics.start()
        self.status.start()

    def forget(self, model: str) -> None:
        """Report nothing of a model any more, which is another process's now."""
        self.metrics.forget(model)
        self.status.forget(model)

    def close(self) -> None:
        """Write both a last time."""
        self.metrics.close()
        self.status.close()


def new_learner(model: ModelConfig, seed: int | None = None, *, looked_at: bool = False) -> Learner:
    """A new learner of a model, which has learned nothing; one that is only looked at takes no GPU."""
    context = model.on_processor() if looked_at else model.context()
    context = context if seed is None else replace(context, seed=seed)
    settings = model.variants()
    made = [make_learner(model.learner, replace(context, params=one), model.encoding()) for one in settings]
    learner = made[0] if len(made) == 1 else Variants(made, [name_of(settings[0], one) for one in settings])
    return calibrated(learner, on=model.probabilities)


def event_schema(model: ModelConfig, learner: Learner | None = None) -> Schema:
    """The schema of a model's events, with the place of their parts in a record.

    `learner`: one of the model, if there is one already.
    """
    settings = ProcessorSettings(
        fields=model.field_mapping(), classes=tuple(model.classes), max_weight=model.max_weight
    )
    return settings.schema_of((learner or new_learner(model, looked_at=True)).schema)


def new_monitor(
    model: ModelConfig,
    learner: Learner,
    baseline_path: Path | None = None,
    pinned: Pinned | None = None,
    *,
    seed: int | None = None,
    delay_events: int = 0,
) -> Monitor:
    """The monitor of a model's learner. `delay_events`: how many events late labels become known, in a replay."""
    return Monitor(
        learner,
        lambda: new_learner(model, seed),
        window_events=model.window_events,
        frozen_after=model.frozen_after_events,
        drift=model.drift,
        baseline_path=baseline_path,
        pinned=pinned,
        quality_floor=model.quality_floor,
        continual_events=model.continual_events,
        continual_share=model.continual_share,
        continual_bytes=model.continual_bytes,
        seed=model.seed if seed is None else seed,
        delay_events=delay_events,
    )


def settings_of(model: ModelConfig, max_record_bytes: int, state_url: str = "") -> ProcessorSettings:
    """The processor settings of a model's configuration.

    `max_record_bytes`: `service.max_message_bytes`; larger records are not learned. `state_url`: that of the service.
    """
    return ProcessorSettings(
        **model.paced(),
        model=model.name,
        topic=model.topic,
        joined_topic=model.joined_topic,
        learner=model.learner,
        config_sha256=model.identity_sha256(),
        max_record_bytes=max_record_bytes,
        moves=model.scale is not None,
        state_url=state_url,
        identity=model.shown_identity(),
        revisions=model.layouts().get(REVISIONS, {}),
        fields=model.field_mapping(),
        classes=tuple(model.classes),
        least_batch_events=getattr(find(model.learner), "least_batch_events", 1),
        forgetting_factor=model.drift.forgetting_factor,
        forgetting_events=model.drift.forgetting_events,
    )


def open_configured_log(config: Config) -> Log:
    """The log. Raises LogError."""
    section = config.log
    retention = Retention(
        records=section.retention_records, bytes=section.retention_bytes, seconds=section.retention_seconds
    )
    reading = Reading(unreadable_seconds=section.unreadable_seconds, unpacked_bytes=section.unpacked_bytes)
    log = open_log(section.url, section.kafka, retention, reading, section.client)
    scaled = {model.topic: model.name for model in config.model if model.sharded is not None}
    return CreatedFirst(log, scaled) if scaled and has_groups(section.url) else log


def model_folder(config: Config, model: ModelConfig) -> Path:
    """The folder of a model's snapshots and journal."""
    return Path(config.service.state_dir) / model.name


def owner_meta(config: Config, model: ModelConfig) -> dict[str, Any]:
    """Meta of every state that a model publishes: the generation of its owner, by which other hosts tell late versions
    of a superseded one. Empty where nobody claims states. Called once the state is claimed.
    """
    generation = kept_generation(model_folder(config, model)) if config.service.state_url else 0
    return {GENERATION: generation} if generation else {}


def schemas_of(
    config: Config, model: ModelConfig, file: str = "schemas.json", *, read_only: bool = False
) -> KnownSchemas | None:
    """The schemas of a model's framed records, in a file beside its state; None without a schema registry."""
    where = config.log.registry
    if where is None:
        return None
    client = RegistryClient(where.url, where.user, where.password)
    return KnownSchemas(client, model_folder(config, model) / file, read_only=read_only, keys=where.framed_keys)


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a processor works on, which may exist before it."""

    learner: Learner
    monitor: Monitor
    snapshots: FolderSnapshots
    schemas: KnownSchemas | None
    warm: Warm | None = None
    """The fold of these, if it is at work already."""


def prepare(config: Config, model: ModelConfig, live: Path) -> Prepared:
    """A new learner of a model and its monitor, with the snapshots of its folder. `live`: the live folder."""
    folder = model_folder(config, model)
    snapshots = FolderSnapshots(folder, model.snapshots_kept)
    snapshots.prepare()
    learner = new_learner(model)
    if (shared := _shares(config, learner)) is not None:
        shared.place(live / model.name)
    monitor = _kept_monitor(model, learner, folder, snapshots)
    return Prepared(learner, monitor, snapshots, schemas_of(config, model))


def build_processor(
    config: Config,
    model: ModelConfig,
    source: Log,
    store: CommandQueue,
    live: Path,
    reports: LearnerReports,
    registry: HealthRegistry,
    spans: Spans | None = None,
    prepared: Prepared | None = None,
) -> tuple[Processor, FilePublisher | ShardPublisher]:
    """A model's processor and its publisher.

    `spans`: records traces; `prepared`: of a shard that was followed here, and is taken over.
    """
    prepared = prepared or prepare(config, model, live)
    folder, learner, monitor = model_folder(config, model), prepared.learner, prepared.monitor
    publisher: FilePublisher | ShardPublisher
    if shard_of(model.name) is not None and merges(model):
        publisher = shard_publisher(model, learner, live, owner_meta(config, model))
    else:
        publisher = FilePublisher(
            live / model.name,
            moved=(lambda: _placed_anew(learner)) if _shares(config, learner) else None,
            noted=model.layouts() | averaging_meta(model) | owner_meta(config, model),
        )
    processor = Processor(
        learner,
        source,
        prepared.snapshots,
        settings_of(model, config.service.max_message_bytes, config.service.state_url),
        journal=FileJournal(folder / "journal"),
        evaluator=monitor,
        make=lambda: new_learner(model),
        ports=Ports(
            publisher=publisher,
            observer=each(
                reports.metrics.model(model.name, monitor.drift.watchers()),
                reports.status.model(model.name),
                *label_watch(model.name, event_schema(model, learner), learner, model.labels_topic),
            ),
            tracker=tracker_of(config, model.name, live, folder, reports.metrics, spans),
            commands=store,
            dead_letters=DeadLetters(source, model.topic, model.name),
            alarms=AlarmOutbox(source, model.name, health=registry.register("alarm_outbox", model.name)),
            health=registry.register("learner", model.name),
            saving=registry.register("saver", model.name),
            publishing=registry.register("publisher", model.name),
            history=_history(config, model, learner) if model.history else None,
            stop_mark=FileStopMark(folder / "stopped.json"),
            attempts=FileAttempts(folder),
            losses=losses_of(config, model.name),
            siblings=siblings_of(model, live),
            schemas=prepared.schemas,
        ),
        warm=prepared.warm,
    )
    return processor, publisher


def _shares(config: Config, learner: Learner) -> SharedMemoryLearner | None:
    """The learner, if servers map its memory: those of other hosts cannot, each version copies it."""
    return None if config.service.sends else capability(learner, SharedMemoryLearner)


def _history(config: Config, model: ModelConfig, learner: Learner) -> Callable[[], Iterator[Decoded]]:
    """Reads the recorded events of a model. Raises ConfigurationError when the file cannot be read."""

    schema, most = event_schema(model, learner), config.service.max_message_bytes

    def read() -> Iterator[Decoded]:
        try:
            yield from read_events(Path(model.history), schema, max_record_bytes=most)
        except FileError as error:
            raise ConfigurationError([f"model.{model.name}.history: {error}"]) from error

    return read


def _placed_anew(learner: Learner) -> Predictor:
    """The predictor of the present state after its memory in shared files was deleted: restored, it is a new file."""
    learner.restore(learner.state())
    return learner.predictor()


def _kept_monitor(model: ModelConfig, learner: Learner, folder: Path, snapshots: FolderSnapshots) -> Monitor:
    """The monitor of a service: its baseline is saved for a restart, and may be a snapshot."""
    pinned = None
    if model.frozen_version:
        pinned = Pinned(model.frozen_version, lambda: snapshots.load(model.frozen_version).parts["learner"])
    try:
        return new_monitor(model, learner, folder / BASELINE_FILE, pinned)
    except (UnknownVersion, DamagedFile) as error:
        raise ConfigurationError([f"model.{model.name}.frozen_version: {error}"]) from error


def build_joiner(
    config: Config,
    model: ModelConfig,
    source: Log,
    pending: Pending,
    reports: LearnerReports,
    registry: HealthRegistry,
    shared: SharedPlace | None = None,
) -> Joiner:
    """The joiner of late labels. `shared`: where it keeps its position for other hosts; None: nowhere."""
    to_shards = None
    if model.sharded is not None:
        by_hand = has_groups(config.log.url)
        to_shards = ToShards(source, model.topic, model.joined_topic, by_hand=by_hand)
    observer: JoinObserver = each(reports.metrics.joining(model.name), reports.status.model(model.name))
    return Joiner(
        JoinSettings(
            model=model.name,
            topic=model.topic,
            labels_topic=model.labels_topic,
            joined_topic=model.joined_topic,
            label_seconds=model.label_seconds,
            max_future_seconds=model.max_future_seconds,
        ),
        source,
        pending,
        event_schema(model),
        model_folder(config, model) / "joined.json",
        DeadLetters(source, model.labels_topic, model.name),
        observer,
        health=JoinHealth(
            joiner=registry.register("joiner", model.name), store=registry.register("join_store", model.name)
        ),
        schemas=schemas_of(config, model, "joiner-schemas.json"),
        shared=shared,
        to_shards=to_shards,
    )


def open_model_pending(config: Config, model: ModelConfig, names: RedisNames | None) -> Pending:
    """The store of a model's events that wait for their labels. A file that cannot be opened is tried again."""
    return reopened_pending(config.store.url, Limits(model.label_seconds, model.label_events), names)
