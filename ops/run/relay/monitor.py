"""The monitor: the process of a host that only learns which answers for health and metrics, and for nothing else."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import fields
from pathlib import Path

import structlog
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from thalweg.memory.audit import audit_log, refused_log
from thalweg.ops.config.config import Config
from thalweg.ops.run.learners.shares import homes
from thalweg.ops.run.state_folder import state_folder_probe
from thalweg.ops.serve.access.access import Access, AccessSettings
from thalweg.ops.serve.access.audit_health import tell_health
from thalweg.ops.serve.access.refusals import Refusals, RefusedCalls
from thalweg.ops.serve.http_api.guarded import guarded
from thalweg.ops.serve.http_api.plain import plain_server
from thalweg.ops.serve.http_api.routes import HANDLERS
from thalweg.ops.serve.http_api.server import HttpServer
from thalweg.ops.serve.models import Models
from thalweg.ops.serve.readiness import ServiceHealth, causes, sentence
from thalweg.ops.serve.settings import ServerLimits
from thalweg.ops.telemetry.learners.processes import LearnerProcesses
from thalweg.ops.telemetry.server_metrics import ServerMetrics
from thalweg.stream.health.registry import Condition, HealthRegistry
from thalweg.stream.publication.live_folder import live_folder
from thalweg.stream.runtime import Signal

log = structlog.get_logger(__name__)

ROLE = "monitor"


class Monitor:
    """Answers `/healthz`, `/readyz` and `/metrics` for the learners of this host.

    Args:
        config: The configuration; it listens on `service.http`, with the tokens and certificates of the service, and on
            `service.health` without.

    Raises:
        OSError: The address cannot be listened on.
    """

    def __init__(self, config: Config) -> None:
        service, live = config.service, live_folder(Path(config.service.state_dir))
        self._registry, audit = HealthRegistry(), audit_log(config.service.state_dir)
        self._learners, models = LearnerProcesses(live, homes(config)), Models([])
        self._health = ServiceHealth(models, self._registry, self._learners, live=live)
        self._telemetry = ServerMetrics(live, models, self._health)
        jwts = service.jwt.verifier(self._registry, audit) if service.jwt is not None else None
        settings = AccessSettings(
            hosts=service.hosts, origins=service.origins, requests_per_second=service.requests_per_second
        )
        tokens = service.tokens(self._registry, audit)
        refused = refused_log(service.state_dir)
        tell_health(self._registry, audit, refused)
        self._refused = RefusedCalls(refused)
        access = Access(tokens, settings, jwts, Refusals(self._telemetry.refused, self._refused))
        self._keys = None if jwts is None else jwts.keys
        routes = [
            Route("/healthz", self._healthz),
            Route("/readyz", self._readyz),
            Route("/metrics", self._metrics),
            Route("/v2/health/live", self._healthz),
            Route("/v2/health/ready", self._readyz),
        ]
        limits = ServerLimits(**{bound.name: getattr(service, bound.name) for bound in fields(ServerLimits)})
        application = Starlette(routes=guarded(routes, access, failed=HANDLERS[Exception]), exception_handlers=HANDLERS)
        certificates = service.certificates(self._registry, audit)
        folder = state_folder_probe(service.state_dir, self._registry)
        self._looking = [one.look for one in (tokens, certificates, self._refused, folder) if one is not None]
        self._http = HttpServer(application, service.http, limits, self._telemetry.refused, certificates)
        self.port = self._http.port
        self._plain = plain_server(routes, service.health, limits, service.hosts, self._telemetry.refused)

    @property
    def alive(self) -> bool:
        """Whether it still listens."""
        return self._http.alive and (self._plain is None or self._plain.alive)

    def start(self) -> None:
        """Start answering."""
        self._telemetry.start()
        if self._keys is not None:
            self._keys.start()
        self._http.start()
        if self._plain is not None:
            self._plain.start()

    def look(self) -> None:
        """Tell of a token file or a certificate that has changed and cannot be used, and of refused calls. Called
        several times a second.
        """
        for look in self._looking:
            look()

    def close(self) -> None:
        """Stop."""
        if self._keys is not None:
            self._keys.close()
        self._http.close()
        if self._plain is not None:
            self._plain.close()
        self._refused.record()
        self._telemetry.close()

    async def _healthz(self, request: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def _readyz(self, request: Request) -> Response:
        components = self._health.components()
        failed = [one for one in components if one.component == "learner" and one.state is Condition.FAILED]
        processes = self._learners.by_role().values()
        reasons = [one.problem for one in processes if one.problem] or [sentence(one) for one in failed]
        if not reasons and not all(one.up for one in processes):
            reasons = ["a learner process is starting"]
        content = {
            "ready": not reasons,
            "reasons": reasons,
            "degraded": [sentence(one) for one in causes(components)],
            "components": [one.record() for one in components],
        }
        return JSONResponse(content, 503 if reasons else 200)

    async def _metrics(self, request: Request) -> Response:
        content, kind = await run_in_threadpool(self._telemetry.render)
        return Response(content, media_type=kind)


def run_monitor(config: Config, stop: Signal) -> None:
    """Run the monitor until `stop` is set. Raises OSError for an address in use."""
    with ExitStack() as stack:
        monitor = Monitor(config)
        stack.callback(monitor.close)
        monitor.start()
        log.info("answering for health and metrics", http=monitor.port)
        while not stop.wait(0.2):
            monitor.look()
            if not monitor.alive:
                raise OSError("the HTTP server has ended unexpectedly")  # the supervisor starts another process
