"""One model's data for the page: the server's view of it, joined with its learner's status."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from thalweg.memory.snapshots.snapshots import Manifest
from thalweg.ops.serve.serving import ServedModel
from thalweg.ops.telemetry.status import LOWER_IS_BETTER
from thalweg.ops.webpage.troubles import SILENT_SECONDS, level_of, troubles

Figures = dict[str, Any]
_PREFERRED = ("accuracy", "log_likelihood", "auc", "rmse", "mae", "log_loss")  # where there is no curve
_SNAPSHOTS_SHOWN = 50


class ServingFigures(Protocol):
    """What the server process measures, for the page."""

    def latency(self, model: str) -> dict[str, float | None]:
        """Of the last minute."""

    def processes(self) -> dict[str, dict[str, Any]]:
        """By role."""


class NoServingFigures:
    """Counts nothing."""

    def latency(self, model: str) -> dict[str, float | None]:
        return {}

    def processes(self) -> dict[str, dict[str, Any]]:
        return {}


def summary(model: ServedModel, status: Mapping[str, Any] | None, now: float) -> Figures:
    """One model's row in the list of models; a value that is not known is None.

    Args:
        model: The model as it is served.
        status: What its learner reported, if it has.
        now: Unix seconds.
    """
    told = status or {}
    served = model.published.current
    info = served.info if served is not None else None
    alarms = told.get("drift", {}).get("alarms", [])
    rate, lag, at = told.get("events_per_second"), told.get("lag_records"), told.get("time")
    figures: Figures = {
        "name": model.name,
        "learner": model.learner,
        "topic": model.topic,
        "labels_topic": model.labels_topic,
        "ready": info is not None,
        "state_version": info.version if info else None,
        "learned_events": info.learned_events if info else None,
        "published": info.published_at if info else None,
        "staleness_seconds": model.staleness_seconds(served) if served is not None else None,
        "effect_seconds": _effect(info.published_at, info.event_time) if info else None,
        "told_at": at,
        "silent_since": at if at is not None and now - at > SILENT_SECONDS else None,
        "events": told.get("events", 0),
        "events_per_second": rate,
        "lag_records": lag,
        "lag_seconds": lag / rate if lag is not None and rate else None,
        "quality": _quality(told),
        "open_alarm": next((alarm for alarm in reversed(alarms) if alarm.get("end") is None), None),
        "last_alarm": alarms[-1] if alarms else None,
        "dead_letters": told.get("dead_letters", {}),
        "snapshot_failures": told.get("snapshot_failures", 0),
        "rollbacks": told.get("rollbacks", {}),
    }
    found = troubles(figures)
    return {**figures, "level": level_of(found), "troubles": [one.record() for one in found]}


def details(
    model: ServedModel,
    status: Mapping[str, Any] | None,
    now: float,
    snapshots: Sequence[Manifest],
    latency: Mapping[str, float | None],
) -> Figures:
    """Everything that the page shows of one model: its `summary` and the rest."""
    told = status or {}
    drift = told.get("drift", {})
    versions = versions_of(snapshots)
    plain = {
        name: told.get(name, {})
        for name in ("metrics", "recent", "bounds", "frozen", "frozen_recent", "continual", "gauges")
    } | {name: told.get(name) for name in ("curve", "worst_case_accuracy", "state_bytes", "label_delay_seconds")}
    return {
        **summary(model, status, now),
        **plain,
        "scores": drift.get("scores", []),
        "alarms": drift.get("alarms", []),
        "latency": dict(latency),
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
                "size_bytes": manifest.size_bytes,
                "rolled_back_to": parent if back else None,
            }
        )
        before = manifest.version
    return found


def _quality(told: Mapping[str, Any]) -> Figures | None:
    """The main metric, of the model and of the frozen baseline; None where nothing was graded."""
    recent, curve = told.get("recent", {}), told.get("curve") or {}
    metric = curve.get("metric") or next((name for name in _PREFERRED if name in recent), None)
    if metric is None:
        return None
    low, high = told.get("bounds", {}).get(metric, (None, None))
    return {
        "metric": metric,
        "higher_is_better": metric not in LOWER_IS_BETTER,
        "now": recent.get(metric),
        "frozen": told.get("frozen_recent", {}).get(metric),
        "low": low,
        "high": high,
    }


def _effect(published: float, event_time: float) -> float | None:
    """From the newest event's time to the version that learned it; None where event times are from another clock."""
    seconds = published - event_time
    return seconds if event_time and -1 < seconds < 86_400 else None
