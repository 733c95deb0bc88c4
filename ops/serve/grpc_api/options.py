"""Options of the gRPC server: bounds on connections, calls that wait inside gRPC, metadata and messages."""

from __future__ import annotations

from thalweg.ops.serve.bounds.descriptors import connections_allowed
from thalweg.ops.serve.settings import ServerLimits

_MOST_PENDING = 1000  # calls of one method that gRPC has received and not yet handed over; it cancels further ones
_HANDSHAKE_MS = 5000  # a connection that says nothing is closed; until then it counts as one of those allowed
_METADATA_BYTES = 16 << 10
_IDLE_MS = 120_000  # a connection without calls is closed; clients connect again when they need to
_LONGEST_MS = (1 << 31) - 1  # gRPC's "never"


def options_of(limits: ServerLimits) -> list[tuple[str, int]]:
    """The options for these limits."""
    return [
        # a port in use is an error, instead of sharing its requests, unless it is to be shared
        ("grpc.so_reuseport", int(limits.servers > 1)),
        ("grpc.max_receive_message_length", limits.max_message_bytes),
        ("grpc.max_send_message_length", limits.max_message_bytes),
        ("grpc.max_allowed_incoming_connections", connections_allowed(limits.connections)),
        ("grpc.max_concurrent_streams", limits.streams_per_connection),
        ("grpc.server.max_pending_requests", _MOST_PENDING),
        ("grpc.server.max_pending_requests_hard_limit", 2 * _MOST_PENDING),
        ("grpc.server_handshake_timeout_ms", _HANDSHAKE_MS),
        ("grpc.max_metadata_size", _METADATA_BYTES),
        ("grpc.absolute_max_metadata_size", 2 * _METADATA_BYTES),
        ("grpc.max_connection_idle_ms", _IDLE_MS),
        ("grpc.keepalive_time_ms", _ms(limits.keepalive_seconds)),
        ("grpc.keepalive_timeout_ms", _ms(limits.keepalive_timeout_seconds)),
        ("grpc.keepalive_permit_without_calls", 1),  # else a ping without a call is counted as one too many
        ("grpc.http2.min_ping_interval_without_data_ms", _ms(limits.ping_seconds)),
        ("grpc.max_connection_age_ms", _ms(limits.connection_age_seconds) or _LONGEST_MS),
    ]


def _ms(seconds: float) -> int:
    return min(_LONGEST_MS, round(seconds * 1e3))
