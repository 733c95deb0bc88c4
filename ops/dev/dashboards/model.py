"""One model: how good, what drifted, how fresh."""

from __future__ import annotations

from thalweg.ops.dev.dashboards.parts import Json, Panel, Query, bars, dashboard, figure, lines, states
from thalweg.ops.dev.dashboards.queries import MARKS, METRIC, MODEL, OF_MODEL, quantiles, rate_of


def model() -> Json:
    """One model: how good, what drifted, how fresh."""
    recent, frozen = (
        f'{name}{{{OF_MODEL}, metric=~"$metric", window="%s"}}'
        for name in ("thalweg_prequential", "thalweg_frozen_prequential")
    )
    bounds = f'thalweg_prequential_bound{{{OF_MODEL}, metric=~"$metric", window="recent", bound="%s"}}'
    quality: list[Panel] = [
        lines(
            "Quality, recent",
            "Answers graded before their events were learned, of the recent window; beside them the frozen twin's.",
            Query(recent % "recent", "{{metric}}"),
            Query(frozen % "recent", "{{metric}}, frozen twin"),
        ),
        lines(
            "How sure",
            "Between which values the recent figures lie with 95 % confidence, as if events were independent.",
            Query(bounds % "lower", "{{metric}}, at least"),
            Query(bounds % "upper", "{{metric}}, at most"),
        ),
        lines(
            "Quality, all events",
            "The same since the model began.",
            Query(recent % "all", "{{metric}}"),
            Query(frozen % "all", "{{metric}}, frozen twin"),
        ),
        lines(
            "Worth of learning",
            "The model's recent figure less the frozen twin's. Of losses and errors, below 0 is better.",
            Query(f"{recent % 'recent'} - {frozen % 'recent'}", "{{metric}}"),
            signed=True,
        ),
        lines(
            "What is still known of every class",
            "Accuracy on events held of every class, asked again and again: now, at its worst, and how far it fell.",
            Query(f"thalweg_continual{{{OF_MODEL}}}", "{{metric}}"),
        ),
        figure(
            "Worst case",
            "The lowest accuracy that the full recent window ever had.",
            Query(f"thalweg_worst_case_accuracy{{{OF_MODEL}}}"),
            unit="percentunit",
        ),
        figure("Classes", "Classes that the learner knows.", Query(f"thalweg_classes{{{OF_MODEL}}}")),
        figure("Version", "The version that answers now.", Query(f"thalweg_state_version{{{OF_MODEL}}}")),
    ]
    drift: list[Panel] = [
        states(
            "Alarms",
            "When an alarm of drift was open.",
            Query(f"max by (model_name) (thalweg_drift_active{{{OF_MODEL}}})", "{{model_name}}"),
            "drift",
            "steady",
        ),
        lines(
            "Scores",
            "How near each detector is to an alarm: 1 is one.",
            Query(f"thalweg_drift_score{{{OF_MODEL}}}", "{{detector}} on {{signal}}"),
            limit=1,
        ),
        lines(
            "Severity",
            "Of the open alarm, 0 without one.",
            Query(f"thalweg_drift_severity{{{OF_MODEL}}}", "{{model_name}}"),
            most=1,
        ),
        bars(
            "Columns that moved most",
            "Of the newest alarm: Kolmogorov-Smirnov distance of each column from how it was before.",
            Query(f"sort_desc(thalweg_drift_feature_distance{{{OF_MODEL}}})", "{{feature}}", now=True),
            most=1,
        ),
        bars(
            "Alarms by detector",
            "Raised within the time shown, by what raised them.",
            Query(
                f"sum by (detector, signal) (increase(thalweg_drift_alarms_total{{{OF_MODEL}}}[$__range])) > 0",
                "{{detector}} on {{signal}}",
                now=True,
            ),
        ),
        bars(
            "Done about alarms",
            "What alarms asked for and was done, within the time shown.",
            Query(
                f"sum by (action) (increase(thalweg_drift_actions_total{{{OF_MODEL}}}[$__range]))",
                "{{action}}",
                now=True,
            ),
        ),
    ]
    fresh: list[Panel] = [
        lines(
            "From event to effect",
            "From an event's time to the first version that has learned it. The objective: 99 of 100 within a second.",
            *quantiles("thalweg_event_to_effect_seconds"),
            unit="s",
            limit=1,
        ),
        lines(
            "Missed freshness",
            "Share of versions that took over a second, over an hour and over three days; the objective allows 1 %.",
            Query(f"thalweg:freshness_missed:ratio_rate1h{{{OF_MODEL}}}", "an hour"),
            Query(f"thalweg:freshness_missed:ratio_rate3d{{{OF_MODEL}}}", "three days"),
            unit="percentunit",
            limit=0.01,
        ),
        lines(
            "Staleness",
            "Age of the newest knowledge in what answers now.",
            Query(f"thalweg_staleness_seconds{{{OF_MODEL}}}", "{{model_name}}"),
            unit="s",
        ),
        lines("Learning one micro-batch", "How long it takes.", *quantiles("thalweg_learn_duration_seconds"), unit="s"),
    ]
    state: list[Panel] = [
        lines(
            "State", "Its size.", Query(f"thalweg_state_bytes{{{OF_MODEL}}}", "{{model_name}}"), unit="bytes", width=6
        ),
        lines(
            "Snapshots",
            "Written, and those that could not be.",
            Query(rate_of("thalweg_snapshots_total"), "written"),
            Query(rate_of("thalweg_snapshot_failures_total"), "failed"),
            unit="ops",
            width=6,
        ),
        lines(
            "Memory",
            "Entries, and those evicted within 15 minutes; of learners that have a memory.",
            Query(f"thalweg_memory_entries{{{OF_MODEL}}}", "entries"),
            Query(f"increase(thalweg_memory_evictions_total{{{OF_MODEL}}}[15m])", "evicted"),
            width=6,
        ),
        lines(
            "Rollbacks",
            "By cause, within the last 15 minutes.",
            Query(f"sum by (cause) (increase(thalweg_rollbacks_total{{{OF_MODEL}}}[15m]))", "{{cause}}"),
            width=6,
        ),
    ]
    return dashboard(
        "Model",
        "One model: how good its answers are beside those of its frozen twin, what drifted and when, how fresh it is.",
        [("Quality", quality), ("Drift", drift), ("Freshness", fresh), ("State", state)],
        [MODEL, METRIC],
        MARKS,
    )
