"""The dashboard of one model: quality, drift, freshness, state."""

from __future__ import annotations

from thalweg.ops.dev.dashboards.parts import Json, Panel, Query, bars, dashboard, figure, lines, states
from thalweg.ops.dev.dashboards.queries import MARKS, METRIC, MODEL, OF_MODEL, quantiles, rate_of


def model() -> Json:
    """The dashboard of one model: quality, drift, freshness, state."""
    recent, frozen = (
        f'{name}{{{OF_MODEL}, metric=~"$metric", window="%s"}}'
        for name in ("thalweg_prequential", "thalweg_frozen_prequential")
    )
    bounds = f'thalweg_prequential_bound{{{OF_MODEL}, metric=~"$metric", window="recent", bound="%s"}}'
    quality: list[Panel] = [
        lines(
            "Quality, recent",
            "Prequential (test-then-train) metrics of the recent window, of the model and of the frozen baseline.",
            Query(recent % "recent", "{{metric}}"),
            Query(frozen % "recent", "{{metric}}, frozen baseline"),
        ),
        lines(
            "Quality, 95 % CI",
            "95 % confidence interval of the recent metrics, assuming independent events.",
            Query(bounds % "lower", "{{metric}}, lower"),
            Query(bounds % "upper", "{{metric}}, upper"),
        ),
        lines(
            "Quality, all events",
            "Prequential metrics since the first event.",
            Query(recent % "all", "{{metric}}"),
            Query(frozen % "all", "{{metric}}, frozen baseline"),
        ),
        lines(
            "Gain over frozen baseline",
            "Recent metric of the model minus that of the frozen baseline. For losses and errors, below 0 is better.",
            Query(f"{recent % 'recent'} - {frozen % 'recent'}", "{{metric}}"),
            signed=True,
        ),
        lines(
            "Quality against floor and naive controls",
            "Recent metrics of the model, its quality floor, and naive controls, which predict from labels alone.",
            Query(recent % "recent", "{{metric}}"),
            Query(f'thalweg_quality_floor{{{OF_MODEL}, metric=~"$metric"}}', "{{metric}}, floor"),
            Query(
                f'thalweg_control_prequential{{{OF_MODEL}, metric=~"$metric", window="recent"}}',
                "{{metric}}, {{control}}",
            ),
        ),
        lines(
            "Level before the last drift and now",
            "Main metric before the last drift, and of the newest events. Recovered: both are alike.",
            Query(f"thalweg_drift_quality{{{OF_MODEL}}}", "{{metric}}, {{moment}}"),
        ),
        lines(
            "Continual evaluation",
            "Accuracy on held-out events of every class: current, minimum, forgetting and plasticity.",
            Query(f"thalweg_continual{{{OF_MODEL}}}", "{{metric}}"),
        ),
        figure(
            "Worst-case accuracy",
            "Lowest accuracy of the full recent window so far.",
            Query(f"thalweg_worst_case_accuracy{{{OF_MODEL}}}"),
            unit="percentunit",
        ),
        figure("Classes", "Number of classes the learner knows.", Query(f"thalweg_classes{{{OF_MODEL}}}")),
        figure("Version", "The version in use.", Query(f"thalweg_state_version{{{OF_MODEL}}}")),
    ]
    drift: list[Panel] = [
        states(
            "Alarms",
            "Times at which a drift alarm was firing.",
            Query(f"max by (model_name) (thalweg_drift_active{{{OF_MODEL}}})", "{{model_name}}"),
            "drift",
            "no drift",
        ),
        lines(
            "Detector scores",
            "Score of each detector relative to its alarm threshold: 1 raises an alarm.",
            Query(f"thalweg_drift_score{{{OF_MODEL}}}", "{{detector}} on {{signal}}"),
            limit=1,
        ),
        lines(
            "Severity",
            "Severity of the firing drift alarm, 0 without one.",
            Query(f"thalweg_drift_severity{{{OF_MODEL}}}", "{{model_name}}"),
            most=1,
        ),
        bars(
            "Columns with the largest drift",
            "Kolmogorov-Smirnov distance of each column from its reference window, at the newest alarm.",
            Query(f"sort_desc(thalweg_drift_feature_distance{{{OF_MODEL}}})", "{{feature}}", now=True),
            most=1,
        ),
        bars(
            "Alarms by detector",
            "Drift alarms raised in the time range, by detector and signal.",
            Query(
                f"sum by (detector, signal) (increase(thalweg_drift_alarms_total{{{OF_MODEL}}}[$__range])) > 0",
                "{{detector}} on {{signal}}",
                now=True,
            ),
        ),
        bars(
            "Drift actions",
            "Actions taken on drift alarms in the time range.",
            Query(
                f"sum by (action) (increase(thalweg_drift_actions_total{{{OF_MODEL}}}[$__range]))",
                "{{action}}",
                now=True,
            ),
        ),
    ]
    fresh: list[Panel] = [
        lines(
            "Freshness",
            "Time from the append of a record to the first version in use that has learned it, and the objective.",
            *quantiles("thalweg_freshness_seconds"),
            Query(f"thalweg_freshness_objective_seconds{{{OF_MODEL}}}", "{{model_name}}, objective"),
            unit="s",
        ),
        lines(
            "Freshness error budget spent",
            "How fast the error budget of the objective is spent, over 1 hour and 3 days; 1 spends it in its window.",
            Query(f"thalweg:freshness_burn:ratio_rate1h{{{OF_MODEL}}}", "1h"),
            Query(f"thalweg:freshness_burn:ratio_rate3d{{{OF_MODEL}}}", "3d"),
            limit=1,
        ),
        lines(
            "Freshness error budget left",
            "Share of the error budget that is left in the window of the objective.",
            Query(f"thalweg_freshness_budget_remaining{{{OF_MODEL}}}", "{{model_name}}"),
            unit="percentunit",
            limit=0,
        ),
        lines(
            "End-to-end delay",
            "Time from an event, by its own time, to the first version that learned it.",
            *quantiles("thalweg_event_to_effect_seconds"),
            unit="s",
        ),
        lines(
            "Staleness",
            "Time since the version in use was known to be up to date with the log.",
            Query(f"thalweg_staleness_seconds{{{OF_MODEL}}}", "{{model_name}}"),
            unit="s",
        ),
        lines(
            "Learning duration",
            "Duration of learning one micro-batch.",
            *quantiles("thalweg_learn_duration_seconds"),
            unit="s",
        ),
    ]
    state: list[Panel] = [
        lines(
            "State size",
            "Size of the learner's state.",
            Query(f"thalweg_state_bytes{{{OF_MODEL}}}", "{{model_name}}"),
            unit="bytes",
            width=6,
        ),
        lines(
            "Snapshots",
            "Snapshots written and failed.",
            Query(rate_of("thalweg_snapshots_total"), "written"),
            Query(rate_of("thalweg_snapshot_failures_total"), "failed"),
            unit="ops",
            width=6,
        ),
        lines(
            "Memory",
            "Entries, and evictions in the last 15 minutes, of learners with a memory.",
            Query(f"thalweg_memory_entries{{{OF_MODEL}}}", "entries"),
            Query(f"increase(thalweg_memory_evictions_total{{{OF_MODEL}}}[15m])", "evicted"),
            width=6,
        ),
        lines(
            "Rollbacks",
            "Rollbacks in the last 15 minutes, by cause.",
            Query(f"sum by (cause) (increase(thalweg_rollbacks_total{{{OF_MODEL}}}[15m]))", "{{cause}}"),
            width=6,
        ),
    ]
    return dashboard(
        "Model",
        "One model: quality compared with the frozen baseline, drift, freshness, snapshots and rollbacks.",
        [("Quality", quality), ("Drift", drift), ("Freshness", fresh), ("State", state)],
        [MODEL, METRIC],
        MARKS,
    )
