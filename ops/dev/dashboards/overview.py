"""The dashboard of all models: health, lag, quality, drift."""

from __future__ import annotations

from thalweg.ops.dev.dashboards.parts import Json, Panel, Query, dashboard, figure, lines, states, table
from thalweg.ops.dev.dashboards.queries import MARKS, MODELS, OF_MODEL, rate_of


def overview() -> Json:
    """The dashboard of all models: health, lag, quality, drift."""
    now: list[Panel] = [
        figure("Instances", "Instances that Prometheus can scrape.", Query('sum(up{job="thalweg"})', "up"), good=1),
        figure(
            "Processes down",
            "Server and learner processes that are down.",
            Query("sum(1 - thalweg_process_up)", "down"),
            bad=1,
        ),
        figure(
            "Models", "Models that are served.", Query("count(count by (model_name) (thalweg_learned_events))"), good=1
        ),
        figure(
            "Maximum staleness",
            "Staleness of the stalest model.",
            Query("max(thalweg_staleness_seconds)"),
            unit="s",
            bad=300,
        ),
        figure("Drifting", "Models with a firing drift alarm.", Query("sum(thalweg_drift_active)"), bad=1),
        figure(
            "Alerts",
            "Firing Thalweg alerts.",
            Query('count(ALERTS{alertstate="firing", alertname=~"Thalweg.*"}) or vector(0)'),
            bad=1,
        ),
    ]
    models = table(
        "All models",
        "One row per model. Gain over frozen baseline: recent accuracy minus that of the frozen baseline, for "
        "models with an accuracy.",
        [
            ("Events learned", f"sum by (model_name) (thalweg_learned_events{{{OF_MODEL}}})", "short"),
            ("Consumed", f"sum by (model_name) (thalweg:events_taken:rate5m{{{OF_MODEL}}})", "eps"),
            ("Lag", f"sum by (model_name) (thalweg:lag_records:sum{{{OF_MODEL}}})", "short"),
            ("Lag in seconds", f"max by (model_name) (thalweg_lag_seconds{{{OF_MODEL}}})", "s"),
            ("Staleness", f"max by (model_name) (thalweg_staleness_seconds{{{OF_MODEL}}})", "s"),
            (
                "Gain over frozen baseline",
                f"max by (model_name) (thalweg:value_of_learning:recent_accuracy{{{OF_MODEL}}})",
                "percentunit",
            ),
            ("Drift firing", f"max by (model_name) (thalweg_drift_active{{{OF_MODEL}}})", "short"),
            ("State size", f"max by (model_name) (thalweg_state_bytes{{{OF_MODEL}}})", "bytes"),
        ],
        "model_name",
    )
    drift = states(
        "Drift alarms",
        "Times at which a drift alarm was firing, by model.",
        Query(f"max by (model_name) (thalweg_drift_active{{{OF_MODEL}}})", "{{model_name}}"),
        "drift",
        "no drift",
    )
    below = states(
        "Quality floors",
        "Times at which a model was worse than its quality floor; only models with a floor.",
        Query(f"max by (model_name) (thalweg_quality_floor_breached{{{OF_MODEL}}})", "{{model_name}}"),
        "below the floor",
        "well",
    )
    unready = states(
        "Readiness",
        "Times at which a model answered no request.",
        Query(f"1 - max by (model_name) (thalweg_model_ready{{{OF_MODEL}}})", "{{model_name}}"),
        "not ready",
        "ready",
    )
    follow: list[Panel] = [
        lines(
            "Staleness",
            "Time since the version in use was known to be up to date with the log. Near 0 while a model keeps up.",
            Query(f"max by (model_name) (thalweg_staleness_seconds{{{OF_MODEL}}})", "{{model_name}}"),
            unit="s",
            limit=300,
        ),
        lines(
            "Events consumed",
            "Events read from the log and parsed.",
            Query(rate_of("thalweg_events_consumed_total"), "{{model_name}}"),
            unit="eps",
        ),
        lines(
            "Gain over frozen baseline",
            "Recent accuracy minus that of the frozen baseline. Above 0, learning improves the model.",
            Query(f"max by (model_name) (thalweg:value_of_learning:recent_accuracy{{{OF_MODEL}}})", "{{model_name}}"),
            unit="percentunit",
            limit=-0.05,
            signed=True,
        ),
        lines(
            "Requests",
            "Inference requests.",
            Query(rate_of("thalweg_inference_requests_total"), "{{model_name}}"),
            unit="reqps",
        ),
    ]
    return dashboard(
        "Overview",
        "Health, lag, quality and drift of all models.",
        [("Status", now), ("Models", [models, drift, below, unready]), ("Freshness and throughput", follow)],
        [MODELS],
        MARKS,
    )
