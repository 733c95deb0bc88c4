"""The server: gRPC and HTTP over the published versions, in a process without learners."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import grpc

from thalweg.memory.exchange.commands import CommandQueue
from thalweg.ops.config.addresses import listen, not_listening
from thalweg.ops.serve.access.access import READ_ONLY, Access, AccessSettings
from thalweg.ops.serve.access.refusals import Refusals, RefusedCalls
from thalweg.ops.serve.access.tokens import Tokens
from thalweg.ops.serve.bounds.admission import Admission
from thalweg.ops.serve.bounds.byte_budget import ByteBudget
from thalweg.ops.serve.bounds.rare_log import limit_lines
from thalweg.ops.serve.grpc_api import inference, learning
from thalweg.ops.serve.grpc_api.gates import Gates
from thalweg.ops.serve.grpc_api.health import SERVICE as HEALTH
from thalweg.ops.serve.grpc_api.health import Health, add_methods, add_reflection
from thalweg.ops.serve.grpc_api.memory_growth import MemoryGrowth
from thalweg.ops.serve.grpc_api.methods import handlers
from thalweg.ops.serve.grpc_api.options import options_of
from thalweg.ops.serve.http_api.plain import plain_server
from thalweg.ops.serve.http_api.routes import Api
from thalweg.ops.serve.http_api.server import HttpServer
from thalweg.ops.serve.inference import InferenceCore
from thalweg.ops.serve.models import Models
from thalweg.ops.serve.readiness import ServiceHealth
from thalweg.ops.serve.rows.answering import RowAnswers
from thalweg.ops.serve.settings import Addresses, ServerLimits
from thalweg.ops.serve.telemetry import NoTelemetry, ServerTelemetry
from thalweg.ops.serve.tls.certificates import Certificates
from thalweg.ops.serve.tls.grpc_credentials import credentials_of
from thalweg.ops.telemetry.status import Statuses
from thalweg.ops.traces.requests import RequestTraces
from thalweg.ops.webpage.api import PageApi
from thalweg.stream.health.supervised import SupervisedThread
from thalweg.stream.log.log import Log

if TYPE_CHECKING:
    from thalweg.ops.serve.access.jwt_tokens import JwtTokens  # its library is an extra

_HEALTH_SECONDS = 0.05  # interval between two checks of readiness
_LEARNING_SECONDS = 0.5  # … and of the parts that learn, which tell of themselves once a second
_SILENT_SECONDS = 60.0
_STOP_SECONDS = 5.0  # time for gRPC to release its port
_SERVES_GRPC = "(_serve)"  # how the name of the thread ends on which gRPC hands over calls
_HOLD_SECONDS = 0.1  # in which every call that was begun reaches us


class Server:
    """Serves predictions, accepts events, and reports its health.

    Args:
        models: The served models; started and closed with the server.
        source: The log to which `Learn` appends.
        commands: The queue from which learners take commands.
        workers: The slots of predictions, from `workers_of`.
        addresses: Where to listen.
        limits: Limits on requests.
        telemetry: Notified of every request; renders the metrics page.
        tokens: Who may do what; None: no token is required.
        access: Settings about callers.
        jwts: Verifies JSON Web Tokens; started and closed with the server. None: there are none.
        refused: Records refused calls; None: nobody does.
        certificates: For TLS on both interfaces; None: plain text.
        statuses: The learners' reports.
        health: The health of all parts; None: of this process alone.
        traces: Records spans of requests; None: there are no traces.

    Raises:
        OSError: An address cannot be listened on; the message names it.
    """

    def __init__(
        self,
        models: Models,
        source: Log,
        commands: CommandQueue,
        *,
        workers: Admission,
        addresses: Addresses,
        limits: ServerLimits | None = None,
        telemetry: ServerTelemetry | None = None,
        tokens: Tokens | None = None,
        access: AccessSettings | None = None,
        jwts: JwtTokens | None = None,
        refused: RefusedCalls | None = None,
        certificates: Certificates | None = None,
        statuses: Statuses | None = None,
        health: ServiceHealth | None = None,
        traces: RequestTraces | None = None,
    ) -> None:
        limits, telemetry = limits or ServerLimits(), telemetry or NoTelemetry()
        self._models, self._telemetry = models, telemetry
        core = InferenceCore(models)
        rows = RowAnswers(core)
        self._health = Health()
        self._service_health = health = health or ServiceHealth(models, models.registry)
        self._workers = workers
        self._budget = budget = ByteBudget(limits.requests_bytes, telemetry.refused)
        workers.refused = lambda _: telemetry.refused("overload")
        self._gates = Gates(
            workers,
            receive_seconds=limits.receive_seconds,
            queue=limits.queue,
            budget=budget,
            growth=MemoryGrowth(limits.requests_bytes),
            refused=telemetry.refused,
        )
        self._threads = self._gates.threads()
        limit_lines("grpc", "grpc._server")
        self._jwts, self._refused = jwts, refused
        self._looking = [one.look for one in (tokens, certificates, refused) if one is not None]
        door = Access(tokens, access, jwts, Refusals(telemetry.refused, refused))
        self._grpc = grpc.server(self._threads, options=options_of(limits))
        answering = inference.InferenceService(core, telemetry, workers, limits.max_message_bytes)
        teaching = learning.LearningService(
            models, source, commands, statuses=statuses, rows=rows, most_sent=limits.max_message_bytes
        )
        for service, servicer, methods in (
            (inference.SERVICE, answering, inference.METHODS),
            (learning.SERVICE, teaching, learning.METHODS),
        ):
            made = handlers(service, servicer, methods, telemetry, self._gates, door, traces)
            add_methods(self._grpc, service, made)
        self._health.register(self._grpc, telemetry, self._gates, door)
        add_reflection(self._grpc, [inference.SERVICE, learning.SERVICE, HEALTH], telemetry, self._gates, door)
        try:
            if certificates is None:
                self.grpc_port = self._grpc.add_insecure_port(addresses.grpc)
            else:
                self.grpc_port = self._grpc.add_secure_port(addresses.grpc, credentials_of(certificates))
        except RuntimeError as error:
            with suppress(ValueError):
                listen(addresses.grpc, key="service.grpc").close()  # gRPC does not say why
            raise not_listening(addresses.grpc, "service.grpc", None) from error
        page = PageApi(
            models, source, commands, statuses, telemetry, "" if tokens or jwts else READ_ONLY, health=health
        )
        api = Api(
            core,
            telemetry,
            page,
            health,
            rows=rows,
            source=source,
            access=door,
            slots=workers,
            appending=self._gates.kinds["blocking"],
            budget=budget,
            max_body_bytes=limits.max_message_bytes,
            traces=traces,
        )
        self._http = HttpServer(api.application(), addresses.http, limits, telemetry.refused, certificates)
        self.http_port = self._http.port
        hosts = () if access is None else access.hosts
        self._plain = plain_server(api.health_routes(), addresses.health, limits, hosts, telemetry.refused)
        self.health_port = None if self._plain is None else self._plain.port
        telemetry.gauges = {
            "http_connections": lambda: self._http.connections,
            "grpc_half_open_calls": lambda: len(self._gates.half_open),
            "request_bytes": lambda: budget.taken,
        }
        self._grpc_threads: list[threading.Thread] = []
        self._stopping = threading.Event()
        updates = health.registry.register("grpc_health", silent_seconds=_SILENT_SECONDS)
        self._updating_health = SupervisedThread(
            self._keep_health, updates, "health", longest_wait_seconds=_STOP_SECONDS
        )
        self._updates = updates

    @property
    def alive(self) -> bool:
        """Whether all interfaces still listen; False before `start` and after an unexpected end."""
        return (
            self._http.alive
            and (self._plain is None or self._plain.alive)
            and all(thread.is_alive() for thread in self._grpc_threads)
        )

    @property
    def models(self) -> Models:
        """The served models."""
        return self._models

    def start(self) -> None:
        """Start serving."""
        self._models.start()
        self._telemetry.start()
        if self._jwts is not None:
            self._jwts.keys.start()
        self._service_health.start()
        self._update_health()
        before = set(threading.enumerate())
        self._grpc.start()
        self._grpc_threads = [one for one in set(threading.enumerate()) - before if one.name.endswith(_SERVES_GRPC)]
        self._http.start()
        if self._plain is not None:
            self._plain.start()
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
        """Report not ready, answer the requests that were begun, and stop."""
        deadline = time.monotonic() + grace_seconds
        self._models.draining = True
        self._update_health()
        self._http.stop_accepting()
        # gRPC cancels the calls that it has received and not yet handed over when it stops. So callers are made to wait
        # for a moment, until all their calls are handed over; they are answered after that.
        self._workers.pause()
        time.sleep(min(_HOLD_SECONDS, grace_seconds))
        stopped = self._grpc.stop(grace_seconds)
        self._workers.resume()
        self._http.drain(max(0.0, deadline - time.monotonic()))
        stopped.wait(max(0.0, deadline - time.monotonic()) + _STOP_SECONDS)
        self.close()

    def close(self) -> None:
        """Stop at once; may be called twice."""
        self._stopping.set()
        self._updating_health.stop()
        self._service_health.close()
        if self._jwts is not None:
            self._jwts.keys.close()
        if self._grpc.stop(0).wait(_STOP_SECONDS):  # gRPC may submit calls until then
            self._threads.shutdown(wait=False)
        self._http.close()
        if self._plain is not None:  # to the end it tells that the server is draining
            self._plain.close()
        if self._refused is not None:
            self._refused.record()
        self._models.close()
        self._telemetry.close()

    def _keep_health(self) -> None:
        checked = time.monotonic()
        while not self._stopping.wait(_HEALTH_SECONDS):
            due = (now := time.monotonic()) - checked >= _LEARNING_SECONDS
            checked = now if due else checked
            self._update_health(learning_too=due)
            for look in self._looking if due else ():
                look()
            self._budget.give_back()
            self._gates.half_open.expire()
            self._gates.half_open.relieve()
            self._updates.running()

    def _update_health(self, *, learning_too: bool = True) -> None:
        ready = not self._models.reasons()
        serving = {"": ready, inference.SERVICE: ready, learning.SERVICE: ready}
        serving |= self._service_health.answering()
        self._health.update(serving | (self._service_health.learning() if learning_too else {}))


def workers_of(limits: ServerLimits) -> Admission:
    """Slots for predictions under these limits."""
    return Admission("predictions", limits.workers, limits.queue)
