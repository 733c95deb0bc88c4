"""A learner process and a server process, from start to end."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path

import structlog
from threadpoolctl import threadpool_limits

from thalweg.memory.audit import audit_log
from thalweg.memory.exchange.audited import AuditedCommands
from thalweg.memory.exchange.reopened import reopened_commands
from thalweg.memory.kept_folders import kept
from thalweg.ops.config.access.exposure import exposures
from thalweg.ops.config.config import Config
from thalweg.ops.config.error import ConfigurationError
from thalweg.ops.config.hosts.surroundings import lost_at_reboot, overlooked_variables
from thalweg.ops.config.hosts.warnings import host_warnings
from thalweg.ops.run.app import open_configured_log
from thalweg.ops.run.champions.lost import lost_promotions
from thalweg.ops.run.learners.left_behind import states_left_behind
from thalweg.ops.run.learners.other_log import left_at_default
from thalweg.ops.run.learners.shares import homes
from thalweg.ops.run.learning import Learning
from thalweg.ops.run.only_one import only_one
from thalweg.ops.run.relay.board import build_sender, open_board
from thalweg.ops.run.relay.notes import keep_aliases
from thalweg.ops.run.relay.store_names import names_in_store
from thalweg.ops.run.serving import build_server
from thalweg.ops.run.state_folder import state_folder_probe
from thalweg.ops.run.supervisor import PARENT
from thalweg.ops.serve.access.callers import actor
from thalweg.ops.serve.server import Server
from thalweg.ops.telemetry.process_health import STUCK_EXIT_CODE, HealthFile, learner_role
from thalweg.ops.traces.requests import RequestTraces
from thalweg.ops.traces.start import spans_of
from thalweg.stream.health.registry import HealthRegistry
from thalweg.stream.health.watchdog import Watchdog
from thalweg.stream.log.reopened import reopened_log
from thalweg.stream.publication.live_folder import live_folder
from thalweg.stream.runtime import Signal

log = structlog.get_logger(__name__)

_PATIENCE_SECONDS = 5.0  # a process that is told to end has as much beyond the time to drain


def run_learners(config: Config, stop: Signal, number: int = 1) -> None:
    """Run a learner process until `stop` is set; `number`: which of the learner processes it is, from 1.

    Raises:
        StateMismatch, ConfigurationError: None of its models can learn under this configuration.
    """
    state_dir, registry, role = Path(config.service.state_dir), HealthRegistry(), learner_role(number)
    mine = [model for model, places in homes(config).items() if number in places]
    if not mine:
        raise ConfigurationError([f"service.learners: no model is left for {role}: each has a process before it"])
    places = (
        *overlooked_variables(os.environ, [model.name for model in config.model]),
        *left_at_default(config),
        *lost_at_reboot(config),
    )
    told = (*host_warnings(config), *places, *states_left_behind(config))
    for line in told if number == 1 else ():
        log.warning(line)
    with ExitStack() as stack:
        stack.enter_context(threadpool_limits(1))
        # one of a supervisor that was killed may still be saving
        patience = config.service.drain_seconds + _PATIENCE_SECONDS if PARENT in os.environ else 0.0
        stack.enter_context(only_one(state_dir, role, patience))
        stack.enter_context(kept(state_dir))
        live = live_folder(state_dir)
        health = HealthFile(live, registry, role=role)
        health.start()
        stack.callback(health.close)
        folder = state_folder_probe(config.service.state_dir, HealthRegistry())  # for the log: servers tell its health
        folder.start()
        stack.callback(folder.close)
        watchdog = Watchdog(registry, config.service.stuck_seconds, lambda part: os._exit(STUCK_EXIT_CODE))
        watchdog.start()
        stack.callback(watchdog.close)  # after the learners: one that is stuck does not keep the process either
        source = reopened_log(config.log.url, lambda: open_configured_log(config))
        stack.callback(source.close)
        names = stack.enter_context(names_in_store(config, source))
        store = reopened_commands(config.store.url, names)
        stack.callback(store.close)
        spans = spans_of("learner")
        if spans is not None:
            stack.callback(spans.close)
        if config.service.sends:
            sender = build_sender(config, live, registry, names)
            stack.callback(sender.close)  # after the learners: what they published last is sent, too
            sender.start()
        learning = Learning(config, source, store, live, registry, spans, number, names)
        stack.callback(learning.close)
        learning.start()
        log.info("learning", models=mine)
        learning.wait(stop)
    if learning.refused is not None:
        raise learning.refused
    if learning.not_saved is not None:
        raise learning.not_saved


def run_server(config: Config, stop: Signal, ready: Callable[[Server], None] | None = None, replica: int = 1) -> None:
    """Run the server process until `stop` is set; `replica`: which of the servers it is, from 1."""
    with ExitStack() as stack:
        stack.enter_context(threadpool_limits(1))
        for line in (*exposures(config), *(lost_promotions(config) if replica == 1 else ())):
            log.warning(line)
        source = reopened_log(config.log.url, lambda: open_configured_log(config))
        stack.callback(source.close)
        names = stack.enter_context(names_in_store(config, source))
        store = reopened_commands(config.store.url, names)
        stack.callback(store.close)
        audit = audit_log(config.service.state_dir)
        store = AuditedCommands(store, audit, actor)
        if config.service.role == "serve":
            with closing(open_board(config, names)) as board:
                keep_aliases(config, board)
        spans = spans_of("server")
        if spans is not None:
            stack.callback(spans.close)
        traces = None if spans is None else RequestTraces(spans)
        server = build_server(config, source, store, replica, traces, names, audit)
        stack.enter_context(kept(Path(config.service.state_dir)))
        server.start()
        gc.collect()
        gc.freeze()  # exclude loaded objects from garbage collection, so that it does not pause responses
        log.info("serving", grpc=server.grpc_port, http=server.http_port)
        if ready is not None:
            ready(server)
        while not stop.wait(0.2):
            if not server.alive:
                raise OSError("HTTP or gRPC has ended unexpectedly")  # the supervisor starts another process
        log.info("draining")
        server.drain(config.service.drain_seconds)
