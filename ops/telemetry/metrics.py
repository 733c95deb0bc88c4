"""Prometheus metrics: one table of all names.

The learner process (`learner_metrics`) and the server process (`server_metrics`) have a registry each. A family
belongs to one kind of process, so no family appears twice on the page that shows both.
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
_FRESHNESS_BUCKETS = (0.002, 0.005, 0.01, 0.015, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 5, 30, 300, 3600)
_DELAY_BUCKETS = (0.1, 1, 10, 60, 600, 3600, 21_600, 86_400, 604_800)
_ROWS_BUCKETS = (1, 4, 16, 64, 256, 1024, 4096)
_GRPC = ("grpc_service", "grpc_method")

LEARNER_METRICS: Mapping[str, tuple[type, str, tuple[str, ...], tuple[float, ...]]] = {  # labels after model_name
    "thalweg_events_consumed_total": (Counter, "Events consumed from the log", (), ()),
    "thalweg_events_learned_total": (Counter, "Labelled events learned", (), ()),
    "thalweg_events_dead_lettered_total": (Counter, "Invalid records sent to the dead-letter topic", ("reason",), ()),
    "thalweg_quarantined_events_total": (Counter, "Events left out because they cannot be learned", ("reason",), ()),
    "thalweg_events_duplicated_total": (Counter, "Events dropped as duplicates of an id seen before", (), ()),
    "thalweg_tombstones_total": (Counter, "Records without a value: their key was deleted", (), ()),
    "thalweg_log_gap_records_total": (
        Counter,
        "Records that were not read: deleted by retention before that, damaged, or in a topic that was created again",
        (),
        (),
    ),
    "thalweg_log_replaced_total": (
        Counter,
        "Topics found deleted and created again, or as an older copy of what was read",
        (),
        (),
    ),
    "thalweg_learn_duration_seconds": (Histogram, "Duration of learning one micro-batch", (), _LEARN_BUCKETS),
    "thalweg_event_to_effect_seconds": (
        Histogram,
        "Time from an event to the first published version that learned it",
        (),
        _EFFECT_BUCKETS,
    ),
    "thalweg_append_times_replaced_total": (
        Counter,
        "Records whose time cannot be that of their append, and is not used for freshness",
        (),
        (),
    ),
    "thalweg_published_total": (Counter, "Versions published to servers", (), ()),
    "thalweg_publish_duration_seconds": (Histogram, "Duration of publishing a version", (), _LEARN_BUCKETS),
    "thalweg_drift_alarms_total": (
        Counter,
        "Drift alarms raised, by the detector that raised them",
        ("detector", "signal"),
        (),
    ),
    "thalweg_drift_actions_total": (Counter, "Actions taken on drift alarms", ("action",), ()),
    "thalweg_snapshots_total": (Counter, "Snapshots written", (), ()),
    "thalweg_snapshot_failures_total": (Counter, "Snapshots that failed", (), ()),
    "thalweg_snapshot_duration_seconds": (Histogram, "Duration of writing one snapshot", (), _LEARN_BUCKETS),
    "thalweg_rollbacks_total": (Counter, "Rollbacks to an older version", ("cause",), ()),
    "thalweg_labels_joined_total": (Counter, "Late labels joined with their events", (), ()),
    "thalweg_labels_unmatched_total": (Counter, "Late labels that expired without a matching event", (), ()),
    "thalweg_labels_duplicated_total": (Counter, "Late labels dropped as duplicates", (), ()),
    "thalweg_label_delay_seconds": (Histogram, "Time from an event to its label", (), _DELAY_BUCKETS),
    "thalweg_join_store_up": (Gauge, "1 if the store of unlabelled events is available to the learner, else 0", (), ()),
}
SERVER_METRICS: Mapping[str, tuple[str, str, tuple[str, ...], tuple[float, ...]]] = {
    "thalweg_inference_requests_total": (
        "counter",
        "Inference requests, by gRPC status code",
        ("model_name", "code"),
        (),
    ),
    "thalweg_inference_duration_seconds": (
        "histogram",
        "Duration of one inference request",
        ("model_name",),
        _SERVE_BUCKETS,
    ),
    "thalweg_inference_batch_size": ("histogram", "Rows per request", ("model_name",), _ROWS_BUCKETS),
    "thalweg_inference_queue_seconds": (
        "histogram",
        "Time that a request waits in the queue",
        ("model_name",),
        _SERVE_BUCKETS,
    ),
    "thalweg_requests_refused_total": (
        "counter",
        "Requests, calls and connections refused or ended early, by reason",
        ("reason",),
        (),
    ),
    "thalweg_alias_shadow_requests_total": (
        "counter",
        "Shadow copies of requests to an alias, by what became of them: `agreed`, `differed`, `answered`, `failed`, "
        "`unready`, `shed`",
        ("alias", "model_name", "outcome"),
        (),
    ),
    "thalweg_alias_shadow_duration_seconds": (
        "histogram",
        "Duration of a challenger's answer to a shadow copy",
        ("alias", "model_name"),
        _SERVE_BUCKETS,
    ),
    "thalweg_freshness_seconds": (
        "histogram",
        "Time from the append of a record to the first version in use that has learned it",
        ("model_name",),
        _FRESHNESS_BUCKETS,
    ),
    "thalweg_freshness_missed_total": (
        "counter",
        "Records for which that took longer than the freshness objective allows",
        ("model_name",),
        (),
    ),
    "grpc_server_started_total": ("counter", "Calls started, counted when they complete", _GRPC, ()),
    "grpc_server_handled_total": ("counter", "Calls completed, by status code", (*_GRPC, "grpc_code"), ()),
    "grpc_server_handling_seconds": ("histogram", "Duration of calls", _GRPC, _SERVE_BUCKETS),
}
COLLECTED: Mapping[str, tuple[str, str, tuple[str, ...]]] = {  # computed on each scrape, with all labels
    "thalweg_state_bytes": ("gauge", "Size of the learner's state", ("model_name",)),
    "thalweg_prequential": (
        "gauge",
        "Prequential metric: predictions are graded before their events are learned",
        ("model_name", "metric", "window"),
    ),
    "thalweg_prequential_bound": (
        "gauge",
        "Bounds of the 95 % confidence interval of that metric",
        ("model_name", "metric", "window", "bound"),
    ),
    "thalweg_continual": (
        "gauge",
        "Continual evaluation on held-out events of each class",
        ("model_name", "metric"),
    ),
    "thalweg_frozen_prequential": (
        "gauge",
        "Prequential metric of the frozen baseline",
        ("model_name", "metric", "window"),
    ),
    "thalweg_control_prequential": (
        "gauge",
        "Prequential metric of a naive control, which predicts from labels alone",
        ("model_name", "control", "metric", "window"),
    ),
    "thalweg_unanswered_events": (
        "gauge",
        "Labelled events that got no answer because the model had learned too little; they are in no other figure",
        ("model_name",),
    ),
    "thalweg_left_out_events": (
        "gauge",
        "Events that metrics over all events leave out: of another order of magnitude, or of a very rare class",
        ("model_name",),
    ),
    "thalweg_micro_batch_events": (
        "gauge",
        "Events per micro-batch of the newest block: so late at most the model knows a label",
        ("model_name",),
    ),
    "thalweg_quality_floor": ("gauge", "The configured quality floor", ("model_name", "metric")),
    "thalweg_quality_floor_breached": (
        "gauge",
        "1 while recent quality is worse than the floor, else 0; absent without a floor, or while unknown",
        ("model_name",),
    ),
    "thalweg_drift_quality": (
        "gauge",
        "Main metric before the last drift, and now",
        ("model_name", "metric", "moment"),
    ),
    "thalweg_drift_unrecovered": (
        "gauge",
        "1 while quality is below its level before the last drift, else 0; absent while unknown",
        ("model_name",),
    ),
    "thalweg_drift_score": (
        "gauge",
        "Detector score relative to its alarm threshold; 1 raises an alarm. Of `confidence` and "
        "`predictions` only while labels are missing",
        ("model_name", "detector", "signal"),
    ),
    "thalweg_drift_active": ("gauge", "1 while a drift alarm is active, else 0", ("model_name",)),
    "thalweg_drift_feature_distance": (
        "gauge",
        "Drift distance of the columns that drifted most, at the newest alarm, 0 to 1; at most 10",
        ("model_name", "feature"),
    ),
    "thalweg_drift_severity": ("gauge", "Severity of the active drift alarm, 0 without one", ("model_name",)),
    "thalweg_worst_case_accuracy": ("gauge", "Lowest accuracy of the full recent window so far", ("model_name",)),
    "thalweg_lag_seconds": (
        "gauge",
        "Age of the newest consumed event while more records are waiting, else 0",
        ("model_name",),
    ),
    "thalweg_promotions_total": ("counter", "Promotions to champion of an alias, those back included", ("alias",)),
    "thalweg_alias_champion": (
        "gauge",
        "1 for the model that answers under the alias, 0 for its challengers",
        ("alias", "model_name"),
    ),
    "thalweg_alias_evidence": (
        "gauge",
        "Evidence that the challenger is better, on a scale of logarithms: 0 is none, 1 promotes it",
        ("alias", "model_name"),
    ),
    "thalweg_alias_loss_difference": (
        "gauge",
        "Mean loss of the champion less that of the challenger, in the challenger's present test",
        ("alias", "model_name"),
    ),
    "thalweg_alias_compared_events": (
        "gauge",
        "Events on which the challenger was compared with the present champion",
        ("alias", "model_name"),
    ),
    "thalweg_alias_waiting": ("gauge", "1 while a comparison waits for a challenger, else 0", ("alias",)),
    "thalweg_model_ready": ("gauge", "1 while the model answers requests, else 0", ("model_name",)),
    "thalweg_labels_needed": (
        "gauge",
        "1 for a model that learns from labels alone, 0 for one that adapts to its traffic",
        ("model_name",),
    ),
    "thalweg_state_version": ("gauge", "Version in use", ("model_name",)),
    "thalweg_learned_events": ("gauge", "Labelled events learned by the version in use", ("model_name",)),
    "thalweg_staleness_seconds": (
        "gauge",
        "Time since the version in use was known to be up to date with the log",
        ("model_name",),
    ),
    "thalweg_freshness_objective": (
        "gauge",
        "Share of the records that must be visible in time; absent where nothing is promised",
        ("model_name",),
    ),
    "thalweg_freshness_objective_seconds": ("gauge", "The longest time in time, in seconds", ("model_name",)),
    "thalweg_freshness_budget_remaining": (
        "gauge",
        "Share of the error budget that is left in the window of the freshness objective; below 0: overspent",
        ("model_name",),
    ),
    "thalweg_requests_remembered_total": ("counter", "Requests buffered until their label arrives", ("model_name",)),
    "thalweg_requests_forgotten_total": (
        "counter",
        "Requests dropped: the store was unavailable for too long, or they could not be written",
        ("model_name",),
    ),
    "thalweg_requests_recorded_total": ("counter", "Rows of requests appended to the log as events", ("model_name",)),
    "thalweg_requests_unrecorded_total": (
        "counter",
        "Rows of requests dropped: the log was unavailable for too long, or they could not be appended",
        ("model_name",),
    ),
    "thalweg_interface_load": (
        "gauge",
        "What callers hold now: HTTP connections, bytes of HTTP requests, gRPC calls whose request has not arrived",
        ("kind",),
    ),
    "thalweg_request_store_up": (
        "gauge",
        "1 if the store of buffered requests is available to the server, else 0",
        ("model_name",),
    ),
    "thalweg_component_state": (
        "gauge",
        "1 for the state that the component is in, else 0; without model_name: of the whole process",
        ("component", "model_name", "state"),
    ),
    "thalweg_standby_behind_seconds": (
        "gauge",
        "For how long the object store has had something of another host's shard that is not followed yet; absent "
        "while nothing of it is in memory",
        ("model_name",),
    ),
    "thalweg_component_restarts_total": (
        "counter",
        "Restarts of a component that ended unexpectedly",
        ("component", "model_name"),
    ),
    "thalweg_log_up": ("gauge", "1 if the server can reach the log, or a part of its partitions, else 0", ()),
    "thalweg_process_up": ("gauge", "1 if the process of this role is running, else 0", ("role",)),
    "thalweg_learner_process_up": (
        "gauge",
        "1 if the learner process that has the model is running, else 0",
        ("model_name",),
    ),
    "thalweg_process_restarts_total": ("counter", "Restarts of the process of this role", ("role",)),
    "thalweg_build_info": ("gauge", "Version of Thalweg and of Python", ("version", "python")),
    "process_cpu_seconds_total": ("counter", "CPU time in seconds", ("role",)),
    "process_resident_memory_bytes": ("gauge", "Resident memory", ("role",)),
    "process_open_fds": ("gauge", "Open file descriptors", ("role",)),
    "process_start_time_seconds": ("gauge", "Start time of the process, in Unix seconds", ("role",)),
    "kafka_consumergroup_lag": (
        "gauge",
        "Records of the log not yet consumed, per partition; late labels: consumer group `thalweg.<model>.joiner`",
        ("consumergroup", "topic", "partition"),
    ),
    "kafka_consumergroup_lag_sum": ("gauge", "Records of the log not yet consumed", ("consumergroup", "topic")),
}


def family(kind: str, name: str, text: str, labels: tuple[str, ...]) -> Any:
    """An empty family for samples that are computed on each scrape."""
    made = {"gauge": GaugeMetricFamily, "counter": CounterMetricFamily, "histogram": HistogramMetricFamily}[kind]
    return made(name, text, labels=labels)


def collected(name: str) -> Any:
    """The empty family of a name in `COLLECTED`."""
    kind, text, labels = COLLECTED[name]
    return family(kind, name, text, labels)
