"""The server: gRPC and HTTP over the published versions, in a process that no learner shares."""

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
from thalweg.ops.serve.settings import Addresses, ServerLimits
from thalweg.ops.serve.telemetry import NoTelemetry, ServerTelemetry
from thalweg.ops.serve.tokens import Tokens
from thalweg.ops.serve.versions import MOST_LOADING
from thalweg.ops.telemetry.status import Statuses
from thalweg.ops.webpage.api import PageApi
from thalweg.stream.log.log import Log

_HEALTH_SECONDS = 0.05  # between two looks at what is ready
_STOP_SECONDS = 5.0  # that gRPC may take to let go of its port


class Server:
    """Answers predictions, takes events, reports its health.

    Args:
        models: What is served; started and closed with the server.
        source: The log, where `Learn` appends.
        commands: Where learners take commands.
        workers: Threads that answer, as `workers_of` makes them; they end with the server.
        addresses: Where to listen.
        limits: How much to take at once.
        telemetry: Notified of every request; renders the metrics page.
        tokens: One of which whoever changes a model must have; None: none is needed.
        statuses: What the learners report.

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
    ) -> None:
        limits, telemetry = limits or ServerLimits(), telemetry or NoTelemetry()
        self._models = models
        core = InferenceCore(models)
        self._health = Health(telemetry)
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
        page = PageApi(models, source, commands, statuses, telemetry, tokens)
        self._http = HttpServer(Api(core, telemetry, limits.max_message_bytes, page).application(), addresses.http)
        self.http_port = self._http.port
        self._stopping = threading.Event()
        self._updating_health = threading.Thread(target=self._keep_health, name="health", daemon=True)

    @property
    def models(self) -> Models:
        """What is served."""
        return self._models

    def start(self) -> None:
        """Answer from now on."""
        self._models.start()
        self._update_health()
        self._grpc.start()
        self._http.start()
        self._updating_health.start()

    def wait_ready(self, timeout_seconds: float) -> bool:
        """Whether every model has a version to answer with, waiting so long."""
        deadline = time.monotonic() + timeout_seconds
        while self._models.reasons():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.005)
        return True

    def drain(self, grace_seconds: float) -> None:
        """Report that no more is answered, finish what is begun, and stop."""
        self._models.draining = True
        self._update_health()
        self._grpc.stop(grace_seconds).wait()
        self.close()

    def close(self) -> None:
        """Stop at once; may be called twice."""
        self._stopping.set()
        if self._grpc.stop(0).wait(_STOP_SECONDS):  # until then gRPC may still submit
            self._workers.shutdown(wait=False)
        self._http.close()
        self._models.close()

    def _keep_health(self) -> None:
        while not self._stopping.wait(_HEALTH_SECONDS):
            self._update_health()

    def _update_health(self) -> None:
        ready = not self._models.reasons()
        serving = {"": ready, inference.SERVICE: ready, learning.SERVICE: ready}
        for model in self._models.all():
            serving[model.name] = model.versions.newest is not None and not self._models.draining
        self._health.update(serving)


def workers_of(limits: ServerLimits) -> Workers:
    """Threads for a server of these limits; those who wait for versions leave theirs to others."""
    return Workers(limits.workers, "grpc", limits.most_waiting + MOST_LOADING)


def _grpc_server(workers: Workers, limits: ServerLimits) -> grpc.Server:
    return grpc.server(
        workers,  # type: ignore[arg-type]  # of which gRPC only calls `submit`
        options=[
            ("grpc.so_reuseport", 0),  # a port that another server has is an error, not half of the requests
            ("grpc.max_receive_message_length", limits.max_message_bytes),
            ("grpc.max_send_message_length", limits.max_message_bytes),
        ],
        maximum_concurrent_rpcs=limits.workers + limits.queue,
    )
