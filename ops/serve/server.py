"""The server: gRPC and HTTP over the published versions, in a process without learners."""

from __future__ import annotations

import threading
import time

import grpc

from thalweg.memory.exchange.commands import CommandQueue
from thalweg.ops.serve.grpc_api import inference, learning
from thalweg.ops.serve.grpc_api.health import SERVICE as HEALTH
from thalweg.ops.serve.grpc_api.health import Health, add_reflection
from thalweg.ops.serve.grpc_api.methods import handlers
from thalweg.ops.serve.grpc_api.threads import CallThreads
from thalweg.ops.serve.grpc_api.workers import Workers
from thalweg.ops.serve.http_api.routes import Api
from thalweg.ops.serve.http_api.server import HttpServer
from thalweg.ops.serve.inference import InferenceCore
from thalweg.ops.serve.models import Models
from thalweg.ops.serve.readiness import ServiceHealth
from thalweg.ops.serve.settings import Addresses, ServerLimits
from thalweg.ops.serve.telemetry import NoTelemetry, ServerTelemetry
from thalweg.ops.serve.tokens import Tokens
from thalweg.ops.serve.versions import MOST_LOADING
from thalweg.ops.telemetry.status import Statuses
from thalweg.ops.webpage.api import PageApi
from thalweg.stream.health.supervised import SupervisedThread
from thalweg.stream.log.log import Log

_HEALTH_SECONDS = 0.05  # interval between two checks of readiness
_SILENT_SECONDS = 60.0
_STOP_SECONDS = 5.0  # time for gRPC to release its port


class Server:
    """Serves predictions, accepts events, and reports its health.

    Args:
        models: The served models; started and closed with the server.
        source: The log to which `Learn` appends.
        commands: The queue from which learners take commands.
        workers: The worker threads, from `workers_of`; they end with the server.
        addresses: Where to listen.
        limits: Limits on requests.
        telemetry: Notified of every request; renders the metrics page.
        tokens: Required for calls that change a model; None: no token is required.
        statuses: The learners' reports.
        health: The health of all parts; None: of this process alone.

    Raises:
        OSError: An address cannot be listened on; the message names it.
    """

    def __init__(
        self,
        models: Models,
        source: Log,
        commands: CommandQueue,
        *,
        workers: Workers,
        addresses: Addresses,
        limits: ServerLimits | None = None,
        telemetry: ServerTelemetry | None = None,
        tokens: Tokens | None = None,
        statuses: Statuses | None = None,
        health: ServiceHealth | None = None,
    ) -> None:
        limits, telemetry = limits or ServerLimits(), telemetry or NoTelemetry()
        self._models = models
        core = InferenceCore(models)
        self._health = Health(telemetry)
        self._service_health = health = health or ServiceHealth(models, models.registry)
        self._workers = workers
        self._grpc = _grpc_server(workers, limits)
        threads = CallThreads()
        answering = inference.InferenceService(core, telemetry, lambda: workers.queue_seconds)
        teaching = learning.LearningService(models, source, commands, tokens=tokens, statuses=statuses)
        for service, servicer, methods in (
            (inference.SERVICE, answering, inference.METHODS),
            (learning.SERVICE, teaching, learning.METHODS),
        ):
            self._grpc.add_registered_method_handlers(  # type: ignore[attr-defined]  # newer than the stubs
                service, handlers(service, servicer, methods, telemetry, threads)
            )
        self._health.register(self._grpc)
        add_reflection(self._grpc, [inference.SERVICE, learning.SERVICE, HEALTH], telemetry, threads)
        try:
            self.grpc_port = self._grpc.add_insecure_port(addresses.grpc)
        except RuntimeError as error:
            raise OSError(f"cannot listen on {addresses.grpc} (gRPC): is the port in use?") from error
        page = PageApi(models, source, commands, statuses, telemetry, tokens, health=health)
        self._http = HttpServer(
            Api(core, telemetry, limits.max_message_bytes, page, health).application(), addresses.http
        )
        self.http_port = self._http.port
        self._stopping = threading.Event()
        updates = health.registry.register("grpc_health", silent_seconds=_SILENT_SECONDS)
        self._updating_health = SupervisedThread(
            self._keep_health, updates, "health", longest_wait_seconds=_STOP_SECONDS
        )
        self._updates = updates

    @property
    def alive(self) -> bool:
        """Whether it still listens; False before `start` and after an unexpected end."""
        return self._http.alive

    @property
    def models(self) -> Models:
        """The served models."""
        return self._models

    def start(self) -> None:
        """Start serving."""
        self._models.start()
        self._service_health.start()
        self._update_health()
        self._grpc.start()
        self._http.start()
        self._updating_health.start()

    def wait_ready(self, timeout_seconds: float) -> bool:
        """Wait until every model has a version; False if the timeout passes first."""
        deadline = time.monotonic() + timeout_seconds
        while self._models.reasons():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.005)
        return True

    def drain(self, grace_seconds: float) -> None:
        """Report not ready, finish running requests, and stop."""
        self._models.draining = True
        self._update_health()
        self._grpc.stop(grace_seconds).wait()
        self.close()

    def close(self) -> None:
        """Stop at once; may be called twice."""
        self._stopping.set()
        self._updating_health.stop()
        self._service_health.close()
        if self._grpc.stop(0).wait(_STOP_SECONDS):  # gRPC may submit calls until then
            self._workers.shutdown(wait=False)
        self._http.close()
        self._models.close()

    def _keep_health(self) -> None:
        while not self._stopping.wait(_HEALTH_SECONDS):
            self._update_health()
            self._updates.running()

    def _update_health(self) -> None:
        ready = not self._models.reasons()
        serving = {"": ready, inference.SERVICE: ready, learning.SERVICE: ready}
        self._health.update(serving | self._service_health.serving())


def workers_of(limits: ServerLimits) -> Workers:
    """Worker threads for these limits; calls that wait for versions do not occupy one."""
    return Workers(limits.workers, "grpc", limits.most_waiting + MOST_LOADING)


def _grpc_server(workers: Workers, limits: ServerLimits) -> grpc.Server:
    return grpc.server(
        workers,  # type: ignore[arg-type]  # of which gRPC only calls `submit`
        options=[
            ("grpc.so_reuseport", 0),  # a port in use is an error, instead of sharing its requests
            ("grpc.max_receive_message_length", limits.max_message_bytes),
            ("grpc.max_send_message_length", limits.max_message_bytes),
        ],
        maximum_concurrent_rpcs=limits.workers + limits.queue,
    )
