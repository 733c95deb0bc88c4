"""Expressions, variables and marks that the dashboards share."""

from __future__ import annotations

from thalweg.ops.dev.dashboards.parts import Query, annotation, choice

OF_MODEL = 'model_name=~"$model"'
RATE = "$__rate_interval"


def rate_of(metric: str, by: str = "model_name") -> str:
    """Per-second rate, by the values of a label."""
    return f"sum by ({by}) (rate({metric}{{{OF_MODEL}}}[{RATE}]))"


def _quantile(share: float, metric: str) -> str:
    return f"histogram_quantile({share}, sum by (model_name, le) (rate({metric}_bucket{{{OF_MODEL}}}[{RATE}])))"


def quantiles(metric: str) -> tuple[Query, Query]:
    """p50 and p99 of a histogram."""
    return (
        Query(_quantile(0.5, metric), "{{model_name}}, p50"),
        Query(_quantile(0.99, metric), "{{model_name}}, p99"),
    )


MODELS = choice("model", "Model", "label_values(thalweg_learned_events, model_name)")
MODEL = choice("model", "Model", "label_values(thalweg_learned_events, model_name)", several=False)
METRIC = choice("metric", "Metric", f"label_values(thalweg_prequential{{{OF_MODEL}}}, metric)")
MARKS = [
    annotation("Drift", f"thalweg_drift_active{{{OF_MODEL}}} == 1", "{{model_name}}: drift alarm firing", "orange"),
    annotation(
        "Drift raised",
        f"sum by (model_name, detector, signal) (increase(thalweg_drift_alarms_total{{{OF_MODEL}}}[1m])) > 0",
        "{{model_name}}: {{detector}} on {{signal}}",
        "dark-orange",
    ),
    annotation(
        "Rollback",
        f"sum by (model_name, cause) (increase(thalweg_rollbacks_total{{{OF_MODEL}}}[1m])) > 0",
        "{{model_name}}: {{cause}}",
        "purple",
    ),
    annotation(
        "Restart",
        "sum by (instance, role) (changes(process_start_time_seconds[1m])) > 0",
        "{{role}} process of {{instance}}",
        "blue",
    ),
]
