"""What follows a model's records from the log to the servers: freshness always, traces where they are on."""

from __future__ import annotations

from pathlib import Path

from thalweg.ops.config.config import Config
from thalweg.ops.telemetry.learner_metrics import LearnerMetrics
from thalweg.stream.freshness.tracker import Tracker, both
from thalweg.stream.freshness.waiting import CAUGHT_UP, FreshnessTracker
from thalweg.stream.traces.spans import Spans
from thalweg.stream.traces.tracker import TraceTracker


def tracker_of(
    config: Config, model: str, live: Path, folder: Path, metrics: LearnerMetrics, spans: Spans | None
) -> Tracker:
    """A model's tracker.

    Args:
        config: The configuration.
        model: The model's name.
        live: The folder that servers read.
        folder: The model's state folder.
        metrics: Counts the records whose time cannot be that of their append.
        spans: Records traces; None: there are none.
    """
    replaced = metrics.model(model).append_times_replaced
    freshness = FreshnessTracker(live / model, folder / CAUGHT_UP, replaced, model)
    if spans is None:
        return freshness
    system = "kafka" if config.log.url.startswith("kafka:") else "thalweg"
    return both(freshness, TraceTracker(model, system, live / model, spans))
