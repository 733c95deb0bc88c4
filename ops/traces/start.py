"""Whether there are traces, by OpenTelemetry's environment variables, and what records them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

import structlog

from thalweg.ops.traces.reasons import without_secrets

if TYPE_CHECKING:
    from thalweg.ops.traces.exporting import ExportedSpans  # its library is an extra

log = structlog.get_logger(__name__)

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_HTTP = "http/protobuf"


def asked_for(environment: Mapping[str, str]) -> bool:
    """Whether traces are asked for: an endpoint is named, or the exporter `otlp`, and nothing switches them off."""
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    exporter = environment.get("OTEL_TRACES_EXPORTER", "").strip().lower()
    return exporter == "otlp" or (not exporter and any(environment.get(name) for name in _ENDPOINTS))


def spans_of(role: str, environment: Mapping[str, str] = os.environ) -> ExportedSpans | None:
    """What records spans in this process; None: there are no traces, and why not is told if they are asked for.

    Called in the process that records them, never before it is forked.
    """
    if not asked_for(environment):
        return None
    protocol = next((found for name in _PROTOCOLS if (found := environment.get(name, "").strip())), _HTTP)
    if protocol != _HTTP:
        log.warning(f"traces are exported as {_HTTP}, not as {protocol!r}: is the endpoint one for HTTP?")
    from thalweg.ops.traces.collector import CollectorUnknown

    try:
        from thalweg.ops.traces.exporting import ExportedSpans

        return ExportedSpans(role, environment)
    except ImportError as error:
        log.warning(
            f"no traces, although OTEL_… asks for them: {error}; install the extra: pip install 'thalweg[otel]'"
        )
        return None
    except CollectorUnknown as error:
        log.warning(f"no traces: {error}")
        return None
    except Exception as error:  # whatever the SDK does not take: the service goes on
        names = ", ".join(sorted(name for name, value in environment.items() if name.startswith("OTEL_") and value))
        why = without_secrets(f"{type(error).__name__}: {error}", environment)
        log.warning(f"no traces: OpenTelemetry cannot be set up by {names}: {why}")
        return None
