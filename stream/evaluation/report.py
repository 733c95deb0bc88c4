"""What an evaluation has to say at one moment: made by the learner's thread, read by any, changed by none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from thalweg.proto.task import Task
from thalweg.stream.drift.alarm import Alarm
from thalweg.stream.evaluation.curve import CurvePoint
from thalweg.stream.evaluation.figures.bounds import Bound


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationReport:
    """All figures after the same event. Mappings are read-only; `Monitor.report` makes it."""

    time: float
    """When it was made, Unix seconds."""
    events: int
    """Events seen by then."""
    task: Task
    """Of the answers that are graded."""
    figures: Mapping[str, tuple[float, Bound | None]]
    """Over all events: by name the figure, and its 95 % confidence interval where that is known."""
    recent_figures: Mapping[str, tuple[float, Bound | None]]
    """The same over the recent window."""
    baseline: Mapping[str, float]
    """Figures of the frozen baseline over all events."""
    baseline_recent: Mapping[str, float]
    """The same over the recent window."""
    worst_case_accuracy: float
    """The lowest accuracy that the recent window, once full, ever had; NaN before."""
    continual: Mapping[str, float]
    """Continual evaluation on held-out events of each class."""
    curve_metric: str | None
    """Whose values the points are; None: there are none yet."""
    curve: tuple[CurvePoint, ...]
    """Oldest first."""
    drift_scores: Mapping[tuple[str, str], float]
    """By detector and signal, how near it is to an alarm: 1 and above is one."""
    alarms: tuple[Alarm, ...]
    """The latest alarms of drift, oldest first; the last may be open."""
    classes: tuple[str, ...]
    """Those seen, in the order of their first events."""

    @property
    def metrics(self) -> dict[str, float]:
        """The figures over all events, without bounds."""
        return {name: figure for name, (figure, _) in self.figures.items()}

    @property
    def recent(self) -> dict[str, float]:
        """The figures over the recent window, without bounds."""
        return {name: figure for name, (figure, _) in self.recent_figures.items()}

    @property
    def recent_bounds(self) -> dict[str, Bound]:
        """Between which values those of the recent window lie, where that is known."""
        return {name: bound for name, (_, bound) in self.recent_figures.items() if bound is not None}

    @property
    def open_alarm(self) -> Alarm | None:
        """The alarm that has not ended."""
        return self.alarms[-1] if self.alarms and self.alarms[-1].end is None else None

    def points_since(self, events: int) -> tuple[CurvePoint, ...]:
        """The points of the curve that are newer than an earlier report, which had seen so many events."""
        return tuple(point for point in self.curve if point.events > events)
