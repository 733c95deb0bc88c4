"""What comes in, and what becomes of it."""

from __future__ import annotations

from thalweg.ops.dev.dashboards.parts import Json, Panel, Query, dashboard, lines, states
from thalweg.ops.dev.dashboards.queries import MARKS, MODELS, OF_MODEL, quantiles, rate_of


def ingest() -> Json:
    """What comes in, and what becomes of it."""
    log: list[Panel] = [
        lines(
            "Lag",
            "Records that wait in the log.",
            Query(f"sum by (model_name) (thalweg:lag_records:sum{{{OF_MODEL}}})", "{{model_name}}"),
        ),
        lines(
            "Lag in seconds",
            "Age of the newest event taken, while more wait.",
            Query(f"max by (model_name) (thalweg_lag_seconds{{{OF_MODEL}}})", "{{model_name}}"),
            unit="s",
            limit=60,
        ),
        lines(
            "Lag by partition",
            "One that grows alone: its key is too frequent.",
            Query('kafka_consumergroup_lag{consumergroup=~"thalweg.$model"}', "{{topic}}/{{partition}}"),
        ),
        lines(
            "Events",
            "What becomes of what is taken from the log.",
            Query(rate_of("thalweg_events_consumed_total"), "{{model_name}}, taken"),
            Query(rate_of("thalweg_events_learned_total"), "{{model_name}}, learned"),
            Query(rate_of("thalweg_events_duplicated_total"), "{{model_name}}, seen before"),
            unit="eps",
        ),
    ]
    bad: list[Panel] = [
        lines(
            "Dead letters by reason",
            "Records that could not be used.",
            Query(rate_of("thalweg_events_dead_lettered_total", "reason"), "{{reason}}"),
            unit="eps",
            stacked=True,
        ),
        lines(
            "Share of dead letters",
            "Of what is taken.",
            Query(f"max by (model_name) (thalweg:events_dead_lettered:ratio_rate5m{{{OF_MODEL}}})", "{{model_name}}"),
            unit="percentunit",
            limit=0.05,
        ),
        lines(
            "Gaps",
            "Records that retention deleted before they were learned, within an hour.",
            Query(f"sum by (model_name) (increase(thalweg_log_gap_records_total{{{OF_MODEL}}}[1h]))", "{{model_name}}"),
        ),
        lines(
            "Requests to learn from",
            "Kept until their label comes, or made into events; let go when store or log were out of reach.",
            Query(rate_of("thalweg_requests_remembered_total"), "{{model_name}}, kept"),
            Query(rate_of("thalweg_requests_recorded_total"), "{{model_name}}, made into events"),
            Query(rate_of("thalweg_requests_forgotten_total"), "{{model_name}}, let go"),
            Query(rate_of("thalweg_requests_unrecorded_total"), "{{model_name}}, not made into events"),
            unit="reqps",
        ),
    ]
    labels: list[Panel] = [
        lines("Label delay", "From an event to its label.", *quantiles("thalweg_label_delay_seconds"), unit="s"),
        lines(
            "Late labels",
            "Joined with their event; without one within its time; of an event that had one.",
            Query(rate_of("thalweg_labels_joined_total"), "{{model_name}}, joined"),
            Query(rate_of("thalweg_labels_unmatched_total"), "{{model_name}}, unmatched"),
            Query(rate_of("thalweg_labels_duplicated_total"), "{{model_name}}, again"),
            unit="eps",
        ),
        states(
            "Store",
            "Whether the store of waiting events answers learner and server.",
            Query(
                f'1 - min by (model_name) ({{__name__=~"thalweg_(join|request)_store_up", {OF_MODEL}}})',
                "{{model_name}}",
            ),
            "out of reach",
            "answers",
        ),
    ]
    return dashboard(
        "Ingest",
        "What comes in, how far behind the models are, what could not be used, and when labels come.",
        [("Log", log), ("Bad records, lost requests", bad), ("Labels", labels)],
        [MODELS],
        MARKS[-1:],
    )
