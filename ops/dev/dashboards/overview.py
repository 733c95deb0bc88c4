"""All models: do they keep up?"""

from __future__ import annotations

from thalweg.ops.dev.dashboards.parts import Json, Panel, Query, dashboard, figure, lines, states, table
from thalweg.ops.dev.dashboards.queries import MARKS, MODELS, OF_MODEL, rate_of


def overview() -> Json:
    """All models: do they keep up?"""
    now: list[Panel] = [
        figure("Instances", "Services that answer Prometheus.", Query('sum(up{job="thalweg"})', "up"), good=1),
        figure(
            "Processes down",
            "Server and learner processes that do not run.",
            Query("sum(1 - thalweg_process_up)", "down"),
            bad=1,
        ),
        figure("Models", "Models that answer.", Query("count(count by (model_name) (thalweg_learned_events))"), good=1),
        figure(
            "Longest staleness",
            "Age of the newest knowledge of the model that is furthest behind.",
            Query("max(thalweg_staleness_seconds)"),
            unit="s",
            bad=300,
        ),
        figure("Drifting", "Models with an open alarm of drift.", Query("sum(thalweg_drift_active)"), bad=1),
        figure(
            "Alerts",
            "Alerts of our rules that are told now.",
            Query('count(ALERTS{alertstate="firing", alertname=~"Thalweg.*"}) or vector(0)'),
            bad=1,
        ),
    ]
    models = table(
        "Each model",
        "One line for each model. Worth of learning: recent accuracy less that of the frozen twin; only of models that "
        "name classes or are right or wrong.",
        [
            ("Events learned", f"sum by (model_name) (thalweg_learned_events{{{OF_MODEL}}})", "short"),
            ("Taken", f"sum by (model_name) (thalweg:events_taken:rate5m{{{OF_MODEL}}})", "eps"),
            ("Waiting", f"sum by (model_name) (thalweg:lag_records:sum{{{OF_MODEL}}})", "short"),
            ("Behind by", f"max by (model_name) (thalweg_lag_seconds{{{OF_MODEL}}})", "s"),
            ("Stale by", f"max by (model_name) (thalweg_staleness_seconds{{{OF_MODEL}}})", "s"),
            (
                "Worth of learning",
                f"max by (model_name) (thalweg:value_of_learning:recent_accuracy{{{OF_MODEL}}})",
                "percentunit",
            ),
            ("Drift open", f"max by (model_name) (thalweg_drift_active{{{OF_MODEL}}})", "short"),
            ("State", f"max by (model_name) (thalweg_state_bytes{{{OF_MODEL}}})", "bytes"),
        ],
        "model_name",
    )
    drift = states(
        "Drift alarms",
        "When an alarm of drift was open, by model.",
        Query(f"max by (model_name) (thalweg_drift_active{{{OF_MODEL}}})", "{{model_name}}"),
        "drift",
        "steady",
    )
    follow: list[Panel] = [
        lines(
            "Staleness",
            "Age of the newest knowledge in what answers now. Near 0 while a model keeps up.",
            Query(f"max by (model_name) (thalweg_staleness_seconds{{{OF_MODEL}}})", "{{model_name}}"),
            unit="s",
            limit=300,
        ),
        lines(
            "Events taken",
            "From the log, and understood.",
            Query(rate_of("thalweg_events_consumed_total"), "{{model_name}}"),
            unit="eps",
        ),
        lines(
            "Worth of learning",
            "Recent accuracy less that of the frozen twin: above 0, learning helps.",
            Query(f"max by (model_name) (thalweg:value_of_learning:recent_accuracy{{{OF_MODEL}}})", "{{model_name}}"),
            unit="percentunit",
            limit=-0.05,
            signed=True,
        ),
        lines(
            "Requests",
            "Predictions asked for.",
            Query(rate_of("thalweg_inference_requests_total"), "{{model_name}}"),
            unit="reqps",
        ),
    ]
    return dashboard(
        "Overview",
        "All models at a glance: do they keep up, and is learning worth it?",
        [("Now", now), ("Models", [models, drift]), ("Following the stream", follow)],
        [MODELS],
        MARKS,
    )
