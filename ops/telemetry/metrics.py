"""Metrics for Prometheus: every name in one table, and who counts what.

The learner's process (`learner_metrics`) and the server's (`server_metrics`) have a registry each. A family belongs to
one kind of process, so no family stands twice on the page that shows both.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prometheus_client import Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each counter that no dashboard asks for

_LEARN_BUCKETS = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3)
_SERVE_BUCKETS = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1, 5)
_EFFECT_BUCKETS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 5, 30, 300)
_DELAY_BUCKETS = (0.1, 1, 10, 60, 600, 3600, 21_600, 86_400, 604_800)
_ROWS_BUCKETS = (1, 4, 16, 64, 256, 1024, 4096)
_GRPC = ("grpc_service", "grpc_method")

LEARNER_METRICS: Mapping[str, tuple[type, str, tuple[str, ...], tuple[float, ...]]] = {  # labels after model_name
    "thalweg_events_consumed_total": (Counter, "Events taken from the log and understood", (), ()),
    "thalweg_events_learned_total": (Counter, "Labelled events learned", (), ()),
    "thalweg_events_dead_lettered_total": (Counter, "Records that could not be used", ("reason",), ()),
    "thalweg_events_duplicated_total": (Counter, "Events dropped because their id had been seen", (), ()),
    "thalweg_log_gap_records_total": (Counter, "Records that retention deleted before they were learned", (), ()),
    "thalweg_learn_duration_seconds": (Histogram, "Learning one micro-batch", (), _LEARN_BUCKETS),
    "thalweg_event_to_effect_seconds": (
        Histogram,
        "From an event's time to the first servable version that has learned it",
        (),
        _EFFECT_BUCKETS,
    ),
    "thalweg_published_total": (Counter, "Versions made visible to servers", (), ()),
    "thalweg_publish_duration_seconds": (Histogram, "Making a version visible", (), _LEARN_BUCKETS),
    "thalweg_drift_alarms_total": (
        Counter,
        "Alarms of drift, each counted for the detector that raised it",
        ("detector", "signal"),
        (),
    ),
    "thalweg_drift_actions_total": (Counter, "What alarms of drift asked for, done", ("action",), ()),
    "thalweg_snapshots_total": (Counter, "Snapshots written", (), ()),
    "thalweg_snapshot_failures_total": (Counter, "Snapshots that could not be written", (), ()),
    "thalweg_snapshot_duration_seconds": (Histogram, "Writing one snapshot", (), _LEARN_BUCKETS),
    "thalweg_rollbacks_total": (Counter, "Rollbacks", ("cause",), ()),
    "thalweg_labels_joined_total": (Counter, "Late labels joined with their events", (), ()),
    "thalweg_labels_unmatched_total": (Counter, "Late labels given up: no event of their id is known", (), ()),
    "thalweg_labels_duplicated_total": (Counter, "Late labels of events that had been joined before", (), ()),
    "thalweg_label_delay_seconds": (Histogram, "From an event to its label", (), _DELAY_BUCKETS),
    "thalweg_join_store_up": (Gauge, "Whether the store of waiting events answers the join", (), ()),
}
SERVER_METRICS: Mapping[str, tuple[str, str, tuple[str, ...], tuple[float, ...]]] = {
    "thalweg_inference_requests_total": (
        "counter",
        "Predictions asked for, by gRPC status",
        ("model_name", "code"),
        (),
    ),
    "thalweg_inference_duration_seconds": ("histogram", "Answering one request", ("model_name",), _SERVE_BUCKETS),
    "thalweg_inference_batch_size": ("histogram", "Rows per request", ("model_name",), _ROWS_BUCKETS),
    "thalweg_inference_queue_seconds": (
        "histogram",
        "Waiting of a request for its turn",
        ("model_name",),
        _SERVE_BUCKETS,
    ),
    "grpc_server_started_total": ("counter", "Calls begun, counted as they end", _GRPC, ()),
    "grpc_server_handled_total": ("counter", "Calls ended, by status", (*_GRPC, "grpc_code"), ()),
    "grpc_server_handling_seconds": ("histogram", "Duration of calls", _GRPC, _SERVE_BUCKETS),
}
COLLECTED: Mapping[str, tuple[str, str, tuple[str, ...]]] = {  # made when the page is, with all their labels
    "thalweg_state_bytes": ("gauge", "Size of the learner's state", ("model_name",)),
    "thalweg_prequential": (
        "gauge",
        "Metric of answers graded before they were learned",
        ("model_name", "metric", "window"),
    ),
    "thalweg_prequential_bound": (
        "gauge",
        "Between which values that metric lies with 95 % confidence",
        ("model_name", "metric", "window", "bound"),
    ),
    "thalweg_continual": (
        "gauge",
        "What is still known of the classes, by events held of them",
        ("model_name", "metric"),
    ),
    "thalweg_frozen_prequential": (
        "gauge",
        "The same metric of the model's frozen baseline",
        ("model_name", "metric", "window"),
    ),
    "thalweg_drift_score": (
        "gauge",
        "How near a detector is to an alarm: 1 is one",
        ("model_name", "detector", "signal"),
    ),
    "thalweg_drift_active": ("gauge", "Whether an alarm of drift is open", ("model_name",)),
    "thalweg_drift_feature_distance": (
        "gauge",
        "How far the columns that moved most in the newest alarm of drift have moved, 0 to 1; at most 10",
        ("model_name", "feature"),
    ),
    "thalweg_drift_severity": ("gauge", "Severity of the open alarm of drift, 0 without one", ("model_name",)),
    "thalweg_worst_case_accuracy": ("gauge", "Lowest accuracy that the full recent window ever had", ("model_name",)),
    "thalweg_lag_seconds": (
        "gauge",
        "Age of the newest event taken from the log while more wait in it, 0 when none does",
        ("model_name",),
    ),
    "thalweg_state_version": ("gauge", "Version that answers now", ("model_name",)),
    "thalweg_learned_events": ("gauge", "Events in the version that answers now", ("model_name",)),
    "thalweg_staleness_seconds": (
        "gauge",
        "Age of the newest knowledge in the version that answers now",
        ("model_name",),
    ),
    "thalweg_requests_remembered_total": ("counter", "Requests kept until their label comes", ("model_name",)),
    "thalweg_requests_forgotten_total": (
        "counter",
        "Requests let go: the store was out of reach for too long, or they could not be written",
        ("model_name",),
    ),
    "thalweg_requests_recorded_total": ("counter", "Rows of requests that became events", ("model_name",)),
    "thalweg_requests_unrecorded_total": (
        "counter",
        "Rows of requests let go: the log was out of reach for too long, or they could not be appended",
        ("model_name",),
    ),
    "thalweg_request_store_up": ("gauge", "Whether the store of waiting requests answers the server", ("model_name",)),
    "thalweg_process_up": ("gauge", "Whether the process of this role runs", ("role",)),
    "thalweg_process_restarts_total": ("counter", "Restarts of the process of this role", ("role",)),
    "thalweg_build_info": ("gauge", "Versions of what runs", ("version", "python")),
    "process_cpu_seconds_total": ("counter", "CPU time", ("role",)),
    "process_resident_memory_bytes": ("gauge", "Resident memory", ("role",)),
    "process_open_fds": ("gauge", "Open file descriptors", ("role",)),
    "process_start_time_seconds": ("gauge", "Start of the process, Unix seconds", ("role",)),
    "kafka_consumergroup_lag": (
        "gauge",
        "Records of the log not yet taken, per partition",
        ("consumergroup", "topic", "partition"),
    ),
    "kafka_consumergroup_lag_sum": ("gauge", "Records of the log not yet taken", ("consumergroup", "topic")),
}


def family(kind: str, name: str, text: str, labels: tuple[str, ...]) -> Any:
    """An empty family of samples that are computed when asked."""
    made = {"gauge": GaugeMetricFamily, "counter": CounterMetricFamily, "histogram": HistogramMetricFamily}[kind]
    return made(name, text, labels=labels)


def collected(name: str) -> Any:
    """The empty family of a name of `COLLECTED`."""
    kind, text, labels = COLLECTED[name]
    return family(kind, name, text, labels)
