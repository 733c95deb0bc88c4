"""gRPC health and reflection."""

from __future__ import annotations

from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2

from thalweg.ops.serve.grpc_api.methods import Method, handlers, observed
from thalweg.ops.serve.grpc_api.threads import CallThreads
from thalweg.ops.serve.telemetry import ServingObserver

SERVICE: str = health.SERVICE_NAME
# version 1 is version 1alpha under another name; newer clients ask for it first
_REFLECTION = (reflection.SERVICE_NAME, "grpc.reflection.v1.ServerReflection")
_REFLECTION_METHOD = Method(
    "ServerReflectionInfo",
    reflection_pb2.ServerReflectionRequest,
    reflection_pb2.ServerReflectionResponse,
    streams="both",
    threads="long",
)


class Health(health.HealthServicer):
    """Health by name; whoever watches a name hears of changes alone."""

    def __init__(self, observer: ServingObserver) -> None:
        super().__init__()
        self._check = observed(super().Check, f"/{SERVICE}/Check", observer)
        self._last: dict[str, bool] = {}

    def Check(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802 - the protocol's name
        return self._check(request, context)

    def update(self, serving: dict[str, bool]) -> None:
        """What serves now, by name. Called by one thread at a time."""
        status = health_pb2.HealthCheckResponse
        for name, well in serving.items():
            if self._last.get(name) is not well:
                self._last[name] = well
                self.set(name, status.SERVING if well else status.NOT_SERVING)

    def register(self, server: grpc.Server) -> None:
        """Answer health calls on this server."""
        health_pb2_grpc.add_HealthServicer_to_server(self, server)


def add_reflection(server: grpc.Server, names: list[str], observer: ServingObserver, threads: CallThreads) -> None:
    """Answer questions for the schema of these services, and of reflection itself."""
    servicer = reflection.ReflectionServicer([*names, reflection.SERVICE_NAME])
    for service in _REFLECTION:
        calls = handlers(service, servicer, [_REFLECTION_METHOD], observer, threads)
        server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(service, calls)])
