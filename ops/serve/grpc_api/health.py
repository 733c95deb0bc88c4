"""gRPC health and reflection."""

from __future__ import annotations

from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2
from grpc_reflection.v1alpha import reflection, reflection_pb2

from thalweg.ops.serve.access.access import Access
from thalweg.ops.serve.grpc_api.gates import Gates
from thalweg.ops.serve.grpc_api.methods import Method, handlers
from thalweg.ops.serve.telemetry import ServingObserver

SERVICE: str = health.SERVICE_NAME
# v1 is v1alpha under another name; newer clients try it first
_REFLECTION = (reflection.SERVICE_NAME, "grpc.reflection.v1.ServerReflection")
_REFLECTION_METHOD = Method(
    "ServerReflectionInfo",
    reflection_pb2.ServerReflectionRequest,
    reflection_pb2.ServerReflectionResponse,
    streams="both",
)
_HEALTH_METHODS = (
    Method("Check", health_pb2.HealthCheckRequest, health_pb2.HealthCheckResponse),
    Method("Watch", health_pb2.HealthCheckRequest, health_pb2.HealthCheckResponse, streams="answers"),
)


class Health(health.HealthServicer):
    """Health by name; watchers of a name are notified only of changes."""

    def __init__(self) -> None:
        super().__init__(experimental_non_blocking=False)
        self._last: dict[str, bool] = {}

    def update(self, serving: dict[str, bool]) -> None:
        """Set the status of each name. Called by one thread at a time."""
        status = health_pb2.HealthCheckResponse
        for name, well in serving.items():
            if self._last.get(name) is not well:
                self._last[name] = well
                self.set(name, status.SERVING if well else status.NOT_SERVING)

    def register(self, server: grpc.Server, observer: ServingObserver, gates: Gates, access: Access) -> None:
        """Add the health service to this server."""
        add_methods(server, SERVICE, handlers(SERVICE, self, _HEALTH_METHODS, observer, gates, access))


def add_methods(server: grpc.Server, service: str, methods: dict[str, grpc.RpcMethodHandler[Any, Any]]) -> None:
    """Add a service's methods; each has a queue of its own in gRPC, so that no method waits behind another."""
    server.add_registered_method_handlers(service, methods)  # type: ignore[attr-defined]  # newer than the stubs


def add_reflection(
    server: grpc.Server, names: list[str], observer: ServingObserver, gates: Gates, access: Access
) -> None:
    """Add the reflection service, for the schema of these services and its own."""
    servicer = reflection.ReflectionServicer([*names, reflection.SERVICE_NAME])
    for service in _REFLECTION:
        add_methods(server, service, handlers(service, servicer, [_REFLECTION_METHOD], observer, gates, access))
