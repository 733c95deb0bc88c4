"""The ingest dashboard: lag, throughput, dead letters and labels."""

from __future__ import annotations

from thalweg.ops.dev.dashboards.parts import Json, Panel, Query, dashboard, lines, states
from thalweg.ops.dev.dashboards.queries import MARKS, MODELS, OF_MODEL, quantiles, rate_of


def ingest() -> Json:
    """The ingest dashboard: lag, throughput, dead letters and labels."""
    log: list[Panel] = [
        lines(
            "Lag",
            "Records in the log that are not consumed yet.",
            Query(f"sum by (model_name) (thalweg:lag_records:sum{{{OF_MODEL}}})", "{{model_name}}"),
        ),
        lines(
            "Lag in seconds",
            "Age of the newest consumed event while more records are waiting.",
            Query(f"max by (model_name) (thalweg_lag_seconds{{{OF_MODEL}}})", "{{model_name}}"),
            unit="s",
            limit=60,
        ),
        lines(
            "Lag by partition",
            "If a single partition grows, one key is too frequent.",
            Query('kafka_consumergroup_lag{consumergroup=~"thalweg.$model(.joiner)?"}', "{{topic}}/{{partition}}"),
        ),
        lines(
            "Events",
            "Events consumed from the log, learned, and dropped as duplicates.",
            Query(rate_of("thalweg_events_consumed_total"), "{{model_name}}, consumed"),
            Query(rate_of("thalweg_events_learned_total"), "{{model_name}}, learned"),
            Query(rate_of("thalweg_events_duplicated_total"), "{{model_name}}, duplicated"),
            unit="eps",
        ),
    ]
    bad: list[Panel] = [
        lines(
            "Dead letters by reason",
            "Invalid records, sent to the dead-letter topic.",
            Query(rate_of("thalweg_events_dead_lettered_total", "reason"), "{{reason}}"),
            unit="eps",
            stacked=True,
        ),
        lines(
            "Dead-letter ratio",
            "Dead letters divided by all records consumed.",
            Query(f"max by (model_name) (thalweg:events_dead_lettered:ratio_rate5m{{{OF_MODEL}}})", "{{model_name}}"),
            unit="percentunit",
            limit=0.05,
        ),
        lines(
            "Log gaps",
            "Records that retention deleted before they were read, in the last hour.",
            Query(f"sum by (model_name) (increase(thalweg_log_gap_records_total{{{OF_MODEL}}}[1h]))", "{{model_name}}"),
        ),
        lines(
            "Request buffer and request log",
            "Requests buffered until the label arrives or appended to the log; dropped when the store or log is down.",
            Query(rate_of("thalweg_requests_remembered_total"), "{{model_name}}, buffered"),
            Query(rate_of("thalweg_requests_recorded_total"), "{{model_name}}, appended"),
            Query(rate_of("thalweg_requests_forgotten_total"), "{{model_name}}, dropped from the buffer"),
            Query(rate_of("thalweg_requests_unrecorded_total"), "{{model_name}}, not appended"),
            unit="reqps",
        ),
    ]
    labels: list[Panel] = [
        lines("Label delay", "Time from an event to its label.", *quantiles("thalweg_label_delay_seconds"), unit="s"),
        lines(
            "Late labels",
            "Labels joined with their event, unmatched when they expired, and duplicated.",
            Query(rate_of("thalweg_labels_joined_total"), "{{model_name}}, joined"),
            Query(rate_of("thalweg_labels_unmatched_total"), "{{model_name}}, unmatched"),
            Query(rate_of("thalweg_labels_duplicated_total"), "{{model_name}}, duplicated"),
            unit="eps",
        ),
        states(
            "Label store",
            "Availability of the store of unlabelled events, for the learner and the server.",
            Query(
                f'1 - min by (model_name) ({{__name__=~"thalweg_(join|request)_store_up", {OF_MODEL}}})',
                "{{model_name}}",
            ),
            "down",
            "up",
        ),
    ]
    return dashboard(
        "Ingest",
        "Throughput, lag, dead letters and label delay.",
        [("Log", log), ("Dead letters and dropped requests", bad), ("Labels", labels)],
        [MODELS],
        MARKS[-1:],
    )
