"""Constructs the server process from the configuration; what it shares with the learner process is in `app`."""

from __future__ import annotations

from dataclasses import fields
from functools import partial
from pathlib import Path

from thalweg.memory.audit import AuditLog, audit_log, refused_log
from thalweg.memory.exchange.commands import CommandQueue, StoreDamaged
from thalweg.memory.exchange.redis_names import RedisNames
from thalweg.memory.exchange.reopened import check_store
from thalweg.memory.snapshots.state import State
from thalweg.models.calibration.calibrated import calibrated_predictor
from thalweg.models.columns.make import predictor_maker
from thalweg.models.contract.layouts import check_layouts
from thalweg.models.contract.learner import Predictor
from thalweg.ops.config.config import Config
from thalweg.ops.config.model import ModelConfig
from thalweg.ops.run.app import event_schema, model_folder, new_learner, open_model_pending
from thalweg.ops.run.champions.losses import comparison_path
from thalweg.ops.run.learners.shares import homes
from thalweg.ops.run.state_folder import state_folder_probe
from thalweg.ops.run.successors import promotions_path, with_successors
from thalweg.ops.serve.access.access import AccessSettings
from thalweg.ops.serve.access.audit_health import tell_health
from thalweg.ops.serve.access.refusals import RefusedCalls
from thalweg.ops.serve.aliases import Alias, AliasLocation
from thalweg.ops.serve.bounds.micro_batches import WaitingRoom
from thalweg.ops.serve.by_key.partitions import Topic
from thalweg.ops.serve.champions.shadow import Shadow
from thalweg.ops.serve.following.location import ByKey, ModelLocation
from thalweg.ops.serve.models import Models, RequestSinks
from thalweg.ops.serve.readiness import LOG, ServiceHealth
from thalweg.ops.serve.server import Server, workers_of
from thalweg.ops.serve.settings import Addresses, ServerLimits
from thalweg.ops.serve.versions import WaitSlots
from thalweg.ops.telemetry.learners.processes import LearnerProcesses
from thalweg.ops.telemetry.replicas import Replicas
from thalweg.ops.telemetry.server_metrics import ServerMetrics
from thalweg.ops.telemetry.status import Statuses
from thalweg.ops.traces.requests import RequestTraces
from thalweg.stream.health.probe import Probe
from thalweg.stream.health.registry import HealthRegistry
from thalweg.stream.labels.request_buffer import JoinedTopic, RequestBuffer
from thalweg.stream.labels.request_log import RequestLog
from thalweg.stream.log.identity import partitions_of
from thalweg.stream.log.log import Log, LogDeleted, LogReplaced, PartlyAway, PermanentLogError
from thalweg.stream.publication.live_folder import live_folder


def by_key(model: ModelConfig, source: Log) -> ByKey | None:
    """How the shards of a model answer on a server; None: one learner's versions answer, or those of a merged model."""
    if model.sharded is None or model.sharded.answers != "key":
        return None

    def topic() -> Topic:
        numbers = [partition.number for partition in partitions_of(source, model.topic)]
        return Topic(max(numbers, default=-1) + 1, source.identity(model.topic))

    return ByKey(topic=topic, without_key=model.sharded.without_key)


def location_of(
    config: Config,
    model: ModelConfig,
    live: Path,
    replica: int = 1,
    traces: RequestTraces | None = None,
    source: Log | None = None,
) -> ModelLocation:
    """A model's location, as a server needs it.

    Args:
        config: The configuration.
        model: The model.
        live: The live folder.
        replica: Which of the servers, from 1.
        traces: Records spans; None: there are no traces.
        source: The log, which a model by key is served with; None: it is looked at as one that is not served.
    """

    layouts = model.layouts()

    def build(state: State) -> Predictor:
        check_layouts(state.meta, layouts)
        return calibrated_predictor(make(state), state)

    def restore(state: State) -> Predictor:
        learner = new_learner(model, looked_at=True)
        learner.restore(state)
        return learner.predictor()

    make = predictor_maker(model.learner, model.context(), model.encoding())
    return ModelLocation(
        name=model.name,
        learner=model.learner,
        topic=model.topic,
        live=live / model.name,
        state=model_folder(config, model),
        labels_topic=model.labels_topic,
        max_future_seconds=model.max_future_seconds,
        schema=event_schema(model),
        ready_after_events=0 if model.learn_from_requests else model.ready_after_events,
        learn_from_requests=model.learn_from_requests,
        freshness=model.freshness,
        server=replica,
        spans=None if traces is None else traces.spans,
        by_key=None if source is None else by_key(model, source),
        build=build,
        restore=restore,
    )


def alias_locations(config: Config) -> list[AliasLocation]:
    """The aliases, as a server needs them."""
    return [
        AliasLocation(
            alias.name,
            alias.champion,
            tuple(alias.members),
            promotions_path(config, alias.name),
            comparison_path(config, alias.name) if alias.promotion == "auto" else None,
            alias.shadow,
        )
        for alias in config.alias
    ]


def build_server(
    config: Config,
    source: Log,
    store: CommandQueue,
    replica: int = 1,
    traces: RequestTraces | None = None,
    names: RedisNames | None = None,
    audit: AuditLog | None = None,
) -> Server:
    """The server of a configuration; `replica`: which of its servers, from 1; `names`: of the service in a Redis;
    `audit`: where calls are recorded; None: in the state folder.

    Raises OSError for an address in use.
    """
    live = live_folder(Path(config.service.state_dir))
    learned_here = config.service.role != "serve"
    config = with_successors(config, record=learned_here, blocked={})  # the learner process tells what is blocked
    registry, audit = HealthRegistry(), audit or audit_log(config.service.state_dir)
    joined = list({model.served_name: model for model in config.model if model.labels_topic}.values())
    buffer = RequestBuffer(
        {model.served_name: open_model_pending(config, model, names) for model in joined},
        registry,
        {
            model.served_name: JoinedTopic(model.joined_topic, partial(source.max_record_bytes, model.joined_topic))
            for model in joined
        },
    )
    request_log = RequestLog(
        {model.name: model.topic for model in config.model if model.learn_from_requests}, source, registry
    )
    service = config.service
    limits = ServerLimits(**{bound.name: getattr(service, bound.name) for bound in fields(ServerLimits)})
    workers = workers_of(limits)
    models = Models(
        [location_of(config, model, live, replica, traces, source) for model in config.model],
        RequestSinks(buffer, request_log),
        WaitSlots(limits.most_waiting, workers.waiting),
        registry,
        room=WaitingRoom(limits.most_batched, workers.waiting),
        batch_rows=limits.batch_rows,
    )
    models.audit, models.learned_elsewhere = audit, not learned_here
    shadow = Shadow(registry) if any(alias.shadow for alias in config.alias) else None
    models.serve_under([Alias(alias, models.by_name, shadow) for alias in alias_locations(config)], shadow)
    topic = config.model[0].topic  # any: the question is whether the log answers
    health = ServiceHealth(
        models,
        registry,
        LearnerProcesses(live, homes(config) if learned_here else None),  # of others, the follower tells
        [
            Probe(
                "the log",
                lambda: source.bounds(topic),
                registry.register(LOG),
                hopeless=(PermanentLogError, LogDeleted),
                partly=(PartlyAway,),
                restart=(LogReplaced,),
            ),
            Probe(
                "the store",
                lambda: check_store(config.store.url, store),
                registry.register("store"),
                hopeless=(StoreDamaged,),
            ),
            state_folder_probe(service.state_dir, registry),
        ],
        live=live,
    )
    refused = refused_log(service.state_dir)
    tell_health(registry, audit, refused)
    replicas = Replicas(live, replica, service.servers) if service.servers > 1 else None
    telemetry = ServerMetrics(live, models, health, replicas)
    if shadow is not None:
        shadow.told = telemetry.shadowed
    return Server(
        models,
        source,
        store,
        workers=workers,
        addresses=Addresses(grpc=service.grpc, http=service.http, health=service.health),
        limits=limits,
        telemetry=telemetry,
        tokens=service.tokens(registry, audit),
        certificates=service.certificates(registry, audit),
        jwts=service.jwt.verifier(registry, audit) if service.jwt is not None else None,
        refused=RefusedCalls(refused),
        access=AccessSettings(
            hosts=service.hosts, origins=service.origins, requests_per_second=service.requests_per_second
        ),
        statuses=Statuses(live),
        health=health,
        traces=traces,
    )
