"""One model's data for the page: the server's view of it, joined with its learner's status."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from thalweg.memory.snapshots.manifest import Manifest
from thalweg.ops.serve.models import ServedModel
from thalweg.ops.telemetry.status import LOWER_IS_BETTER
from thalweg.ops.webpage.troubles import SILENT_SECONDS, level_of, troubles
from thalweg.stream.health.registry import ComponentHealth

Figures = dict[str, Any]
_PREFERRED = ("accuracy", "log_likelihood", "auc", "rmse", "mae", "log_loss")  # where there is no curve
_SNAPSHOTS_SHOWN = 50


def summary(
    model: ServedModel, status: Mapping[str, Any] | None, now: float, parts: Sequence[ComponentHealth] = ()
) -> Figures:
    """One model's row in the list of models; a value that is not known is None.

    Args:
        model: The model as it is served.
        status: What its learner reported, if it has.
        now: Unix seconds.
        parts: The health of its parts.
    """
    reported = status or {}
    served = model.versions.newest
    info = served.info if served is not None else None
    alarms = reported.get("drift", {}).get("alarms", [])
    rate, lag, at = reported.get("events_per_second"), reported.get("lag_records"), reported.get("time")
    figures: Figures = {
        "now": now,
        "name": model.name,
        "learner": model.learner,
        "topic": model.topic,
        "labels_topic": model.labels_topic,
        "ready": not model.unready(),
        "not_ready": model.unready() or None,
        "components": [one.record() for one in parts],
        "state_version": info.version if info else None,
        "learned_events": info.learned_events if info else None,
        "published": info.published_at if info else None,
        "staleness_seconds": model.staleness_seconds(served) if served is not None else None,
        "effect_seconds": _effect(info.published_at, info.event_time) if info else None,
        "told_at": at,
        "silent_since": at if at is not None and now - at > SILENT_SECONDS else None,
        "heard": "events" in reported,
        "events": reported.get("events", 0),
        "events_learned": reported.get("learned_events"),
        "events_per_second": rate,
        "lag_records": lag,
        "unanswered_events": reported.get("unanswered_events", 0),
        "left_out_events": reported.get("left_out_events", 0),
        "micro_batch_events": reported.get("micro_batch_events"),
        "unlabelled_events": reported.get("unlabelled_events", 0),
        "needs_labels": model.needs_labels(reported.get("task")),
        "joined_at": reported.get("joined_at") if model.labels_topic else None,
        "label_delay_seconds": reported.get("label_delay_seconds"),
        "lag_seconds": lag / rate if lag is not None and rate else None,
        "quality": _quality(reported),
        "recovery": reported.get("recovery"),
        "replaced": reported.get("replaced"),
        "open_alarm": next((alarm for alarm in reversed(alarms) if alarm.get("end") is None), None),
        "last_alarm": alarms[-1] if alarms else None,
        "dead_letters": reported.get("dead_letters", {}),
        "newest_dead_letters": reported.get("newest_dead_letters", {}),
        "snapshot_failures": reported.get("snapshot_failures", 0),
        "rollbacks": reported.get("rollbacks", {}),
        "freshness_budget_remaining": model.freshness.budget_remaining(),
        "freshness_window_days": model.freshness.params.window_days,
    }
    found = troubles(figures)
    return {**figures, "level": level_of(found), "troubles": [one.record() for one in found]}


def details(
    model: ServedModel,
    status: Mapping[str, Any] | None,
    now: float,
    snapshots: Sequence[Manifest],
    latency: Mapping[str, float | None],
    freshness: Mapping[str, float | None] = MappingProxyType({}),
    parts: Sequence[ComponentHealth] = (),
) -> Figures:
    """Everything that the page shows of one model: its `summary` and the rest."""
    reported = status or {}
    drift = reported.get("drift", {})
    versions = versions_of(snapshots)
    plain = {
        name: reported.get(name, {})
        for name in ("metrics", "recent", "bounds", "frozen", "frozen_recent", "continual", "gauges")
    } | {name: reported.get(name) for name in ("curve", "worst_case_accuracy", "state_bytes", "label_delay_seconds")}
    return {
        **summary(model, status, now, parts),
        **plain,
        "scores": drift.get("scores", []),
        "alarms": drift.get("alarms", []),
        "latency": dict(latency),
        "freshness": {**freshness, **_promise(model)},
        "snapshots": versions[-_SNAPSHOTS_SHOWN:],
        "snapshots_kept": len(versions),
    }


def versions_of(snapshots: Sequence[Manifest]) -> list[Figures]:
    """Snapshots, oldest first; one whose parent is older than its predecessor was made by a rollback to that parent."""
    found: list[Figures] = []
    before: int | None = None
    for manifest in snapshots:
        parent = manifest.parent
        back = parent is not None and before is not None and parent < before
        found.append(
            {
                "version": manifest.version,
                "created": manifest.created,
                "learned_events": manifest.events_learned,
                "metrics": dict(manifest.metrics),
                "recent": dict(manifest.recent),
                "size_bytes": manifest.size_bytes,
                "rolled_back_to": parent if back else None,
            }
        )
        before = manifest.version
    return found


def _quality(reported: Mapping[str, Any]) -> Figures | None:
    """The main metric, of the model and of the frozen baseline; None where nothing was graded."""
    recent, curve = reported.get("recent", {}), reported.get("curve") or {}
    metric = curve.get("metric") or next((name for name in _PREFERRED if name in recent), None)
    if metric is None:
        return None
    low, high = reported.get("bounds", {}).get(metric, (None, None))
    return {
        "metric": metric,
        "higher_is_better": metric not in LOWER_IS_BETTER,
        "now": recent.get(metric),
        "frozen": reported.get("frozen_recent", {}).get(metric),
        "low": low,
        "high": high,
        "graded": reported.get("recent_events"),
        "controls": {
            name: figures[metric] for name, figures in reported.get("controls_recent", {}).items() if metric in figures
        },
        "floor": reported.get("quality_floor") if metric == reported.get("quality") else None,
        "floor_breached": bool(reported.get("floor_breached")),
    }


def _promise(model: ServedModel) -> Figures:
    """What is promised about its freshness, and what is left of the error budget; None where nothing is promised."""
    promised, remaining = model.freshness.params, model.freshness.budget_remaining()
    if remaining is None:
        return {"objective": None, "within_seconds": None, "window_days": None, "budget_remaining": None}
    return {**promised.model_dump(), "budget_remaining": remaining}


def _effect(published: float, event_time: float) -> float | None:
    """From the newest event's time to the version that learned it; None where event times are from another clock."""
    seconds = published - event_time
    return seconds if event_time and -1 < seconds < 86_400 else None
