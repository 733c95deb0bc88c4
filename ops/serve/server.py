"""The server: gRPC and HTTP over the published versions, in a process that no learner shares."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2

from thalweg.memory.exchange.commands import CommandQueue
from thalweg.ops.serve.errors import QueueFull, refuse
from thalweg.ops.serve.grpc_inference import InferenceService, handlers
from thalweg.ops.serve.grpc_learning import LearningService
from thalweg.ops.serve.http_api import HttpServer
from thalweg.ops.serve.serving import (
    MOST_LOADING,
    MOST_WAITING,
    ModelLocation,
    Models,
    NoServingObserver,
    Seats,
    ServingObserver,
)
from thalweg.ops.serve.tokens import Tokens
from thalweg.ops.serve.workers import Workers
from thalweg.ops.telemetry.status import Statuses
from thalweg.ops.webpage.api import PageApi
from thalweg.ops.webpage.figures import ServingFigures
from thalweg.proto import thalweg_pb2_grpc
from thalweg.stream.labels.request_buffer import RequestBuffer
from thalweg.stream.labels.request_log import RequestLog
from thalweg.stream.log.log import Log

_INFERENCE = "inference.GRPCInferenceService"
_LEARNING = "thalweg.v1.LearningService"
_HEALTH_SECONDS = 0.05  # between two looks at what is ready
_STOP_SECONDS = 5.0  # that gRPC may take to let go of its port
_STREAMS = 64  # streams, and calls that wait for a learner, at once; they have threads of their own
_STREAMED = {"ModelStreamInfer", "Learn", "Watch"}
_LONG = {"Snapshot", "Rollback"}
_BLOCKING = 16  # calls at once that append to the log or read a folder, on threads of their own; more of them queue
_BLOCKED = {"Label", "ListSnapshots"}


class Server:
    """Answers predictions, takes events, tells its health.

    Args:
        places: The models to serve.
        log: Where `Learn` appends.
        store: Where learners are asked.
        remembering: What keeps requests until their label comes.
        recording: What makes events of requests.
        grpc_address: `HOST:PORT`, an IPv6 host in brackets; port 0 takes a free one.
        http_address: Likewise.
        render: The metrics page.
        observer: Told of every request.
        max_message_bytes: Larger requests are refused.
        workers: Requests answered at once; those that wait for a version, the log or a disk are not among them.
        queue: Requests that may wait beside those; more are refused with RESOURCE_EXHAUSTED.
        tokens: One of which whoever changes a model must have; None: none is needed.
        statuses: What the learners tell of themselves.
        figures: What is counted here, for the page.

    Raises:
        OSError: An address cannot be listened on; the message names it.
    """

    def __init__(
        self,
        places: list[ModelLocation],
        log: Log,
        store: CommandQueue,
        *,
        request_buffer: RequestBuffer | None = None,
        request_log: RequestLog | None = None,
        grpc_address: str,
        http_address: str,
        render: Callable[[], tuple[bytes, str]] = lambda: (b"", "text/plain"),
        observer: ServingObserver | None = None,
        max_message_bytes: int = 64 << 20,
        workers: int = 2,
        queue: int = 1000,
        tokens: Tokens | None = None,
        statuses: Statuses | None = None,
        figures: ServingFigures | None = None,
    ) -> None:
        observer = observer or NoServingObserver()
        most_waiting = max(1, min(MOST_WAITING, queue))  # those who wait count among the requests that may be here
        pool = self._pool = Workers(workers, "grpc", most_waiting + MOST_LOADING)
        seats = Seats(most_waiting, pool.waiting)
        self._models = Models(places, seats, request_buffer=request_buffer, request_log=request_log)
        self._grpc = grpc.server(
            pool,  # type: ignore[arg-type]  # of which gRPC only calls `submit`
            options=[
                ("grpc.so_reuseport", 0),  # a port that another server has is an error, not half of the requests
                ("grpc.max_receive_message_length", max_message_bytes),
                ("grpc.max_send_message_length", max_message_bytes),
            ],
            maximum_concurrent_rpcs=workers + queue,
        )
        self._health = health.HealthServicer()
        self._told_health: dict[str, bool] = {}
        inference = InferenceService(self._models, observer, lambda: pool.queue_seconds)
        learning = LearningService(self._models, log, store, tokens=tokens, statuses=statuses)
        aside = _Aside(_STREAMS)
        blocking = ThreadPoolExecutor(_BLOCKING, "grpc-blocking")
        _prepare(inference, _INFERENCE, observer, aside, blocking)
        _prepare(learning, _LEARNING, observer, aside, blocking)
        self._health.Check = _told(self._health.Check, health.SERVICE_NAME, "Check", observer)  # type: ignore[method-assign]
        self._grpc.add_registered_method_handlers(  # type: ignore[attr-defined]  # newer than the stubs
            _INFERENCE, handlers(inference)
        )
        thalweg_pb2_grpc.add_LearningServiceServicer_to_server(learning, self._grpc)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._grpc)
        _add_reflection(self._grpc, aside)
        try:
            self.grpc_port = self._grpc.add_insecure_port(grpc_address)
        except RuntimeError as error:
            raise OSError(f"cannot listen on {grpc_address} (gRPC): is the port in use?") from error
        page = PageApi(self._models, log, store, statuses, figures, tokens)
        self._http = HttpServer(self._models, http_address, render, observer, max_message_bytes, page)
        self.http_port = self._http.port
        self._stopping = threading.Event()
        self._telling_health = threading.Thread(target=self._tell_health, name="health", daemon=True)

    @property
    def models(self) -> Models:
        """What is served."""
        return self._models

    def start(self) -> None:
        """Answer from now on."""
        self._models.start()
        self._set_health()
        self._grpc.start()
        self._http.start()
        self._telling_health.start()

    def wait_ready(self, timeout_seconds: float) -> bool:
        """Whether every model has a version to answer with, waiting so long."""
        deadline = time.monotonic() + timeout_seconds
        while self._models.reasons():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.005)
        return True

    def drain(self, grace_seconds: float) -> None:
        """Tell everybody that no more is answered, finish what is begun, and stop."""
        self._models.draining = True
        self._set_health()
        self._grpc.stop(grace_seconds).wait()
        self.close()

    def close(self) -> None:
        """Stop at once; may be called twice."""
        self._stopping.set()
        if self._grpc.stop(0).wait(_STOP_SECONDS):  # until then gRPC may still submit
            self._pool.shutdown(wait=False)
        self._http.close()
        self._models.close()

    def _tell_health(self) -> None:
        while not self._stopping.wait(_HEALTH_SECONDS):
            self._set_health()

    def _set_health(self) -> None:
        ready = not self._models.reasons()
        health = {"": ready, _INFERENCE: ready, _LEARNING: ready}
        for model in self._models.all():
            health[model.name] = model.published.current is not None and not self._models.draining
        for name, well in health.items():
            if self._told_health.get(name) is not well:  # whoever watches hears of changes alone
                self._told_health[name] = well
                self._health.set(name, _serving(well))


def _serving(ready: bool) -> int:
    status = health_pb2.HealthCheckResponse
    return int(status.SERVING if ready else status.NOT_SERVING)


def _add_reflection(server: grpc.Server, aside: _Aside) -> None:
    names = (_INFERENCE, _LEARNING, health.SERVICE_NAME, reflection.SERVICE_NAME)
    servicer: Any = reflection.ReflectionServicer(names)
    handler = grpc.stream_stream_rpc_method_handler(
        aside.stream(servicer.ServerReflectionInfo),
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    # version 1 is version 1alpha under another name; newer clients ask for it first
    for service in (reflection.SERVICE_NAME, "grpc.reflection.v1.ServerReflection"):
        server.add_generic_rpc_handlers(
            [grpc.method_handlers_generic_handler(service, {"ServerReflectionInfo": handler})]
        )


class _Aside:
    """Threads for calls that last, so that they never take those of predictions; more of them are refused."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._seats = threading.BoundedSemaphore(most)
        self._pool = ThreadPoolExecutor(2 * most, "grpc-aside")  # more threads than seats: refusing takes one, too

    def stream(self, method: Any) -> Any:
        """The method, whose answers are a stream, on these threads."""

        def call(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
            self._sit_down(context)
            try:
                yield from method(request, context)
            finally:
                self._seats.release()

        call.experimental_thread_pool = self._pool  # type: ignore[attr-defined]  # where gRPC looks for it
        return call

    def unary(self, method: Any) -> Any:
        """The method on these threads."""

        def call(request: Any, context: grpc.ServicerContext) -> Any:
            self._sit_down(context)
            try:
                return method(request, context)
            finally:
                self._seats.release()

        call.experimental_thread_pool = self._pool  # type: ignore[attr-defined]
        return call

    def _sit_down(self, context: grpc.ServicerContext) -> None:
        if not self._seats.acquire(blocking=False):
            refuse(context, QueueFull(f"{self._most} streams or long calls are open already"))


def _prepare(
    servicer: Any, service: str, observer: ServingObserver, aside: _Aside, blocking: ThreadPoolExecutor
) -> None:
    """Set lasting and blocking calls aside; have the observer told of unary ones, but inference, which tells of itself.

    An interceptor would do the second, and cost every prediction.
    """
    for name in [name for name in dir(servicer) if name[0].isupper()]:
        method = getattr(servicer, name)
        if name in _STREAMED:
            setattr(servicer, name, aside.stream(method))
        elif name in _LONG:
            setattr(servicer, name, aside.unary(_told(method, service, name, observer)))
        elif name in _BLOCKED:
            call = _told(method, service, name, observer)
            call.experimental_thread_pool = blocking
            setattr(servicer, name, call)
        elif name != "ModelInfer":
            setattr(servicer, name, _told(method, service, name, observer))


def _told(method: Any, service: str, name: str, observer: ServingObserver) -> Any:
    full = f"/{service}/{name}"

    def call(request: Any, context: Any) -> Any:
        started, code = time.perf_counter(), "UNKNOWN"
        try:
            answer = method(request, context)
            code = "OK"
        finally:
            ended = context.code()
            observer.called(full, code if ended is None else ended.name, time.perf_counter() - started)
        return answer

    return call
