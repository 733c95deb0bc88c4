"""The port for health and metrics alone, in plain text: for probes and scrapes, which have no certificate and no token.

With mutual TLS Kubernetes' probes, which have no certificate, could only ask whether somebody listens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from starlette.applications import Starlette
from starlette.routing import Route

from thalweg.ops.serve.access.access import Access, AccessSettings
from thalweg.ops.serve.http_api.guarded import guarded
from thalweg.ops.serve.http_api.routes import HANDLERS
from thalweg.ops.serve.http_api.server import HttpServer
from thalweg.ops.serve.settings import ServerLimits

_CONNECTIONS = 100


def plain_server(
    routes: Sequence[Route],
    address: str,
    limits: ServerLimits,
    hosts: Iterable[str],
    refused: Callable[[str], None],
) -> HttpServer | None:
    """A server of these routes for everyone who reaches it; None without an address.

    Args:
        routes: Of health and metrics.
        address: `service.health`; empty: there is none.
        limits: Bounds on requests; connections are fewer.
        hosts: Names that requests may have it by, as on the other port.
        refused: Called with the reason of each connection that is closed early.

    Raises:
        OSError: The address cannot be listened on; the message names it.
    """
    if not address:
        return None
    few = min(_CONNECTIONS, limits.connections)
    own = replace(limits, connections=few, connections_per_address=min(few, limits.connections_per_address))
    access = Access(None, AccessSettings(hosts=hosts))
    application = Starlette(routes=guarded(routes, access, failed=HANDLERS[Exception]), exception_handlers=HANDLERS)
    return HttpServer(application, address, own, refused, key="service.health")
