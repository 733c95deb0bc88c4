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
# v1 is v1alpha under another name; newer clients try it first
_REFLECTION = (reflection.SERVICE_NAME, "grpc.reflection.v1.ServerReflection")
_REFLECTION_METHOD = Method(
    "ServerReflectionInfo",
    reflection_pb2.ServerReflectionRequest,
    reflection_pb2.ServerReflectionResponse,
    streams="both",
    threads="long",
)


class Health(health.HealthServicer):
    """Health by name; watchers of a name are notified only of changes."""

    def __init__(self, observer: ServingObserver) -> None:
        super().__init__()
        self._check = observed(super().Check, f"/{SERVICE}/Check", observer)
        self._last: dict[str, bool] = {}

    def Check(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802 - the protocol's name
        return self._check(request, context)

    def update(self, serving: dict[str, bool]) -> None:
        """Set the status of each name. Called by one thread at a time."""
        status = health_pb2.HealthCheckResponse
        for name, well in serving.items():
            if self._last.get(name) is not well:
                self._last[name] = well
                self.set(name, status.SERVING if well else status.NOT_SERVING)

    def register(self, server: grpc.Server) -> None:
        """Add the health service to this server."""
        health_pb2_grpc.add_HealthServicer_to_server(self, server)


def add_reflection(server: grpc.Server, names: list[str], observer: ServingObserver, threads: CallThreads) -> None:
    """Add the reflection service, for the schema of these services and its own."""
    servicer = reflection.ReflectionServicer([*names, reflection.SERVICE_NAME])
    for service in _REFLECTION:
        calls = handlers(service, servicer, [_REFLECTION_METHOD], observer, threads)
        server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(service, calls)])
