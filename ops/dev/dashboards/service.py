"""The dashboard of the service: traffic, latency, errors, resources."""

from __future__ import annotations

from thalweg.ops.dev.dashboards.parts import Json, Panel, Query, dashboard, figure, lines, states
from thalweg.ops.dev.dashboards.queries import MARKS, MODELS, OF_MODEL, RATE, quantiles, rate_of


def service() -> Json:
    """The dashboard of the service: traffic, latency, errors, resources."""
    failed = f"max by (model_name) (thalweg:inference_requests_failed:ratio_rate5m{{{OF_MODEL}}})"
    full = (
        f'sum by (model_name) (rate(thalweg_inference_requests_total{{{OF_MODEL}, code="RESOURCE_EXHAUSTED"}}[{RATE}]))'
    )
    traffic: list[Panel] = [
        lines(
            "Requests by status",
            "Inference requests by gRPC status code.",
            Query(rate_of("thalweg_inference_requests_total", "code"), "{{code}}"),
            unit="reqps",
            stacked=True,
        ),
        lines(
            "Server errors",
            "Share of requests that failed with a server error.",
            Query(failed, "{{model_name}}"),
            unit="percentunit",
            limit=0.01,
        ),
        lines(
            "Latency",
            "Time to process one request in the server.",
            *quantiles("thalweg_inference_duration_seconds"),
            unit="s",
            limit=0.1,
        ),
        lines(
            "Queue time",
            "Time that a request waits in the queue.",
            *quantiles("thalweg_inference_queue_seconds"),
            unit="s",
        ),
        lines(
            "Rows per request",
            "Rows in one inference request.",
            *quantiles("thalweg_inference_batch_size"),
        ),
        lines(
            "Rejected: queue full",
            "Requests per second rejected with RESOURCE_EXHAUSTED.",
            Query(full, "{{model_name}}"),
            unit="reqps",
        ),
        lines(
            "gRPC calls",
            "Calls per second by method and status code.",
            Query(
                f"sum by (grpc_method, grpc_code) (rate(grpc_server_handled_total[{RATE}]))",
                "{{grpc_method}} {{grpc_code}}",
            ),
            unit="reqps",
        ),
        lines(
            "gRPC latency, p99",
            "99th percentile of the call duration, by method.",
            Query(
                "histogram_quantile(0.99,"
                f" sum by (grpc_method, le) (rate(grpc_server_handling_seconds_bucket[{RATE}])))",
                "{{grpc_method}}",
            ),
            unit="s",
        ),
    ]
    where = "{{instance}} {{role}}"
    machine: list[Panel] = [
        lines(
            "CPU",
            "CPU cores in use. A server near 1 is saturated.",
            Query(f"rate(process_cpu_seconds_total[{RATE}])", where),
            unit="short",
        ),
        lines(
            "Resident memory",
            "Resident memory by process.",
            Query("process_resident_memory_bytes", where),
            unit="bytes",
        ),
        lines("Open files", "Open file descriptors by process.", Query("process_open_fds", where)),
        lines(
            "Restarts",
            "Process restarts in the last 15 minutes.",
            Query("increase(thalweg_process_restarts_total[15m])", where),
        ),
        states(
            "Processes",
            "State of the server and learner processes.",
            Query("1 - thalweg_process_up", where),
            "down",
            "up",
            width=18,
        ),
        states(
            "Components",
            "Parts of the service that wait, are degraded or have failed. /readyz says why.",
            Query(
                'max by (component, model_name) (thalweg_component_state{state=~"waiting|degraded|failed"})',
                "{{component}} {{model_name}}",
            ),
            "not well",
            "well",
        ),
        figure(
            "Release",
            "Version of Thalweg and of Python.",
            Query("thalweg_build_info", "{{version}}, Python {{python}}"),
            width=6,
        ),
    ]
    return dashboard(
        "Service",
        "Traffic, latency, queue, errors and the resources that the processes use.",
        [("Traffic", traffic), ("Processes", machine)],
        [MODELS],
        MARKS[-1:],
    )
