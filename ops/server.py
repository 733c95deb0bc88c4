"""The server: gRPC and HTTP over the published versions, in a process that no learner shares."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2

from thalweg.memory.store import Store
from thalweg.ops.grpc_inference import InferenceService
from thalweg.ops.grpc_learning import LearningService
from thalweg.ops.http_api import HttpServer
from thalweg.ops.serving import ModelPlace, Models, NoServingObserver, ServingObserver
from thalweg.proto import inference_pb2_grpc, thalweg_pb2_grpc
from thalweg.stream.log import Log

_INFERENCE = "inference.GRPCInferenceService"
_LEARNING = "thalweg.v1.LearningService"
_HEALTH_SECONDS = 0.05  # between two looks at what is ready


class Server:
    """Answers predictions, takes events, tells its health.

    Args:
        places: The models to serve.
        log: Where `Learn` appends.
        store: Where learners are asked.
        grpc_address: `HOST:PORT`; port 0 takes a free one.
        http_address: Likewise.
        render: The metrics page.
        observer: Told of every request.
        max_message_bytes: Larger requests are refused.
        workers: Requests answered at once.
        queue: Requests that may wait beside those; more are refused with RESOURCE_EXHAUSTED.

    Raises:
        OSError: An address cannot be listened on; the message names it.
    """

    def __init__(
        self,
        places: list[ModelPlace],
        log: Log,
        store: Store,
        *,
        grpc_address: str,
        http_address: str,
        render: Callable[[], tuple[bytes, str]] = lambda: (b"", "text/plain"),
        observer: ServingObserver | None = None,
        max_message_bytes: int = 64 << 20,
        workers: int = 16,
        queue: int = 1000,
    ) -> None:
        observer = observer or NoServingObserver()
        self._models = Models(places)
        self._grpc = grpc.server(
            ThreadPoolExecutor(workers, thread_name_prefix="grpc"),
            options=[
                ("grpc.so_reuseport", 0),  # a port that another server has is an error, not half of the requests
                ("grpc.max_receive_message_length", max_message_bytes),
                ("grpc.max_send_message_length", max_message_bytes),
            ],
            maximum_concurrent_rpcs=workers + queue,
            interceptors=[_Telling(observer)],
        )
        self._health = health.HealthServicer()
        inference_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(
            InferenceService(self._models, observer), self._grpc
        )
        thalweg_pb2_grpc.add_LearningServiceServicer_to_server(LearningService(self._models, log, store), self._grpc)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._grpc)
        _add_reflection(self._grpc)
        try:
            self.grpc_port = self._grpc.add_insecure_port(grpc_address)
        except RuntimeError as error:
            raise OSError(f"cannot listen on {grpc_address} (gRPC): is the port in use?") from error
        self._http = HttpServer(self._models, http_address, render, observer, max_message_bytes)
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
        self._grpc.stop(0)
        self._http.close()
        self._models.close()

    def _tell_health(self) -> None:
        while not self._stopping.wait(_HEALTH_SECONDS):
            self._set_health()

    def _set_health(self) -> None:
        ready = not self._models.reasons()
        self._health.set("", _serving(ready))
        for service in (_INFERENCE, _LEARNING):
            self._health.set(service, _serving(ready))
        for model in self._models.all():
            self._health.set(model.name, _serving(model.published.current is not None and not self._models.draining))


def _serving(ready: bool) -> int:
    status = health_pb2.HealthCheckResponse
    return int(status.SERVING if ready else status.NOT_SERVING)


def _add_reflection(server: grpc.Server) -> None:
    names = (_INFERENCE, _LEARNING, health.SERVICE_NAME, reflection.SERVICE_NAME)
    reflection.enable_server_reflection(names, server)
    servicer: Any = reflection.ReflectionServicer(names)
    handler = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    # version 1 is version 1alpha under another name; newer clients ask for it first
    server.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler("grpc.reflection.v1.ServerReflection", {"ServerReflectionInfo": handler})]
    )


class _Telling(grpc.ServerInterceptor):  # type: ignore[type-arg]  # generic for the checker only
    """Tells the observer of every unary call but inference, which tells it itself."""

    def __init__(self, observer: ServingObserver) -> None:
        self._observer = observer

    def intercept_service(self, continuation: Any, details: Any) -> Any:
        handler = continuation(details)
        method = details.method
        if handler is None or handler.unary_unary is None or method.endswith("/ModelInfer"):
            return handler
        inner = handler.unary_unary

        def told(request: Any, context: Any) -> Any:
            started, code = time.perf_counter(), "OK"
            try:
                return inner(request, context)
            except Exception:
                code = context.code().name if context.code() is not None else "UNKNOWN"
                raise
            finally:
                self._observer.called(method, code, time.perf_counter() - started)

        return grpc.unary_unary_rpc_method_handler(told, handler.request_deserializer, handler.response_serializer)
