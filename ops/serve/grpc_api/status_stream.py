"""The stream of `Watch`: a model's status at intervals, and its alarms as they occur."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from thalweg.ops.serve.models import ServedModel
from thalweg.proto import thalweg_pb2 as pb

_FIGURES = ("metrics", "recent", "frozen", "frozen_recent")


class StatusStream:
    """One stream of statuses; tracks which alarms it has sent."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._alarms: dict[int, tuple[Any, Any]] = {}

    def status(self, model: ServedModel, reported: Mapping[str, Any] | None) -> pb.Status:
        """The next status.

        Args:
            model: The served model.
            reported: The learner's last report; None if there is none yet: then the metrics are those of the newest
                snapshot.
        """
        status = pb.Status(model=model.name, time=self._clock())
        served = model.versions.newest
        if served is not None:
            status.state_version = served.info.version
            status.learned_events = served.info.learned_events
            status.staleness_seconds = model.staleness_seconds(served)
        if reported is None:
            kept = model.versions.snapshots.manifests()
            status.metrics.update(kept[-1].metrics if kept else {})
            return status
        for name in _FIGURES:
            getattr(status, name).update(reported.get(name, {}))
        status.told = reported.get("time", 0.0)
        status.events_per_second = reported.get("events_per_second", 0.0)
        status.lag_records = reported.get("lag_records") or 0
        if "worst_case_accuracy" in reported:
            status.worst_case_accuracy = reported["worst_case_accuracy"]
        _judge(status, reported)
        drift = reported.get("drift", {})
        status.drift_scores.extend(pb.DriftScore(**score) for score in drift.get("scores", ()))
        alarms = drift.get("alarms", ())
        status.drifting = bool(alarms) and alarms[-1]["end"] is None
        as_they_are = {alarm["number"]: (alarm["end"], alarm.get("done")) for alarm in alarms}
        news = [alarm for alarm in alarms if self._alarms.get(alarm["number"]) != as_they_are[alarm["number"]]]
        status.alarms.extend(alarm_message(alarm) for alarm in news)
        self._alarms = as_they_are
        return status


def _judge(status: pb.Status, reported: Mapping[str, Any]) -> None:
    """Set what quality is measured against."""
    for name in ("quality_floor", "floor_breached"):
        if reported.get(name) is not None:
            setattr(status, name, reported[name])
    for name, message in (("recovery", pb.Recovery), ("replaced", pb.Replaced)):
        if record := reported.get(name):
            known = message.DESCRIPTOR.fields_by_name
            plain = {key: value for key, value in record.items() if key in known and value is not None}
            getattr(status, name).CopyFrom(message(**plain))
    recent = reported.get("controls_recent", {})
    for name, metrics in reported.get("controls", {}).items():
        status.controls[name].CopyFrom(pb.Figures(metrics=metrics, recent=recent.get(name, {})))


def alarm_message(record: Mapping[str, Any]) -> pb.Alarm:
    """An alarm's `record()` as a message."""
    known = set(pb.Alarm.DESCRIPTOR.fields_by_name) - {"signals", "features"}  # another release may have more fields
    plain = {name: value for name, value in record.items() if name in known}
    return pb.Alarm(
        **plain,
        signals=[pb.Alarm.Sign(**sign) for sign in record["signals"]],
        features=[pb.Alarm.Feature(**feature) for feature in record["features"]],
    )
