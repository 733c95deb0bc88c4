"""What callers see, and what it costs."""

from __future__ import annotations

from thalweg.ops.dev.dashboards.parts import Json, Panel, Query, dashboard, figure, lines, states
from thalweg.ops.dev.dashboards.queries import MARKS, MODELS, OF_MODEL, RATE, quantiles, rate_of


def service() -> Json:
    """What callers see, and what it costs."""
    failed = f"max by (model_name) (thalweg:inference_requests_failed:ratio_rate5m{{{OF_MODEL}}})"
    full = (
        f'sum by (model_name) (rate(thalweg_inference_requests_total{{{OF_MODEL}, code="RESOURCE_EXHAUSTED"}}[{RATE}]))'
    )
    asked: list[Panel] = [
        lines(
            "Requests by status",
            "Predictions asked for, by gRPC status.",
            Query(rate_of("thalweg_inference_requests_total", "code"), "{{code}}"),
            unit="reqps",
            stacked=True,
        ),
        lines(
            "Errors of ours",
            "Share of the requests that failed by no fault of the caller.",
            Query(failed, "{{model_name}}"),
            unit="percentunit",
            limit=0.01,
        ),
        lines(
            "Latency",
            "Answering one request, in the server.",
            *quantiles("thalweg_inference_duration_seconds"),
            unit="s",
            limit=0.1,
        ),
        lines(
            "Waiting in the queue",
            "How long a request waits for its turn.",
            *quantiles("thalweg_inference_queue_seconds"),
            unit="s",
        ),
        lines(
            "Rows per request",
            "One call of many rows costs little more than one of one.",
            *quantiles("thalweg_inference_batch_size"),
        ),
        lines(
            "Refused because the queue is full",
            "Requests per second that were told RESOURCE_EXHAUSTED.",
            Query(full, "{{model_name}}"),
            unit="reqps",
        ),
        lines(
            "All calls",
            "Every gRPC method.",
            Query(
                f"sum by (grpc_method, grpc_code) (rate(grpc_server_handled_total[{RATE}]))",
                "{{grpc_method}} {{grpc_code}}",
            ),
            unit="reqps",
        ),
        lines(
            "Slow calls",
            "One call in a hundred takes this long or longer, by method.",
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
            "Cores in use; a server near 1 is at its end.",
            Query(f"rate(process_cpu_seconds_total[{RATE}])", where),
            unit="short",
        ),
        lines("Resident memory", "By process.", Query("process_resident_memory_bytes", where), unit="bytes"),
        lines("Open files", "By process.", Query("process_open_fds", where)),
        lines(
            "Restarts",
            "Of processes, within the last 15 minutes.",
            Query("increase(thalweg_process_restarts_total[15m])", where),
        ),
        states("Processes", "Whether they run.", Query("1 - thalweg_process_up", where), "down", "up", width=18),
        figure(
            "Release", "Version and Python.", Query("thalweg_build_info", "{{version}}, Python {{python}}"), width=6
        ),
    ]
    return dashboard(
        "Service",
        "What callers see: latency, queue, errors; and what the processes use.",
        [("Asked", asked), ("Processes", machine)],
        [MODELS],
        MARKS[-1:],
    )
